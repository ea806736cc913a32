package agent

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"nimbus/broker/wire"
)

// Pauses between attempts to reach the broker, and how often it is said that
// it still cannot be reached.
const (
	firstPause = 200 * time.Millisecond
	maxPause   = 15 * time.Second
	sayAgain   = 2 * time.Minute
)

// A backoff makes pauses that grow, each a little different, so that a
// thousand nodes do not come back at the same moment.
type backoff struct{ next time.Duration }

func (b *backoff) pause(ctx context.Context) error {
	b.next = min(max(b.next, firstPause), maxPause)
	timer := time.NewTimer(b.next/2 + rand.N(b.next/2))
	defer timer.Stop()
	b.next *= 2
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// persist repeats a request until the broker answers, yes or no, however long
// that takes; only the context ends it before.
func persist(ctx context.Context, log *slog.Logger, what string, request func(context.Context) error) error {
	var b backoff
	var said time.Time
	for {
		err := request(ctx)
		if err == nil || wire.Final(err) {
			if !said.IsZero() {
				log.Info("the broker answers again")
			}
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Since(said) > sayAgain {
			log.Warn(fmt.Sprintf("%s: no answer yet, trying again: %v", what, err))
			said = time.Now()
		}
		if err := b.pause(ctx); err != nil {
			return err
		}
	}
}
