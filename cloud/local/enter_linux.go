package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"nimbus/cloud"
)

// Enter runs a program in a sandbox, as a child of its first process: it has
// the sandbox's namespaces, capabilities and filter of system calls without
// anybody having to enter them. The keeper only passes one end of a private
// connection on; all further talk is between the client and the first process.
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
	wish, err := newProgram(p)
	if err != nil {
		return 0, err
	}
	conn, theirs, err := conversation()
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	q := question{Op: opEnter, IDs: []string{instance.ID}, files: []*os.File{theirs}}
	_, err = d.ask(ctx, launchOf(instance), q)
	theirs.Close()
	if err != nil {
		return 0, err
	}
	l := newLine(conn, maxReply)
	conn.SetDeadline(time.Now().Add(startPatience))
	s, err := start(l, wish, p)
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("it ended")
		}
		return 0, err
	}
	defer s.close()
	conn.SetDeadline(time.Time{})
	stop := context.AfterFunc(ctx, func() { // which the first process sees
		conn.SetReadDeadline(time.Now().Add(cancelPatience))
		conn.CloseWrite()
	})
	var e ending
	files, err := l.receive(&e)
	closeAll(files)
	if !stop() {
		return 0, ctx.Err()
	}
	if err != nil {
		return 0, errors.New("it ended while the program ran")
	}
	s.finish(ctx)
	return e.Code, nil
}

// maxReply bounds what the first process may say: root in a sandbox may have
// got hold of it.
const maxReply = 16 << 10

// newProgram puts a program into the words of the first process.
func newProgram(p cloud.Program) (program, error) {
	var w program
	size := 0
	for _, word := range p.Command {
		w.Command = append(w.Command, []byte(word))
		size += len(word) + 1
	}
	if size > maxCommand {
		return w, fmt.Errorf("the command has %d bytes, at most %d can be passed", size, maxCommand)
	}
	if len(p.Command) > 0 && p.Command[0] == "" {
		return w, errors.New("the command has no name")
	}
	if t := p.Terminal; t != nil {
		w.Terminal = &terminal{Type: t.Type, Width: t.Size.Width, Height: t.Size.Height}
	}
	return w, nil
}

// start has the first process start a program and connects the program's
// standard files, or its terminal, with p's.
func start(l *line, wish program, p cloud.Program) (*streams, error) {
	s := &streams{over: make(chan struct{}), patience: letGo}
	theirs, err := s.pipes(wish)
	if err == nil {
		err = send(l.conn, wish, theirs...)
	}
	closeAll(theirs)
	// One that refuses does not read all there is to say.
	if err != nil && !errors.Is(err, unix.EPIPE) {
		s.close()
		return nil, err
	}
	var v verdict
	files, err := l.receive(&v)
	if err == nil && v.Error != "" {
		err = errors.New(v.Error)
	}
	if err == nil && wish.Terminal != nil {
		if len(files) != 1 || !isTerminal(files[0]) {
			err = errors.New("it gave no terminal")
		} else {
			s.in, s.outs, files = files[0], []output{{from: files[0], to: p.Stdout}}, nil
		}
	}
	closeAll(files)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("its first process did not answer in %v", startPatience)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	s.copy(p)
	return s, nil
}

// enter passes a client's connection on to an instance's first process.
func (k *keeper) enter(q question) (answer, error) {
	if len(q.files) != 1 {
		return answer{}, errors.New("enter: no connection was passed")
	}
	i, err := k.running(q.IDs)
	if err != nil {
		return answer{}, err
	}
	i.conn.SetWriteDeadline(time.Now().Add(quickPatience))
	if err := send(i.conn, visit{}, q.files...); err != nil {
		if errors.Is(err, net.ErrClosed) || errors.Is(err, unix.EPIPE) {
			return answer{}, errNotRunning
		}
		return answer{}, fmt.Errorf("reach its first process: %v", err)
	}
	return answer{}, nil
}
