package source

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A drive with a secret on it, open to all by its own modes, is mounted where
// nobody else gets.
func TestMountIsPrivate(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root mounts drives")
	}
	var at string
	err := mount("none", "tmpfs", func(fs.FS) error {
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		for line := range strings.Lines(string(mounts)) {
			if place := strings.Fields(line)[4]; strings.HasPrefix(place, "/run/nimbus-drive-") {
				at = place
			}
		}
		return err
	})
	if errors.Is(err, syscall.EPERM) {
		t.Skip("this root may not mount anything")
	}
	if err != nil || at == "" {
		t.Fatalf("mounted at %q, %v", at, err)
	}
	if filepath.Dir(at) == "/run" {
		t.Errorf("it was mounted at %s, where its own modes count", at)
	}
	private := filepath.Join("/run", strings.Split(at, "/")[2])
	if _, err := os.Lstat(private); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left: %s, %v", private, err)
	}
}
