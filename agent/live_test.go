package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nimbus/broker/wire"
)

// A watcher takes pieces as the broker does.
type watcher struct {
	mu     sync.Mutex
	pieces []wire.LogText
	at     []time.Time
	err    error
}

func (w *watcher) send(ctx context.Context, piece wire.LogText) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	w.pieces = append(w.pieces, piece)
	w.at = append(w.at, time.Now())
	return ctx.Err()
}

// text joins the pieces, with the gaps that are in them.
func (w *watcher) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var b strings.Builder
	next := int64(0)
	for _, p := range w.pieces {
		if p.Offset != next {
			fmt.Fprintf(&b, "<%d>", p.Offset-next)
		}
		b.WriteString(p.Text)
		next = p.Offset + int64(len(p.Text))
	}
	return b.String()
}

// sending logs into a live log in a bubble.
func sending(t *testing.T, w *watcher, story func(t *testing.T, l *liveLog, log *slog.Logger, console *bytes.Buffer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var console bytes.Buffer
		sink := NewLog(&console, slog.LevelInfo)
		s := &session{sink: sink, client: &wire.NodeClient{}}
		log := slog.New(sink)
		log.Info("before")
		s.watched(t.Context())
		s.live.send = w.send
		story(t, s.live, log, &console)
		s.unwatched()
	})
}

func TestLiveLog(t *testing.T) {
	var w watcher
	sending(t, &w, func(t *testing.T, l *liveLog, log *slog.Logger, console *bytes.Buffer) {
		began := time.Now()
		for i := range 50 {
			log.Info(fmt.Sprint("line ", i))
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(time.Minute) // nothing new, nothing sent
		log.Info("the end")
		l.rest(t.Context())
		if got := w.text(); got != console.String() {
			t.Errorf("sent:\n%s\nlogged:\n%s", got, console.String())
		}
		if n := len(w.pieces); n < 4 || n > 6 {
			t.Errorf("%d pieces", n)
		}
		for i, at := range w.at[:len(w.at)-1] {
			if at.Sub(began) < time.Second {
				t.Errorf("piece %d after %v", i, at.Sub(began))
			}
			began = at
		}
	})
}

// A node that is done at once sends nothing.
func TestFastNodeSendsNoLog(t *testing.T) {
	var w watcher
	sending(t, &w, func(t *testing.T, l *liveLog, log *slog.Logger, _ *bytes.Buffer) {
		log.Info("done")
		time.Sleep(900 * time.Millisecond)
		l.rest(t.Context())
	})
	if len(w.pieces) != 0 {
		t.Errorf("sent %+v", w.pieces)
	}
}

// Who logs more than can be kept leaves some out, in whole lines; what gets
// lost on the way is sent again.
func TestLiveLogThatCannotKeepUp(t *testing.T) {
	w := watcher{err: errors.New("network is down")}
	sending(t, &w, func(t *testing.T, l *liveLog, log *slog.Logger, console *bytes.Buffer) {
		log.Info("few words")
		time.Sleep(3 * time.Second)
		w.mu.Lock()
		w.err = nil
		w.mu.Unlock()
		time.Sleep(2 * time.Second)
		if w.text() != console.String() {
			t.Fatalf("sent:\n%s\nlogged:\n%s", w.text(), console.String())
		}
		for i := range 3000 {
			log.Info(fmt.Sprint("one of many words ", i))
		}
		l.rest(t.Context())
		last := w.pieces[len(w.pieces)-1]
		before := console.String()[:last.Offset]
		if len(last.Text) < maxTail || len(last.Text) > wire.MaxLog || !strings.HasSuffix(before, "\n") || before+last.Text != console.String() {
			t.Errorf("%d bytes at %d of %d: %.80q", len(last.Text), last.Offset, console.Len(), last.Text)
		}
	})
}

// A broker that wants no logs is not asked again.
func TestLiveLogThatNobodyWants(t *testing.T) {
	w := watcher{err: wire.Errorf(wire.NotFound, "there is no such call here")}
	asked := 0
	sending(t, &w, func(t *testing.T, l *liveLog, log *slog.Logger, _ *bytes.Buffer) {
		l.send = func(ctx context.Context, piece wire.LogText) error { asked++; return w.send(ctx, piece) }
		for range 60 {
			log.Info("words")
			time.Sleep(time.Second)
		}
	})
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}

// What a slow script prints is at the broker while it runs, all of it before
// the report, and without secrets.
func TestSlowScriptIsWatched(t *testing.T) {
	b := newBroker(t)
	m := newMachine(t, b)
	b.log = func(n int) any {
		if n == 0 {
			m.put(t, "seen", "")
		}
		return done{}
	}
	b.report = func(int) any {
		b.mutex.Lock()
		defer b.mutex.Unlock()
		if len(b.pieces) == 0 || !strings.Contains(b.pieces[len(b.pieces)-1].Text, "all steps are done") {
			t.Errorf("reported before the log was there: %+v", b.pieces)
		}
		return done{}
	}
	m.script(t, "3-data/greeting", `echo "taking my time"; cat "$1"; cat `+m.root+`/var/nimbus/ctx-1/claim
until [ -e `+m.root+`/seen ]; do sleep 0.01; done; echo "seen"`)
	if err := m.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, p := range b.pieces {
		all.WriteString(p.Text)
	}
	if !strings.Contains(b.pieces[0].Text, "taking my time") || !strings.Contains(all.String(), "greeting: seen") || !strings.Contains(all.String(), "[secret]") {
		t.Errorf("sent:\n%s", all.String())
	}
	if claim := strings.TrimSpace(m.read("var/nimbus/ctx-1/claim")); strings.Contains(all.String(), claim) {
		t.Error("the claim was sent")
	}
}
