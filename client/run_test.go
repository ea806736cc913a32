package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nimbus/broker/wire"
	"nimbus/client/history"
	"nimbus/cloud"
	"nimbus/cloud/cloudtest"
)

// The console of a run has the shape of the classic client's.
func TestRunConsole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.cloud.Hosts = []netip.Addr{netip.MustParseAddr("10.78.0.1")}
		w.boot(allOK)
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml"), "--hours", "1"})
		want := `Requesting cluster.
  - front: image 'demo-image', 1 instance
  - back: image 'demo-image', 2 instances

Context Broker:
    https://10.78.0.1:8443

Created new context with broker.

Creating workspace "front"... done.
  - 192.0.2.1 [ front-0.cluster-001 ]

Creating group "back"... done.
  - 192.0.2.2 [ back-0.cluster-001 ]
  - 192.0.2.3 [ back-1.cluster-001 ]

Launching cluster-001... done.

Waiting for launch updates.
  - cluster-001: all members are Running
  - wrote reports to 'HOME/state/history/cluster-001/reports-vm'

Waiting for context broker updates.
  - front: ok
  - back: ok
  - cluster-001: contextualized
  - wrote ctx summary to 'HOME/state/history/cluster-001/reports-ctx/CTX-OK.txt'
  - wrote reports to 'HOME/state/history/cluster-001/reports-ctx'

SSH trusts new key for front-0.cluster-001  [[ front ]]
SSH trusts new key for back-0.cluster-001  [[ back #0 ]]
SSH trusts new key for back-1.cluster-001  [[ back #1 ]]

To log in:
  ssh root@192.0.2.1  # front-0
  ssh root@192.0.2.2  # back-0
  ssh root@192.0.2.3  # back-1

cluster-001 ends by itself at TIME. To end it now:
  nimbus terminate --handle cluster-001
`
		got := strings.ReplaceAll(w.stdout.String(), w.home, "HOME")
		got = strings.ReplaceAll(got, time.Now().Add(time.Hour).Local().Format("2006-01-02 15:04:05"), "TIME")
		if got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		if w.stderr.Len() > 0 {
			t.Errorf("stderr: %s", w.stderr.String())
		}
		if !strings.Contains(w.read(".ssh/known_hosts"), "front-0.cluster-001,192.0.2.1 "+hostKey(1)) {
			t.Errorf("known_hosts:\n%s", w.read(".ssh/known_hosts"))
		}
		if log := w.read("state/history/cluster-001/run-log.txt"); !strings.Contains(log, "cluster-001: contextualized") {
			t.Errorf("run-log.txt:\n%s", log)
		}
		for _, i := range w.instances() {
			r := w.cloud.Request(i)
			if len(r.PublicKeys) != 1 || !r.Expires.Equal(time.Now().Add(time.Hour)) {
				t.Errorf("%s: %v until %v", r.Name, r.PublicKeys, r.Expires)
			}
		}
		for _, c := range w.broker.contexts {
			if !c.create.Expires.Equal(time.Now().Add(25 * time.Hour)) {
				t.Errorf("the context expires at %v", c.create.Expires)
			}
		}
	})
}

func TestRunWithoutContextEndsWhenAllRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.classic = true
		w.expect(0, []string{"run", "--cluster", w.path("plain.xml")}, "all members are Running", "ssh root@192.0.2.1 ", "bin/cloud-client.sh --terminate --handle cluster-001")
		w.expect(0, []string{"run", "--name", "debian", "--hours", "0.5"}, "image 'debian'", "Launching vm-001... done.", "--terminate --handle vm-001")
		if len(w.broker.contexts) > 0 {
			t.Error("a context was made for nobody")
		}
	})
}

func TestFailedNodeIsShownAndAllIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot(func(node string) *wire.Report {
			if node == "back-1" {
				return &wire.Report{Step: "2-thishost/worker", Code: 3, Log: "starting\nno space \x1b[31mleft\n"}
			}
			return nil
		})
		w.expect(1, []string{"run", "--cluster", w.path("hello.xml")},
			"Problem with cluster-001 context\n  - back-1: 2-thishost/worker failed with exit code 3\n",
			"      | starting\n      | no space ?[31mleft\n",
			"reports-ctx/CTX-ERR.txt'",
			"Problem, attempting to destroy cluster.\n", "Destroyed 'cluster-001'\n",
			"nimbus: error: cluster-001: node back-1: 2-thishost/worker failed with exit code 3\n")
		w.nothingLeft()
		w.expect(0, []string{"status"}, "cluster-001  failed")
	})
}

func TestKeepLeavesAFailedClusterRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot(func(string) *wire.Report { return &wire.Report{Step: "x", Code: 1} })
		w.expect(1, []string{"run", "--cluster", w.path("hello.xml"), "--keep"}, "cluster-001 stays as it is (--keep)", "nimbus terminate --handle cluster-001")
		if len(w.instances()) != 3 || len(w.broker.contexts) != 1 {
			t.Error("something was ended")
		}
		w.edit("cluster-001", func(r *history.Record) {
			if r.State != history.Kept || !r.Run.Keep {
				t.Errorf("the record: %s, %+v", r.State, r.Run)
			}
		})
		w.expect(0, []string{"terminate", "--handle", "cluster-001"}, "ended 3 instances")
		w.nothingLeft()
	})
}

func TestTimeoutSaysWhatIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot(allOK)
		join := w.cloud.Started
		w.cloud.Started = func(i cloud.Instance, r cloud.Request) {
			if i.Token != "front-0" {
				join(i, r)
			}
		}
		start := time.Now()
		w.expect(1, []string{"run", "--cluster", w.path("hello.xml"), "--timeout", "5"},
			"cluster-001 was not ready after 5 min: front-0 has not joined the context (its instance is running)", "Destroyed 'cluster-001'")
		if took := time.Since(start); took != 5*time.Minute {
			t.Errorf("it took %v", took)
		}
		w.nothingLeft()
	})
}

func TestInstanceThatDiesEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot(func(string) *wire.Report { return nil })
		time.AfterFunc(time.Minute, func() { w.cloud.Fail("fake-2", "killed") })
		w.expect(1, []string{"run", "--cluster", w.path("hello.xml")},
			"back-0: the instance is gone (failed: killed)", "      | console of back-0.cluster-001", "Destroyed 'cluster-001'")
		w.nothingLeft()
	})
}

func TestInstanceThatVanishesEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot(func(string) *wire.Report { return nil })
		time.AfterFunc(time.Minute, func() {
			_ = w.cloud.Terminate(context.Background(), []cloud.Instance{{ID: "fake-3"}})
		})
		w.expect(1, []string{"run", "--cluster", w.path("hello.xml")}, "back-1: the instance is gone (the cloud does not know it any more)")
		w.nothingLeft()
	})
}

func TestLaunchThatFailsInPartIsUndone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.cloud.OnLaunch = cloudtest.FailNth(2, cloud.ErrNoCapacity)
		w.expect(2, []string{"run", "--cluster", w.path("hello.xml")}, "no capacity", "Destroyed 'cluster-001'", "hint: ask for fewer instances")
		w.nothingLeft()
	})
}

func TestBrokerThatRefusesEndsTheRunBeforeAnyInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.write("conf", "broker = \"https://b.example.org\"\n")
		w.broker.createErr = wire.Errorf(wire.Unauthorized, "who are you?")
		w.expect(2, []string{"run", "--conf", w.path("conf"), "--cluster", w.path("hello.xml")}, "broker (https://b.example.org): who are you?", `hint: log in with "nimbus login https://b.example.org" (the owner`)
		w.nothingLeft()
	})
}

func TestCtrlCBacksOut(t *testing.T) {
	for _, keep := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.boot(func(string) *wire.Report { return nil })
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Minute, cancel)
			args, left := []string{"run", "--cluster", w.path("hello.xml")}, 0
			if keep {
				args, left = append(args, "--keep"), 3
			}
			w.expectContext(ctx, 130, args, "\nInterrupted: ", "nimbus: error: interrupted: cluster-001 is not complete")
			if n := len(w.instances()); n != left {
				t.Errorf("keep %v: %d instances are left", keep, n)
			}
		})
	}
}

func TestSecondCtrlCLeavesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot(func(string) *wire.Report { return nil })
		stuck := make(chan struct{})
		w.cloud.OnTerminate = func(context.Context, []cloud.Instance) error { <-stuck; return nil }
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		time.AfterFunc(2*time.Minute, func() { close(w.again) })
		w.expectContext(ctx, 130, []string{"run", "--cluster", w.path("hello.xml")}, "Leaving at once.", "hint: to clean up: nimbus terminate --handle cluster-001")
		close(stuck)
		synctest.Wait()
	})
}

func TestBackOutThatFailsSaysHowToCleanUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot(func(string) *wire.Report { return &wire.Report{Step: "x", Code: 1} })
		w.cloud.OnTerminate = func(context.Context, []cloud.Instance) error { return errors.New("the API is down") }
		w.expect(1, []string{"run", "--cluster", w.path("hello.xml")}, "the API is down", "parts of cluster-001 may be running", "hint: to clean up: nimbus terminate --handle cluster-001")
		w.cloud.OnTerminate = nil
		w.expect(0, []string{"terminate", "--handle", "cluster-001"}, "ended 3 instances")
		w.nothingLeft()
	})
}

func TestRunJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot(allOK)
		w.expect(0, []string{"run", "--json", "--cluster", w.path("hello.xml")})
		var result Result
		if err := json.Unmarshal(w.stdout.Bytes(), &result); err != nil {
			t.Fatalf("%v\n%s", err, w.stdout.String())
		}
		if result.Handle != "cluster-001" || result.State != "ok" || len(result.Instances) != 3 || len(result.Nodes) != 3 || len(result.Logins) != 3 {
			t.Errorf("%+v", result)
		}
		if !strings.Contains(w.stderr.String(), "contextualized") {
			t.Error("no progress on stderr")
		}
		w.expect(0, []string{"run", "--json=stream", "--cluster", w.path("hello.xml")})
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
		if want := "requested context instance launched running reports workspace contextualized trusted done"; strings.Join(events, " ") != want {
			t.Errorf("events: %v", events)
		}
	})
}

// Who asked for JSON gets it, also when nothing begins.
func TestRefusedRunJSON(t *testing.T) {
	w := newWorld(t)
	w.write("bad.xml", strings.Replace(hello, `<role name="head"/>`, `<role name="haed"/>`, 1))
	w.write("conf", "moon = 1\n")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"run", "--json", "--cluster", w.path("bad.xml")}, w.path("bad.xml") + " has 1 error: nothing was launched"},
		{[]string{"run", "--json", "--cluster", w.path("none.xml")}, "no such file"},
		{[]string{"run", "--json", "--cluster", w.path("hello.xml"), "--hours", "x"}, `--hours "x" is no length of time`},
		{[]string{"run", "--json", "--cluster", w.path("hello.xml"), "--conf", w.path("conf")}, `unknown setting "moon"`},
		{[]string{"run", "--json"}, "give either"},
	} {
		w.expect(1, c.args, c.want)
		var result Result
		if err := json.Unmarshal(w.stdout.Bytes(), &result); err != nil {
			t.Fatalf("%v: %v\n%s", c.args, err, w.stdout.String())
		}
		if !strings.Contains(result.Error, c.want) || result.State != "failed" || result.Handle != "" || result.Instances == nil {
			t.Errorf("%v: %+v", c.args, result)
		}
	}
	w.expect(1, []string{"run", "--json=stream", "--cluster", w.path("bad.xml")})
	var e Event
	if err := json.Unmarshal(w.stdout.Bytes(), &e); err != nil || e.Event != "done" || e.Result == nil || e.Result.Error == "" {
		t.Errorf("%v: %s", err, w.stdout.String())
	}
	w.expect(1, []string{"run", "--cluster", w.path("bad.xml")})
	if w.stdout.Len() > 0 {
		t.Errorf("without --json: %s", w.stdout.String())
	}
}

func TestRunRefusesBeforeAnythingHappens(t *testing.T) {
	w := newWorld(t)
	w.write("bad.xml", strings.Replace(hello, `<role name="head"/>`, `<role name="haed"/>`, 1))
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"run"}, "give either --cluster FILE or --name IMAGE"},
		{[]string{"run", "--cluster", "x", "--name", "y"}, "give either"},
		{[]string{"run", "--cluster", w.path("none.xml")}, "none.xml: no such file"},
		{[]string{"run", "--cluster", w.path("bad.xml")}, `bad.xml:10: error: workspace "back" requires the role "haed"`},
		{[]string{"run", "--cluster", w.path("hello.xml"), "--hours", "zero"}, `--hours "zero" is no length of time`},
		{[]string{"run", "--cluster", w.path("hello.xml"), "--hours", "0"}, `--hours "0"`},
		{[]string{"run", "--cluster", w.path("hello.xml"), "--hours", "NaN"}, `--hours "NaN"`},
		{[]string{"run", "--cluster", w.path("hello.xml"), "--hours", "1e300"}, `--hours "1e300"`},
		{[]string{"run", "--cluster", w.path("hello.xml"), "more", "--keep"}, `unexpected argument "more"`},
		{[]string{"run", "--clutser", "x"}, "unknown option --clutser\nnimbus: hint: did you mean --cluster?"},
		{[]string{"run", "--cluster"}, "--cluster needs a value"},
		{[]string{"run", "--cluster", w.path("hello.xml"), "--cloud", "moon"}, `there is no cloud "moon"`},
	} {
		w.expect(1, c.args, c.want)
	}
	if _, err := os.Stat(w.path("state/history")); err == nil {
		t.Error("a history was begun")
	}
}

// What was ended does not run, whatever was seen of it last.
func TestInstancesOfARunThatWasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for option, want := range map[string]cloud.State{"--json": cloud.Ended, "--keep": cloud.Running} {
			w := newWorld(t)
			w.boot(func(string) *wire.Report { return &wire.Report{Step: "3-data/x", Code: 3} })
			w.expect(1, []string{"run", "--json", option, "--cluster", w.path("hello.xml")})
			var result Result
			if err := json.Unmarshal(w.stdout.Bytes(), &result); err != nil || len(result.Instances) != 3 {
				t.Fatalf("%s: %v: %s", option, err, w.stdout.String())
			}
			for _, i := range result.Instances {
				if i.State != want {
					t.Errorf("%s: %s is %s, want %s", option, i.Node, i.State, want)
				}
			}
		}
	})
}

// Who keeps what failed is told how to go on with it.
func TestKeptIsToBeMended(t *testing.T) {
	inWorldThatFails(t, func(w *world) {
		w.expect(1, []string{"run", "--cluster", w.path("hello.xml"), "--keep"},
			// Their keys were not added: ssh alone would refuse them.
			"To log in:\n  nimbus ssh --handle cluster-001 back-1\n  nimbus ssh --handle cluster-001 front-0\n",
			"mend the script and bring it there, run the scripts again, and finish the run:\n  nimbus logs --handle cluster-001 back-1\n  nimbus cp --handle cluster-001 head back:/opt/nimbus/ctx-scripts/1-ipandhost/\n  nimbus rerun --handle cluster-001 --failed\n  nimbus resume --handle cluster-001\nTo end it:\n  nimbus terminate --handle cluster-001\n")
		// A script that travelled is here.
		w.tree("scripts/1-ipandhost/head", "scripts/1-ipandhost/worker")
		w.expect(1, []string{"run", "--cluster", w.path("hello.xml"), "--keep", "--scripts", w.path("scripts")},
			"\n  nimbus cp --handle cluster-002 "+w.path("scripts/1-ipandhost/head")+" back:/opt/nimbus/ctx-scripts/1-ipandhost/\n")
	})
}

// inWorldThatFails has a script fail in one node.
func inWorldThatFails(t *testing.T, story func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot(func(node string) *wire.Report {
			if node == "back-1" {
				return &wire.Report{Step: "1-ipandhost/head", Code: 3}
			}
			return &wire.Report{OK: true}
		})
		story(w)
	})
}
