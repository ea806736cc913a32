package broker

import (
	"container/list"
	"fmt"
	"strings"
	"sync"

	"nimbus/broker/cluster"
)

// Bounds of the logs that are kept in memory, in bytes.
const (
	maxNodeLog  = 64 << 10 // of one node: the end
	maxNodeLogs = 64 << 20 // of all nodes of all contexts
	pieceCost   = 128      // counted for each piece besides its text
)

// nodeLogs keeps the end of what nodes have logged since their scripts began,
// for those who watch. It is no part of what a context is: it is not stored,
// and what has not been written to for the longest time goes first when there
// is too much. The zero value is empty.
type nodeLogs struct {
	mu    sync.Mutex
	logs  map[logKey]*list.Element // of *nodeLog
	order list.List                // the one that was written to last is at the back
	size  int
}

type logKey struct {
	context string
	place   cluster.Place
}

// A nodeLog is one node's. A node counts from 0 again whenever its agent is
// started; those who read count on.
type nodeLog struct {
	key     logKey
	base    int64 // where the current run of the agent began
	pieces  []piece
	size    int
	changed chan struct{} // closed when something is added; nil: nobody waits
}

// A piece is some whole lines of a log.
type piece struct {
	offset int64
	text   string
}

func (p piece) end() int64 { return p.offset + int64(len(p.text)) }

// end is where the next piece is expected.
func (l *nodeLog) end() int64 {
	if n := len(l.pieces); n > 0 {
		return l.pieces[n-1].end()
	}
	return l.base
}

// find returns a node's log and makes one where there is none.
func (n *nodeLogs) find(key logKey) *nodeLog {
	if e := n.logs[key]; e != nil {
		return e.Value.(*nodeLog)
	}
	if n.logs == nil {
		n.logs = map[logKey]*list.Element{}
	}
	l := &nodeLog{key: key}
	n.logs[key] = n.order.PushBack(l)
	return l
}

// begin says that a node counts from 0 again.
func (n *nodeLogs) begin(key logKey) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if e := n.logs[key]; e != nil {
		l := e.Value.(*nodeLog)
		l.base = l.end()
	}
}

// add takes a piece in. What is there already is left out of it: a node that
// got no answer sends it again.
func (n *nodeLogs) add(key logKey, offset int64, text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.find(key)
	offset += l.base
	if known := l.end() - offset; known > 0 {
		if known >= int64(len(text)) {
			return
		}
		// A part would hold on to the whole, which nobody counts.
		offset, text = offset+known, strings.Clone(text[known:])
	}
	if text == "" {
		return
	}
	n.grow(l, pieceCost+len(text))
	l.pieces = append(l.pieces, piece{offset, text})
	for l.size > maxNodeLog && len(l.pieces) > 1 {
		n.shorten(l)
	}
	n.order.MoveToBack(n.logs[key])
	for n.size > maxNodeLogs && n.order.Len() > 1 {
		n.drop(n.order.Front())
	}
	l.wake()
}

func (n *nodeLogs) grow(l *nodeLog, by int) {
	l.size += by
	n.size += by
}

// shorten takes some lines from the beginning: of the first piece as many as
// there are too many bytes, or all of it.
func (n *nodeLogs) shorten(l *nodeLog) {
	first := &l.pieces[0]
	if cut := l.size - maxNodeLog; cut < len(first.text) {
		if line := strings.IndexByte(first.text[cut:], '\n'); line >= 0 && cut+line+1 < len(first.text) {
			cut += line + 1
			first.offset += int64(cut)
			first.text = strings.Clone(first.text[cut:])
			n.grow(l, -cut)
			return
		}
	}
	n.grow(l, -pieceCost-len(first.text))
	l.pieces = append(l.pieces[:0], l.pieces[1:]...)
}

func (l *nodeLog) wake() {
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

func (n *nodeLogs) drop(e *list.Element) {
	l := n.order.Remove(e).(*nodeLog)
	delete(n.logs, l.key)
	n.grow(l, -l.size)
	l.wake()
}

// expect makes room for a node's log, for those who wait for it. Like add it is
// for contexts that have not ended: nobody would forget it.
func (n *nodeLogs) expect(key logKey) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.find(key)
}

// soon is for a log that nobody expects any more: whoever waits looks again.
var soon = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// read returns what there is from an offset on, with a note wherever something
// is missing, and where to read on. More is closed when there is more. Who asks
// for more than there ever was, as it was told by a broker that has forgotten,
// begins with what there is.
func (n *nodeLogs) read(key logKey, offset int64) (text string, next int64, more <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	e := n.logs[key]
	if e == nil {
		return "", offset, soon
	}
	l := e.Value.(*nodeLog)
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	if len(l.pieces) == 0 {
		return "", offset, l.changed // a broker that was started again hears of it soon
	}
	var b strings.Builder
	if next = offset; next > l.end() {
		next = l.pieces[0].offset
	}
	for _, p := range l.pieces {
		if p.end() <= next {
			continue
		}
		if p.offset > next {
			fmt.Fprintf(&b, "… %d bytes left out …\n", p.offset-next)
			next = p.offset
		}
		b.WriteString(p.text[next-p.offset:])
		next = p.end()
	}
	return b.String(), next, l.changed
}

// has tells whether there is anything of a node's log.
func (n *nodeLogs) has(key logKey) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	e := n.logs[key]
	return e != nil && len(e.Value.(*nodeLog).pieces) > 0
}

// forget drops the logs of a context.
func (n *nodeLogs) forget(context string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for e := n.order.Front(); e != nil; {
		next := e.Next()
		if e.Value.(*nodeLog).key.context == context {
			n.drop(e)
		}
		e = next
	}
}
