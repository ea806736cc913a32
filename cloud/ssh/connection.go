package ssh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// How long things may take that a living host does at once. A login may wait
// for other services, such as one for names or sessions that hangs.
const (
	reachPatience   = 15 * time.Second
	connectPatience = 25 * time.Second
	aliveEvery      = 15 * time.Second
)

// A connection is one login. It is dead when its client is.
type connection struct {
	host    Host
	client  *ssh.Client
	heard   *heard
	hostKey string
	dead    chan struct{} // closed when it is
	as      login
	// next is another connection to the same host, for when this one is full.
	next func(context.Context) (*connection, error)
}

// connections keeps one connection for each host, made when it is needed.
type connections struct {
	o     *Options
	known hostKeys
	keys  keyring

	mu    sync.Mutex
	slots map[string]*slot
	over  bool
}

// A slot is a host's place for its connection; one dials, the others wait.
type slot struct {
	turn chan struct{}
	conn *connection
}

func newConnections(o *Options) *connections {
	return &connections{
		o:     o,
		known: hostKeys{files: o.KnownHosts, acceptNew: o.AcceptNew},
		keys:  keyring{key: o.Key, dir: o.KeyDir, socket: o.AgentSocket},
		slots: map[string]*slot{},
	}
}

// to returns the connection to a host that is there, or a new one. Errors name
// the host, unless it is us who have no key.
func (c *connections) to(ctx context.Context, h Host) (*connection, error) {
	if _, err := c.keys.open(); err != nil {
		return nil, err // the same for all hosts
	}
	conn, err := c.get(ctx, h, 0, (*connection).logIn)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h, err)
	}
	return conn, nil
}

// mostConnections is how many a host gets at most.
const mostConnections = 20

// get returns a host's connection with a number; those after the first are made
// when the one before is full.
func (c *connections) get(ctx context.Context, h Host, number int, greet func(*connection, context.Context) error) (*connection, error) {
	if number == mostConnections {
		return nil, fmt.Errorf("%d connections are full", number)
	}
	key := fmt.Sprintf("%s#%d", h, number)
	c.mu.Lock()
	s := c.slots[key]
	if s == nil {
		s = &slot{turn: make(chan struct{}, 1)}
		c.slots[key] = s
	}
	c.mu.Unlock()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.conn != nil {
		select {
		case <-s.conn.dead:
		default:
			return s.conn, nil
		}
	}
	conn, err := c.dial(ctx, h, greet)
	if err != nil {
		return nil, err
	}
	conn.next = func(ctx context.Context) (*connection, error) { return c.get(ctx, h, number+1, noGreeting) }
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		conn.client.Close()
		return nil, net.ErrClosed
	}
	s.conn = conn
	return conn, nil
}

// noGreeting is for connections on which nothing has to be known of the host.
func noGreeting(*connection, context.Context) error { return nil }

// close ends all connections, and those that are being made.
func (c *connections) close() {
	c.mu.Lock()
	c.over = true
	slots := c.slots
	c.mu.Unlock()
	for _, s := range slots {
		s.turn <- struct{}{}
		if s.conn != nil {
			s.conn.client.Close()
		}
		<-s.turn
	}
}

// dial connects to a host and logs in.
func (c *connections) dial(ctx context.Context, h Host, greet func(*connection, context.Context) error) (*connection, error) {
	if err := c.toJump(ctx, h); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, connectPatience, errSlow)
	defer cancel()
	conn, err := c.shakeHands(ctx, h)
	if err == nil {
		if err = greet(conn, ctx); err != nil {
			conn.client.Close()
		}
	}
	if err != nil && context.Cause(ctx) == errSlow {
		return nil, fmt.Errorf("no login within %v: %w", connectPatience, err)
	}
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return conn, err
}

var errSlow = errors.New("it takes too long")

func (c *connections) shakeHands(ctx context.Context, h Host) (*connection, error) {
	signers, err := c.keys.open()
	if err != nil {
		return nil, err
	}
	found, err := c.known.lookUp(h.dial())
	if err != nil {
		return nil, err
	}
	raw, err := c.reach(ctx, h)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	conn := &connection{host: h, heard: &heard{Conn: raw}, dead: make(chan struct{})}
	var refused error // by us: the library makes a text of it
	check := c.known.callback(h, found, func(key ssh.PublicKey) { conn.hostKey = plainKey(key) })
	config := &ssh.ClientConfig{
		User: h.User,
		Auth: []ssh.AuthMethod{ssh.PublicKeys(signers...)},
		HostKeyCallback: func(address string, remote net.Addr, key ssh.PublicKey) error {
			refused = check(address, remote, key)
			return refused
		},
		HostKeyAlgorithms: found.algorithms(),
		ClientVersion:     "SSH-2.0-Nimbus",
	}
	shaken, channels, requests, err := ssh.NewClientConn(conn.heard, h.dial(), config)
	if err != nil {
		raw.Close()
		switch {
		case refused != nil:
			return nil, refused
		case conn.hostKey != "" && strings.Contains(err.Error(), "unable to authenticate"):
			return nil, c.keys.refused(h)
		case strings.Contains(err.Error(), "Too many authentication failures"):
			return nil, &problem{"it refused more keys than it lets try", "name the right one: the setting key"}
		}
		return nil, fmt.Errorf("SSH: %s", printable(strings.TrimPrefix(err.Error(), "ssh: ")))
	}
	conn.client = ssh.NewClient(shaken, channels, requests)
	go func() {
		conn.client.Wait()
		close(conn.dead)
	}()
	go conn.stayAlive()
	return conn, nil
}

func (c *connections) behindJump(h Host) bool { return c.o.Jump != nil && *c.o.Jump != h }

// toJump connects to the jump host first, where there is one: the time that it
// takes is not that of the host behind it.
func (c *connections) toJump(ctx context.Context, h Host) error {
	if !c.behindJump(h) {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	_, err := c.get(limited, *c.o.Jump, 0, noGreeting)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil:
		err = fmt.Errorf("no login within %v", connectPatience)
	}
	return fmt.Errorf("jump host %s: %w", c.o.Jump, err)
}

// reach opens a connection to a host's SSH server, through the jump host if
// there is one.
func (c *connections) reach(ctx context.Context, h Host) (net.Conn, error) {
	if !c.behindJump(h) {
		return (&net.Dialer{Timeout: reachPatience}).DialContext(ctx, "tcp", h.dial())
	}
	jump := c.o.Jump
	through, err := c.get(ctx, *jump, 0, noGreeting)
	if err != nil {
		return nil, fmt.Errorf("jump host %s: %w", jump, err)
	}
	raw, err := through.client.DialContext(ctx, "tcp", h.dial())
	if err != nil {
		return nil, fmt.Errorf("through %s: %s", jump, printable(err.Error()))
	}
	return raw, nil
}

// heard counts what comes in on a connection.
type heard struct {
	net.Conn
	bytes atomic.Int64
}

func (h *heard) Read(b []byte) (int, error) {
	n, err := h.Conn.Read(b)
	h.bytes.Add(int64(n))
	return n, err
}

// stayAlive ends a connection on which nothing comes in any more. Where a way
// is slow, what is being copied waits before the question: then it is a sign of
// life that the other side takes it.
func (c *connection) stayAlive() {
	ticker := time.NewTicker(aliveEvery)
	defer ticker.Stop()
	for {
		select {
		case <-c.dead:
			return
		case <-ticker.C:
		}
		answer := make(chan error, 1)
		go func() {
			_, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil)
			answer <- err
		}()
		if !c.answers(answer) {
			c.client.Close()
			return
		}
	}
}

// answers waits for an answer for as long as anything comes in.
func (c *connection) answers(answer <-chan error) bool {
	for {
		before := c.heard.bytes.Load()
		select {
		case <-c.dead:
			return false
		case err := <-answer:
			return err == nil
		case <-time.After(aliveEvery):
			if c.heard.bytes.Load() == before {
				return false
			}
		}
	}
}
