package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// maxRelayed is how many connections are passed on at the same time. More wait.
const maxRelayed = 2048

// maxFromOne is how many of them one instance may have. More are hung up on.
const maxFromOne = 64

// hangUpPatience is how long a caller may take to end what the socket's side
// has ended.
const hangUpPatience = 5 * time.Second

// doorPatience is how long the socket behind the doors may take to answer.
const doorPatience = 10 * time.Second

// A relay passes what the launch's instances connect to on to a socket.
type relay struct {
	slots chan struct{}

	mu     sync.Mutex
	socket string
	doors  map[netip.Addr]net.Listener
	from   map[netip.Addr]int // connections of each caller
	lost   bool               // nobody was there the last time: said once, as callers never tire
}

func newRelay() *relay {
	return &relay{slots: make(chan struct{}, maxRelayed), doors: map[netip.Addr]net.Listener{}, from: map[netip.Addr]int{}}
}

// forward opens a door at each address that the keeper has now, and lets all of
// them lead to a socket.
func (k *keeper) forward(q question) (answer, error) {
	if !filepath.IsAbs(q.Socket) || strings.ContainsRune(q.Socket, 0) {
		return answer{}, fmt.Errorf("socket %q: want an absolute path", q.Socket)
	}
	k.mu.Lock()
	hosts := k.hosts()
	k.mu.Unlock()
	r := k.relay
	r.mu.Lock()
	defer r.mu.Unlock()
	r.socket = q.Socket
	var a answer
	for _, host := range hosts {
		l := r.doors[host]
		if l == nil {
			var err error
			if l, err = net.Listen("tcp4", netip.AddrPortFrom(host, doorPort()).String()); err != nil {
				return answer{}, err
			}
			r.doors[host] = l
			context.AfterFunc(k.life, func() { l.Close() })
			go r.serve(k.life, l, k.warn)
		}
		a.Doors = append(a.Doors, l.Addr().(*net.TCPAddr).AddrPort())
	}
	return a, nil
}

func (k *keeper) warn(what string, err error) { k.log.Warn(what, "error", err) }

// serve passes the connections of one door on until that is closed.
func (r *relay) serve(life context.Context, l net.Listener, warn func(string, error)) {
	for {
		select {
		case r.slots <- struct{}{}:
		case <-life.Done():
			return
		}
		conn, err := l.Accept()
		if err != nil {
			<-r.slots
			if errors.Is(err, net.ErrClosed) {
				return
			}
			warn("accept for the socket", err)
			select {
			case <-time.After(time.Second): // too many open files, say
			case <-life.Done():
			}
			continue
		}
		caller, admitted := r.enter(conn.RemoteAddr())
		if !admitted {
			conn.Close()
			<-r.slots
			continue
		}
		go func() {
			defer func() {
				r.leave(caller)
				<-r.slots
			}()
			if err := r.pass(life, conn); r.news(err) {
				warn("pass on a connection", err)
			}
		}()
	}
}

// enter counts a caller's connection in, unless it has as many as it may have.
func (r *relay) enter(from net.Addr) (caller netip.Addr, admitted bool) {
	if a, ok := from.(*net.TCPAddr); ok {
		caller = a.AddrPort().Addr().Unmap()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.from[caller] == maxFromOne {
		return caller, false
	}
	r.from[caller]++
	return caller, true
}

func (r *relay) leave(caller netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.from[caller]--; r.from[caller] == 0 {
		delete(r.from, caller)
	}
}

// pass connects one caller with the socket. Without anybody there the caller is
// hung up on, and calls again in its own time.
func (r *relay) pass(life context.Context, caller net.Conn) error {
	defer caller.Close()
	r.mu.Lock()
	socket := r.socket
	r.mu.Unlock()
	behind, err := dialSocket(life, socket)
	if err != nil {
		return err
	}
	defer behind.Close()
	stop := context.AfterFunc(life, func() {
		caller.Close()
		behind.Close()
	})
	defer stop()
	join(caller, behind)
	return nil
}

// news says whether an error is worth a word in the log.
func (r *relay) news(err error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.lost
	r.lost = err != nil
	return r.lost && !was
}

// join copies both ways until both sides have said all. An end of one side is
// passed on; when something breaks, both end. A caller that goes on when nobody
// listens any more is hung up on.
func join(caller, behind net.Conn) {
	var both sync.WaitGroup
	oneWay := func(to, from net.Conn) {
		_, err := io.Copy(to, from)
		if half, ok := to.(interface{ CloseWrite() error }); err == nil && ok {
			err = half.CloseWrite()
		}
		if err != nil {
			caller.Close()
			behind.Close()
		}
	}
	both.Go(func() {
		oneWay(caller, behind)
		end := time.Now().Add(hangUpPatience)
		caller.SetDeadline(end)
		behind.SetDeadline(end)
	})
	both.Go(func() { oneWay(behind, caller) })
	both.Wait()
}

// dialSocket connects to a socket, however long its path is.
func dialSocket(ctx context.Context, path string) (conn net.Conn, err error) {
	err = within(filepath.Dir(path), filepath.Base(path), func(addr *net.UnixAddr) error {
		d := net.Dialer{Timeout: doorPatience}
		conn, err = d.DialContext(ctx, "unix", addr.Name)
		return err
	})
	return conn, err
}
