package progress

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// View shows frames, and takes the text that is printed beside them.
type View interface {
	io.Writer
	// Show replaces the frame shown before.
	Show(f *Frame)
	// Tick shows what has changed by itself: the time, the window.
	Tick()
	// Aside takes the frame away while text goes elsewhere on the screen.
	Aside(write func())
	// Hide takes the frame away.
	Hide()
	// Settle leaves the rows as they are now as plain text.
	Settle()
}

// Plain prints a row when its workspace reaches another stage: for files,
// pipes and logs.
type Plain struct {
	w     io.Writer
	shown map[string]Stage
}

// NewPlain makes a view that only ever adds lines.
func NewPlain(w io.Writer) *Plain { return &Plain{w, map[string]Stage{}} }

func (p *Plain) Write(text []byte) (int, error) { return p.w.Write(text) }

// Show prints what has changed.
func (p *Plain) Show(f *Frame) {
	for _, r := range f.Rows {
		if last, seen := p.shown[r.Name]; seen && last == r.Stage || r.Stage == Requested {
			continue
		}
		p.shown[r.Name] = r.Stage
		fmt.Fprintf(p.w, "  - %s: %s\n", r.Name, r.Text)
	}
}

// Tick does nothing: what is printed stays.
func (p *Plain) Tick() {}

// Aside only writes.
func (p *Plain) Aside(write func()) { write() }

// Hide does nothing.
func (p *Plain) Hide() {}

// Settle does nothing: the last lines say it.
func (p *Plain) Settle() {}

// shortestFrame bounds how often a terminal is painted.
const shortestFrame = 100 * time.Millisecond

// Terminal keeps the frame in place below the text.
type Terminal struct {
	w    io.Writer
	size func() (width, height int)
	now  func() time.Time
	look Look

	frame *Frame    // nil: none
	drawn []int     // the lines on the screen, how wide each is
	last  string    // what they say
	at    time.Time // when they were painted
	open  bool      // the text above does not end in a line end
}

// NewTerminal makes a view for a terminal of the size that the function tells.
func NewTerminal(w io.Writer, size func() (width, height int), now func() time.Time, look Look) *Terminal {
	return &Terminal{w: w, size: size, now: now, look: look}
}

// Write prints text above the frame. While it stands in the middle of a line
// the frame stays away.
func (t *Terminal) Write(text []byte) (int, error) {
	if len(text) == 0 {
		return 0, nil
	}
	out := t.erase() + string(text)
	t.open = text[len(text)-1] != '\n'
	if _, err := io.WriteString(t.w, out+t.draw()); err != nil {
		return 0, err
	}
	return len(text), nil
}

// Show paints a frame, or leaves that to Tick when the last one was painted
// only just now.
func (t *Terminal) Show(f *Frame) {
	t.frame = f
	if t.drawn == nil || t.now().Sub(t.at) >= shortestFrame {
		t.Tick()
	}
}

// Tick paints the frame when that makes a difference.
func (t *Terminal) Tick() {
	if before := t.last; t.frame != nil && !t.open {
		up, wrapped := t.up(), t.wrapped()
		if wrapped { // terminals remember where; new text does not take that back
			up = t.erase()
		}
		if t.prepare(); wrapped || t.last != before {
			t.put(up + t.last)
		}
	}
}

// Aside takes the frame off the screen while something else is written there.
func (t *Terminal) Aside(write func()) {
	t.put(t.erase())
	write()
	t.put(t.draw())
}

// Hide takes the frame off the screen until the next Show.
func (t *Terminal) Hide() {
	t.frame = nil
	t.put(t.erase())
}

// Settle puts plain lines in the place of the frame.
func (t *Terminal) Settle() {
	if t.frame == nil {
		return
	}
	var b strings.Builder
	rows, left := fit(t.frame.Rows, mostRows)
	for _, r := range rows {
		fmt.Fprintf(&b, "  - %s: %s\n", r.Name, r.Text)
	}
	if left > 0 {
		fmt.Fprintf(&b, "  - and %d more\n", left)
	}
	t.frame = nil
	t.put(t.erase() + b.String())
}

func (t *Terminal) put(text string) {
	if text != "" {
		_, _ = io.WriteString(t.w, text)
	}
}

// rows is how many the drawn lines take. In a window that became narrower it is
// more than one for a line: terminals wrap them anew.
func (t *Terminal) rows() (n int) {
	width, _ := t.size()
	for _, columns := range t.drawn {
		n += 1 + max(columns-1, 0)/max(width, 1)
	}
	return n
}

// up moves to where the frame begins.
func (t *Terminal) up() string {
	if n := t.rows(); n > 0 {
		return fmt.Sprintf("\r\x1b[%dA", n)
	}
	return ""
}

// wrapped tells whether the window is too narrow now for what is on it.
func (t *Terminal) wrapped() bool {
	width, _ := t.size()
	return slices.ContainsFunc(t.drawn, func(columns int) bool { return columns > width })
}

// erase deletes the rows of the frame. (Some terminals keep in their history
// what is cleared from the top of the window on, but not what is deleted.)
func (t *Terminal) erase() string {
	up := t.up()
	if up != "" {
		up += fmt.Sprintf("\x1b[%dM", t.rows())
	}
	t.drawn, t.last = nil, ""
	return up
}

func (t *Terminal) draw() string {
	if t.open || t.frame == nil {
		return ""
	}
	t.prepare()
	return t.last
}

// prepare lays the frame out: each line clears what it does not cover, and the
// last one what is below, so that a frame is painted over the one before in a
// single write.
func (t *Terminal) prepare() {
	width, height := t.size()
	var b strings.Builder
	t.drawn = t.drawn[:0]
	for _, l := range t.frame.lines(t.now(), width, height, t.look) {
		t.drawn = append(t.drawn, l.columns())
		b.WriteString(l.paint(t.look) + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	t.last, t.at = b.String(), t.now()
}
