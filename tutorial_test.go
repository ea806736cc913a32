package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ordinary is a user without any rights: nobody.
const ordinary = 65534

// TestTutorial types every command of docs/tutorial.md into one shell, word for
// word, and compares what they print: as root, and as an ordinary user.
func TestTutorial(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("sandboxes need Linux")
	}
	page, err := os.ReadFile("docs/tutorial.md")
	if err != nil {
		t.Fatal(err)
	}
	typed := typedIn(string(page))
	if len(typed) < 10 {
		t.Fatalf("docs/tutorial.md has %d commands: were the console blocks found?", len(typed))
	}
	for who, uid := range map[string]int{"root": 0, "ordinary user": ordinary} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			follow(t, typed, uid)
		})
	}
}

// A step is one command of a page and the lines it shall print.
type step struct {
	line    int
	command string
	want    []string
	fails   bool // it ends with an error, which the page shows
}

// typedIn finds the commands in the console blocks of a page: lines that begin
// with "$ ", with "> " for more lines of the same command. What follows is what
// it prints; "…" stands for anything.
func typedIn(page string) (steps []step) {
	inside := false
	n := 0
	for line := range strings.Lines(page) {
		n++
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "```") {
			inside = line == "```console"
			continue
		}
		if !inside {
			continue
		}
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			steps = append(steps, step{line: n, command: command})
			continue
		}
		last := &steps[len(steps)-1]
		if more, ok := strings.CutPrefix(line+" ", "> "); ok && last.want == nil {
			last.command += "\n" + strings.TrimSuffix(more, " ")
			continue
		}
		last.want = append(last.want, line)
		last.fails = last.fails || strings.HasPrefix(line, "nimbus: error:")
	}
	return steps
}

// follow runs the steps in a shell of that user with a home of its own.
func follow(t *testing.T, steps []step, uid int) {
	dir, err := os.MkdirTemp("", "tutorial")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	home := filepath.Join(dir, "home")
	for _, d := range []string{home, filepath.Join(dir, "bin")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(dir, "bin", "nimbus")
	copyProgram(t, program)
	if err := os.CopyFS(filepath.Join(home, "samples"), os.DirFS("samples")); err != nil {
		t.Fatal(err)
	}
	if err := filepath.WalkDir(home, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, uid, uid)
	}); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}

	const mark = "@@ step"
	var script strings.Builder
	for i, s := range steps {
		fmt.Fprintf(&script, "%s\nprintf '\\n%s %d %%d\\n' $?\n", s.command, mark, i)
	}
	file := filepath.Join(dir, "typed.sh")
	if err := os.WriteFile(file, []byte(script.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(dir, "printed"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	as := func(words ...string) *exec.Cmd {
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Dir = home
		cmd.Env = []string{"HOME=" + home, "PATH=" + filepath.Dir(program) + ":" + os.Getenv("PATH"), "LANG=C.UTF-8"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}, Setsid: true}
		return cmd
	}
	t.Cleanup(func() {
		end := []string{program, "terminate", "--all"}
		lab := filepath.Join(home, "lab.toml")
		if _, err := os.Stat(lab); err == nil { // its cloud is known there alone
			end = append(end, "--conf", lab)
		}
		if text, err := as(end...).CombinedOutput(); err != nil {
			t.Errorf("terminate --all: %v\n%s", err, text)
		}
	})
	shell := as("bash", file)
	shell.Stdout, shell.Stderr = out, out // a file: what outlives the shell holds nothing up
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	patience := time.AfterFunc(4*time.Minute, func() { shell.Process.Kill() })
	defer patience.Stop()
	if err := shell.Wait(); err != nil {
		t.Errorf("the shell: %v", err)
	}
	printed, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	rest := string(printed)
	for i, s := range steps {
		text, after, found := strings.Cut(rest, fmt.Sprintf("\n%s %d ", mark, i))
		code, next, _ := strings.Cut(after, "\n")
		if !found {
			t.Fatalf("docs/tutorial.md:%d: %s: did not end:\n%s", s.line, s.command, rest)
		}
		if (code != "0") != s.fails {
			t.Errorf("docs/tutorial.md:%d: %s: exit code %s\n%s", s.line, s.command, code, text)
		} else if missing := unlike(text, s.want); missing != "" {
			t.Errorf("docs/tutorial.md:%d: %s: does not print %q but\n%s", s.line, s.command, missing, text)
		}
		rest = next
	}
}

// unlike returns the first wanted line that is not in the text where it should
// be. A line of nothing but "…" stands for any lines; all others follow each
// other.
func unlike(text string, want []string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	at, skip := 0, false
	for _, w := range want {
		if strings.TrimSpace(w) == "…" {
			skip = true
			continue
		}
		pattern := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(strings.TrimRight(w, " ")), "…", ".*") + "$")
		for ; at < len(lines) && !pattern.MatchString(strings.TrimRight(lines[at], " ")); at++ {
			if !skip {
				return w
			}
		}
		if at == len(lines) {
			return w
		}
		at, skip = at+1, false
	}
	if want != nil && !skip && at < len(lines) {
		return "the end"
	}
	return ""
}

// copyProgram makes a copy of this test binary that every user can run; by its
// name it is the program.
func copyProgram(t *testing.T, to string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(f, from); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
