package httpd

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// How many downloads go on at the same time, in all and for one neighbourhood;
// the others wait for their turn. Nobody needs an account for them, so nobody
// may get all of the line, or keep others waiting for ever.
const (
	downloadsAtOnce   = 64
	downloadsFrom     = 16
	downloadsOpen     = 8192 // with those that wait
	downloadsOpenFrom = downloadsOpen / 2
)

// After turnTime a turn goes on only if it has taken so many bytes meanwhile,
// and no neighbourhood that has less is waiting; else it is another's.
const (
	turnTime  = 2 * time.Minute
	turnLeast = 1 << 20
)

// A queue of downloads, or of packs, whose neighbourhoods are contexts, gives
// turns first to whose neighbourhood has the fewest, and among
// those in the order in which they were asked for.
type queue struct {
	mu       sync.Mutex
	opened   int
	openFrom map[string]int
	running  int
	from     map[string]int // of those that are running
	waiting  []*turn
}

// A turn has come when its channel is closed.
type turn struct {
	from string
	come chan struct{}
}

// open tells whether one more may wait here; it must be ended with close.
func (q *queue) open(from string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.opened >= downloadsOpen || q.openFrom[from] >= downloadsOpenFrom {
		return false
	}
	if q.openFrom == nil {
		q.openFrom = map[string]int{}
	}
	q.opened++
	q.openFrom[from]++
	return true
}

func (q *queue) close(from string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.opened--
	if q.openFrom[from]--; q.openFrom[from] == 0 {
		delete(q.openFrom, from)
	}
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
		q.end(t)
	default:
		q.waiting = slices.DeleteFunc(q.waiting, func(other *turn) bool { return other == t })
	}
	q.next()
}

// again ends a turn that has come and has lasted for turnTime, if it is
// another's now, and returns the one that it waits for instead.
func (q *queue) again(t *turn, taken int64) *turn {
	q.mu.Lock()
	defer q.mu.Unlock()
	mine := q.from[t.from]
	if !slices.ContainsFunc(q.waiting, func(other *turn) bool {
		theirs := q.from[other.from]
		if other.from == t.from {
			theirs-- // its turn would come for this one
		}
		return theirs < downloadsFrom && (taken < turnLeast || theirs+1 < mine)
	}) {
		return t
	}
	q.end(t)
	q.next() // before it waits itself
	t = &turn{t.from, make(chan struct{})}
	q.waiting = append(q.waiting, t)
	q.next()
	return t
}

func (q *queue) end(t *turn) {
	q.running--
	if q.from[t.from]--; q.from[t.from] == 0 {
		delete(q.from, t.from)
	}
}

// next lets in whoever may go.
func (q *queue) next() {
	if q.from == nil {
		q.from = map[string]int{}
	}
	for q.running < downloadsAtOnce {
		first := -1
		for i, t := range q.waiting {
			if n := q.from[t.from]; n < downloadsFrom && (first < 0 || n < q.from[q.waiting[first].from]) {
				first = i
			}
		}
		if first < 0 {
			return
		}
		t := q.waiting[first]
		q.running++
		q.from[t.from]++
		close(t.come)
		q.waiting = slices.Delete(q.waiting, first, first+1)
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
