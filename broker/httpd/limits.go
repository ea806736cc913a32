package httpd

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// asking makes sure that a node asks on one connection at a time: a machine
// that lost its connection is not kept out by the old one, and one that opens
// many to read from none harms only itself.
type asking struct {
	mu   sync.Mutex
	last map[string]*func() // node → what ends its request
}

// begin ends the node's earlier request, if there is one, and registers this
// one until done is called.
func (a *asking) begin(c *call) (ctx context.Context, done func()) {
	ctx, cancel := context.WithCancel(c.Context())
	control := http.NewResponseController(c.w)
	end := func() {
		cancel()
		_ = control.SetWriteDeadline(time.Now())
	}
	key := c.node.Context + " " + c.node.Claim
	a.mu.Lock()
	if a.last == nil {
		a.last = map[string]*func(){}
	}
	if earlier := a.last[key]; earlier != nil {
		(*earlier)()
	}
	a.last[key] = &end
	a.mu.Unlock()
	return ctx, func() {
		a.mu.Lock()
		if a.last[key] == &end {
			delete(a.last, key)
		}
		a.mu.Unlock()
		cancel()
	}
}

// A limit lets a few things pass in every second and counts the others.
type limit struct {
	mu     sync.Mutex
	second int64
	count  int
	missed int
}

// inSecond is how many lines about refusals are logged in one second.
const inSecond = 5

// take tells whether this one passes, and how many did not since the last that
// did.
func (l *limit) take(now time.Time) (missed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if second := now.Unix(); second != l.second {
		l.second, l.count = second, 0
	}
	if l.count++; l.count > inSecond {
		l.missed++
		return 0, false
	}
	missed, l.missed = l.missed, 0
	return missed, true
}

// clip keeps a log line short, whatever a caller sends.
func clip(text string) string { return text[:min(len(text), 200)] }
