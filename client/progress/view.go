package progress

import (
	"fmt"
	"io"
	"strings"
)

// View shows rows, and takes the text that is printed beside them.
type View interface {
	io.Writer
	// Show replaces the rows shown before.
	Show(rows []Row)
	// Hide takes the rows away, for text that goes elsewhere on the screen.
	Hide()
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
func (p *Plain) Show(rows []Row) {
	for _, r := range rows {
		if last, seen := p.shown[r.Name]; seen && last == r.Stage || r.Stage == Requested {
			continue
		}
		p.shown[r.Name] = r.Stage
		fmt.Fprintf(p.w, "  - %s: %s\n", r.Name, r.Text)
	}
}

// Hide does nothing: what is printed stays.
func (p *Plain) Hide() {}

// Terminal keeps the rows in place below the text.
type Terminal struct {
	w     io.Writer
	size  func() (width, height int)
	color bool

	rows  []Row
	drawn int    // lines on the screen
	last  string // what they say
	open  bool   // the text above does not end in a line end
}

// NewTerminal makes a view for a terminal of the size that the function tells.
func NewTerminal(w io.Writer, size func() (width, height int), color bool) *Terminal {
	return &Terminal{w: w, size: size, color: color}
}

// Write prints text above the rows. While it stands in the middle of a line
// the rows stay away.
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

// Show draws the rows, in one write so that nothing flickers.
func (t *Terminal) Show(rows []Row) {
	t.rows = rows
	if t.drawn > 0 && t.lines() == t.last {
		return
	}
	_, _ = io.WriteString(t.w, t.erase()+t.draw())
}

// Hide takes the rows off the screen until the next Show.
func (t *Terminal) Hide() {
	t.rows = nil
	if t.drawn > 0 {
		_, _ = io.WriteString(t.w, t.erase())
	}
}

func (t *Terminal) erase() string {
	if t.drawn == 0 {
		return ""
	}
	up := fmt.Sprintf("\x1b[%dA\x1b[J", t.drawn)
	t.drawn, t.last = 0, ""
	return up
}

func (t *Terminal) draw() string {
	if t.open || len(t.rows) == 0 {
		return ""
	}
	t.last = t.lines()
	t.drawn = strings.Count(t.last, "\n")
	return t.last
}

// lines is what the screen has room for: those that are not done come first,
// and no line may wrap, or the next erase would leave a part of it.
func (t *Terminal) lines() string {
	width, height := t.size()
	rows, left := fit(t.rows, max(3, min(height-2, 24)))
	name := 0
	for _, r := range rows {
		name = max(name, len(r.Name))
	}
	var b strings.Builder
	for _, r := range rows {
		line := []rune(fmt.Sprintf("  %s %-*s  %s", mark(r.Stage), min(name, 24), r.Name, r.Text))
		if len(line) >= width && width > 1 {
			line = append(line[:width-2], '…')
		}
		b.WriteString(t.paint(r.Stage, string(line)) + "\n")
	}
	if left > 0 {
		fmt.Fprintf(&b, "    and %d more\n", left)
	}
	return b.String()
}

// fit chooses which rows are shown, and counts those that are not.
func fit(rows []Row, room int) (shown []Row, left int) {
	if len(rows) <= room {
		return rows, 0
	}
	room--
	busy := 0
	for _, r := range rows {
		if r.Stage != OK {
			busy++
		}
	}
	done := max(0, room-busy) // how many finished ones fit beside the others
	for _, r := range rows {
		if r.Stage == OK {
			if done == 0 {
				continue
			}
			done--
		}
		if len(shown) < room {
			shown = append(shown, r)
		}
	}
	return shown, len(rows) - len(shown)
}

func mark(s Stage) string {
	switch s {
	case OK:
		return "+"
	case Failed:
		return "!"
	}
	return "-"
}

func (t *Terminal) paint(s Stage, line string) string {
	switch {
	case t.color && s == OK:
		return "\x1b[32m" + line + "\x1b[0m"
	case t.color && s == Failed:
		return "\x1b[31m" + line + "\x1b[0m"
	}
	return line
}
