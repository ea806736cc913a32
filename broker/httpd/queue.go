package httpd

import (
	"net"
	"net/netip"
	"slices"
	"sync"
)

// How many downloads go on at the same time, in all and for one neighbourhood;
// the others wait for their turn. Nobody needs an account for them, so nobody
// may get all of the line, or keep others waiting for ever.
const (
	downloadsAtOnce = 64
	downloadsFrom   = 16
	downloadsOpen   = 8192 // with those that wait
)

// A queue gives turns in the order in which they were asked for, but passes
// over those whose neighbourhood has its share.
type queue struct {
	mu      sync.Mutex
	opened  int
	running int
	from    map[string]int // of those that are running
	waiting []*turn
}

// A turn has come when its channel is closed.
type turn struct {
	from string
	come chan struct{}
}

// open tells whether one more may wait here; it must be ended with close.
func (q *queue) open() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.opened >= downloadsOpen {
		return false
	}
	q.opened++
	return true
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.opened--
}

// enter asks for a turn; each must be given back with leave, whether it has
// come or not.
func (q *queue) enter(from string) *turn {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := &turn{from, make(chan struct{})}
	q.waiting = append(q.waiting, t)
	q.next()
	return t
}

func (q *queue) leave(t *turn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case <-t.come:
		q.running--
		if q.from[t.from]--; q.from[t.from] == 0 {
			delete(q.from, t.from)
		}
	default:
		q.waiting = slices.DeleteFunc(q.waiting, func(other *turn) bool { return other == t })
	}
	q.next()
}

// next lets in whoever may go.
func (q *queue) next() {
	if q.from == nil {
		q.from = map[string]int{}
	}
	for i := 0; i < len(q.waiting) && q.running < downloadsAtOnce; {
		t := q.waiting[i]
		if q.from[t.from] >= downloadsFrom {
			i++
			continue
		}
		q.running++
		q.from[t.from]++
		close(t.come)
		q.waiting = slices.Delete(q.waiting, i, i+1)
	}
}

// neighbourhood is whom an address belongs to: whoever has one of IPv6 has its
// whole network.
func neighbourhood(address string) string {
	host, _, _ := net.SplitHostPort(address)
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return "" // a socket in the file system
	}
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		return ip.String()
	}
	network, _ := ip.Prefix(64)
	return network.String()
}
