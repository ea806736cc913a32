package ssh

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"nimbus/cloud"
)

// Where hosts find what they are led to: two ports of their own loopback
// address. It is known before a launch has its hosts, so that on one of them
// the first may be in use: then it is the second. Agents try both.
var loopback = netip.MustParseAddr("127.0.0.1")

const (
	lowestPort = 20000
	ports      = 12000 // below those that systems give to outgoing connections
)

// portsOf are those of a launch.
func portsOf(launch string) []int {
	sum := sha256.Sum256([]byte("ports " + launch))
	one := int(binary.BigEndian.Uint32(sum[:4]) % ports)
	two := (one + 1 + int(binary.BigEndian.Uint32(sum[4:8])%(ports-1))) % ports
	return []int{lowestPort + one, lowestPort + two}
}

// Prepare notes a launch. With Options.Forward its hosts will find this machine
// at the addresses that it returns.
func (d *Driver) Prepare(_ context.Context, p cloud.Preparation) (cloud.Prepared, error) {
	if !launchID.MatchString(p.Launch) {
		return cloud.Prepared{}, fmt.Errorf("prepare: launch %q: want letters, digits, dots, hyphens and underscores", p.Launch)
	}
	unlock, err := d.book.lock()
	if err != nil {
		return cloud.Prepared{}, fmt.Errorf("prepare: %w", err)
	}
	defer unlock()
	noted, err := d.book.prepared(p.Launch)
	if errors.Is(err, fs.ErrNotExist) {
		if d.o.Forward {
			noted.Ports = portsOf(p.Launch)
		}
		err = d.book.prepare(p.Launch, noted)
	}
	if err != nil {
		return cloud.Prepared{}, fmt.Errorf("prepare: %w", err)
	}
	var hosts []netip.Addr
	for range noted.Ports {
		hosts = append(hosts, loopback)
	}
	return cloud.Prepared{Hosts: hosts, Apart: len(hosts) > 0}, nil
}

// forwarding leads the hosts of a launch to a socket.
type forwarding struct {
	ports []int

	mu     sync.Mutex
	socket string
}

// Forward leads the hosts that a launch has, and those that it will get from
// this Driver, to a socket, for as long as this process lives. A host that
// does not answer now is tried again in the background.
func (d *Driver) Forward(ctx context.Context, launch, socket string) ([]netip.AddrPort, error) {
	noted, err := d.book.prepared(launch)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("forward: launch %s is not prepared here", launch)
	}
	if err != nil {
		return nil, fmt.Errorf("forward: %w", err)
	}
	places, err := d.book.places(launch)
	if err != nil {
		return nil, fmt.Errorf("forward: %w", err)
	}
	d.mu.Lock()
	f := d.forwards[launch]
	if f == nil {
		f = &forwarding{ports: noted.Ports}
		d.forwards[launch] = f
	}
	d.mu.Unlock()
	f.mu.Lock()
	f.socket = socket
	f.mu.Unlock()

	failures := make(chan error, len(places))
	each(places, func(p place) {
		h, err := p.host()
		if err == nil && !p.Bare {
			i := cloud.Instance{ID: instanceID(h, p.Launch, p.Token), Launch: p.Launch, Token: p.Token}
			err = d.leadIn(ctx, i, h)
			var no *refusedError
			if err != nil && !errors.As(err, &no) && ctx.Err() == nil {
				d.said(h, "%v; it is tried again", err)
				d.lead(i, h, f, nil)
				err = nil
			}
			if err == nil && d.o.Log != nil {
				d.follow(i, h, -1)
			}
		}
		failures <- err
	})
	close(failures)
	var all []error
	for err := range failures {
		if err != nil {
			all = append(all, err)
		}
	}
	if err := joined(all); err != nil {
		return nil, fmt.Errorf("forward: %w", err)
	}
	var doors []netip.AddrPort
	for _, port := range f.ports {
		doors = append(doors, netip.AddrPortFrom(loopback, uint16(port)))
	}
	return doors, nil
}

// leadIn opens the way from a host, if its launch has one, and keeps it open.
func (d *Driver) leadIn(ctx context.Context, i cloud.Instance, h Host) error {
	d.mu.Lock()
	f, led := d.forwards[i.Launch], d.background[leads+" "+i.ID] != nil
	d.mu.Unlock()
	if f == nil || led || len(f.ports) == 0 {
		return nil
	}
	conn, err := d.conns.to(ctx, h)
	if err != nil {
		return err
	}
	l, err := conn.listen(ctx, f.ports)
	if err != nil {
		return fmt.Errorf("%s: %w", h, err)
	}
	d.lead(i, h, f, l)
	return nil
}

// refusedError is a host that lets nobody listen.
type refusedError struct{ problem }

// listen takes the first port of a host that is free.
func (c *connection) listen(ctx context.Context, ports []int) (net.Listener, error) {
	var refused error
	for _, port := range ports {
		l, err := c.client.ListenTCP(&net.TCPAddr{IP: net.IP(loopback.AsSlice()), Port: port})
		if err == nil {
			return l, nil
		}
		select {
		case <-c.dead:
			return nil, errLost
		default:
			refused = err
		}
	}
	var hex []string
	for _, port := range ports {
		hex = append(hex, fmt.Sprintf("%04X", port))
	}
	out, err := c.run(ctx, "", program("ports", values{"ports": strings.Join(hex, " ")}), nil)
	if err != nil {
		return nil, err
	}
	if strings.Count(string(out), "used ") == len(ports) {
		return nil, fmt.Errorf("ports %d and %d of 127.0.0.1, by which it would reach the broker, are in use there", ports[0], ports[1])
	}
	return nil, &refusedError{problem{
		fmt.Sprintf("its SSH server does not let us forward the broker's port to it: %v", refused),
		"allow it there, AllowTcpForwarding yes (or remote) in sshd_config and no \"restrict\" in authorized_keys, or use a broker that hosts can reach: --broker URL",
	}}
}

// Pauses between attempts to open a way again.
const (
	firstPause = time.Second
	maxPause   = 30 * time.Second
)

// lead accepts what comes from a host, and opens the way again when the
// connection breaks. Without a listener it is broken at first.
func (d *Driver) lead(i cloud.Instance, h Host, f *forwarding, l net.Listener) {
	d.inBackground(leads, i.ID, func(ctx context.Context) {
		for pause := firstPause; ; {
			if l != nil {
				f.accept(ctx, l)
				if ctx.Err() != nil {
					return
				}
				d.said(h, "the connection broke; it is opened again")
				l, pause = nil, firstPause
			}
			conn, err := d.conns.to(ctx, h)
			if err == nil {
				if l, err = conn.listen(ctx, f.ports); err == nil {
					d.said(h, "the connection is there again")
					continue
				}
				l = nil
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			pause = min(2*pause, maxPause)
		}
	})
}

// mostDoors is how many connections of one host are passed on at once.
const mostDoors = 128

// accept passes connections on until the listener is over.
func (f *forwarding) accept(ctx context.Context, l net.Listener) {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	defer l.Close()
	room := make(chan struct{}, mostDoors)
	var at sync.WaitGroup
	defer at.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		select {
		case room <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		at.Go(func() {
			defer func() { <-room }()
			f.pass(ctx, conn)
		})
	}
}

// pass connects one caller with the socket.
func (f *forwarding) pass(ctx context.Context, from net.Conn) {
	defer from.Close()
	f.mu.Lock()
	socket := f.socket
	f.mu.Unlock()
	to, err := net.Dial("unix", socket)
	if err != nil {
		return // nobody is there now: the agent tries again
	}
	defer to.Close()
	defer context.AfterFunc(ctx, func() {
		from.Close()
		to.Close()
	})()
	var at sync.WaitGroup
	at.Go(func() { oneWay(to, from) })
	at.Go(func() { oneWay(from, to) })
	at.Wait()
}

// oneWay copies, and ends the way at its end; what cannot be written ends both.
func oneWay(to, from net.Conn) {
	_, err := io.Copy(to, from)
	half, ok := to.(interface{ CloseWrite() error })
	if err != nil || !ok || half.CloseWrite() != nil {
		to.Close()
		from.Close()
	}
}
