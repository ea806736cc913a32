package client

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"nimbus/broker/cluster"
	"nimbus/broker/wire"
	"nimbus/client/deploy"
	"nimbus/client/history"
	"nimbus/cloud"
	"nimbus/cloud/cloudtest"
)

// edit changes the record of a launch, as a client that died elsewhere would
// have left it.
func (w *world) edit(handle string, change func(*history.Record)) {
	w.t.Helper()
	h, err := history.Open(w.path("state/history"))
	if err != nil {
		w.t.Fatal(err)
	}
	l, err := h.Get(handle)
	if err != nil {
		w.t.Fatal(err)
	}
	record, err := l.Record()
	if err != nil {
		w.t.Fatal(err)
	}
	change(&record)
	if err := l.Save(record); err != nil {
		w.t.Fatal(err)
	}
}

// died runs a cluster whose client dies while it waits: nodes have joined and
// will not be ok before report is called for them.
func died(t *testing.T, args []string, story func(w *world, report func(node string, r wire.Report))) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot(func(string) *wire.Report { return nil })
		stuck := make(chan struct{})
		w.cloud.OnTerminate = func(context.Context, []cloud.Instance) error { <-stuck; return nil }
		before := *w
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		time.AfterFunc(2*time.Minute, func() { close(before.again) })
		before.expectContext(ctx, 130, append([]string{"run", "--cluster", w.path("hello.xml"), "--hours", "2"}, args...), "Leaving at once.")
		w.again = make(chan struct{})
		if err := os.Remove(w.path("state/history/cluster-001/lock")); err != nil { // of a process that is no more
			t.Fatal(err)
		}
		synctest.Wait() // it does nothing more
		w.cloud.OnTerminate = nil
		story(w, func(node string, r wire.Report) { w.broker.report("ctx1", node, r) })
		w.cloud.OnTerminate = func(context.Context, []cloud.Instance) error { return errors.New("that client is dead") }
		close(stuck)
		synctest.Wait()
	})
}

func allNodesOK(report func(string, wire.Report)) {
	for _, node := range []string{"front-0", "back-0", "back-1"} {
		report(node, wire.Report{OK: true})
	}
}

// What a resumed run says and leaves is what its run would have.
func TestResumeFinishesTheRun(t *testing.T) {
	died(t, nil, func(w *world, report func(string, wire.Report)) {
		time.AfterFunc(15*time.Minute, func() { allNodesOK(report) }) // the timeout counts anew
		w.expect(0, []string{"resume"})
		want := `Resuming cluster-001, launched 2 min ago.

Waiting for launch updates.
  - cluster-001: all members are Running
  - wrote reports to 'HOME/state/history/cluster-001/reports-vm'

Waiting for context broker updates.
`
		got := strings.ReplaceAll(w.stdout.String(), w.home, "HOME")
		if !strings.HasPrefix(got, want) {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		for _, part := range []string{"  - cluster-001: contextualized\n", "reports-ctx/CTX-OK.txt'", "SSH trusts new key for back-1.cluster-001  [[ back #1 ]]",
			"  ssh root@192.0.2.1  # front-0\n", "nimbus terminate --handle cluster-001\n"} {
			if !strings.Contains(got, part) {
				t.Errorf("%q is missing from\n%s", part, got)
			}
		}
		if log := w.read("state/history/cluster-001/run-002-log.txt"); !strings.Contains(log, "cluster-001: contextualized") {
			t.Errorf("run-002-log.txt:\n%s", log)
		}
		if hosts := w.read(".ssh/known_hosts"); !strings.Contains(hosts, "front-0.cluster-001,192.0.2.1 "+hostKey(1)) {
			t.Errorf("known_hosts:\n%s", hosts)
		}
		w.expect(0, []string{"status"}, "cluster-001  ok")
		// Once more is no harm.
		w.expect(0, []string{"resume"}, "cluster-001 is ok already.\n\nTo log in:\n  ssh root@192.0.2.1  # front-0\n")
		w.expect(0, []string{"terminate", "--handle", "cluster-001"}, "ended 3 instances")
		if _, err := os.Stat(w.path(".ssh/known_hosts")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("known_hosts stays: %v", err)
		}
		w.expect(1, []string{"resume", "--handle", "cluster-001"}, "cluster-001 was terminated: there is nothing to resume", "nimbus run --cluster")
		w.expect(1, []string{"resume"}, "nothing runs")
	})
}

func TestResumeFailsAsTheRunWould(t *testing.T) {
	failing := func(report func(string, wire.Report)) func() {
		return func() { report("back-1", wire.Report{Step: "2-thishost/worker", Code: 3, Log: "no space left\n"}) }
	}
	t.Run("backs out", func(t *testing.T) {
		died(t, nil, func(w *world, report func(string, wire.Report)) {
			time.AfterFunc(time.Minute, failing(report))
			w.expect(1, []string{"resume", "--handle", "cluster-001"}, "      | no space left\n", "CTX-ERR.txt'", "Destroyed 'cluster-001'",
				"nimbus: error: cluster-001: node back-1: 2-thishost/worker failed with exit code 3\n")
			w.nothingLeft()
			w.expect(0, []string{"status"}, "cluster-001  failed")
			w.expect(1, []string{"resume", "--handle", "cluster-001"}, "cluster-001 failed, and was ended")
		})
	})
	for name, c := range map[string]struct {
		run  bool
		args []string
	}{"the run said keep": {run: true}, "resume said keep": {args: []string{"--keep"}}} {
		t.Run(name, func(t *testing.T) {
			died(t, nil, func(w *world, report func(string, wire.Report)) {
				w.edit("cluster-001", func(r *history.Record) { r.Run.Keep = c.run })
				time.AfterFunc(time.Minute, failing(report))
				w.expect(1, append([]string{"resume"}, c.args...), "cluster-001 stays as it is (--keep)")
				// Still failing: told again, and still kept, whatever was recorded.
				w.edit("cluster-001", func(r *history.Record) { r.Run = nil })
				w.expect(1, []string{"resume"}, "node back-1: 2-thishost/worker failed", "cluster-001 stays as it is")
				if len(w.instances()) != 3 {
					t.Error("something was ended")
				}
				// Made ok by hand, it becomes a cluster like any other.
				allNodesOK(report)
				w.expect(0, []string{"resume"}, "contextualized", "SSH trusts new key for front-0.cluster-001")
				w.expect(0, []string{"status"}, "cluster-001  ok")
			})
		})
	}
}

func TestResumeTimesOutByItsOwnClock(t *testing.T) {
	for _, c := range []struct {
		args []string
		want time.Duration
	}{{nil, 7 * time.Minute}, {[]string{"--timeout", "3"}, 3 * time.Minute}} {
		died(t, []string{"--timeout", "7"}, func(w *world, _ func(string, wire.Report)) {
			start := time.Now()
			w.expect(1, append([]string{"resume"}, c.args...), "cluster-001 was not ready after "+spanText(c.want), "Destroyed")
			if took := time.Since(start); took != c.want {
				t.Errorf("%v: it took %v", c.args, took)
			}
			w.nothingLeft()
		})
	}
}

func TestResumeCtrlCBacksOut(t *testing.T) {
	died(t, nil, func(w *world, _ func(string, wire.Report)) {
		ctx, cancel := context.WithCancel(w.t.Context())
		time.AfterFunc(time.Minute, cancel)
		w.expectContext(ctx, 130, []string{"resume"}, "Interrupted: ", "Destroyed 'cluster-001'")
		w.nothingLeft()
	})
}

// The cloud is the truth about what was launched.
func TestResumeFindsWhatTheRecordLacks(t *testing.T) {
	died(t, nil, func(w *world, report func(string, wire.Report)) {
		w.edit("cluster-001", func(r *history.Record) { r.State, r.Instances = history.Launching, nil })
		allNodesOK(report)
		w.expect(0, []string{"resume"}, "contextualized", "ssh root@192.0.2.3")
		var record history.Record
		if err := json.Unmarshal([]byte(w.read("state/history/cluster-001/launch.json")), &record); err != nil {
			t.Fatal(err)
		}
		var nodes []string
		for _, i := range record.Instances {
			nodes = append(nodes, i.Node)
		}
		if want := []string{"front-0", "back-0", "back-1"}; !slices.Equal(nodes, want) {
			t.Errorf("%v", nodes)
		}
	})
}

func TestResumeOfHalfALaunch(t *testing.T) {
	for name, c := range map[string]struct {
		gone   int // instances that the cloud does not have, the last ones
		change func(*history.Record)
		code   int
		want   string
	}{
		"before the context":      {3, func(r *history.Record) { r.State, r.Instances, r.Context = history.Launching, nil, nil }, 2, "cluster-001: its run ended before anything was launched"},
		"before any instance":     {3, func(r *history.Record) { r.State, r.Instances = history.Launching, nil }, 2, "its run ended before anything was launched"},
		"between two instances":   {1, func(r *history.Record) { r.State, r.Instances = history.Launching, nil }, 2, "its run ended when 2 of 3 instances were launched"},
		"an instance is gone":     {1, func(*history.Record) {}, 1, "the instance of back-1 is gone (the cloud does not know it any more)"},
		"while it was backed out": {3, func(*history.Record) {}, 1, "the instance of front-0 is gone"},
	} {
		t.Run(name, func(t *testing.T) {
			died(t, nil, func(w *world, _ func(string, wire.Report)) {
				list := w.instances()
				if err := w.cloud.Terminate(w.t.Context(), list[len(list)-c.gone:]); err != nil {
					t.Fatal(err)
				}
				w.edit("cluster-001", c.change)
				if strings.Contains(name, "before the context") {
					if err := w.broker.Delete(w.t.Context(), "ctx1"); err != nil {
						t.Fatal(err)
					}
				}
				w.expect(c.code, []string{"resume"}, c.want, "Destroyed 'cluster-001'")
				w.nothingLeft()
				w.expect(0, []string{"status"}, "cluster-001  failed")
			})
		})
	}
}

func TestInOrder(t *testing.T) {
	def := &cluster.Definition{Workspaces: []cluster.Workspace{{Name: "b", Quantity: 2}, {Name: "a", Quantity: 1}}}
	machines := deploy.Machines([]cloud.Instance{{Token: "a-0"}, {Token: "b-1"}, {Token: "odd"}, {Token: "b-7"}, {Token: "b-0"}})
	var got []string
	for _, m := range inOrder(def, machines) {
		got = append(got, m.Token)
	}
	if want := []string{"b-0", "b-1", "a-0"}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

// A launch that is listed late is not taken for one that was cut off, and a
// cloud that cannot answer now is asked again.
func TestResumeLooksMoreThanOnce(t *testing.T) {
	died(t, nil, func(w *world, report func(string, wire.Report)) {
		allNodesOK(report)
		var looks atomic.Int32
		w.cloud.OnList = func(context.Context, string) error {
			if looks.Add(1) <= 5 {
				return errors.New("the API is down")
			}
			return nil
		}
		w.expect(0, []string{"resume"}, `Cloud "local" does not answer: the API is down. Trying again.`, "contextualized")
		if strings.Count(w.stderr.String(), "Trying again") != 1 {
			t.Errorf("%s", w.stderr.String())
		}
	})
}

// Of several launches that run, the one that is not ok yet is meant; what was
// extended meanwhile is not cut short.
func TestResumePicksTheUnfinishedOne(t *testing.T) {
	inWorld(t, func(w *world) {
		for range 2 {
			w.expect(0, []string{"run", "--name", "debian", "--hours", "2"})
		}
		w.expect(1, []string{"resume"}, "which launch? There are cluster-001, vm-001, vm-002")
		w.edit("vm-001", func(r *history.Record) {
			r.State = history.Launching
			if err := w.cloud.Extend(w.t.Context(), r.Launch, r.Expires.Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
		})
		w.expect(0, []string{"resume"}, "Resuming vm-001", "vm-001 ends by itself at "+time.Now().Add(3*time.Hour).Local().Format("2006-01-02 15:04:05"))
		w.edit("vm-001", func(r *history.Record) {
			if p, ok := w.cloud.Prepared(r.Launch); !ok || !p.Expires.Equal(time.Now().Add(3*time.Hour)) || !r.Expires.Equal(p.Expires) {
				t.Errorf("%v, %v", p.Expires, r.Expires)
			}
		})
	})
}

// Between the lines of known_hosts on record and those in the file.
func TestResumeBringsKnownHostsToAnEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		said := w.read(".ssh/known_hosts")
		for _, there := range []bool{false, true} {
			w.edit("cluster-001", func(r *history.Record) { r.State = history.Waiting })
			if !there {
				if err := os.Remove(w.path(".ssh/known_hosts")); err != nil {
					t.Fatal(err)
				}
			}
			w.expect(0, []string{"resume"}, "SSH trusts new key for front-0.cluster-001")
			if got := w.read(".ssh/known_hosts"); got != said {
				t.Errorf("got\n%s\nwant\n%s", got, said)
			}
		}
		w.expect(0, []string{"terminate", "--handle", "cluster-001"})
		if _, err := os.Stat(w.path(".ssh/known_hosts")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the file that the run made stays: %v", err)
		}
	})
}

func TestResumeOfMachinesWithoutAContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.expect(0, []string{"run", "--name", "debian"})
		w.edit("vm-001", func(r *history.Record) { r.State = history.Launching })
		w.expect(0, []string{"resume", "--handle", "vm-001"}, "all members are Running", "ssh root@192.0.2.1")
		w.edit("vm-001", func(r *history.Record) { r.State = history.Launching })
		w.cloud.Fail("fake-1", "killed")
		w.expect(1, []string{"resume", "--handle", "vm-001"}, "the instance of vm-0 is gone (failed: killed)", "attempting to destroy workspace")
		w.nothingLeft()
	})
}

func TestResumeRefuses(t *testing.T) {
	inWorld(t, func(w *world) {
		w.expect(1, []string{"resume", "--handle", "cluster-009"}, "unknown handle")
		w.edit("cluster-001", func(r *history.Record) { r.State = history.Waiting })
		w.expect(1, []string{"resume", "--timeout", "soon"}, `--timeout "soon" is no length of time`)
		w.expect(1, []string{"resume", "cluster-001"}, "did you mean --handle cluster-001?")
		h, err := history.Open(w.path("state/history"))
		if err != nil {
			t.Fatal(err)
		}
		l, err := h.Get("cluster-001")
		if err != nil {
			t.Fatal(err)
		}
		unlock, err := l.Lock()
		if err != nil {
			t.Fatal(err)
		}
		w.expect(2, []string{"resume"}, "cluster-001 is in use by process ", "hint: a run that still waits needs no resume")
		w.expect(2, []string{"resume", "--json"}, `"error": "cluster-001 is in use by process `)
		unlock()
		time.Sleep(3 * time.Hour) // of the bubble
		w.expect(1, []string{"resume", "--handle", "cluster-001"}, "the hours of cluster-001 were over at ")
		if _, err := os.Stat(w.path("state/history/cluster-001/run-002-log.txt")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a refused resume leaves a log: %v", err)
		}
	})
}

// A launch that was ok, of which nothing is there any more.
func TestResumeOfWhatIsGone(t *testing.T) {
	inWorld(t, func(w *world) {
		if err := w.cloud.Terminate(w.t.Context(), w.instances()); err != nil {
			t.Fatal(err)
		}
		w.expect(1, []string{"resume"}, "cluster-001 was ok, but its instances are gone", "nimbus terminate --handle cluster-001")
	})
}

func TestResumeJSON(t *testing.T) {
	died(t, nil, func(w *world, report func(string, wire.Report)) {
		allNodesOK(report)
		w.expect(0, []string{"resume", "--json"})
		var result Result
		if err := json.Unmarshal(w.stdout.Bytes(), &result); err != nil {
			t.Fatalf("%v\n%s", err, w.stdout.String())
		}
		if result.Handle != "cluster-001" || result.State != "ok" || len(result.Instances) != 3 || len(result.Nodes) != 3 || len(result.Logins) != 3 {
			t.Errorf("%+v", result)
		}
		w.edit("cluster-001", func(r *history.Record) { r.State = history.Waiting })
		w.expect(0, []string{"resume", "--json=stream"})
		var events []string
		for line := range strings.Lines(w.stdout.String()) {
			var e Event
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			if !slices.Contains(events, e.Event) {
				events = append(events, e.Event)
			}
		}
		if want := "resumed running reports workspace contextualized trusted done"; strings.Join(events, " ") != want {
			t.Errorf("events: %v", events)
		}
	})
}

// A broker elsewhere is asked again where it was, a fault of the launch is not
// forgotten: this one has no room for one instance.
func TestResumeAfterALaunchThatWasKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.cloud.OnLaunch = cloudtest.FailNth(2, cloud.ErrNoCapacity)
		w.expect(2, []string{"run", "--cluster", w.path("hello.xml"), "--keep", "--broker", "https://b.example.org"}, "no capacity", "stays as it is")
		w.expect(2, []string{"resume"}, "its run ended when 2 of 3 instances were launched", "stays as it is")
		w.expect(0, []string{"terminate", "--all"}, "ended 2 instances")
	})
}

// A client that cannot go on ends nothing: the cluster may be well.
func TestResumeLeavesWhatItCannotTakeOver(t *testing.T) {
	died(t, nil, func(w *world, report func(string, wire.Report)) {
		w.cloud.OnPrepare = func(context.Context, cloud.Preparation) error { return errors.New("disk full") }
		w.expect(2, []string{"resume", "--json"}, `cloud \"local\": disk full; cluster-001 was left as it is`, "when that is mended: nimbus resume --handle cluster-001", `"state": "waiting"`)
		if n := len(w.instances()); n != 3 {
			t.Errorf("%d instances are left", n)
		}
		w.cloud.OnPrepare = nil
		allNodesOK(report)
		w.expect(0, []string{"resume"}, "cluster-001: contextualized")
	})
}
