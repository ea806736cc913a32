package history

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

func open(t *testing.T) *History {
	t.Helper()
	h, err := Open(filepath.Join(t.TempDir(), "state", "history"))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func launch(t *testing.T, h *History, kind string) *Launch {
	t.Helper()
	l, err := h.New(kind)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func handles(t *testing.T, h *History) []string {
	t.Helper()
	launches, err := h.List()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range launches {
		names = append(names, l.Handle)
	}
	return names
}

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func TestHandlesAreNumberedByKind(t *testing.T) {
	h := open(t)
	for _, step := range []struct{ kind, want string }{
		{"cluster", "cluster-001"}, {"cluster", "cluster-002"}, {"vm", "vm-001"}, {"cluster", "cluster-003"},
	} {
		if l := launch(t, h, step.kind); l.Handle != step.want {
			t.Errorf("New(%q) = %s, want %s", step.kind, l.Handle, step.want)
		}
	}
	if m := mode(t, h.Dir()); m != 0o700 {
		t.Errorf("the history has mode %o", m)
	}

	// The highest counts, not the first gap; and it may need a fourth digit.
	if err := os.Mkdir(filepath.Join(h.Dir(), "cluster-999"), 0o700); err != nil {
		t.Fatal(err)
	}
	if l := launch(t, h, "cluster"); l.Handle != "cluster-1000" {
		t.Errorf("after cluster-999 comes %s", l.Handle)
	}
	want := []string{"cluster-001", "cluster-002", "cluster-003", "cluster-999", "cluster-1000", "vm-001"}
	if got := handles(t, h); !slices.Equal(got, want) {
		t.Errorf("list: %v, want %v", got, want)
	}
}

func TestForeignFilesAreIgnored(t *testing.T) {
	h := open(t)
	launch(t, h, "vm")
	for _, name := range []string{"cluster-1", "cluster-0001", "Cluster-001", "cluster-", "-001", "1cluster-001", "a.b-001", "lost+found"} {
		if err := os.Mkdir(filepath.Join(h.Dir(), name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	// A file that is called as a launch takes the number, and is none.
	if err := os.WriteFile(filepath.Join(h.Dir(), "cluster-004"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := handles(t, h); !slices.Equal(got, []string{"vm-001"}) {
		t.Errorf("list: %v", got)
	}
	if l := launch(t, h, "cluster"); l.Handle != "cluster-005" {
		t.Errorf("beside the file cluster-004: %s", l.Handle)
	}
	if _, err := h.Get("cluster-004"); !errors.Is(err, ErrUnknown) {
		t.Errorf("a file: %v", err)
	}
}

func TestGetNamesWhatIsThere(t *testing.T) {
	h := open(t)
	_, err := h.Get("cluster-001")
	if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "there is no launch in "+h.Dir()) {
		t.Errorf("empty history: %v", err)
	}
	want := launch(t, h, "cluster")
	launch(t, h, "vm")
	got, err := h.Get("cluster-001")
	if err != nil || got.Dir != want.Dir {
		t.Errorf("Get = %+v, %v", got, err)
	}
	for _, name := range []string{"cluster-002", "", ".", "..", "../history/cluster-001", "cluster-001/", "/etc", "cluster-001/../vm-001", "vm-001\x00", strings.Repeat("x", 10_000)} {
		_, err := h.Get(name)
		if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "cluster-001, vm-001") || len(err.Error()) > 1000 {
			t.Errorf("Get(%.20q): %v", name, err)
		}
	}
	if err := os.Symlink("/etc", filepath.Join(h.Dir(), "vm-002")); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Get("vm-002"); !errors.Is(err, ErrUnknown) {
		t.Errorf("a link out of the history: %v", err)
	}
}

func TestManyLaunchesAreNotAllListedInAnError(t *testing.T) {
	h := open(t)
	for range 30 {
		launch(t, h, "vm")
	}
	_, err := h.Get("vm-100")
	if err == nil || !strings.Contains(err.Error(), ": 10 others, vm-011, ") {
		t.Error(err)
	}
}

func TestKindsAreChecked(t *testing.T) {
	h := open(t)
	for _, kind := range []string{"", "..", "a/b", "Vm", "a b", "0vm", strings.Repeat("v", 33)} {
		if _, err := h.New(kind); err == nil {
			t.Errorf("New(%q) was accepted", kind)
		}
	}
	if err := os.MkdirAll(filepath.Join(h.Dir(), "vm-999999999"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := h.New("vm"); err == nil || !strings.Contains(err.Error(), "no number is left") {
		t.Errorf("after the last number: %v", err)
	}
}

func TestTwoClientsNeverShareAHandle(t *testing.T) {
	h := open(t)
	const clients = 16
	got := make(chan string, clients)
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			if l, err := h.New("cluster"); err != nil {
				t.Error(err)
			} else {
				got <- l.Handle
			}
		})
	}
	wg.Wait()
	close(got)
	seen := map[string]bool{}
	for name := range got {
		if seen[name] {
			t.Errorf("%s was given twice", name)
		}
		seen[name] = true
	}
	if !seen["cluster-001"] || !seen["cluster-016"] {
		t.Errorf("handles have gaps: %v", handles(t, h))
	}
}

func TestOpenSaysWhatToDo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "history")} {
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "--history-dir") {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

// Next says what New will do, and makes nothing.
func TestNext(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "history")
	if next, err := Next(dir, "cluster"); err != nil || next != "cluster-001" {
		t.Errorf("%q, %v", next, err)
	}
	h, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := handles(t, h); len(got) > 0 {
		t.Errorf("a history that is not there has %v", got)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory was made: %v", err)
	}
	for range 2 {
		next, err := Next(dir, "cluster")
		if err != nil {
			t.Fatal(err)
		}
		if l, err := h.New("cluster"); err != nil || l.Handle != next {
			t.Errorf("%v, %v; want %s", l, err, next)
		}
	}
}
