//go:build linux

package local

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"nimbus/cloud"
	"nimbus/cloud/cloudtest"
)

// entered runs a shell script in an instance and returns its exit code and
// what it prints on both streams.
func entered(t testing.TB, d *Driver, i cloud.Instance, stdin io.Reader, script string) (code int, stdout, stderr string) {
	t.Helper()
	var out, said bytes.Buffer
	code, err := d.Enter(t.Context(), i, cloud.Program{
		Command: []string{"/bin/sh", "-c", script}, Stdin: stdin, Stdout: &out, Stderr: &said,
	})
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return code, out.String(), said.String()
}

func TestEnter(t *testing.T) {
	d := open(t, Options{SSHD: "none"})
	i := started(t, d, wanted(cloudtest.Token(), "one.entered", "public"))[0]
	if i.Login != "" {
		t.Errorf("%q can log in without an ssh server", i.Login)
	}
	for _, c := range []struct {
		name, script   string
		code           int
		stdout, stderr string
	}{
		{"two streams", "echo out; echo err >&2; exit 7", 7, "out\n", "err\n"},
		{"a signal", "kill -TERM $$", 143, "", ""},
		{"the biggest one", "kill -KILL $$", 137, "", ""},
		{"root at home", "id -u; pwd; hostname", 0, "0\n/root\none.entered\n", ""},
		{"what a login has", "env -u PWD -u SHLVL -u OLDPWD -u _ | sort", 0,
			"HOME=/root\nLANG=C.UTF-8\nLOGNAME=root\nPATH=" + standardPath + "\nSHELL=" + rootsShell(t) + "\nUSER=root\n", ""},
		{"no standard input", "cat; echo end", 0, "end\n", ""},
		{"no terminal", "test -t 0 || test -t 1 || test -t 2", 1, "", ""},
		{"not more open files", "ls /proc/self/fd | wc -l", 0, "4\n", ""},
		{"no more rights than others", "mount -t tmpfs x /mnt 2>/dev/null || hostname x 2>/dev/null || echo refused", 0, "refused\n", ""},
		{"what stays behind is not waited for", "echo first; sleep 100 & echo last", 0, "first\nlast\n", ""},
		{"it has blocking files", "for n in 0 1 2; do f=$(awk '/^flags/ { print $2 }' /proc/$$/fdinfo/$n); echo $((f & 04000)); done", 0, "0\n0\n0\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, stdout, stderr := entered(t, d, i, nil, c.script)
			if code != c.code || stdout != c.stdout || stderr != c.stderr {
				t.Errorf("exit code %d\n%s\n%s\nwant %d\n%s\n%s", code, stdout, stderr, c.code, c.stdout, c.stderr)
			}
		})
	}
	// The same capabilities and the same filter as the first process.
	_, stdout, _ := entered(t, d, i, nil, "grep -h -e ^Cap -e ^Seccomp: /proc/1/status /proc/self/status | sort | uniq -c | awk '{ print $1 }' | sort -u")
	if stdout != "2\n" {
		t.Errorf("not the rights of the first process: %q", stdout)
	}
}

func rootsShell(t *testing.T) string {
	f, err := os.Open("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return rootShell(f)
}

// A program that cannot be started has the exit code that a shell gives.
func TestEnterWhatIsNotThere(t *testing.T) {
	d := open(t, Options{SSHD: "none"})
	i := started(t, d, wanted(cloudtest.Token(), "a"))[0]
	for _, c := range []struct {
		command []string
		code    int
		said    string
	}{
		{[]string{"frobnicate"}, 127, "nimbus: frobnicate: command not found\n"},
		{[]string{"/no/such"}, 127, "nimbus: /no/such: no such file or directory\n"},
		{[]string{"/etc/passwd"}, 126, "nimbus: /etc/passwd: permission denied\n"},
		{[]string{"./x"}, 127, "nimbus: /root/x: no such file or directory\n"},
		{[]string{"echo", "a\x00b"}, 126, "nimbus: /usr/bin/echo: invalid argument\n"},
	} {
		var said bytes.Buffer
		code, err := d.Enter(t.Context(), i, cloud.Program{Command: c.command, Stderr: &said})
		if err != nil || code != c.code || said.String() != c.said {
			t.Errorf("%q: %d, %v, %q", c.command, code, err, said.String())
		}
	}
	if _, err := d.Enter(t.Context(), i, cloud.Program{Command: []string{"echo", strings.Repeat("x", maxCommand)}}); err == nil || !strings.Contains(err.Error(), "at most 131072 can be passed") {
		t.Errorf("a huge command: %v", err)
	}
	for _, word := range []string{"", "x", "xy"} { // many short words are much longer on the way
		words := slices.Repeat([]string{word}, (maxCommand-100)/(len(word)+1))
		code, err := d.Enter(t.Context(), i, cloud.Program{Command: append([]string{"/bin/sh", "-c", "exit $(($# == " + fmt.Sprint(len(words)-1) + " ? 0 : 1))"}, words...)})
		if err != nil || code != 0 {
			t.Errorf("%d words like %q: %d, %v", len(words), word, code, err)
		}
	}
	var out bytes.Buffer // of any bytes, also many
	word := strings.Repeat("\xff\x01", (maxCommand-100)/2)
	if code, err := d.Enter(t.Context(), i, cloud.Program{Command: []string{"printf", "%s", word}, Stdout: &out}); err != nil || code != 0 || out.String() != word {
		t.Errorf("a long word: %d, %v, %d bytes", code, err, out.Len())
	}
	if _, err := d.Enter(t.Context(), cloud.Instance{ID: i.ID + "0"}, cloud.Program{}); err == nil || !strings.Contains(err.Error(), "it is not running") {
		t.Errorf("an instance that is not there: %v", err)
	}
	if _, err := d.Enter(t.Context(), cloud.Instance{ID: "none/1"}, cloud.Program{}); !errors.Is(err, errNoKeeper) {
		t.Errorf("a launch that is not there: %v", err)
	}
}

// A lot in both directions at once, and an end of input.
func TestEnterStreams(t *testing.T) {
	d := open(t, Options{SSHD: "none"})
	i := started(t, d, wanted(cloudtest.Token(), "a"))[0]
	data := bytes.Repeat([]byte("0123456789abcde\n"), 10<<20/16)
	code, stdout, stderr := entered(t, d, i, bytes.NewReader(data), "tee /dev/stderr; exit 5")
	if code != 5 || sha256.Sum256([]byte(stdout)) != sha256.Sum256(data) || stderr != stdout {
		t.Errorf("exit code %d, %d and %d bytes, want 5 and twice %d", code, len(stdout), len(stderr), len(data))
	}
	// Input that nobody reads holds nothing up; nor does one without an end.
	if code, stdout, _ := entered(t, d, i, bytes.NewReader(data), "echo enough"); code != 0 || stdout != "enough\n" {
		t.Errorf("unread input: %d, %q", code, stdout)
	}
	endless, w := io.Pipe()
	defer w.Close()
	if code, _, _ := entered(t, d, i, endless, "exit 3"); code != 3 {
		t.Errorf("endless input: %d", code)
	}
	// Output that nobody takes any more ends the program.
	code, err := d.Enter(t.Context(), i, cloud.Program{Command: []string{"yes"}, Stdout: brokenWriter{}})
	if err != nil || code != 128+int(syscall.SIGPIPE) {
		t.Errorf("output to nowhere: %d, %v", code, err)
	}
}

// What is in a pipe when its program is over is copied, also when another
// process has it open.
func TestEmptyPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if _, err := w.Write(make([]byte, 50000)); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	s := streams{outs: []output{{from: r, to: &got}}, patience: letGo}
	s.finish(t.Context()) // before copying begins
	s.outs[0].copy()
	if got.Len() != 50000 {
		t.Errorf("%d bytes of 50000", got.Len())
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// A person at a terminal: what the program prints is waited for before the
// next thing is typed.
type person struct {
	in  *io.PipeWriter
	out *lockedBuffer
}

type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (p person) sees(t *testing.T, text string) {
	t.Helper()
	eventually(t, "the terminal shows "+text, func() bool { return strings.Contains(p.out.String(), text) })
}

func (p person) types(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(p.in, text); err != nil {
		t.Error(err)
	}
}

func TestEnterTerminal(t *testing.T) {
	d := open(t, Options{SSHD: "none"})
	i := started(t, d, wanted(cloudtest.Token(), "a"))[0]
	r, w := io.Pipe()
	p := person{in: w, out: &lockedBuffer{}}
	resize := make(chan cloud.Size)
	ended := make(chan int, 1)
	go func() {
		// Its prompt would depend on the host's shell.
		code, err := d.Enter(t.Context(), i, cloud.Program{
			Command: []string{"/bin/sh", "-c", "trap 'stty size' WINCH; trap 'echo interrupted' INT; echo $TERM; tty; stty size; while ! read x; do :; done; echo read $x; exec cat"},
			Stdin:   r, Stdout: p.out,
			Terminal: &cloud.Terminal{Type: "xterm-test", Size: cloud.Size{Width: 97, Height: 31}, Resize: resize},
		})
		if err != nil {
			t.Error(err)
		}
		ended <- code
	}()
	p.sees(t, "xterm-test\r\n/dev/pts/")
	p.sees(t, "31 97\r\n")
	resize <- cloud.Size{Width: 120, Height: 40}
	p.sees(t, "40 120\r\n")
	p.types(t, "\x03") // Ctrl-C
	p.sees(t, "interrupted\r\n")
	p.types(t, "word\n")
	p.sees(t, "read word\r\n")
	p.types(t, "\x1c") // Ctrl-\ ends it with a signal, core dump or not
	select {
	case code := <-ended:
		if code != 128+int(syscall.SIGQUIT) {
			t.Errorf("exit code %d", code)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("Ctrl-\\ did not end it:\n%s", p.out)
	}
}

// Without a command it is root's login shell; the end of input is typed.
func TestEnterShell(t *testing.T) {
	d := open(t, Options{SSHD: "none"})
	i := started(t, d, wanted(cloudtest.Token(), "a"))[0]
	for _, terminal := range []*cloud.Terminal{nil, {Type: "dumb"}} {
		var out bytes.Buffer
		code, err := d.Enter(t.Context(), i, cloud.Program{Stdin: strings.NewReader("echo \"<$0>\"\nexit 9\n"), Stdout: &out, Terminal: terminal})
		shell := rootsShell(t)
		if want := "<-" + shell[strings.LastIndex(shell, "/")+1:] + ">"; err != nil || code != 9 || !strings.Contains(out.String(), want) {
			t.Errorf("%v: %d, %v, %q", terminal, code, err, out.String())
		}
	}
	if code, err := d.Enter(t.Context(), i, cloud.Program{Command: []string{"cat"}, Stdin: strings.NewReader(""), Terminal: &cloud.Terminal{}}); code != 0 || err != nil {
		t.Errorf("cat with a terminal and no input: %d, %v", code, err)
	}
}

// A program ends with the context of who wanted it, one way or another.
func TestEnterIsGivenUp(t *testing.T) {
	d := open(t, Options{SSHD: "none"})
	i := started(t, d, wanted(cloudtest.Token(), "a"))[0]
	for name, script := range map[string]string{
		"one that hangs up":          "trap 'echo hung up >/tmp/hup; exit 1' HUP; touch /tmp/up; while :; do sleep 0.01; done",
		"one that does not want to":  "trap '' HUP TERM; touch /tmp/up; sleep 1000 & while :; do sleep 0.01; done",
		"one with groups of its own": "set -m; sleep 1000 & touch /tmp/up; wait",
		"one that sleeps":            "touch /tmp/up; kill -STOP $$",
	} {
		for _, terminal := range []*cloud.Terminal{nil, {Type: "dumb"}} {
			t.Run(fmt.Sprint(name, ", terminal ", terminal != nil), func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() {
					_, err := d.Enter(ctx, i, cloud.Program{Command: []string{"/bin/sh", "-c", script}, Terminal: terminal})
					ended <- err
				}()
				eventually(t, "it runs", func() bool { return in(t, d, i, "rm /tmp/up 2>/dev/null || echo no") == "" })
				cancel()
				select {
				case err := <-ended:
					if !errors.Is(err, context.Canceled) {
						t.Errorf("it ended with %v", err)
					}
				case <-time.After(20 * time.Second):
					t.Fatal("it does not end")
				}
				eventually(t, "all of it is gone", func() bool { return in(t, d, i, "pgrep -x sleep -a | grep 1000 || true") == "" })
				if strings.Contains(script, "/tmp/hup") {
					if got := in(t, d, i, "cat /tmp/hup; rm /tmp/hup"); got != "hung up" {
						t.Errorf("it was not told: %q", got)
					}
				}
			})
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Enter(ctx, i, cloud.Program{Command: []string{"true"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that is over: %v", err)
	}
}

// Ends of everything else, while a program runs.
func TestEnterInstanceEnds(t *testing.T) {
	d := open(t, Options{SSHD: "none"})
	id := cloudtest.Token()
	all := started(t, d, wanted(id, "a", "x"), wanted(id, "b", "x"))
	for n, end := range []func() error{
		func() error { return d.Terminate(t.Context(), all[:1]) },
		func() error { return syscall.Kill(keepersOf(t, id)[0], syscall.SIGKILL) },
	} {
		out := &lockedBuffer{}
		ended := make(chan error, 1)
		go func() {
			_, err := d.Enter(t.Context(), all[n], cloud.Program{Command: []string{"sh", "-c", "echo up; sleep 1000"}, Stdout: out})
			ended <- err
		}()
		eventually(t, "it runs", func() bool { return out.String() == "up\n" })
		if err := end(); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-ended:
			if err == nil || !strings.Contains(err.Error(), "it ended while the program ran") {
				t.Errorf("%v", err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("it does not end")
		}
	}
	eventually(t, "the rest is swept", func() bool {
		left, err := d.List(t.Context(), id)
		return err == nil && len(left) == 0
	})
}

// Many at once, and afterwards nobody has a file more open than before.
func TestEnterManyAtOnce(t *testing.T) {
	d := open(t, Options{SSHD: "none"})
	id := cloudtest.Token()
	i := started(t, d, wanted(id, "a"))[0]
	pid, err := d.Pid(t.Context(), i)
	if err != nil {
		t.Fatal(err)
	}
	entered(t, d, i, nil, "true") // the first one opens what then stays open, to wait for connections
	processes := []int{os.Getpid(), keepersOf(t, id)[0], pid}
	before := openFiles(t, processes)

	var at sync.WaitGroup
	for n := range 50 {
		at.Go(func() {
			terminal := []*cloud.Terminal{nil, {Type: "dumb", Size: cloud.Size{Width: 80, Height: 24}}}[n%2]
			var out bytes.Buffer
			code, err := d.Enter(t.Context(), i, cloud.Program{
				Command: []string{"sh", "-c", fmt.Sprintf("read x; echo got $x; exit %d", n)},
				Stdin:   strings.NewReader(fmt.Sprintf("word%d\n", n)), Stdout: &out, Terminal: terminal,
			})
			if err != nil || code != n || !strings.Contains(out.String(), fmt.Sprintf("got word%d", n)) {
				t.Errorf("%d: %d, %v, %q", n, code, err, out.String())
			}
		})
	}
	at.Wait()

	// As many as are allowed, and one more.
	ctx, cancel := context.WithCancel(t.Context())
	out := &lockedBuffer{}
	for range mostVisits {
		at.Go(func() {
			d.Enter(ctx, i, cloud.Program{Command: []string{"sh", "-c", "echo up; exec sleep 1000"}, Stdout: out})
		})
	}
	eventually(t, "all of them run", func() bool { return strings.Count(out.String(), "up") == mostVisits })
	if _, err := d.Enter(t.Context(), i, cloud.Program{Command: []string{"true"}}); err == nil || !strings.Contains(err.Error(), "100 programs run in it") {
		t.Errorf("one more: %v", err)
	}
	cancel()
	at.Wait()
	entered(t, d, i, nil, "true")
	var after []int
	defer func() { t.Logf("open files before: %v, after: %v", before, after) }()
	eventually(t, "all files are closed again", func() bool {
		after = openFiles(t, processes)
		for n := range after {
			if after[n] > before[n] {
				return false
			}
		}
		return true
	})
}

// openFiles counts the open files of processes.
func openFiles(t *testing.T, pids []int) (counts []int) {
	t.Helper()
	for _, pid := range pids {
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			t.Fatal(err)
		}
		counts = append(counts, len(entries))
	}
	return counts
}

// A client that dies, rather than giving up, ends its program as well, and one
// that says nonsense disturbs nobody.
func TestEnterDeadClient(t *testing.T) {
	d := open(t, Options{SSHD: "none"})
	i := started(t, d, wanted(cloudtest.Token(), "a"))[0]
	visit := func(say string, files bool) *line {
		conn, theirs, err := conversation()
		if err != nil {
			t.Fatal(err)
		}
		q := question{Op: opEnter, IDs: []string{i.ID}, files: []*os.File{theirs}}
		_, err = d.ask(t.Context(), launchOf(i), q)
		theirs.Close()
		if err != nil {
			t.Fatal(err)
		}
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		var fds []int
		if files {
			fds = []int{int(null.Fd()), int(null.Fd()), int(null.Fd())}
		}
		if len(fds) > 0 {
			sendFDs(conn, program{Command: [][]byte{[]byte("sleep"), []byte("1000")}}, fds...)
		} else {
			conn.Write([]byte(say))
		}
		return newLine(conn, maxReply)
	}
	l := visit("", true)
	var v verdict
	if _, err := l.receive(&v); err != nil || v.Error != "" {
		t.Fatal(v, err)
	}
	if got := in(t, d, i, "pgrep -x sleep"); got == "" {
		t.Error("it does not run")
	}
	l.conn.Close()
	eventually(t, "the program ends with its client", func() bool { return in(t, d, i, "pgrep -x sleep || true") == "" })

	l = visit(`{"Command":["dHJ1ZQ=="]}`+"\n", false)
	if _, err := l.receive(&v); err != nil || !strings.Contains(v.Error, "standard input, output and errors are missing") {
		t.Errorf("no files: %v, %v", v, err)
	}
	l.conn.Close()
	l = visit(`{"Command":["`+strings.Repeat("A", 4*maxCommand), false)
	if _, err := l.receive(&v); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("too much: %v, %v", v, err)
	}
	l.conn.Close()
	if code, _, _ := entered(t, d, i, nil, "exit 4"); code != 4 {
		t.Errorf("exit code %d", code)
	}
}

func TestStatOfAProcess(t *testing.T) {
	for text, want := range map[string]string{
		"12 (sh) S 1 12 7 0":             "S 7",
		"12 (a) R 5 5 (b) c) Z 1 12 9 0": "Z 9",
		"12 (sh) S 1":                    " 0",
		"":                               " 0",
	} {
		state, session := parseStat(text)
		if got := fmt.Sprint(state, " ", session); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestRootShell(t *testing.T) {
	for text, want := range map[string]string{
		"bin:x:1:1::/:/bin/false\nroot:x:0:0:root:/root:/bin/zsh\n": "/bin/zsh",
		"root:x:0:0\nrooty:x:0:0:::/x":                              "",
		"":                                                          "",
	} {
		if got := rootShell(strings.NewReader(text)); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}
