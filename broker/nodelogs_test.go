package broker

import (
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"nimbus/broker/cluster"
)

func node(context string, index int) logKey {
	return logKey{context, cluster.Place{Workspace: "w", Index: index}}
}

// all is what a reader sees who begins now.
func (n *nodeLogs) all(key logKey) string {
	text, _, _ := n.read(key, 0)
	return text
}

func TestNodeLogTakesPieces(t *testing.T) {
	var n nodeLogs
	k := node("c", 0)
	for _, step := range []struct {
		offset int64
		text   string
		want   string
	}{
		{0, "one\n", "one\n"},
		{0, "one\n", "one\n"},           // sent again: no answer had come
		{0, "one\ntwo\n", "one\ntwo\n"}, // and more was logged since
		{8, "", "one\ntwo\n"},           // nothing
		{4, "two\n", "one\ntwo\n"},      // late
		{8, "three\n", "one\ntwo\nthree\n"},
		{114, "four\n", "one\ntwo\nthree\n… 100 bytes left out …\nfour\n"},
	} {
		n.add(k, step.offset, step.text)
		if got := n.all(k); got != step.want {
			t.Fatalf("after %d %q:\n%s\nwant:\n%s", step.offset, step.text, got, step.want)
		}
	}
	text, next, _ := n.read(k, 8)
	if text != "three\n… 100 bytes left out …\nfour\n" || next != 119 {
		t.Errorf("from 8: %q, then %d", text, next)
	}
	if text, next, _ = n.read(k, 119); text != "" || next != 119 {
		t.Errorf("at the end: %q, then %d", text, next)
	}
	// A broker that began anew knows less than the reader.
	if text, next, _ = n.read(k, 5000); text != n.all(k) || next != 119 {
		t.Errorf("behind the end: %q, then %d", text, next)
	}
}

// An agent that is started again counts from 0; who reads does not see that.
func TestNodeLogGoesOnWithTheNextRun(t *testing.T) {
	var n nodeLogs
	k := node("c", 0)
	n.begin(k)
	n.add(k, 0, "first run\n")
	_, next, more := n.read(k, 0)
	n.begin(k)
	select {
	case <-more:
		t.Error("woken for nothing")
	default:
	}
	n.add(k, 0, "second run\n")
	<-more
	n.add(k, 11, "goes on\n")
	if text, _, _ := n.read(k, next); text != "second run\ngoes on\n" {
		t.Errorf("%q", text)
	}
}

// A broker that is started again knows nothing: readers and the node go on
// where they were.
func TestNodeLogAfterARestart(t *testing.T) {
	var n nodeLogs
	k := node("c", 0)
	if text, next, _ := n.read(k, 700); text != "" || next != 700 {
		t.Errorf("%q, then %d", text, next)
	}
	n.add(k, 700, "goes on\n")
	if text, next, _ := n.read(k, 700); text != "goes on\n" || next != 708 {
		t.Errorf("%q, then %d", text, next)
	}
	if got := n.all(k); got != "… 700 bytes left out …\ngoes on\n" {
		t.Errorf("who comes later: %q", got)
	}
}

// However much a node logs, its end is kept and the sums are right.
func TestNodeLogsAreBounded(t *testing.T) {
	var n nodeLogs
	chatty := node("c", 0)
	var offset int64
	for i := range 5000 {
		line := fmt.Sprintf("%d %s\n", i, strings.Repeat("x", i%200))
		n.add(chatty, offset, line)
		offset += int64(len(line))
	}
	text := n.all(chatty)
	if n.size > maxNodeLog || len(text) < maxNodeLog/4 || !strings.HasPrefix(text, "… ") || !strings.Contains(text, "\n4999 ") {
		t.Errorf("%d bytes counted, %d there: %.60q", n.size, len(text), text)
	}
	// One large piece after another: the older keeps its last lines.
	large := strings.Repeat("0123456789abcde\n", 4000)
	n.add(chatty, offset, large)
	n.add(chatty, offset+int64(len(large)), large[:16000])
	if text = n.all(chatty); len(text) < maxNodeLog-1000 || !strings.Contains(text, "left out …\n0123") {
		t.Errorf("%d bytes: %.60q", len(text), text)
	}
	for i := range 1100 {
		n.add(node("d", i), 0, large)
	}
	if n.size > maxNodeLogs || n.order.Len() != len(n.logs) || n.order.Len() < 1000 {
		t.Errorf("%d bytes in %d logs", n.size, n.order.Len())
	}
	if n.all(chatty) != "" || n.all(node("d", 1)) != "" || n.all(node("d", 1099)) == "" {
		t.Error("not those that were written to last are kept")
	}
	n.forget("d")
	if n.size != 0 || n.order.Len() != 0 {
		t.Errorf("%d bytes in %d logs are left", n.size, n.order.Len())
	}
}

// FuzzNodeLog lets nodes send anything: the sums stay right, and a reader who
// goes on where he was sees what a node that keeps the rules sent, in order.
func FuzzNodeLog(f *testing.F) {
	f.Add([]byte("ab\ncd\n"), int64(0), int64(3))
	f.Add([]byte("no line's end"), int64(1<<49), int64(-1))
	f.Fuzz(func(t *testing.T, text []byte, jump, from int64) {
		var n nodeLogs
		k := node("c", 0)
		jump &= 1<<50 - 1
		n.add(k, jump, string(text))
		n.add(k, 0, string(text))
		n.begin(k)
		n.add(k, 0, string(text))
		n.add(k, int64(len(text)), string(text))
		size := 0
		for _, p := range n.find(k).pieces {
			size += pieceCost + len(p.text)
		}
		if size != n.size {
			t.Fatalf("%d bytes counted, %d there", n.size, size)
		}
		got, next, _ := n.read(k, max(0, from))
		if again, end, _ := n.read(k, next); again != "" || end != next {
			t.Fatalf("after %q: %q", got, again)
		}
	})
}

// What is left of a piece does not hold on to what is not.
func TestNodeLogKeepsNoMoreThanItCounts(t *testing.T) {
	var n nodeLogs
	k := node("c", 0)
	large := strings.Repeat("x", 60<<10) + "\n"
	n.add(k, 0, large)
	more := large + "y\n"
	n.add(k, 0, more)
	last := n.find(k).pieces[1].text
	begin := uintptr(unsafe.Pointer(unsafe.StringData(more)))
	if at := uintptr(unsafe.Pointer(unsafe.StringData(last))); last != "y\n" || at >= begin && at < begin+uintptr(len(more)) {
		t.Errorf("%q is a part of what was sent", last)
	}
}

// A reader makes nothing of what is forgotten, and is told to look again.
func TestNodeLogIsNotMadeByReaders(t *testing.T) {
	var n nodeLogs
	k := node("c", 0)
	n.expect(k)
	_, _, more := n.read(k, 0)
	n.forget("c")
	<-more
	text, next, more := n.read(k, 7)
	if <-more; text != "" || next != 7 || len(n.logs) != 0 || n.order.Len() != 0 {
		t.Errorf("%q, then %d; %d logs", text, next, len(n.logs))
	}
}
