package client

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"nimbus/broker/wire"
	"nimbus/cloud"
)

// A Ctrl-C may come at any moment of a run. It is answered with what there is,
// and nothing is left.
func TestCtrlCAtEveryMoment(t *testing.T) {
	for _, moment := range []struct {
		name string
		when func(w *world, press func())
		want string
	}{
		{"while the cloud prepares", func(w *world, press func()) {
			w.cloud.OnPrepare = func(ctx context.Context, _ cloud.Preparation) error {
				press()
				<-ctx.Done()
				return ctx.Err()
			}
		}, "Interrupted: no instance of cluster-001 has been launched. Undoing what was prepared. Press Ctrl-C again"},
		{"while the broker is started", func(w *world, press func()) {
			w.change = func(e *Env) {
				e.EnsureBroker = func(ctx context.Context, _, _ string) (Broker, error) {
					press()
					<-ctx.Done()
					return nil, ctx.Err()
				}
			}
		}, "Interrupted: no instance of cluster-001 has been launched."},
		{"while instances start", func(w *world, press func()) {
			w.cloud.OnLaunch = func(ctx context.Context, n int, _ cloud.Request) error {
				if n == 3 {
					press()
					<-ctx.Done()
				}
				return ctx.Err()
			}
		}, "Interrupted: 3 instances of cluster-001 are being launched. Ending those that have started and the context."},
		{"while nodes join", func(w *world, press func()) {
			time.AfterFunc(time.Minute, press)
		}, "Interrupted: 3 instances of cluster-001 are running. Ending them and the context."},
		{"while a failed run is looked into", func(w *world, press func()) {
			w.boot(func(string) *wire.Report { return &wire.Report{Step: "x", Code: 1} })
			w.cloud.OnTerminate = func(context.Context, []cloud.Instance) error {
				press()
				synctest.Wait()
				return nil
			}
		}, "Interrupted: 3 instances of cluster-001 are being ended already."},
	} {
		t.Run(moment.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.boot(func(string) *wire.Report { return nil })
				ctx, cancel := context.WithCancel(t.Context())
				moment.when(w, cancel)
				code := w.runContext(ctx, "run", "--cluster", w.path("hello.xml"))
				if code != exitInterrupted && moment.name != "while a failed run is looked into" {
					t.Errorf("exit code %d", code)
				}
				out := w.stderr.String()
				if n := strings.Count(out, "Interrupted: "); n != 1 || !strings.Contains(out, moment.want) {
					t.Errorf("explained %d times, want %q in\n%s", n, moment.want, out)
				}
				if !strings.Contains(out, "Destroyed 'cluster-001'") {
					t.Errorf("it did not back out:\n%s", out)
				}
				w.nothingLeft()
			})
		})
	}
}

// A cluster that is complete is not thrown away for an interrupt that came a
// moment too late.
func TestCtrlCWhileReportsAreWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot(allOK)
		ctx, cancel := context.WithCancel(t.Context())
		w.change = func(e *Env) {
			e.EnsureBroker = func(context.Context, string, string) (Broker, error) {
				return pressingBroker{w.broker, cancel}, nil
			}
		}
		w.expectContext(ctx, 0, []string{"run", "--cluster", w.path("hello.xml")},
			"Interrupted: cluster-001 is complete and stays; its reports are being written.", "ssh root@192.0.2.1")
		if n := len(w.instances()); n != 3 {
			t.Errorf("%d instances are left", n)
		}
	})
}

// A pressingBroker is interrupted while it lists the nodes.
type pressingBroker struct {
	Broker
	press func()
}

func (b pressingBroker) Nodes(ctx context.Context, id string) ([]wire.Node, error) {
	b.press()
	synctest.Wait()
	return b.Broker.Nodes(ctx, id)
}

// Who leaves at once is told what is left, programs are told once.
func TestSecondCtrlCSaysWhatIsLeft(t *testing.T) {
	for _, c := range []struct {
		stuck func(w *world, stuck chan struct{})
		want  string
		state string
		known int // instances in the record
	}{
		{func(w *world, stuck chan struct{}) {
			w.cloud.OnPrepare = func(context.Context, cloud.Preparation) error { <-stuck; return nil }
		}, "interrupted twice: no instance of cluster-001 was launched, but networks or a context of it may be there", "launching", 0},
		{func(w *world, stuck chan struct{}) {
			w.cloud.OnLaunch = func(context.Context, int, cloud.Request) error { <-stuck; return nil }
		}, "interrupted twice: up to 3 instances of cluster-001 may be running", "launching", 0},
		{func(w *world, stuck chan struct{}) {
			w.cloud.OnTerminate = func(context.Context, []cloud.Instance) error { <-stuck; return nil }
		}, "interrupted twice: some of 3 instances of cluster-001 may be running", "failed", 3},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.boot(func(string) *wire.Report { return nil })
			stuck := make(chan struct{})
			c.stuck(w, stuck)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Minute, cancel)
			time.AfterFunc(2*time.Minute, func() { close(w.again) })
			w.expectContext(ctx, exitInterrupted, []string{"run", "--json", "--cluster", w.path("hello.xml")},
				"Leaving at once.", c.want, "hint: to clean up: nimbus terminate --handle cluster-001")
			said := w.stdout.String()
			close(stuck)
			synctest.Wait()
			if w.stdout.String() != said {
				t.Error("a second result was printed")
			}
			var result Result
			if err := json.Unmarshal([]byte(said), &result); err != nil || result.State != c.state || result.Error != c.want || result.Terminate == "" ||
				result.Cloud != "local" || result.Created.IsZero() || result.Expires.IsZero() || result.Instances == nil || len(result.Instances) != c.known {
				t.Errorf("%v: %s", err, said)
			}
		})
	}
}

// A client that is told to end leaves its cluster alone, and says how to go on.
func TestSignalsThatLeave(t *testing.T) {
	for _, c := range []struct {
		signal syscall.Signal
		when   func(w *world, send func())
		wants  []string
	}{
		{syscall.SIGTERM, func(w *world, send func()) { time.AfterFunc(time.Minute, send) },
			[]string{"error: told to end (terminated): 3 instances of cluster-001 are running", "hint: to go on waiting for it: nimbus resume --handle cluster-001"}},
		{syscall.SIGHUP, func(w *world, send func()) {
			w.cloud.OnLaunch = func(ctx context.Context, n int, _ cloud.Request) error {
				if n == 2 {
					send()
					<-ctx.Done()
				}
				return ctx.Err()
			}
		}, []string{"error: told to end (hangup): up to 3 instances of cluster-001 may be running", "hint: to clean up: nimbus terminate --handle cluster-001"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.boot(func(string) *wire.Report { return nil })
			signals := make(chan os.Signal, 1)
			w.change = func(e *Env) { e.Leave = func() (<-chan os.Signal, func()) { return signals, func() {} } }
			c.when(w, func() { signals <- c.signal })
			ctx, cancel := context.WithCancel(t.Context())
			w.expectContext(ctx, 128+int(c.signal), []string{"run", "--cluster", w.path("hello.xml")}, c.wants...)
			if n := len(w.instances()); n == 0 {
				t.Error("the launch was ended")
			}
			for log, want := range map[string]string{"run-log.txt": "This client was told to end", "run-debug-log.txt": "what was launched goes on"} {
				if text := w.read("state/history/cluster-001/" + log); !strings.Contains(text, want) {
					t.Errorf("%s:\n%s", log, text)
				}
			}
			cancel() // the process would be gone
			synctest.Wait()
		})
	}
}

func TestCtrlCWhileTerminating(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for range 3 {
			w.expect(0, []string{"run", "--cluster", w.path("plain.xml")})
		}
		ctx, cancel := context.WithCancel(t.Context())
		w.cloud.OnTerminate = func(ctx context.Context, _ []cloud.Instance) error {
			cancel()
			synctest.Wait()
			return ctx.Err()
		}
		w.expectContext(ctx, exitInterrupted, []string{"terminate", "--all"},
			"Interrupted: 2 instances of cluster-001 are being ended, and that is seen through", "Terminated 'cluster-001'\n",
			"error: interrupted: cluster-002, cluster-003 not terminated", "hint: to go on: nimbus terminate --handle cluster-002 --handle cluster-003")
		if n := len(w.instances()); n != 4 {
			t.Errorf("%d instances are left", n)
		}

		stuck := make(chan struct{})
		w.cloud.OnTerminate = func(context.Context, []cloud.Instance) error { <-stuck; return nil }
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		time.AfterFunc(2*time.Minute, func() { close(w.again) })
		w.expectContext(ctx, exitInterrupted, []string{"terminate", "--all"}, "Leaving at once.", "hint: to go on: nimbus terminate --all")
		close(stuck)
		synctest.Wait()
	})
}

func TestInterruptHintsInClassicStyle(t *testing.T) {
	s := &session{env: &Env{Command: "bin/cloud-client.sh", Classic: true}}
	for action, want := range map[string]string{"terminate": "bin/cloud-client.sh --terminate --handle x", "resume": "bin/nimbus resume --handle x"} {
		if got := s.command(action, "--handle", "x"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestMomentsWithKeep(t *testing.T) {
	for s, want := range map[step]string{
		preparing: "no instance of x has been launched. Press",
		launching: "5 instances of x are being launched. Those that have started stay (--keep). Press",
		waiting:   "1 instance of x is running, and stay (--keep). Press",
	} {
		if got := (moment{step: s, asked: 5, instances: 1}).interrupted("x", true); !strings.HasPrefix(got, fmt.Sprint("Interrupted: ", want)) {
			t.Errorf("%s", got)
		}
	}
}
