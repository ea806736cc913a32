package local

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// keeperFD is the first process's connection with the keeper.
const keeperFD = 3

// rootHome is root's home in a sandbox.
const rootHome = "/root"

// standardPath is where commands are looked up in a sandbox.
const standardPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// buildMain is a sandbox's first process while it still may do anything: it is
// in its new namespaces, makes them what they shall be, drops capabilities and
// becomes firstMain.
func buildMain() error {
	conn, err := answerKeeper()
	if err != nil {
		return err
	}
	var s setup
	if err := json.NewDecoder(conn).Decode(&s); err != nil {
		return fmt.Errorf("sandbox: the keeper is gone: %w", err)
	}
	if err := build(s); err != nil {
		return json.NewEncoder(conn).Encode(verdict{Error: err.Error()})
	}
	if err := json.NewEncoder(conn).Encode(verdict{}); err != nil {
		return err
	}
	// Each thread has its own filter and capabilities: those of the one that
	// calls exec are the new program's, on all its threads.
	runtime.LockOSThread()
	if err := refuseKeys(); err != nil {
		return err
	}
	if err := dropCapabilities(); err != nil {
		return err
	}
	if _, err := unix.FcntlInt(keeperFD, unix.F_SETFD, 0); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	env := []string{"PATH=" + standardPath, "HOME=" + rootHome, "GOMAXPROCS=1", "GOGC=50"}
	err = syscall.Exec("/proc/self/exe", []string{firstName}, env)
	runtime.KeepAlive(conn) // collected, it would be closed: the next program lives by it
	return err
}

// answerKeeper returns the connection with the keeper, having made sure that
// this process ends when the keeper does: if it died before the signal was
// asked for, the connection has an end.
func answerKeeper() (*os.File, error) {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return nil, os.NewSyscallError("prctl", err)
	}
	unix.CloseOnExec(keeperFD)
	return os.NewFile(keeperFD, "keeper"), nil
}

// build makes the sandbox, from network to files.
func build(s setup) error {
	syscall.Umask(0o022)
	if err := setUpNetwork(s.NICs); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(kernelName(s.Name))); err != nil {
		return fmt.Errorf("set host name %q: %w", s.Name, err)
	}
	ground := ourGround()
	fresh, err := ground.root(s)
	if err != nil {
		return err
	}
	if err := changeRoot(filepath.Join(s.Scratch, mergedDir)); err != nil {
		return err
	}
	if err := makeFresh(fresh); err != nil {
		return err
	}
	if err := mountSystem(ground); err != nil {
		return err
	}
	if err := bringFiles(s); err != nil {
		return err
	}
	if err := leaveOldRoot(); err != nil {
		return err
	}
	return writeFiles(s)
}

// shortName is a host name up to its first dot.
func shortName(full string) string {
	short, _, _ := strings.Cut(full, ".")
	return short
}

// kernelName is what fits into the kernel's 64 bytes.
func kernelName(full string) string {
	const most = 64
	if len(full) <= most {
		return full
	}
	short := shortName(full)
	return short[:min(len(short), most)]
}
