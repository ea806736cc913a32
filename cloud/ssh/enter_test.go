//go:build linux

package ssh

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"nimbus/cloud"
	"nimbus/cloud/cloudtest"
)

func TestEnter(t *testing.T) {
	b := newBench(t, 1)
	d := b.open(b.options())
	i := launched(t, d, requests(cloudtest.Token(), "w"))[0]
	testEnter(t, b, d, i)

	// A lot in all directions.
	data := bytes.Repeat([]byte("0123456789abcde\n"), 4<<20/16)
	var out, said bytes.Buffer
	code, err := d.Enter(t.Context(), i, cloud.Program{Command: []string{"sh", "-c", "tee /dev/stderr; exit 5"}, Stdin: bytes.NewReader(data), Stdout: &out, Stderr: &said})
	if err != nil || code != 5 || sha256.Sum256(out.Bytes()) != sha256.Sum256(data) || !bytes.Equal(said.Bytes(), data) {
		t.Errorf("%d, %v, %d and %d bytes", code, err, out.Len(), said.Len())
	}
	endless, w := io.Pipe()
	defer w.Close()
	if code, err := d.Enter(t.Context(), i, cloud.Program{Command: []string{"sh", "-c", "exit 3"}, Stdin: endless}); code != 3 || err != nil {
		t.Errorf("endless input: %d, %v", code, err)
	}
	if code, err := d.Enter(t.Context(), i, cloud.Program{Command: []string{"yes"}, Stdout: failing{}}); code == 0 || err != nil {
		t.Errorf("output to nowhere: %d, %v", code, err)
	}
	for _, terminal := range []*cloud.Terminal{nil, {Type: "dumb"}} {
		var out bytes.Buffer
		code, err := d.Enter(t.Context(), i, cloud.Program{Command: []string{"printf", "%s|", "a  b", "$HOME", "'", `\0041`, "!x", "ö"}, Stdout: &out, Terminal: terminal})
		if err != nil || code != 0 || out.String() != `a  b|$HOME|'|\0041|!x|ö|` {
			t.Errorf("words: %d, %v, %q", code, err, out.String())
		}
		long := strings.Repeat("x", 50<<10)
		if code, err := d.Enter(t.Context(), i, cloud.Program{Command: []string{"test", long, "=", long}, Terminal: terminal}); err != nil || code != 0 {
			t.Errorf("a long word: %d, %v", code, err)
		}
	}
	if _, err := d.Enter(t.Context(), i, cloud.Program{Command: []string{"a\x00b"}}); err == nil {
		t.Error("a zero byte was taken")
	}

	// More at once than a connection has room for.
	var at sync.WaitGroup
	for n := range 25 {
		at.Go(func() {
			var out bytes.Buffer
			code, err := d.Enter(t.Context(), i, cloud.Program{Command: []string{"sh", "-c", fmt.Sprintf("read x; echo $x; exit %d", n)}, Stdin: strings.NewReader("word\n"), Stdout: &out})
			if err != nil || code != n || out.String() != "word\n" {
				t.Errorf("%d: %d, %v, %q", n, code, err, out.String())
			}
		})
	}
	at.Wait()
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// A screen is what a person sees.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// testEnter runs programs at a terminal and gives them up, as whoever is logged
// in.
func testEnter(t *testing.T, b *bench, d *Driver, i cloud.Instance) {
	t.Helper()
	r, w := io.Pipe()
	s := &screen{}
	sees := func(text string) {
		t.Helper()
		eventually(t, "the terminal shows "+text, func() bool { return strings.Contains(s.String(), text) })
	}
	resize := make(chan cloud.Size)
	ended := make(chan int, 1)
	go func() {
		code, err := d.Enter(t.Context(), i, cloud.Program{
			Command: []string{"/bin/sh", "-c", "trap 'stty size' WINCH; trap 'echo interrupted' INT; echo $TERM; id -un; pwd; tty; stty size; while ! read x; do :; done; echo read $x; exit 7"},
			Stdin:   r, Stdout: s,
			Terminal: &cloud.Terminal{Type: "xterm-test", Size: cloud.Size{Width: 97, Height: 31}, Resize: resize},
		})
		if err != nil {
			t.Error(err)
		}
		ended <- code
	}()
	sees("xterm-test\r\nroot\r\n/root\r\n/dev/pts/")
	sees("31 97\r\n")
	resize <- cloud.Size{Width: 120, Height: 40}
	sees("40 120\r\n")
	io.WriteString(w, "\x03")
	sees("interrupted\r\n")
	io.WriteString(w, "word\n")
	sees("read word\r\n")
	select {
	case code := <-ended:
		if code != 7 {
			t.Errorf("exit code %d", code)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("it does not end:\n%s", s)
	}
	if strings.Contains(s.String(), "session ") {
		t.Errorf("the terminal shows what it should not:\n%s", s)
	}
	for _, terminal := range []*cloud.Terminal{nil, {Type: "dumb"}} {
		var out bytes.Buffer
		code, err := d.Enter(t.Context(), i, cloud.Program{Stdin: strings.NewReader("echo \"$HOME\"; id -un; shopt -q login_shell && echo login\nexit 9\n"), Stdout: &out, Terminal: terminal})
		if got := strings.ReplaceAll(out.String(), "\r", ""); err != nil || code != 9 || !strings.Contains(got, "/root\nroot\n") {
			t.Errorf("a shell, terminal %v: %d, %v, %q", terminal != nil, code, err, got)
		}
		for name, script := range map[string]string{
			"that sleeps":          "echo up; sleep 777",
			"that does not want":   "trap '' HUP TERM INT; echo up; while :; do sleep 777; done",
			"that is stopped":      "echo up; kill -STOP $$",
			"with another process": "sleep 777 & echo up; wait",
		} {
			ctx, cancel := context.WithCancel(t.Context())
			began := time.Now()
			_, err := d.Enter(ctx, i, cloud.Program{Command: []string{"sh", "-c", script}, Stdout: writer(cancel), Terminal: terminal})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("one %s: %v", name, err)
			}
			if time.Since(began) >= killPatience {
				t.Errorf("one %s, terminal %v: something of it does not end", name, terminal != nil)
			}
			eventually(t, "nothing is left of one "+name, func() bool { return b.in(0, "pgrep -f 'sleep 77[7]|kill -ST[O]P' || true") == "" })
		}
	}
}

// countless is a host that says something without a line's end, for ever.
type countless struct{ read int }

func (c *countless) Read(b []byte) (int, error) {
	if c.read += len(b); c.read > 64<<20 {
		return 0, io.EOF
	}
	return len(b), nil
}

// What a host says first is not gathered without bound.
func TestEndlessFirstLine(t *testing.T) {
	host := &countless{}
	first := 0 // read when the first of it arrives
	arrives := func() {
		if first == 0 {
			first = host.read
		}
	}
	v := visit{p: cloud.Program{Stdout: writer(arrives)}, known: make(chan struct{})}
	v.output(host, make(chan struct{}, 2))
	if first == 0 || first > 1<<20 {
		t.Errorf("%d bytes were gathered", first)
	}
}
