//go:build linux

package local

import (
	"context"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A relayed is a relay between a port and a socket.
type relayed struct {
	t      *testing.T
	r      *relay
	socket string
	port   string
	stop   context.CancelFunc
	warned atomic.Int32
}

func newRelayed(t *testing.T) *relayed {
	t.Helper()
	life, stop := context.WithCancel(t.Context())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	context.AfterFunc(life, func() { l.Close() })
	x := &relayed{t: t, r: newRelay(), socket: filepath.Join(t.TempDir(), "s"), port: l.Addr().String(), stop: stop}
	x.r.socket = x.socket
	x.r.slots = make(chan struct{}, 3)
	done := make(chan struct{})
	go func() {
		x.r.serve(life, l, func(string, error) { x.warned.Add(1) })
		close(done)
	}()
	t.Cleanup(func() {
		stop()
		<-done
		eventually(t, "all slots are free", func() bool { return len(x.r.slots) == 0 })
	})
	return x
}

func (x *relayed) listen() *net.UnixListener {
	x.t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: x.socket})
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { l.Close() })
	return l
}

func (x *relayed) dial() *net.TCPConn {
	x.t.Helper()
	conn, err := net.Dial("tcp", x.port)
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn.(*net.TCPConn)
}

func accepted(t *testing.T, l *net.UnixListener) *net.UnixConn {
	t.Helper()
	l.SetDeadline(time.Now().Add(10 * time.Second))
	conn, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn
}

func says(t *testing.T, conn io.Reader, want string) {
	t.Helper()
	if got, err := io.ReadAll(conn); err != nil || string(got) != want {
		t.Errorf("heard %q, %v, want %q", got, err, want)
	}
}

// Who has said all can still listen.
func TestRelayPassesOnHalfCloses(t *testing.T) {
	x := newRelayed(t)
	l := x.listen()
	caller := x.dial()
	io.WriteString(caller, "question")
	caller.CloseWrite()
	behind := accepted(t, l)
	says(t, behind, "question")
	io.WriteString(behind, "answer")
	behind.Close()
	says(t, caller, "answer")
}

// The listener may come and go. That it is gone is said once, however often
// somebody calls.
func TestRelayWithoutListener(t *testing.T) {
	x := newRelayed(t)
	says(t, x.dial(), "")
	says(t, x.dial(), "")
	eventually(t, "both calls are over", func() bool { return len(x.r.slots) == 1 }) // for the next one
	if n := x.warned.Load(); n != 1 {
		t.Errorf("%d warnings, want one", n)
	}
	for range 2 {
		l := x.listen()
		caller := x.dial()
		behind := accepted(t, l)
		io.WriteString(behind, "here")
		behind.Close()
		l.Close()
		says(t, caller, "here")
		caller.Close()
	}
	says(t, x.dial(), "")
}

func TestRelayIsBounded(t *testing.T) {
	x := newRelayed(t)
	l := x.listen()
	var callers []*net.TCPConn
	for range cap(x.r.slots) + 1 {
		callers = append(callers, x.dial())
	}
	first := accepted(t, l)
	for range cap(x.r.slots) - 1 {
		accepted(t, l)
	}
	l.SetDeadline(time.Now().Add(50 * time.Millisecond))
	if conn, err := l.Accept(); err == nil {
		conn.Close()
		t.Errorf("more than %d connections are passed on", cap(x.r.slots))
	}
	// The next one comes when one has ended.
	callers[0].Close()
	callers[1].Close()
	callers[2].Close()
	first.Close()
	accepted(t, l)
}

// With the launch all connections end, also those on which nobody says anything.
func TestRelayEnds(t *testing.T) {
	x := newRelayed(t)
	l := x.listen()
	caller := x.dial()
	behind := accepted(t, l)
	x.stop()
	if _, err := io.ReadAll(behind); err != nil {
		t.Errorf("behind: %v", err)
	}
	if _, err := io.Copy(io.Discard, caller); err != nil && err.(net.Error).Timeout() {
		t.Errorf("caller: %v", err)
	}
}

// A caller that says nothing and does not go when it is hung up on holds no
// slot for long.
func TestRelayHangsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caller, ours := net.Pipe()
		theirs, behind := net.Pipe()
		defer caller.Close()
		began := time.Now()
		behind.Close()
		join(ours, theirs)
		if took := time.Since(began); took != hangUpPatience {
			t.Errorf("it took %v, want %v", took, hangUpPatience)
		}
	})
}

// One instance cannot have all slots.
func TestRelaySharesFairly(t *testing.T) {
	x := newRelayed(t)
	l := x.listen()
	here := netip.MustParseAddr("127.0.0.1")
	var callers []netip.Addr
	for range maxFromOne {
		caller, admitted := x.r.enter(&net.TCPAddr{IP: here.AsSlice()})
		if !admitted || caller != here {
			t.Fatalf("%v, %v, want %v", caller, admitted, here)
		}
		callers = append(callers, caller)
	}
	says(t, x.dial(), "")
	if _, admitted := x.r.enter(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}); !admitted {
		t.Error("another instance is hung up on")
	}
	for _, caller := range callers {
		x.r.leave(caller)
	}
	caller := x.dial()
	behind := accepted(t, l)
	io.WriteString(behind, "here")
	behind.Close()
	says(t, caller, "here")
	caller.Close()
	eventually(t, "nothing is counted any more", func() bool {
		x.r.mu.Lock()
		defer x.r.mu.Unlock()
		return x.r.from[here] == 0 && len(x.r.from) == 1
	})
}
