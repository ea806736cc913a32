package knownhosts

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func stat(t *testing.T, path string) (os.FileMode, *syscall.Stat_t) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode(), info.Sys().(*syscall.Stat_t)
}

func mustAdd(t *testing.T, file string, entries ...Entry) []string {
	t.Helper()
	added, _, err := Add(file, entries)
	if err != nil {
		t.Fatal(err)
	}
	return added
}

func TestAMissingFileIsMadeAndGoesAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), ".ssh", "known_hosts")
	if err := Remove(file, []string{frontLine}, true); err != nil {
		t.Errorf("remove from nothing: %v", err)
	}
	if !Missing(file) {
		t.Error("it is not seen to be missing")
	}
	added, created, err := Add(file, []Entry{front})
	if err != nil || !created || len(added) != 1 || added[0] != frontLine {
		t.Errorf("added %q, created %v, %v", added, created, err)
	}
	if _, again, err := Add(file, []Entry{front}); err != nil || again || Missing(file) {
		t.Errorf("created again: %v, %v", again, err)
	}
	if mode, _ := stat(t, file); mode != 0o600 {
		t.Errorf("mode %v", mode)
	}
	if mode, _ := stat(t, filepath.Dir(file)); mode.Perm() != 0o700 {
		t.Errorf("directory's mode %v", mode)
	}
	if err := Remove(file, added, created); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// An empty file that was there is the user's, too.
func TestAnEmptyFileStays(t *testing.T) {
	file := filepath.Join(t.TempDir(), "known_hosts")
	write(t, file, "", 0o600)
	added, created, err := Add(file, []Entry{front})
	if err != nil || created {
		t.Fatalf("created %v, %v", created, err)
	}
	if err := Remove(file, added, created); err != nil {
		t.Fatal(err)
	}
	if got := read(t, file); got != "" {
		t.Errorf("%q", got)
	}
}

// Who holds the lock for ever does not hold us up for ever.
func TestAFileThatIsHeld(t *testing.T) {
	file := filepath.Join(t.TempDir(), "known_hosts")
	write(t, file, "a "+edB+"\n", 0o600)
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, _, err := Add(file, []Entry{front})
		if err == nil || !strings.Contains(err.Error(), "another program has held "+file) {
			t.Error(err)
		}
		if took := time.Since(began); took < patience || took > patience+time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestNothingToDoTouchesNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "no", "known_hosts")
	if added := mustAdd(t, file); added != nil {
		t.Errorf("added %q", added)
	}
	if err := Remove(file, nil, true); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Dir(file)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory was made: %v", err)
	}
	if _, _, err := Add(file, []Entry{front, {}}); err == nil {
		t.Error("an empty entry was accepted")
	}
	if _, err := os.Stat(filepath.Dir(file)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refused entry made the directory: %v", err)
	}
}

// Dotfiles are often links into another directory, and root may edit a user's.
func TestModeOwnerAndLinkStay(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "dotfiles", "hosts"), filepath.Join(dir, "known_hosts")
	if err := os.Mkdir(filepath.Dir(target), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("dotfiles/hosts", link); err != nil {
		t.Fatal(err)
	}
	write(t, target, "a "+edB+"\n", 0o600)
	if err := os.Chmod(target, 0o664); err != nil {
		t.Fatal(err)
	}
	uid := uint32(os.Geteuid())
	if uid == 0 {
		uid = 12345
		if err := os.Chown(target, 12345, 12346); err != nil {
			t.Fatal(err)
		}
	}
	added := mustAdd(t, link, front)
	if got := read(t, target); got != "a "+edB+"\n"+frontBlock {
		t.Errorf("target: %q", got)
	}
	mode, sys := stat(t, target)
	if mode != 0o664 || sys.Uid != uid {
		t.Errorf("mode %v, owner %d", mode, sys.Uid)
	}
	if mode, _ := stat(t, link); mode&os.ModeSymlink == 0 {
		t.Errorf("the link became %v", mode)
	}

	// A link with nothing behind it gets a file there, which stays for its sake.
	if err := os.Remove(target); err != nil {
		t.Fatal(err)
	}
	mustAdd(t, link, front)
	if err := Remove(link, added, true); err != nil {
		t.Fatal(err)
	}
	if got := read(t, target); got != "" {
		t.Errorf("target: %q", got)
	}
}

func TestOnlyFilesAreReplaced(t *testing.T) {
	dir := t.TempDir()
	loop := filepath.Join(dir, "loop")
	if err := os.Symlink("loop", loop); err != nil {
		t.Fatal(err)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	null := filepath.Join(dir, "null") // UserKnownHostsFile /dev/null is common
	if err := os.Symlink("/dev/null", null); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{loop, pipe, null, dir} {
		if _, _, err := Add(file, []Entry{front}); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", file, err)
		}
	}
	if mode, _ := stat(t, "/dev/null"); mode&os.ModeCharDevice == 0 {
		t.Fatal("/dev/null was replaced")
	}
}

// ssh knows nothing of our lock: a line that it appends while we edit must not
// be lost.
func TestALineAppendedMeanwhileIsNoticed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "known_hosts")
	write(t, file, "a "+edB+"\n", 0o600)
	edits := 0
	_, err := update(file, existing, func(text string) string {
		if edits++; edits == 1 {
			write(t, file, text+"b "+edB+"\n", 0o600)
		}
		if edits == 2 { // or it is replaced as a whole, as ssh-keygen -R does
			write(t, file+".new", text+"c "+edB+"\n", 0o600)
			if err := os.Rename(file+".new", file); err != nil {
				t.Error(err)
			}
		}
		return text + "ours\n"
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := read(t, file), "a "+edB+"\nb "+edB+"\nc "+edB+"\nours\n"; got != want || edits != 3 {
		t.Errorf("after %d edits: %q", edits, got)
	}
}

func TestAHugeFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "known_hosts")
	huge := strings.Repeat("h,", 1<<19) + "h " + edB + "\n" + strings.Repeat(hash("x")+" "+edB+"\n", 500)
	write(t, file, huge, 0o600)
	added := mustAdd(t, file, front)
	if err := Remove(file, added, false); err != nil {
		t.Fatal(err)
	}
	if read(t, file) != huge {
		t.Error("it is not what it was")
	}
}

// TestMain is also the other process of the test below.
func TestMain(m *testing.M) {
	if file := os.Getenv("KNOWNHOSTS_TEST_FILE"); file != "" {
		if err := addAndRemove(file, os.Getenv("KNOWNHOSTS_TEST_NAME")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// addAndRemove adds some hosts one by one, and removes every other one again.
func addAndRemove(file, name string) error {
	for i := range 10 {
		added, _, err := Add(file, []Entry{{Hosts: []string{fmt.Sprintf("%s-%d", name, i)}, Key: edA}})
		if err == nil && i%2 == 1 {
			err = Remove(file, added, true)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func TestManyAtOnceLoseNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "known_hosts")
	var wg sync.WaitGroup
	var names []string
	for i := range 4 {
		process, goroutine := fmt.Sprintf("process%d", i), fmt.Sprintf("goroutine%d", i)
		names = append(names, process, goroutine)
		wg.Go(func() {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "KNOWNHOSTS_TEST_FILE="+file, "KNOWNHOSTS_TEST_NAME="+process)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s", process, err, out)
			}
		})
		wg.Go(func() {
			if err := addAndRemove(file, goroutine); err != nil {
				t.Errorf("%s: %v", goroutine, err)
			}
		})
	}
	wg.Wait()
	text := read(t, file)
	for _, name := range names {
		for i := range 10 {
			line := fmt.Sprintf("%s-%d %s\n", name, i, edA)
			if there := strings.Contains(text, line); there != (i%2 == 0) {
				t.Errorf("%s-%d is there: %v", name, i, there)
			}
		}
	}
	if got := strings.Count(text, comment+"\n"); got != len(names)*5 {
		t.Errorf("%d comments for %d lines", got, len(names)*5)
	}
	if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
