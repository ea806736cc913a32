package local

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// limited adds to an error of the kernel which limit of this user is behind it.
func limited(err error) error {
	var what, name, flag string
	var limit unix.Rlimit
	var e error
	switch {
	case errors.Is(err, unix.EAGAIN):
		what, name, flag = "processes", "RLIMIT_NPROC", "-u"
		e = unix.Getrlimit(unix.RLIMIT_NPROC, &limit)
	case errors.Is(err, unix.EMFILE):
		what, name, flag = "open files", "RLIMIT_NOFILE", "-n"
		e = unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	default:
		return err
	}
	if e != nil || limit.Cur == unix.RLIM_INFINITY {
		return err
	}
	return fmt.Errorf("too many %s: this user may have %d (%s): launch fewer nodes, or raise it (\"ulimit %s\", or limits.conf) and launch anew: %w", what, limit.Cur, name, flag, err)
}
