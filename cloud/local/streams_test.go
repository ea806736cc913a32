//go:build linux

package local

import (
	"context"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nimbus/cloud"
)

// stuck is a writer that takes nothing until it is closed.
type stuck chan struct{}

func (s stuck) Write(b []byte) (int, error) {
	<-s
	return len(b), nil
}

// The master of a terminal is root's in the sandbox as well: it can make reads
// wait, whatever deadline they have.
func TestStreamsLeaveAHostileTerminal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	s := &streams{in: r, outs: []output{{from: r, to: io.Discard}}, over: make(chan struct{}), patience: 50 * time.Millisecond}
	if err := control(r, func(fd int) error { return unix.SetNonblock(fd, false) }); err != nil {
		t.Fatal(err)
	}
	s.copy(cloud.Program{Terminal: &cloud.Terminal{}})
	ended := make(chan struct{})
	go func() {
		s.finish(t.Context())
		s.close()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the client hangs")
	}
}

// Who takes the output may be slow, as a pager is; but not when the client is
// told to end.
func TestStreamsWaitForTheReader(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	takes := make(stuck)
	s := &streams{outs: []output{{from: r}}, over: make(chan struct{}), patience: 20 * time.Millisecond}
	s.copying.Go(func() { (output{r, &watched{takes, s}}).copy() })
	io.WriteString(w, "what it says")
	w.Close()
	eventually(t, "it is being written", func() bool { return s.writing.Load() == 1 })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		s.finish(ctx)
		close(ended)
	}()
	select {
	case <-ended:
		t.Fatal("what the program said is lost")
	case <-time.After(10 * s.patience):
	}
	cancel()
	<-ended
	s.close()
	close(takes)
	s.copying.Wait()
}
