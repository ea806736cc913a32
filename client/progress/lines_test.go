package progress

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"nimbus/broker/cluster"
	"nimbus/broker/wire"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// picture is a frame as it stands in a window, without colours.
func picture(f *Frame, now time.Time, width, height int, look Look) string {
	var b strings.Builder
	for _, l := range f.lines(now, width, height, look) {
		b.WriteString(l.paint(look) + "\n")
	}
	return b.String()
}

func same(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// A launch of 50, half way.
func halfWay() *Model {
	m := New(&cluster.Definition{Workspaces: []cluster.Workspace{
		{Name: "head", Quantity: 1, Ctx: &cluster.Ctx{}},
		{Name: "worker", Quantity: 46, Ctx: &cluster.Ctx{}},
		{Name: "late", Quantity: 2, Ctx: &cluster.Ctx{}},
		{Name: "store", Quantity: 1},
	}})
	m.Between(noon, noon.Add(20*time.Minute))
	m.Accepted(map[string]int{"head": 1, "worker": 46, "late": 1, "store": 1})
	m.Instances(map[string]int{"head": 1, "worker": 44, "late": 0, "store": 1})
	m.Context(wire.Status{
		Workspaces: []wire.WorkspaceStatus{
			{Name: "head", Expected: 1, Joined: 1, OK: 1},
			{Name: "worker", Expected: 46, Joined: 40, OK: 23},
			{Name: "late", Expected: 2, Waiting: []string{"late-0 to join"}},
		},
		Latest: &wire.Latest{Node: "worker-17", State: wire.NodeJoined},
	})
	return m
}

func TestAFrameSaysItAll(t *testing.T) {
	f := halfWay().Frame()
	same(t, picture(f, noon.Add(83*time.Second), 80, 24, Look{Unicode: true}), `
  head    ██████████████████████████████████████████████████    1/1 ok
  worker  █████████████████████████▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓░░░░▁▁  23/46 ok
  late    ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁·························    0/2 ok
  store   ██████████████████████████████████████████████████    1/1 ok

  █ 25 ok  ▓ 17 configuring  ░ 4 booted  ▁ 3 launched  · 1 requested
  slowest: late, launching
  1:23 elapsed, 18:37 to the timeout; last: worker-17 joined
`[1:])
	same(t, picture(f, noon.Add(83*time.Second), 40, 24, Look{}), `
  head    [#################]    1/1 ok
  worker  [#########>>>>>>-:]  23/46 ok
  late    [:::::::::........]    0/2 ok
  store   [#################]    1/1 ok

  #25  >17  -4  :3  .1
  slowest: late, launching
  last: worker-17 joined
  1:23 elapsed, 18:37 to the timeout
`[1:])
	same(t, picture(f, noon.Add(2*time.Hour), 24, 24, Look{}), `
  head      1/1 ok
  worker  23/46 ok
  late      0/2 ok
  store     1/1 ok

  #25  >17  -4  :3  .1
  slowest: late, lau...
  last: worker-17 jo...
  2:00:00, 0:00 left
`[1:])
}

// Whatever the window, no line wraps, and no more lines are shown than it has.
func TestAFrameFitsAnyWindow(t *testing.T) {
	m := &Model{}
	for i := range 200 {
		m.workspaces = append(m.workspaces, workspace{name: fmt.Sprintf("workspace-with-a-long-name-%d", i), quantity: 1 + i*i, ctx: true})
	}
	m.Between(noon, noon.Add(time.Hour))
	m.latest = "wörker-" + strings.Repeat("世", 50)
	f := m.Frame()
	for width := range 220 {
		for _, height := range []int{1, 2, 3, 5, 8, 24, 50, 300} {
			for _, look := range []Look{{}, {Unicode: true}} {
				lines := f.lines(noon, width, height, look)
				if len(lines) > max(height-1, 1) {
					t.Fatalf("%d lines in %dx%d", len(lines), width, height)
				}
				for _, l := range lines {
					if n := l.columns(); n >= max(width, 2) {
						t.Fatalf("%d columns in %dx%d: %q", n, width, height, l.paint(look))
					}
				}
			}
		}
	}
}

func TestRowsThatHaveNoRoom(t *testing.T) {
	var rows []Row
	for i := range 30 {
		rows = append(rows, Row{Name: fmt.Sprintf("w%02d", i), Stage: OK})
	}
	rows[9].Stage, rows[20].Stage, rows[25].Stage, rows[29].Stage = Requested, Failed, Working, Waiting
	for room, want := range map[int]string{
		2: "w20 and 29", 3: "w20 w25 and 28", 5: "w09 w20 w25 w29 and 26", 7: "w00 w01 w09 w20 w25 w29 and 24",
	} {
		shown, left := fit(rows, room)
		var names []string
		for _, r := range shown {
			names = append(names, r.Name)
		}
		same(t, fmt.Sprintf("%s and %d", strings.Join(names, " "), left), want)
	}
}

func TestCellsAreInProportion(t *testing.T) {
	for _, c := range []struct {
		counts Counts
		width  int
		want   Counts
	}{
		{Counts{NodeOK: 3}, 10, Counts{NodeOK: 10}},
		{Counts{NodeOK: 9999, NodeFailed: 1}, 10, Counts{NodeOK: 9, NodeFailed: 1}},
		{Counts{NodeOK: 1, NodeRequested: 9999}, 50, Counts{NodeOK: 1, NodeRequested: 49}},
		{Counts{1, 1, 1, 1, 1, 1, 10000}, 8, Counts{1, 1, 1, 1, 1, 1, 2}},
		{Counts{NodeOK: 1, NodeJoined: 1, NodeBooted: 1}, 10, Counts{NodeOK: 4, NodeJoined: 3, NodeBooted: 3}},
		{Counts{}, 10, Counts{}},
	} {
		if got := cells(c.counts, c.width); got != c.want {
			t.Errorf("%v in %d: %v, want %v", c.counts, c.width, got, c.want)
		}
	}
}

// What a broker says can be nonsense; the nodes of a bar are always those of
// the definition.
func TestCountsAddUp(t *testing.T) {
	for _, s := range []wire.WorkspaceStatus{
		{Expected: 5, Joined: 9, OK: 7, Failed: 3}, {Expected: math.MaxInt, Joined: math.MaxInt}, {Joined: -3, OK: -1, Failed: -9}, {Expected: 5, Failed: 2}, {Expected: 5, Joined: 2, OK: 1, Failed: 2},
	} {
		for _, cloud := range [][2]int{{0, 0}, {5, 0}, {5, 3}, {3, 9}, {-1, -4}} {
			w := workspace{quantity: 5, ctx: true, accepted: cloud[0], running: cloud[1], status: &s}
			c := w.counts()
			if c.total() != 5 {
				t.Errorf("%+v, %v: %v", s, cloud, c)
			}
			for _, n := range c {
				if n < 0 {
					t.Errorf("%+v, %v: %v", s, cloud, c)
				}
			}
		}
	}
}

func TestStatesDifferWithoutColour(t *testing.T) {
	for _, look := range []Look{{}, {Unicode: true}} {
		seen := map[string]bool{}
		for s := range faces {
			seen[faces[s].mark(look)] = true
		}
		if len(seen) != int(states) {
			t.Errorf("%+v: %v", look, seen)
		}
	}
}

func TestColoursAreTheStates(t *testing.T) {
	f := &Frame{Rows: []Row{{"web", Failed, "1 of 2 failed", Counts{NodeOK: 1, NodeFailed: 1}}}}
	same(t, picture(f, noon, 40, 24, Look{Color: true}), "  \x1b[1;31mweb\x1b[0m  [\x1b[32m######\x1b[0m\x1b[1;31m!!!!!!\x1b[0m]  1/2\x1b[1;31m ok, 1 failed\x1b[0m\n\n  \x1b[32m# 1 ok\x1b[0m  \x1b[1;31m! 1 failed\x1b[0m\n")
}

func TestClock(t *testing.T) {
	for d, want := range map[time.Duration]string{-time.Second: "0:00", 1999 * time.Millisecond: "0:01", 61 * time.Second: "1:01", 3*time.Hour + 7*time.Second: "3:00:07"} {
		same(t, clock(d), want)
	}
}
