package progress

import (
	"fmt"
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
		for i, r := range m.Rows() {
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
	v.Show(m.Rows())
	for joined := 1; joined < 3; joined++ {
		m.Context(status(wire.WorkspaceStatus{Name: "web", Expected: 3, Joined: joined}))
		v.Show(m.Rows())
	}
	m.Context(status(wire.WorkspaceStatus{Name: "web", Expected: 3, Joined: 3, OK: 3}))
	v.Show(m.Rows())
	v.Show(m.Rows())
	if want := "  - web: 1 of 3 joined\n  - web: ok\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestTerminalKeepsRowsBelowTheText(t *testing.T) {
	var out strings.Builder
	v := NewTerminal(&out, func() (int, int) { return 30, 20 }, false)
	rows := []Row{{"db", OK, "ok"}, {"web", Joining, "1 of 3 joined, and a very long explanation"}}
	v.Show(rows)
	expect := func(want string) {
		t.Helper()
		if out.String() != want {
			t.Errorf("got  %q\nwant %q", out.String(), want)
		}
		out.Reset()
	}
	drawn := "  + db   ok\n  - web  1 of 3 joined, and …\n"
	expect(drawn)
	v.Show(rows)
	expect("") // nothing has changed
	fmt.Fprintf(v, "Launching... ")
	expect("\x1b[2A\x1b[JLaunching... ")
	v.Show(rows) // the line is not finished
	expect("")
	fmt.Fprintf(v, "done.\n")
	expect("done.\n" + drawn)
	v.Hide()
	expect("\x1b[2A\x1b[J")
	fmt.Fprintln(v, "bye")
	expect("bye\n")
}

func TestTerminalShowsWhatHasRoom(t *testing.T) {
	var rows []Row
	for i := range 30 {
		rows = append(rows, Row{fmt.Sprintf("w%02d", i), OK, "ok"})
	}
	rows[20] = Row{"w20", Failed, "1 of 1 failed"}
	var out strings.Builder
	NewTerminal(&out, func() (int, int) { return 80, 6 }, true).Show(rows)
	want := "\x1b[32m  + w00  ok\x1b[0m\n\x1b[32m  + w01  ok\x1b[0m\n\x1b[31m  ! w20  1 of 1 failed\x1b[0m\n    and 27 more\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestPrintableDisarmsTerminalCodes(t *testing.T) {
	if got := Printable("a\x1b[2Jb\x00\xff\tü\n"); got != "a?[2Jb??\tü\n" {
		t.Errorf("%q", got)
	}
}
