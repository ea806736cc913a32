//go:build linux

package local

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Who has come to a limit is told which, and what to do.
func TestLimited(t *testing.T) {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	err := limited(fmt.Errorf("socketpair: %w", unix.EMFILE))
	if want := fmt.Sprintf("too many open files: this user may have %d (RLIMIT_NOFILE): ", files.Cur); !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), "ulimit -n") {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := limited(unix.EPERM); err != unix.EPERM {
		t.Errorf("got %v", err)
	}
}
