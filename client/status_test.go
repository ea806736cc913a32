package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nimbus/broker/cluster"
	"nimbus/broker/wire"
	"nimbus/client/history"
	"nimbus/cloud"
)

func TestPhaseOf(t *testing.T) {
	def := &cluster.Definition{Workspaces: []cluster.Workspace{{Name: "a", Quantity: 3}}}
	instances := func(states ...cloud.State) (list []cloud.Instance) {
		for _, s := range states {
			list = append(list, cloud.Instance{State: s})
		}
		return list
	}
	const up, boots = cloud.Running, cloud.Starting
	ctx := &history.Context{ID: "c"}
	for _, c := range []struct {
		state     string
		context   *history.Context
		instances []cloud.Instance
		summary   *wire.Summary
		want      string
	}{
		{history.Launching, nil, nil, nil, "launching 0/3"},
		{history.Launching, ctx, instances(up, boots), nil, "launching 2/3"},
		{history.Launching, nil, instances(up, boots, boots), nil, "booting 1/3"},
		{history.OK, nil, instances(up, up, up), nil, "ok"},
		{history.OK, ctx, instances(up, up, up), nil, "ok"},
		{history.Waiting, ctx, instances(up, up, up), nil, "?"},
		{history.Waiting, ctx, instances(up, up, boots), &wire.Summary{State: wire.Joining, Expected: 3, Joined: 1}, "booting 2/3"},
		{history.Waiting, ctx, instances(up, up, up), &wire.Summary{State: wire.Open, Expected: 3, Joined: 2}, "open 2/3"},
		{history.Waiting, ctx, instances(up, up, up), &wire.Summary{State: wire.Joining, Expected: 3, Joined: 2}, "joining 2/3"},
		{history.Waiting, ctx, instances(up, up, up), &wire.Summary{State: wire.Working, Expected: 3, Joined: 3, OK: 1}, "configuring 1/3"},
		{history.Waiting, ctx, instances(up, up, up), &wire.Summary{State: wire.OK, Expected: 3, Joined: 3, OK: 3}, "ok"},
		{history.Kept, ctx, instances(up, up, up), &wire.Summary{State: wire.Failing, Expected: 3, Joined: 3, Failed: 2}, "failed 2"},
		{history.Waiting, ctx, instances(up, up, up), &wire.Summary{State: wire.Cancelled}, "cancelled"},
		{history.OK, ctx, nil, nil, ""},
		{history.Terminated, ctx, instances(up), nil, ""},
	} {
		got := phaseOf(history.Record{State: c.state, Definition: def, Context: c.context}, c.instances, c.summary)
		if got != c.want {
			t.Errorf("%s, %d instances, %+v: %q, want %q", c.state, len(c.instances), c.summary, got, c.want)
		}
	}
}

func TestNodePhase(t *testing.T) {
	for _, c := range []struct {
		instance cloud.State
		member   bool
		state    wire.NodeState
		waits    bool
		want     string
	}{
		{cloud.Starting, true, wire.NodeExpected, true, "booting"},
		{cloud.Running, false, "", false, "ok"},
		{cloud.Running, true, wire.NodeExpected, true, "joining"},
		{cloud.Running, true, wire.NodeJoined, true, "waiting"},
		{cloud.Running, true, wire.NodeJoined, false, "configuring"},
		{cloud.Running, true, wire.NodeOK, false, "ok"},
		{cloud.Running, true, wire.NodeError, false, "failed"},
		{cloud.Running, true, "", false, "?"},
		{cloud.Failed, true, wire.NodeJoined, false, ""},
	} {
		if got := nodePhase(c.instance, c.member, c.state, c.waits); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// While a cluster comes up, status says how far it is, of all and of each.
func TestStatusOnTheWay(t *testing.T) {
	died(t, nil, func(w *world, report func(string, wire.Report)) {
		report("front-0", wire.Report{OK: true})
		w.expect(0, []string{"status"}, "cluster-001  waiting  configuring 1/3  2 min")
		w.broker.contexts["ctx1"].nodes[2].State = wire.NodeExpected
		w.expect(0, []string{"status"}, "cluster-001  waiting  joining 2/3 ")
		w.expect(0, []string{"status", "--handle", "cluster-001"}, "cluster-001: waiting (joining 2/3), launched 2 min ago", "front-0  running  ok       2 min",
			"back-0   running  waiting  2 min", "back-1   running  joining  2 min", `      waits for role "head": front-0 to join`)
		w.cloud.Fail("fake-3", "killed")
		w.expect(0, []string{"status", "--handle", "cluster-001"}, "back-1   failed (killed)  -")
		w.expect(0, []string{"status", "--handle", "cluster-001", "--json"})
		var d LaunchDetail
		if err := json.Unmarshal(w.stdout.Bytes(), &d); err != nil || len(d.Nodes) != 3 || len(d.Instances) != 3 || d.Context == nil || len(d.Context.Workspaces) != 2 {
			t.Errorf("%v\n%s", err, w.stdout.String())
		}
		if d.Nodes[0].Roles[0] != "head" || d.Nodes[0].Phase != "ok" || d.Nodes[2].Reason != "killed" {
			t.Errorf("%+v", d.Nodes)
		}
		w.expect(0, []string{"status", "--json"}, `"phase": "booting 2/3"`, `"joined": 2`)
	})
}

// What cannot be read or asked has its row, and the exit code tells.
func TestStatusShowsWhatItCannotRead(t *testing.T) {
	inWorld(t, func(w *world) {
		w.expect(0, []string{"run", "--name", "debian"})
		w.write("state/history/vm-001/launch.json", "{")
		if err := os.Mkdir(w.path("state/history/vm-002"), 0o700); err != nil {
			t.Fatal(err)
		}
		w.expect(2, []string{"status"}, "cluster-001  ok       ok ", "vm-001       damaged  -      -    -          -        -\n", "vm-002       empty    -",
			"vm-001/launch.json: this is no record of a launch", "nimbus: error: the status is not complete: 1 record cannot be read\n")
		w.expect(2, []string{"status", "--json"})
		var list []LaunchStatus
		if err := json.Unmarshal(w.stdout.Bytes(), &list); err != nil || len(list) != 3 || list[1].State != "damaged" || list[2].State != "empty" || len(list[1].Notes) != 1 {
			t.Errorf("%v\n%s", err, w.stdout.String())
		}
		w.expect(2, []string{"status", "--handle", "vm-001"}, "correct the file, or remove")
	})
}

// slowBroker answers nothing, and counts who waits for it.
type slowBroker struct {
	Broker
	asked int
}

func (b *slowBroker) Contexts(ctx context.Context) ([]wire.Summary, error) {
	b.asked++
	<-ctx.Done()
	return nil, ctx.Err()
}

// A broker that does not answer is asked once, however many contexts it has.
func TestStatusAsksADeadBrokerOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot(allOK)
		for n := range 5 {
			w.expect(0, []string{"run", "--cluster", w.path("hello.xml")})
			w.edit(fmt.Sprintf("cluster-%03d", n+1), func(r *history.Record) { r.State = history.Waiting })
		}
		dead := &slowBroker{}
		w.reached = dead
		start := time.Now()
		w.expect(2, []string{"status"}, "cluster-005  waiting  ? ", "the broker (your own) could not be asked: context deadline exceeded", "1 cloud or broker could not be asked")
		if took := time.Since(start); took > brokerPatience || dead.asked != 1 {
			t.Errorf("asked %d times, %v", dead.asked, took)
		}
		if strings.Count(w.stderr.String(), "could not be asked:") != 1 {
			t.Errorf("%s", w.stderr.String())
		}
	})
}

// What became of a launch can still be seen when it is terminated.
func TestTerminateKeepsTheOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot(func(string) *wire.Report { return &wire.Report{Step: "x", Code: 1} })
		w.expect(1, []string{"run", "--cluster", w.path("hello.xml")}, "Destroyed")
		w.expect(1, []string{"run", "--cluster", w.path("hello.xml"), "--keep"}, "--keep")
		w.boot(allOK)
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml"), "--hours", "1"})
		w.expect(0, []string{"terminate", "--handle", "cluster-001"}, "cluster-001 failed, and was ended already.")
		w.expect(0, []string{"terminate", "--handle", "cluster-002", "--json"}, `"outcome": "kept"`)
		time.Sleep(2 * time.Hour) // of the bubble
		w.expect(0, []string{"terminate", "--all"}, "Terminated 'cluster-003'")
		w.expect(0, []string{"terminate", "--all"}, "Nothing to terminate.")
		w.expect(0, []string{"status"}, "cluster-001  failed ", "cluster-002  failed, terminated ", "cluster-003  expired, terminated ")
		w.expect(0, []string{"status", "--handle", "cluster-003", "--json"}, `"state": "terminated"`, `"outcome": "expired"`)
	})
}

func TestForget(t *testing.T) {
	inWorld(t, func(w *world) {
		dir := func(handle string) bool {
			_, err := os.Stat(w.path("state/history/" + handle))
			return err == nil
		}
		for range 3 {
			w.expect(0, []string{"run", "--name", "debian", "--hours", "5"})
		}
		w.write("state/history/vm-002/launch.json", "{")
		w.expect(1, []string{"forget"}, "give either --handle HANDLE or --all-ended")
		w.expect(1, []string{"forget", "--handle", "../../etc"}, "unknown handle")
		w.expect(1, []string{"forget", "--handle", "cluster-001"}, "cluster-001 is ok, and has 3 instances: it is not forgotten", "hint: to end it: nimbus terminate --handle cluster-001")
		w.expect(2, []string{"forget", "--handle", "vm-002"}, "correct the file, or remove")
		w.expect(0, []string{"terminate", "--handle", "vm-001"})
		w.cloud.OnList = func(context.Context, string) error { return errors.New("the API is down") }
		w.expect(2, []string{"forget", "--handle", "cluster-001"}, "cluster-001 may run", "the API is down")
		w.cloud.OnList = nil
		// An ended one needs nobody to be asked; what runs or cannot be read stays.
		w.expect(2, []string{"forget", "--all-ended"}, "Forgot vm-001.", "vm-002: ")
		if dir("vm-001") || !dir("vm-002") || !dir("vm-003") || !dir("cluster-001") {
			t.Error("the wrong ones were forgotten")
		}
		// One that ended by other means is cleaned up on the way.
		if err := w.cloud.Terminate(w.t.Context(), w.instances()); err != nil {
			t.Fatal(err)
		}
		w.expect(2, []string{"forget", "--all-ended", "--json"}, `"handle": "cluster-001"`, `"handle": "vm-003"`)
		w.nothingLeft()
		if _, err := os.Stat(w.path(".ssh/known_hosts")); err == nil || dir("cluster-001") || dir("vm-003") {
			t.Errorf("something is left: %v", err)
		}
		entries, err := os.ReadDir(w.path("state/history"))
		if err != nil || len(entries) != 1 {
			t.Errorf("%v, %v", entries, err)
		}
	})
}

// A directory without a record may be one that a run is just making.
func TestForgetEmptyLaunches(t *testing.T) {
	w := newWorld(t)
	for _, handle := range []string{"vm-001", "vm-002"} {
		if err := os.MkdirAll(w.path("state/history/"+handle), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	w.write("state/history/vm-001/lock", "")
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(w.path("state/history/vm-001"), old, old); err != nil {
		t.Fatal(err)
	}
	w.expect(0, []string{"forget", "--all-ended"}, "Forgot vm-001.")
	w.expect(0, []string{"status"}, "vm-002  empty")
	w.expect(0, []string{"forget", "--handle", "vm-002"}, "Forgot vm-002.")
	w.expect(0, []string{"forget", "--all-ended"}, "Nothing to forget.")
}
