package progress

import (
	"strings"
	"testing"

	"nimbus/broker/cluster"
	"nimbus/broker/wire"
)

func cpe() *Model {
	return New(&cluster.Definition{Workspaces: []cluster.Workspace{
		{Name: "db", Quantity: 1, Ctx: &cluster.Ctx{}},
		{Name: "web", Quantity: 3, Ctx: &cluster.Ctx{}},
		{Name: "plain", Quantity: 1},
	}})
}

func status(w ...wire.WorkspaceStatus) wire.Status { return wire.Status{Workspaces: w} }

func TestRowsTellHowFarAWorkspaceIs(t *testing.T) {
	m := cpe()
	expect := func(want ...string) {
		t.Helper()
		for i, r := range m.Frame().Rows {
			if got := r.Name + ": " + r.Text; got != want[i] {
				t.Errorf("got %q, want %q", got, want[i])
			}
		}
	}
	expect("db: launching", "web: launching", "plain: launching")
	m.Instances(map[string]int{"db": 1, "web": 2, "plain": 1})
	expect("db: running", "web: 2 of 3 running", "plain: running")
	m.Instances(map[string]int{"db": 1, "web": 3, "plain": 1})
	m.Context(status(wire.WorkspaceStatus{Name: "db", Expected: 1}, wire.WorkspaceStatus{Name: "web", Expected: 3, Joined: 1}))
	expect("db: running", "web: 1 of 3 joined", "plain: running")
	m.Context(status(wire.WorkspaceStatus{Name: "db", Expected: 1}, wire.WorkspaceStatus{Name: "web", Expected: 3, Joined: 3, Waiting: []string{`role "db": db-0 to join`}}))
	expect("db: running", `web: joined, waits for role "db": db-0 to join`, "plain: running")
	m.Context(status(wire.WorkspaceStatus{Name: "db", Expected: 1, Joined: 1, OK: 1}, wire.WorkspaceStatus{Name: "web", Expected: 3, Joined: 3, OK: 2}))
	expect("db: ok", "web: scripts run, 2 of 3 ok", "plain: running")
	m.Context(status(wire.WorkspaceStatus{Name: "web", Expected: 3, Joined: 3, OK: 2, Failed: 1}))
	expect("db: ok", "web: 1 of 3 failed", "plain: running")
}

func TestPlainPrintsChangesOfStageOnly(t *testing.T) {
	var out strings.Builder
	v, m := NewPlain(&out), cpe()
	v.Show(m.Frame())
	for joined := 1; joined < 3; joined++ {
		m.Context(status(wire.WorkspaceStatus{Name: "web", Expected: 3, Joined: joined}))
		v.Show(m.Frame())
	}
	m.Context(status(wire.WorkspaceStatus{Name: "web", Expected: 3, Joined: 3, OK: 3}))
	v.Show(m.Frame())
	v.Show(m.Frame())
	if want := "  - web: 1 of 3 joined\n  - web: ok\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestPrintableDisarmsTerminalCodes(t *testing.T) {
	if got := Printable("a\x1b[2Jb\x00\xff\tü\n"); got != "a?[2Jb??\tü\n" {
		t.Errorf("%q", got)
	}
}
