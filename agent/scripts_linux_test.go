package agent

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Where nothing can be written, that is what is reported; who has no scripts to
// put there does not mind.
func TestScriptsWhereNothingCanBeWritten(t *testing.T) {
	for dir, want := range map[string]string{
		"opt/ctx-scripts": "read-only file system; scripts_dir in the agent's configuration must be a directory that can be written",
		"opt":             "keep this machine's own scripts in ",
	} {
		t.Run(dir, func(t *testing.T) {
			b := newBroker(t)
			m := newMachine(t, b)
			m.cfg.LogFile = filepath.Join(m.root, "ctxlog.txt")
			join := b.join
			b.brings(t, m, map[string]string{"1-ipandhost/worker": "brought"})
			readOnly(t, filepath.Join(m.root, dir))
			m.failsWith(t, b, want)

			b.join = join
			if err := m.again(t.Context(), ""); dir == "opt" && (err != nil || m.calls() != allCalls) {
				t.Errorf("without: %v, scripts:\n%s", err, m.calls())
			}
		})
	}
}

// A scripts directory that is a mount point takes them in as any other.
func TestScriptsInAMountPoint(t *testing.T) {
	b := newBroker(t)
	m := newMachine(t, b)
	b.brings(t, m, map[string]string{"1-ipandhost/worker": "brought"})
	bind(t, m.cfg.ScriptsDir)
	if err := m.run(t.Context()); err != nil || !strings.Contains(m.calls(), "brought") {
		t.Errorf("%v, scripts:\n%s", err, m.calls())
	}
}

// bind makes a directory a mount point until the test ends.
func bind(t *testing.T, dir string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	if err := syscall.Mount(dir, dir, "", syscall.MS_BIND, ""); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
}

// readOnly makes it one that nobody can write to.
func readOnly(t *testing.T, dir string) {
	t.Helper()
	bind(t, dir)
	if err := syscall.Mount("", dir, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Skip(err)
	}
}
