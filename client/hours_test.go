package client

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nimbus/broker/wire"
)

func TestNearEnd(t *testing.T) {
	created := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		hours, left time.Duration
		want        bool
	}{
		{time.Hour, 7 * time.Minute, false},
		{time.Hour, 5 * time.Minute, true},
		{10 * time.Hour, 11 * time.Minute, false},
		{10 * time.Hour, 9 * time.Minute, true},
		{time.Minute, 10 * time.Second, false},
		{time.Minute, time.Second, true},
		{time.Hour, -time.Second, false},
	} {
		if got := endsSoon(created.Add(c.hours-c.left), created, created.Add(c.hours)); got != c.want {
			t.Errorf("%v of %v left: %v", c.left, c.hours, got)
		}
	}
}

// The hours end while a run waits: it warns in time, and does not say that the
// instances were lost.
func TestHoursThatEndDuringARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot(func(string) *wire.Report { return nil })
		time.AfterFunc(30*time.Minute, func() {
			_ = w.cloud.Terminate(context.Background(), w.instances())
		})
		w.expect(1, []string{"run", "--cluster", w.path("hello.xml"), "--hours", "0.5", "--timeout", "40"},
			"Everything ends after 30 min (--hours), though up to 40 min may be waited for it (--timeout).\n",
			"To give it more time:\n  nimbus extend --handle cluster-001 --hours 1\n",
			"error: cluster-001: its hours are over: it ended by itself at", "hint: launch it with more --hours")
		if n := strings.Count(w.stderr.String(), "To give it more time"); n != 1 {
			t.Errorf("warned %d times", n)
		}
		w.nothingLeft()
	})
}

// Another command extends the hours: the run goes by the new ones, and warns
// again before those end.
func TestHoursThatAreExtendedDuringARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot(func(string) *wire.Report { return nil })
		start := time.Now()
		time.AfterFunc(28*time.Minute, func() {
			_ = w.cloud.Extend(context.Background(), w.instances()[0].Launch, start.Add(time.Hour))
		})
		time.AfterFunc(58*time.Minute, func() {
			for _, i := range w.instances() {
				w.broker.report("ctx1", i.Token, wire.Report{OK: true})
			}
		})
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml"), "--hours", "0.5", "--timeout", "90"},
			"cluster-001 ends by itself at "+start.Add(time.Hour).Local().Format("2006-01-02 15:04:05"))
		if n := strings.Count(w.stderr.String(), "To give it more time"); n != 2 {
			t.Errorf("warned %d times:\n%s", n, w.stderr.String())
		}
	})
}

func TestStatusSaysThatTheHoursEndSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.expect(0, []string{"run", "--cluster", w.path("plain.xml"), "--hours", "1"})
		time.Sleep(50 * time.Minute)
		for _, args := range [][]string{{"status"}, {"status", "--handle", "cluster-001"}} {
			w.expect(0, args)
			if strings.Contains(w.stderr.String(), "extend") {
				t.Errorf("too early: %s", w.stderr.String())
			}
		}
		time.Sleep(5 * time.Minute)
		for _, args := range [][]string{{"status"}, {"status", "--handle", "cluster-001"}} {
			w.expect(0, args, "cluster-001 ends by itself in 5 min, at", "nimbus extend --handle cluster-001 --hours 1\n")
		}
	})
}
