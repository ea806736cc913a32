package agent

import (
	"context"
	"strings"
	"testing"
	"time"

	"nimbus/broker/wire"
)

// again starts the agent as somebody does who has mended a script.
func (m *testMachine) again(ctx context.Context, from string) error {
	cfg := m.cfg
	cfg.Rerun, cfg.From = true, from
	return Run(ctx, cfg, &m.console)
}

func TestRerun(t *testing.T) {
	b := newBroker(t)
	m := newMachine(t, b)
	m.script(t, "3-data/greeting", "exit 7")
	if err := m.run(t.Context()); code(err) != CodeFailed {
		t.Fatal(err)
	}
	if err := m.run(t.Context()); code(err) != CodeFailed || !strings.Contains(err.Error(), "launch.sh --rerun") {
		t.Errorf("the next boot says %v", err)
	}
	m.put(t, "calls", "")
	m.script(t, "3-data/greeting", `echo "$NIMBUS_RETRY|greeting" >>`+m.root+"/calls")
	if err := m.again(t.Context(), ""); err != nil {
		t.Fatalf("%v\n%s", err, m.console.String())
	}
	if want := strings.Replace(allCalls, "3-data/greeting STATE/ctx-1/data/greeting-0", "greeting", 1); m.calls() != want {
		t.Errorf("scripts:\n%s\nwant:\n%s", m.calls(), want)
	}
	if len(b.reports) != 2 || !b.reports[1].OK || b.asked["retry"] != 1 || len(b.claims) != 1 || b.asked["join"] != 2 {
		t.Errorf("reports %+v, asked %v, claims %v", b.reports, b.asked, b.claims)
	}
	// It is done now, and may be done once more.
	if err := m.run(t.Context()); err != nil || b.asked["join"] != 2 {
		t.Errorf("the next boot: %v, %v", err, b.asked)
	}
	m.put(t, "calls", "")
	if err := m.again(t.Context(), "3-data"); err != nil || m.calls() != "|greeting\n|4-restarts/worker \n" {
		t.Errorf("%v, scripts:\n%s", err, m.calls())
	}
	if err := m.again(t.Context(), "5-thishost-finalize"); err != nil || strings.Count(m.calls(), "\n") != 2 {
		t.Errorf("nothing is left: %v, scripts:\n%s", err, m.calls())
	}
	m.logs(t, "INFO: beginning again", "leaving out what comes before")
}

// A node that begins again and is stopped goes on at the next boot.
func TestRerunGoesOnAfterAReboot(t *testing.T) {
	b := newBroker(t)
	m := newMachine(t, b)
	if err := m.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.script(t, "4-restarts/worker", `[ -e `+m.root+`/begun ] || { touch `+m.root+`/begun; sleep 600; }`)
	if err := m.again(stopWhen(t, m.root+"/begun"), ""); code(err) != CodeFailed || len(b.reports) != 1 {
		t.Fatalf("%v, %+v", err, b.reports)
	}
	m.put(t, "calls", "")
	if err := m.run(t.Context()); err != nil || len(b.reports) != 2 || m.calls() != "" {
		t.Errorf("%v, %+v, scripts:\n%s", err, b.reports, m.calls())
	}
}

func TestRerunThatTheBrokerRefuses(t *testing.T) {
	b := newBroker(t)
	m := newMachine(t, b)
	if err := m.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := m.read("var/nimbus/ctx-1/progress.json")
	b.retry = func(int) any { return wire.Errorf(wire.ContextGone, "the context was cancelled") }
	if err := m.again(t.Context(), ""); code(err) != CodeFailed || !strings.Contains(err.Error(), "does not let this node begin again: the context was cancelled") {
		t.Errorf("got %v", err)
	}
	if m.read("var/nimbus/ctx-1/progress.json") != before || b.asked["join"] != 1 {
		t.Errorf("it did something: %v", b.asked)
	}
}

// A machine that loses its power when the broker has taken its report back, and
// before that is on its disk, begins again at the next boot.
func TestRerunOutlivesAPowerFailure(t *testing.T) {
	b := newBroker(t)
	m := newMachine(t, b)
	if err := m.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	var onDisk string
	b.retry = func(int) any {
		onDisk = m.read("var/nimbus/ctx-1/progress.json")
		return done{}
	}
	if err := m.again(t.Context(), ""); err != nil || len(b.reports) != 2 {
		t.Fatalf("%v, %+v", err, b.reports)
	}
	m.put(t, "var/nimbus/ctx-1/progress.json", onDisk)
	m.put(t, "calls", "")
	if err := m.run(t.Context()); err != nil || len(b.reports) != 3 || b.asked["retry"] != 2 || m.calls() != allCalls {
		t.Errorf("%v, %+v, %v, scripts:\n%s", err, b.reports, b.asked, m.calls())
	}
	if err := m.run(t.Context()); err != nil || b.asked["retry"] != 2 {
		t.Errorf("the boot after that: %v, %v", err, b.asked)
	}
}

// Who is stopped before the broker answers cannot know what it has done.
func TestRerunThatIsStopped(t *testing.T) {
	b := newBroker(t)
	m := newMachine(t, b)
	if err := m.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	b.retry = func(int) any {
		stop()
		return wire.Errorf(wire.Unavailable, "the broker is stopping")
	}
	if err := m.again(ctx, ""); code(err) != CodeFailed || !strings.Contains(err.Error(), "the next start asks it again") {
		t.Fatalf("got %v", err)
	}
	b.retry = func(int) any { return done{} }
	if err := m.run(t.Context()); err != nil || len(b.reports) != 2 {
		t.Errorf("%v, %+v", err, b.reports)
	}
}

// A machine of which the broker has heard nothing just begins.
func TestRerunIsTheFirstRun(t *testing.T) {
	b := newBroker(t)
	b.retry = func(int) any { return wire.Errorf(wire.NotJoined, "node head-0 has neither joined nor reported") }
	m := newMachine(t, b)
	if err := m.again(t.Context(), ""); err != nil || m.calls() != allCalls {
		t.Errorf("%v, scripts:\n%s", err, m.calls())
	}
}

// Nodes that begin again together find each other, whoever is first; one that
// begins alone is told soon that another one is missing.
func TestRerunWaitsForTheOthers(t *testing.T) {
	failing := wire.Errorf(wire.ContextFailing, "node work-1 failed in step \"x\"")
	b := newBroker(t)
	b.manifest = func(n int) any {
		if n < 3 {
			return failing
		}
		return helloManifest()
	}
	m := newMachine(t, b)
	if err := m.run(t.Context()); code(err) != CodeFailed || b.asked["manifest"] != 1 {
		t.Fatalf("the first run does not wait: %v, %v", err, b.asked)
	}
	if err := m.again(t.Context(), ""); err != nil || b.asked["manifest"] != 4 {
		t.Errorf("%v, %v", err, b.asked)
	}

	s := &session{others: time.Now().Add(-time.Millisecond)}
	if s.waitsForOthers(t.Context(), failing, &backoff{}) {
		t.Error("waits for ever")
	}
}
