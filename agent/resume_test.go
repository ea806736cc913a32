package agent

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// stopWhen ends the context when a file appears.
func stopWhen(t *testing.T, path string) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for tick := time.Tick(5 * time.Millisecond); ctx.Err() == nil; <-tick {
			if _, err := os.Stat(path); err == nil {
				cancel()
			}
		}
	}()
	return ctx
}

func TestStoppedInTheMiddleOfAScript(t *testing.T) {
	b := newBroker(t)
	m := newMachine(t, b)
	marker := filepath.Join(m.root, "begun")
	m.script(t, "3-data/greeting", `echo "$NIMBUS_RETRY|greeting" >>`+m.root+`/calls
[ -e `+marker+` ] || { touch `+marker+`; sleep 600; }`)
	if err := m.run(stopWhen(t, marker)); code(err) != CodeFailed || len(b.reports) != 0 {
		t.Fatalf("got %v, reports %+v", err, b.reports)
	}
	if err := m.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := "|0-etchosts.all \n|1-ipandhost/worker 10.78.0.3 work-0 work-0\n|1-ipandhost/worker 10.78.0.4 work-1 work-1\n|greeting\n1|greeting\n|4-restarts/worker \n"
	if m.calls() != want {
		t.Errorf("scripts:\n%s\nwant:\n%s", m.calls(), want)
	}
	if len(b.claims) != 1 || len(b.reports) != 1 || !b.reports[0].OK {
		t.Errorf("claims %v, reports %+v", b.claims, b.reports)
	}
}

func TestReportSurvivesAReboot(t *testing.T) {
	b := newBroker(t)
	m := newMachine(t, b)
	m.script(t, "4-restarts/worker", "exit 9")
	ctx, cancel := context.WithCancel(t.Context())
	b.report = func(int) any { cancel(); return nil }
	if err := m.run(ctx); code(err) != CodeFailed || len(b.reports) != 0 {
		t.Fatalf("got %v, %+v", err, b.reports)
	}
	b.report = func(int) any { return done{} }
	calls := m.calls()
	if err := m.run(t.Context()); code(err) != CodeFailed || len(b.reports) != 1 || b.reports[0].Code != 9 {
		t.Errorf("got %v, %+v", err, b.reports)
	}
	if m.calls() != calls || b.asked["join"] != 1 {
		t.Errorf("more than the report: %v\n%s", b.asked, m.calls())
	}
}

func TestDamagedProgressMeansFromTheStart(t *testing.T) {
	b := newBroker(t)
	m := newMachine(t, b)
	m.put(t, "var/nimbus/ctx-1/progress.json", `{"steps": 3, "done": 9}`)
	if err := m.run(t.Context()); err != nil || m.calls() != allCalls {
		t.Errorf("%v, scripts:\n%s", err, m.calls())
	}
}
