package local

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"nimbus/cloud"
)

// streams are a client's ends of what a program reads and writes: three pipes,
// or the master of its terminal. The files of the client itself are not given
// away: root in a sandbox could do with them as it likes.
type streams struct {
	in       *os.File // what the program reads
	outs     []output
	copying  sync.WaitGroup // of outs
	over     chan struct{}  // closed when the program is
	patience time.Duration  // with what keeps copying from ending

	writing, written atomic.Int64 // writes to where outs go: now, and so far
}

// letGo is how long the end of the copying is waited for when nothing is heard
// of it.
const letGo = 2 * time.Second

// output is something that the program writes, and where it goes.
type output struct {
	from *os.File
	to   io.Writer // nil: nowhere
}

// pipes makes the three pipes of a program that gets no terminal, and returns
// the program's ends.
func (s *streams) pipes(wish program) (theirs []*os.File, err error) {
	if wish.Terminal != nil {
		return nil, nil
	}
	for n := range 3 {
		r, w, err := os.Pipe()
		if err != nil {
			return theirs, err
		}
		if n == 0 {
			s.in, theirs = w, append(theirs, r)
			continue
		}
		s.outs, theirs = append(s.outs, output{from: r}), append(theirs, w)
	}
	return theirs, nil
}

// endOfFile is what a person types for it.
const endOfFile = 4

// copy begins to copy in all directions.
func (s *streams) copy(p cloud.Program) {
	if p.Terminal == nil {
		s.outs[0].to, s.outs[1].to = p.Stdout, p.Stderr
	}
	for _, o := range s.outs {
		if o.to != nil {
			o.to = &watched{o.to, s}
		}
		s.copying.Go(o.copy)
	}
	// Nobody waits for this one: its source may say nothing for ever.
	go func() {
		if p.Stdin != nil {
			io.Copy(struct{ io.Writer }{s.in}, p.Stdin)
		}
		if p.Terminal == nil {
			s.in.Close()
		} else if p.Stdin != nil {
			s.in.Write([]byte{endOfFile})
		}
	}()
	if p.Terminal != nil && p.Terminal.Resize != nil {
		go s.resize(p.Terminal.Resize)
	}
}

func (s *streams) resize(sizes <-chan cloud.Size) {
	for {
		select {
		case size, ok := <-sizes:
			if !ok {
				return
			}
			setSize(s.in, size.Width, size.Height)
		case <-s.over:
			return
		}
	}
}

// copy copies until the program's end of it is closed, nobody wants to have
// more, which the program will notice, or finish says that this was all.
//
// The master of a terminal is closed by nobody but close: a program that has
// closed its standard files, to leave, would hang up.
func (o output) copy() {
	buf := make([]byte, 32<<10)
	for {
		n, err := o.from.Read(buf)
		if !o.pass(buf[:n]) {
			o.from.Close()
			return
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			o.empty(buf)
			return
		}
		if err != nil {
			return
		}
	}
}

func (o output) pass(b []byte) (more bool) {
	if o.to == nil || len(b) == 0 {
		return true
	}
	_, err := o.to.Write(b)
	return err == nil
}

// empty copies what is there without waiting: what a program that has ended
// wrote is, and others that it left behind may have the other end open.
func (o output) empty(buf []byte) {
	raw, err := o.from.SyscallConn()
	if err != nil {
		return
	}
	for left := o.capacity(raw.Control); left > 0; {
		n := 0
		raw.Control(func(fd uintptr) {
			for n, err = unix.Read(int(fd), buf); err == unix.EINTR; {
				n, err = unix.Read(int(fd), buf)
			}
		})
		if n <= 0 || !o.pass(buf[:n]) {
			return
		}
		left -= n
	}
}

// capacity is how much can be in a pipe; a terminal holds less.
func (o output) capacity(control func(func(fd uintptr)) error) (size int) {
	var err error
	control(func(fd uintptr) { size, err = unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0) })
	if err != nil {
		size = 64 << 10
	}
	return size
}

// watched is where an output goes, in view of settled.
type watched struct {
	io.Writer
	s *streams
}

func (w *watched) Write(b []byte) (int, error) {
	w.s.writing.Add(1)
	defer func() {
		w.s.written.Add(1)
		w.s.writing.Add(-1)
	}()
	return w.Writer.Write(b)
}

// finish returns when all that the program wrote has been copied. Who takes it
// may be slow, until the context is done.
func (s *streams) finish(ctx context.Context) {
	for _, o := range s.outs {
		o.from.SetReadDeadline(time.Now())
	}
	s.settled(ctx)
}

// settled waits for the end of the copying. Whoever takes the output may take
// his time, but not when the context is done; reading may take none: root in the
// sandbox has the terminal's master as well, and can make a read of it wait for
// ever. What does not end then is left behind.
func (s *streams) settled(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		s.copying.Wait()
		close(done)
	}()
	for before := int64(-1); ; {
		written := s.written.Load()
		if s.writing.Load() == 0 && written == before {
			return
		}
		before = written
		select {
		case <-done:
			return
		case <-time.After(s.patience):
		case <-ctx.Done():
			select {
			case <-done:
			case <-time.After(s.patience):
			}
			return
		}
	}
}

// given is a context that is done.
var given = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// close lets go of everything. What is being written may still be written.
func (s *streams) close() {
	close(s.over)
	go func() { // a file that is being read waits for that, as settled may not
		if s.in != nil {
			s.in.Close()
		}
		for _, o := range s.outs {
			o.from.Close()
		}
	}()
	s.settled(given)
}
