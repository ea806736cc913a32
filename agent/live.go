package agent

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"nimbus/broker/wire"
)

// How the log is sent to those who watch.
const (
	liveBegin = time.Second     // a node that is done sooner sends nothing
	livePause = time.Second     // between two pieces
	liveLimit = 5 * time.Second // for a piece
	liveLast  = 2 * time.Second // for the last one, on which the report waits
)

// A liveLog sends what the agent logs to the broker while scripts run. It
// never keeps the work waiting: what cannot be sent in time is left out.
type liveLog struct {
	log   *Log
	send  func(context.Context, wire.LogText) error
	stop  context.CancelFunc
	ended sync.WaitGroup

	mutex sync.Mutex // held while a piece is on its way
	begun bool
	sent  int64 // so far, in bytes of the log
}

// watched starts to send the log, once.
func (s *session) watched(ctx context.Context) {
	if s.live != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	s.live = &liveLog{log: s.sink, send: s.client.Log, stop: cancel}
	s.live.ended.Go(func() { s.live.run(ctx) })
}

// unwatched ends that.
func (s *session) unwatched() {
	if s.live != nil {
		s.live.end()
	}
}

func (l *liveLog) end() {
	l.stop()
	l.ended.Wait()
}

func (l *liveLog) run(ctx context.Context) {
	for pause := liveBegin; ; pause = livePause {
		timer := time.NewTimer(pause + rand.N(pause/4)) // a thousand nodes begin together
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		if !l.piece(ctx, liveLimit) {
			return
		}
	}
}

// piece sends what is new. It returns false when the broker wants no more.
func (l *liveLog) piece(ctx context.Context, limit time.Duration) bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.begun = true
	text, offset := l.log.Since(l.sent)
	if text == "" {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := l.send(ctx, wire.LogText{Offset: offset, Text: text})
	if err == nil {
		l.sent = offset + int64(len(text))
	}
	return !wire.Final(err) // one that got lost is sent again with what follows
}

// rest sends the end of the log, if it was begun to be sent; l may be nil. It
// is tried once: the report has more patience.
func (l *liveLog) rest(ctx context.Context) {
	if l == nil {
		return
	}
	l.end()
	if l.begun {
		l.piece(ctx, liveLast)
	}
}
