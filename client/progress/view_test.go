package progress

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A window is a terminal that a test can read.
type window struct {
	strings.Builder
	t             *testing.T
	width, height int
	clock         time.Time
}

func newWindow(t *testing.T) (*window, *Terminal) {
	w := &window{t: t, width: 30, height: 20, clock: noon}
	return w, NewTerminal(w, func() (int, int) { return w.width, w.height }, func() time.Time { return w.clock }, Look{})
}

// expect compares what was written since the last time.
func (w *window) expect(want string) {
	w.t.Helper()
	if got := w.String(); got != want {
		w.t.Errorf("got  %q\nwant %q", got, want)
	}
	w.Reset()
}

func oneRow(ok int) *Frame {
	return &Frame{Rows: []Row{{"db", Working, "scripts run", Counts{NodeOK: ok, NodeConfiguring: 2 - ok}}}, Started: noon}
}

const (
	drawn0 = "  db  [>>>>>>>>>>>>>]  0/2 ok\x1b[K\n\x1b[K\n  > 2 configuring\x1b[K\n  slowest: db, scripts run\x1b[K\n  0:00 elapsed\x1b[K\n\x1b[J"
	drawn1 = "  db  [#######>>>>>>]  1/2 ok\x1b[K\n\x1b[K\n  # 1 ok  > 1 configuring\x1b[K\n  slowest: db, scripts run\x1b[K\n  0:00 elapsed\x1b[K\n\x1b[J"
	back   = "\r\x1b[5A"
)

func TestTerminalKeepsTheFrameBelowTheText(t *testing.T) {
	w, v := newWindow(t)
	v.Show(oneRow(0))
	w.expect(drawn0)
	fmt.Fprintf(v, "Launching... ")
	w.expect(back + "\x1b[5MLaunching... ")
	v.Show(oneRow(1)) // the line is not finished
	v.Tick()
	w.expect("")
	fmt.Fprintf(v, "done.\n")
	w.expect("done.\n" + drawn1)
	v.Aside(func() { w.WriteString("to stderr\n") })
	w.expect(back + "\x1b[5Mto stderr\n" + drawn1)
	v.Hide()
	w.expect(back + "\x1b[5M")
	v.Tick()
	fmt.Fprintln(v, "bye")
	w.expect("bye\n")
}

func TestTerminalPaintsTenFramesASecondAtMost(t *testing.T) {
	w, v := newWindow(t)
	v.Show(oneRow(0))
	w.expect(drawn0)
	v.Show(oneRow(0))
	v.Show(oneRow(1))
	w.expect("") // too soon
	v.Tick()
	w.expect(back + drawn1) // in its place, in one write
	v.Tick()
	w.expect("") // nothing has changed
	w.clock = w.clock.Add(time.Second)
	v.Tick()
	w.expect(back + strings.Replace(drawn1, "0:00", "0:01", 1))
}

// Terminals wrap the lines on the screen when the window becomes narrower: what
// was five lines is more, and all of them must go.
func TestTerminalThatIsResizedKeepsNoDebris(t *testing.T) {
	w, v := newWindow(t)
	v.Show(oneRow(0)) // 29, 0, 17, 26 and 14 columns
	w.Reset()
	w.width = 13
	v.Tick()
	if got := w.String(); !strings.HasPrefix(got, "\r\x1b[10A\x1b[10M") {
		t.Errorf("%q", got)
	}
}

func TestTerminalLeavesPlainLinesInTheEnd(t *testing.T) {
	w, v := newWindow(t)
	v.Settle()
	w.expect("")
	v.Show(oneRow(0))
	w.Reset()
	v.Settle()
	w.expect(back + "\x1b[5M  - db: scripts run\n")
	v.Tick()
	w.expect("")
}
