package ssh

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Over a slow way the question whether a host is alive waits behind what is
// being copied to it: while it takes that, it is.
func TestAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &connection{heard: &heard{}, dead: make(chan struct{})}
		go func() {
			for range 30 {
				time.Sleep(aliveEvery / 3)
				c.heard.bytes.Add(1)
			}
		}()
		begun := time.Now()
		if c.answers(make(chan error)) {
			t.Error("without an answer it is alive")
		}
		if took := time.Since(begun); took < 10*aliveEvery || took > 12*aliveEvery {
			t.Errorf("it was given up after %v", took)
		}
		for _, err := range []error{nil, errors.New("the connection broke")} {
			answer := make(chan error, 1)
			answer <- err
			if alive := c.answers(answer); alive != (err == nil) {
				t.Errorf("%v: %v", err, alive)
			}
		}
	})
}
