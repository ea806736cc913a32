package ssh

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"nimbus/cloud"
)

// maxCommand bounds a command, in bytes: more cannot be passed to a program.
const maxCommand = 128 << 10

// Enter runs a program as root on an instance's host, by SSH and, if need be,
// sudo. The host must still be that instance.
func (d *Driver) Enter(ctx context.Context, instance cloud.Instance, p cloud.Program) (int, error) {
	code, err := d.enter(ctx, instance, p)
	if err != nil {
		return 0, fmt.Errorf("instance %s: %w", instance.ID, err)
	}
	return code, nil
}

func (d *Driver) enter(ctx context.Context, instance cloud.Instance, p cloud.Program) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	h, _, err := parseID(instance.ID)
	if err != nil || instanceID(h, instance.Launch, instance.Token) != instance.ID {
		return 0, errNotThere
	}
	size := 0
	for _, word := range p.Command {
		if size += len(word) + 1; strings.ContainsRune(word, 0) {
			return 0, errors.New("a word of the command has a zero byte")
		}
	}
	if size > maxCommand {
		return 0, fmt.Errorf("the command has %d bytes; at most %d can be passed", size, maxCommand)
	}
	conn, err := d.conns.to(ctx, h)
	if err != nil {
		return 0, err
	}
	v := visit{conn: conn, p: p}
	return v.run(ctx, program("enter", values{"whose": whose(instance.Launch, instance.Token)})+rest(p.Command))
}

// rest is how the program is begun, in place of the shell.
func rest(command []string) string {
	if len(command) == 0 {
		text, err := scripts.ReadFile("sh/shell.sh")
		if err != nil {
			panic(err) // it is embedded
		}
		return string(text)
	}
	words := make([]string, len(command))
	for n, word := range command {
		words[n] = quote(word)
	}
	return "exec " + strings.Join(words, " ") + "\n"
}

// A visit is a program that runs on a host.
type visit struct {
	conn *connection
	p    cloud.Program

	mu      sync.Mutex
	session string // on the host, by which all of it is ended
	absent  bool   // the host is not this instance any more
	known   chan struct{}
}

// killPatience is that with a program that was given up.
const killPatience = 10 * time.Second

func (v *visit) run(ctx context.Context, text string) (int, error) {
	s, err := v.conn.session(ctx)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	v.known = make(chan struct{})
	line := command(len(text), v.conn.as.prefix())
	if t := v.p.Terminal; t != nil {
		if err := s.RequestPty(t.Type, t.Size.Height, t.Size.Width, ssh.TerminalModes{}); err != nil {
			return 0, fmt.Errorf("a terminal: %w", err)
		}
		// The terminal would cut and echo it.
		line, text = commandLine(text, v.conn.as.prefix()), ""
	}
	in, err := s.StdinPipe()
	if err != nil {
		return 0, err
	}
	out, err := s.StdoutPipe()
	if err != nil {
		return 0, err
	}
	said, err := s.StderrPipe()
	if err != nil {
		return 0, err
	}
	if err := s.Start(line); err != nil {
		return 0, fmt.Errorf("start a shell: %w", err)
	}
	var copying sync.WaitGroup
	broken := make(chan struct{}, 2) // nobody takes what it writes
	copying.Go(func() { v.output(out, broken) })
	copying.Go(func() { pour(v.p.Stderr, said, broken) })
	over := make(chan struct{})
	defer close(over)
	go v.input(in, text)
	if v.p.Terminal != nil && v.p.Terminal.Resize != nil {
		go resize(s, v.p.Terminal.Resize, over)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Wait() }()
	select {
	case err = <-ended:
	case <-broken:
		v.kill()
		select {
		case err = <-ended:
		case <-time.After(killPatience):
			return 0, errors.New("it does not end, though nobody takes its output")
		}
	case <-ctx.Done():
		v.kill()
		select {
		case <-ended:
		case <-time.After(killPatience):
		}
		return 0, ctx.Err()
	}
	copied := make(chan struct{})
	go func() {
		copying.Wait()
		close(copied)
	}()
	select {
	case <-copied:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	v.mu.Lock()
	absent := v.absent
	v.mu.Unlock()
	if absent {
		return 0, errNotThere
	}
	var exit *ssh.ExitError
	var lost *ssh.ExitMissingError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit):
		return code(exit), nil
	case errors.As(err, &lost):
		return 0, fmt.Errorf("%w while the program ran", errLost)
	}
	return 0, err
}

// output takes the first line, which is ours, and passes the rest on.
func (v *visit) output(r io.Reader, broken chan<- struct{}) {
	lines := bufio.NewReaderSize(r, maxLine)
	first, err := lines.ReadSlice('\n') // one that is longer is not ours
	first = bytes.Clone(first)
	word, rest, _ := strings.Cut(strings.TrimRight(string(first), "\r\n"), " ")
	v.mu.Lock()
	switch {
	case err == nil && word == "session":
		v.session, first = rest, nil
	case err == nil && word == "absent":
		v.absent, first = true, nil
	}
	v.mu.Unlock()
	close(v.known)
	// What is not ours is what sudo or a login shell has to say.
	pour(v.p.Stdout, io.MultiReader(bytes.NewReader(first), lines), broken)
}

// pour copies all that there is, also when nobody takes it any more: the channel
// ends only then.
func pour(to io.Writer, from io.Reader, broken chan<- struct{}) {
	if to == nil {
		to = io.Discard
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				broken <- struct{}{}
				to = io.Discard
			}
		}
		if err != nil {
			return
		}
	}
}

// endOfFile is what a person types for it.
const endOfFile = 4

// input gives the program its text and what it shall read. Nobody waits for
// this: its source may say nothing for ever.
func (v *visit) input(in io.WriteCloser, text string) {
	if _, err := io.WriteString(in, text); err != nil {
		return
	}
	if v.p.Stdin != nil {
		io.Copy(struct{ io.Writer }{in}, v.p.Stdin)
	}
	if v.p.Terminal == nil {
		in.Close()
	} else if v.p.Stdin != nil {
		in.Write([]byte{endOfFile})
	}
}

func resize(s *ssh.Session, sizes <-chan cloud.Size, over <-chan struct{}) {
	for {
		select {
		case size, ok := <-sizes:
			if !ok {
				return
			}
			s.WindowChange(size.Height, size.Width)
		case <-over:
			return
		}
	}
}

// kill ends all processes of the program's session. Closing the channel would
// leave those that write nothing.
func (v *visit) kill() {
	ctx, cancel := context.WithTimeout(context.Background(), killPatience)
	defer cancel()
	select {
	case <-v.known:
	case <-ctx.Done():
		return
	}
	v.mu.Lock()
	session := v.session
	v.mu.Unlock()
	if session == "" {
		return
	}
	// Whether that worked is seen by its end.
	_, _ = v.conn.ask(ctx, "kill", values{"session": session}, nil)
}

// commandLine is a program of sh as one command, in letters, digits and
// backslashes, which mean themselves in the quotes of every login shell.
func commandLine(text, prefix string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `%ssh -c 'eval "$(printf %%b "$0")"' '`, prefix)
	for n := range len(text) {
		c := text[n]
		if c == '\\' || c == '\'' || c == '!' || c < ' ' || c > '~' {
			fmt.Fprintf(&b, `\0%03o`, c)
		} else {
			b.WriteByte(c)
		}
	}
	b.WriteString("'")
	return b.String()
}

// signals are the numbers of those that SSH has names for.
var signals = map[string]int{
	"HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "ABRT": 6, "FPE": 8, "KILL": 9, "USR1": 10, "SEGV": 11, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15,
}

// code is an exit code as shells give it.
func code(exit *ssh.ExitError) int {
	if name := exit.Signal(); name != "" {
		return 128 + signals[name]
	}
	return exit.ExitStatus()
}
