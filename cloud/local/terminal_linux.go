package local

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openTerminal makes a new terminal of the sandbox's own: its master, which
// does not block, and the end for programs.
func openTerminal(t terminal) (master, slave *os.File, err error) {
	fd, err := unix.Open("/dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open a terminal: %v", err)
	}
	master = os.NewFile(uintptr(fd), "terminal")
	if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err == nil {
		var peer uintptr
		var errno unix.Errno
		// By number, not by name: names in /dev are root's to change.
		peer, _, errno = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
		if errno == 0 {
			setSize(master, t.Width, t.Height)
			return master, os.NewFile(peer, "tty"), nil
		}
		err = errno
	}
	master.Close()
	return nil, nil, fmt.Errorf("open a terminal: %v", err)
}

// setSize tells a terminal how large it is. Programs learn of a change.
func setSize(master *os.File, width, height int) {
	if width <= 0 || height <= 0 {
		return
	}
	size := &unix.Winsize{Col: uint16(min(width, 1<<16-1)), Row: uint16(min(height, 1<<16-1))}
	control(master, func(fd int) error { return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, size) })
}

// isTerminal says whether a file is the master of a terminal.
func isTerminal(f *os.File) bool {
	return control(f, func(fd int) error {
		_, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
		return err
	}) == nil
}

// control asks something of a file without making it block.
func control(f *os.File, ask func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) { err = ask(int(fd)) }); e != nil {
		return e
	}
	return err
}
