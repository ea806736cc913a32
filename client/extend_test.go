package client

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nimbus/broker/wire"
	"nimbus/client/history"
	"nimbus/cloud"
)

// narrow is a driver that can only do what every driver can.
type narrow struct{ cloud.Driver }

// end is when a launch ends, as its record says.
func (w *world) end(handle string) time.Time {
	w.t.Helper()
	var record history.Record
	if err := json.Unmarshal([]byte(w.read("state/history/"+handle+"/launch.json")), &record); err != nil {
		w.t.Fatal(err)
	}
	return record.Expires
}

func TestExtend(t *testing.T) {
	inWorld(t, func(w *world) {
		launched := time.Now()
		time.Sleep(time.Hour) // of the bubble's clock
		w.expect(0, []string{"extend", "--hours", "3"}, "cluster-001 ends by itself at ", "in 3 h. To end it now:\n  nimbus terminate --handle cluster-001\n")
		want := launched.Add(4 * time.Hour)
		for _, i := range w.instances() {
			if !i.Expires.Equal(want) {
				t.Errorf("%s ends at %v, want %v", i.Name, i.Expires, want)
			}
		}
		if got := w.broker.contexts["ctx1"].create.Expires; !got.Equal(want.Add(graceOfContext)) {
			t.Errorf("the context ends at %v", got)
		}
		time.Sleep(150 * time.Minute)
		if got := w.end("cluster-001"); !got.Equal(want) {
			t.Errorf("the record says %v, want %v", got, want)
		}
		// Less time is allowed, too.
		w.expect(0, []string{"extend", "--json", "--handle", "cluster-001", "--hours", "0.1"})
		var e Extension
		if err := json.Unmarshal(w.stdout.Bytes(), &e); err != nil || !e.Before.Equal(want) || !e.Expires.Equal(time.Now().Add(6*time.Minute)) {
			t.Errorf("%v: %s", err, w.stdout.String())
		}
		time.Sleep(10 * time.Minute)
		w.expect(1, []string{"extend", "--handle", "cluster-001", "--hours", "1"}, "cluster-001 ended by itself at ")
		w.expect(1, []string{"extend", "--hours", "1"}, "nothing runs")
	})
}

func TestExtendRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		w.expect(1, []string{"extend"}, "give the hours")
		w.expect(1, []string{"extend", "--hours", "soon"}, `--hours "soon" is no length of time`)
		w.expect(1, []string{"extend", "--hours", "-1"}, `--hours "-1" is no length of time`)
		w.expect(1, []string{"extend", "--hours", "1", "cluster-001"}, "did you mean --handle cluster-001?")
		w.cloud.OnList = func(context.Context, string) error { return errors.New("the API is down") }
		w.expect(2, []string{"extend", "--hours", "1"}, `cloud "local": the API is down`)
		w.cloud.OnList = nil
		w.broker.extendErr = wire.Errorf(wire.BadRequest, "a context must expire within a year")
		w.expect(2, []string{"extend", "--hours", "9000"}, "broker: a context must expire within a year", "nothing has changed")
		w.broker.extendErr = nil
		if got := w.end("cluster-001"); !got.Equal(time.Now().Add(2 * time.Hour)) {
			t.Errorf("something changed: it ends at %v", got)
		}
		if err := w.cloud.Terminate(w.t.Context(), w.instances()); err != nil {
			t.Fatal(err)
		}
		w.expect(1, []string{"extend", "--hours", "1"}, "nothing of cluster-001 runs any more")
		w.expect(0, []string{"terminate", "--handle", "cluster-001"})
		w.expect(1, []string{"extend", "--handle", "cluster-001", "--hours", "1"}, "cluster-001 was terminated")
	})
}

// Machines may go on without a broker.
func TestExtendWithoutABroker(t *testing.T) {
	inWorld(t, func(w *world) {
		w.runs = false
		w.expect(0, []string{"extend", "--hours", "3"}, "The broker could not be told", "no broker runs", "in 3 h.")
	})
}

// A context that was to outlive its machines by far is not cut short.
func TestExtendKeepsALongerContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot(allOK)
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml"), "--expires", "100"})
		want := w.broker.contexts["ctx1"].create.Expires
		w.expect(0, []string{"extend", "--hours", "2"})
		if got := w.broker.contexts["ctx1"].create.Expires; !got.Equal(want) {
			t.Errorf("the context ends at %v, want %v", got, want)
		}
	})
}

// A run that waits holds the launch; its time can be given all the same, and
// what the run saves later does not take it back.
func TestExtendWhileARunWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot(func(string) *wire.Report { return nil })
		other := *w
		extended := make(chan int, 1)
		time.AfterFunc(time.Minute, func() {
			extended <- other.run("extend", "--hours", "5")
			for _, node := range []string{"front-0", "back-0", "back-1"} {
				w.broker.report("ctx1", node, wire.Report{OK: true})
			}
		})
		began := time.Now()
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml"), "--hours", "1"})
		if code := <-extended; code != 0 {
			t.Fatalf("exit code %d\n%s", code, other.stderr.String())
		}
		end := clock(began.Add(5*time.Hour + time.Minute))
		if !strings.Contains(w.stdout.String(), "cluster-001 ends by itself at "+end) {
			t.Errorf("not at %s:\n%s", end, w.stdout.String())
		}
		if got := w.end("cluster-001"); clock(got) != end {
			t.Errorf("the record says %v", got)
		}
	})
}

// While machines are being started it has no sense.
func TestExtendWhileLaunching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot(allOK)
		other := *w
		w.cloud.OnLaunch = func(_ context.Context, n int, _ cloud.Request) error {
			if n == 2 {
				if code := other.run("extend", "--hours", "5"); code != 2 || !strings.Contains(other.stderr.String(), "cluster-001 is being launched") {
					t.Errorf("exit code %d\n%s", code, other.stderr.String())
				}
			}
			return nil
		}
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml")})
	})
}
