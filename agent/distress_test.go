package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What the agent cannot remember it can still say, so that nobody waits for
// this node.
func TestMachineThatDoesNotLetTheAgentWork(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(t *testing.T, m *testMachine)
		code int
		text string
	}{
		"no state directory": {func(t *testing.T, m *testMachine) { m.put(t, "var/nimbus", "a file") }, CodeEnvironment, "state directory: "},
		"damaged claim":      {func(t *testing.T, m *testMachine) { m.put(t, "var/nimbus/ctx-1/claim", "half") }, CodeEnvironment, "is damaged"},
		"unreadable claim": {func(t *testing.T, m *testMachine) {
			if err := os.MkdirAll(filepath.Join(m.cfg.StateDir, "ctx-1", "claim"), 0o755); err != nil {
				t.Fatal(err)
			}
		}, CodeEnvironment, "claim: read "},
		"mistake of the agent": {func(_ *testing.T, m *testMachine) { m.cfg.machine.hostname = nil }, CodeInternal, "internal: "},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t)
			m := newMachine(t, b)
			c.harm(t, m)
			if err := m.run(t.Context()); code(err) != c.code {
				t.Errorf("got %v", err)
			}
			if len(b.reports) != 1 || b.asked["join"] != 0 {
				t.Fatalf("asked %v", b.asked)
			}
			if r := b.reports[0]; r.OK || r.Step != "agent" || r.Code != c.code || !strings.Contains(r.Log, c.text) || r.Check() != nil {
				t.Errorf("report %+v", r)
			}
			for claim := range b.claims {
				if len(claim) != 64 {
					t.Errorf("claim %q", claim)
				}
			}
		})
	}
}

// A machine that joined speaks by the claim that it has, also when its disk
// takes nothing any more.
func TestDistressByTheStoredClaim(t *testing.T) {
	b := newBroker(t)
	m := newMachine(t, b)
	claim := newClaim()
	m.put(t, "var/nimbus/ctx-1/claim", claim+"\n")
	if err := os.Mkdir(filepath.Join(m.cfg.StateDir, "lock"), 0o700); err != nil { // in the way of the file
		t.Fatal(err)
	}
	if err := m.run(t.Context()); code(err) != CodeEnvironment || len(b.reports) != 1 || !b.claims[claim] {
		t.Errorf("got %v, reports %+v", err, b.reports)
	}
	if strings.Contains(m.console.String(), claim) {
		t.Error("the claim is printed")
	}
}

// The work goes on without a log file.
func TestLogFileCannotBeOpened(t *testing.T) {
	b := newBroker(t)
	m := newMachine(t, b)
	m.put(t, "file", "")
	m.cfg.LogFile = filepath.Join(m.root, "file", "ctxlog.txt")
	if err := m.run(t.Context()); err != nil || len(b.reports) != 1 || !b.reports[0].OK {
		t.Errorf("got %v, reports %+v", err, b.reports)
	}
	if out := m.console.String(); !strings.Contains(out, "WARN: log file: ") || !strings.Contains(out, "reported: ok") {
		t.Errorf("console:\n%s", out)
	}
}
