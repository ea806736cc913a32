package install

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Two that install at the same moment do it one after the other.
func TestTwoInstallations(t *testing.T) {
	for range 5 {
		dir := build(t)
		versions := []string{"1", "2", "3", "4"}
		var all sync.WaitGroup
		for _, version := range versions {
			tree := opened(t, dir)
			program := elf(amd64, strings.Repeat(version, 1<<20))
			all.Go(func() {
				plan, _, err := Agent(tree, program, true)
				if err == nil {
					_, err = tree.Put(plan)
				}
				if err != nil {
					t.Errorf("version %s: %v", version, err)
				}
			})
		}
		all.Wait()
		text, err := os.ReadFile(filepath.Join(dir, Home, "bin/nimbus"))
		must(t, err)
		version := string(text[len(text)-1:])
		if report, _ := put(t, dir, strings.Repeat(version, 1<<20)); report.Changed() {
			t.Errorf("what is there and what is noted are of different versions: %+v", report)
		}
		if got := listing(t, dir); strings.Contains(got, "nimbus-") || strings.Contains(got, lockName) {
			t.Errorf("left: %s", got)
		}
	}
}

// What an installation that was killed has left, or an image has brought, is in
// nobody's way.
func TestLeftLock(t *testing.T) {
	for _, make := range []func(string) error{
		func(name string) error { return os.WriteFile(name, nil, 0o600) },
		func(name string) error { return syscall.Mkfifo(name, 0o600) },
		func(name string) error { return os.Symlink("/etc/passwd", name) },
	} {
		dir := build(t, Home+"/")
		must(t, make(filepath.Join(dir, Home, lockName)))
		put(t, dir, "1")
		if got := listing(t, dir); strings.Contains(got, lockName) {
			t.Errorf("left: %s", got)
		}
	}
}
