package ssh

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

//go:embed sh/*.sh
var scripts embed.FS

// Bounds of what a script on a host may say, in bytes.
const (
	maxAnswer = 256 << 10
	maxWords  = 2 << 10 // the end of its errors
)

// letEnd is how long a script may go on that nobody waits for any more: one
// that is in the middle of something ends that.
const letEnd = 10 * time.Second

// values are what a script is told.
type values map[string]string

// program is the text of a script with its values. Nothing of it is seen in
// the host's list of processes.
func program(name string, v values) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(v)) {
		fmt.Fprintf(&b, "%s=%s\n", key, quote(v[key]))
	}
	for _, file := range []string{"common", name} {
		text, err := scripts.ReadFile("sh/" + file + ".sh")
		if err != nil {
			panic(err) // it is embedded
		}
		b.Write(text)
	}
	return b.String()
}

// quote makes one word of a text, for sh.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// command is what has sh run a program of a number of bytes that comes first
// on standard input. Reading byte by byte leaves the rest to the program. It
// means the same to every login shell.
func command(size int, prefix string) string {
	return fmt.Sprintf(`%ssh -c 'eval "$(dd bs=1 count=%d 2>/dev/null)"'`, prefix, size)
}

// ask runs a script as root and returns its answer. A host that lets us in may
// still hang: nobody waits for it for ever.
func (c *connection) ask(ctx context.Context, script string, v values, stdin io.Reader) (answer, error) {
	return c.askWithin(ctx, patienceWith(script), script, v, stdin)
}

func (c *connection) askWithin(ctx context.Context, patience time.Duration, script string, v values, stdin io.Reader) (answer, error) {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	out, err := c.run(limited, c.as.prefix(), program(script, v), stdin)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		err = &problem{fmt.Sprintf("it lets us in, but has not done what it was told within %v", patience), "look at it: a disk or a file server that hangs, a load that is too high"}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.host, err)
	}
	return parseAnswer(out), nil
}

// patienceWith is how long a script may take.
func patienceWith(script string) time.Duration {
	switch script {
	case "copy":
		return 30 * time.Minute // a slow way, and 50 hosts that share it
	case "end":
		return endPatience
	}
	return time.Minute
}

// answer is what a script printed: word → the rest of its line.
type answer map[string]string

func parseAnswer(text []byte) answer {
	a := answer{}
	for line := range strings.Lines(string(text)) {
		word, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		a[word] = rest
	}
	return a
}

func (a answer) yes(word string) bool { return a[word] == "yes" }

// run runs a program of sh and returns what it printed. Of one that fails the
// error has the last words.
func (c *connection) run(ctx context.Context, prefix, text string, stdin io.Reader) ([]byte, error) {
	s, err := c.session(ctx)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	out, said := &bounded{most: maxAnswer}, &tail{most: maxWords}
	s.Stdout, s.Stderr = out, said
	if stdin == nil {
		stdin = strings.NewReader("")
	}
	in, err := s.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := s.Start(command(len(text), prefix)); err != nil {
		return nil, fmt.Errorf("start a shell: %w", err)
	}
	go func() {
		io.Copy(in, io.MultiReader(strings.NewReader(text), &until{ctx, stdin}))
		in.Close()
	}()
	ended := make(chan error, 1)
	go func() { ended <- s.Wait() }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		// Its input ends now.
		select {
		case <-ended:
		case <-time.After(letEnd):
		}
		return nil, ctx.Err()
	}
	var exit *ssh.ExitError
	var lost *ssh.ExitMissingError
	switch {
	case err == nil && out.over:
		return nil, errors.New("it says more than it should")
	case err == nil:
		return out.buf.Bytes(), nil
	case errors.As(err, &exit):
		words := printable(strings.TrimSpace(said.String()))
		if words == "" {
			words = fmt.Sprintf("exit code %d", code(exit))
		}
		return out.buf.Bytes(), &scriptError{words}
	case errors.As(err, &lost):
		return nil, errLost
	}
	return nil, err
}

// errLost is a connection that broke while something ran.
var errLost = errors.New("the connection broke")

// scriptError has the last words of a script that failed.
type scriptError struct{ words string }

func (e *scriptError) Error() string { return e.words }

// session opens a channel for a program. A server allows some ten of them on a
// connection: the next one is on the next.
func (c *connection) session(ctx context.Context) (*ssh.Session, error) {
	s, err := c.client.NewSession()
	var full *ssh.OpenChannelError
	if err == nil || !errors.As(err, &full) {
		return s, err
	}
	next, e := c.next(ctx)
	if e != nil {
		return nil, fmt.Errorf("%w; another connection: %w", err, e)
	}
	return next.session(ctx)
}

// until reads until a context is done.
type until struct {
	ctx context.Context
	r   io.Reader
}

func (u *until) Read(b []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(b)
}

// bounded keeps the beginning of what is written.
type bounded struct {
	buf  bytes.Buffer
	most int
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	room := b.most - b.buf.Len()
	b.over = b.over || len(p) > room
	b.buf.Write(p[:min(room, len(p))])
	return len(p), nil
}

// tail keeps the end of it.
type tail struct {
	mu   sync.Mutex
	buf  []byte
	most int
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if n := len(t.buf) - t.most; n > 0 {
		t.buf = append(t.buf[:0], t.buf[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
