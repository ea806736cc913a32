package local

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A launch's directory has these, and a log for each instance. The keeper holds
// a lock on the directory itself as long as it lives.
const (
	socketFile = "keeper.sock"
	logFile    = "keeper.log"
)

// errBusy says that another process has the lock.
var errBusy = errors.New("in use")

// lockDir takes the lock on a directory without waiting. The lock is held until
// the file is closed, at the latest by the end of the process.
func lockDir(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if err == unix.EWOULDBLOCK {
			return nil, errBusy
		}
		return nil, os.NewSyscallError("flock", err)
	}
	// It may have been removed, and made again by another, meanwhile.
	locked, err1 := f.Stat()
	there, err2 := os.Lstat(path)
	if err1 != nil || err2 != nil || !os.SameFile(locked, there) {
		f.Close()
		return nil, errBusy
	}
	return f, nil
}

// atSocket calls f with the address of the socket in a directory: by way of
// the open directory, as socket addresses end at 108 bytes and paths do not.
func atSocket(dir string, f func(*net.UnixAddr) error) error {
	return within(dir, socketFile, f)
}

func within(dir, name string, f func(*net.UnixAddr) error) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	return f(&net.UnixAddr{Net: "unix", Name: fmt.Sprintf("/proc/self/fd/%d/%s", fd, name)})
}

// launchesIn names the launches that have a directory.
func launchesIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && launchID.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// sweep removes what keepers left that were killed: they had no time to do it
// themselves. What cannot be removed now is left to the next sweep.
func sweep(dir string) {
	launches, _ := launchesIn(dir)
	for _, l := range launches {
		path := filepath.Join(dir, l)
		if lock, err := lockDir(path); err == nil {
			removeLaunch(path)
			lock.Close()
		}
	}
	sweepLinks()
}

// removeLaunch removes a launch's directory, and nothing that is none.
func removeLaunch(path string) error {
	if _, err := os.Lstat(filepath.Join(path, logFile)); err != nil {
		return os.Remove(path)
	}
	return os.RemoveAll(path)
}
