package progress

import (
	"fmt"
	"strings"
	"time"
)

// Look is what a terminal can show.
type Look struct{ Color, Unicode bool }

// A line is made of spans and is never wider than the window.
type line []span

type span struct {
	text  string
	color string // SGR parameters; empty: as the rest
}

const (
	widestBar    = 50
	narrowestBar = 8 // each state must have room for one cell
	widestName   = 24
	mostRows     = 40
)

// lines lays a frame out for a window: the rows that fit, what the nodes are
// in all, what the slowest waits for, and the time. Nothing may wrap: the next
// frame would leave a part of it on the screen.
func (f *Frame) lines(now time.Time, width, height int, look Look) []line {
	width = max(width-1, 1)   // in the last column some terminals wrap at once
	height = max(height-1, 1) // below it is the cursor's line
	foot := f.foot(now, width, look)
	room := max(height-len(foot), min(3, height))
	foot = foot[:min(len(foot), height-room)]
	rows, left := fit(f.Rows, min(room, mostRows))
	lines := layout(rows, width, look)
	if left > 0 {
		lines = append(lines, line{{fmt.Sprintf("  and %d more", left), ""}})
	}
	lines = append(lines, foot...)
	for i := range lines {
		lines[i] = lines[i].cut(width, look)
	}
	return lines
}

// layout makes one line of each row: name, bar and counts, all in columns.
func layout(rows []Row, width int, look Look) []line {
	name, digits, tail := 0, 1, 0
	for _, r := range rows {
		name = max(name, len(r.Name))
		digits = max(digits, len(fmt.Sprint(r.Nodes.total())))
		tail = max(tail, len(r.tail()))
	}
	name = min(name, widestName, max(width/3, 6))
	frame := 2 // the bar's ends
	if look.Unicode {
		frame = 0
	}
	counts := 2*digits + 1
	bar := min(width-2-name-2-frame-2-counts-tail, widestBar)
	var lines []line
	for _, r := range rows {
		color := ""
		switch r.Stage {
		case OK:
			color = faces[NodeOK].color
		case Failed:
			color = faces[NodeFailed].color
		}
		l := line{{"  ", ""}, {pad(cut(r.Name, name, look), name), color}, {"  ", ""}}
		if bar >= narrowestBar {
			l = append(append(l, r.Nodes.bar(bar, look)...), span{"  ", ""})
		}
		done := fmt.Sprintf("%d/%d", r.Nodes[NodeOK], r.Nodes.total())
		l = append(l, span{fmt.Sprintf("%*s", counts, done), ""}, span{r.tail(), color})
		lines = append(lines, l)
	}
	return lines
}

func (r *Row) tail() string {
	if n := r.Nodes[NodeFailed]; n > 0 {
		return fmt.Sprintf(" ok, %d failed", n)
	}
	return " ok"
}

// bar draws the nodes of a workspace.
func (c Counts) bar(width int, look Look) line {
	var l line
	for s, n := range cells(c, width) {
		if n > 0 {
			l = append(l, span{strings.Repeat(faces[s].mark(look), n), faces[s].color})
		}
	}
	if !look.Unicode {
		l = append(append(line{{"[", ""}}, l...), span{"]", ""})
	}
	return l
}

func (f *face) mark(look Look) string {
	if look.Unicode {
		return f.unicode
	}
	return f.ascii
}

// foot is what stands below the rows.
func (f *Frame) foot(now time.Time, width int, look Look) []line {
	lines := []line{{}, f.sum(width, look)}
	if r := slowest(f.Rows); r != nil {
		lines = append(lines, line{{fmt.Sprintf("  slowest: %s, %s", r.Name, strings.Join(strings.Fields(r.Text), " ")), ""}})
	}
	var parts []string
	if !f.Started.IsZero() {
		parts = append(parts, clock(now.Sub(f.Started))+" elapsed")
	}
	if !f.Deadline.IsZero() {
		parts = append(parts, clock(f.left(now))+" to the timeout")
	}
	timing := "  " + strings.Join(parts, ", ")
	if len(parts) == 2 && columns(timing) > width {
		timing = "  " + clock(now.Sub(f.Started)) + ", " + clock(f.left(now)) + " left"
	}
	latest := "last: " + f.Latest
	switch {
	case f.Latest == "" && len(parts) == 0:
	case f.Latest == "":
		lines = append(lines, line{{timing, ""}})
	case len(parts) == 0:
		lines = append(lines, line{{"  " + latest, ""}})
	case columns(timing)+2+columns(latest) <= width:
		lines = append(lines, line{{timing + "; " + latest, ""}})
	default:
		lines = append(lines, line{{"  " + latest, ""}}, line{{timing, ""}})
	}
	return lines
}

// sum adds up the nodes of all workspaces, which also explains the characters
// of the bars; in a narrow window with fewer words.
func (f *Frame) sum(width int, look Look) line {
	var all Counts
	for _, r := range f.Rows {
		all = all.plus(r.Nodes)
	}
	for _, form := range []string{"%s %d %s", "%s %d %.4s", "%s%d"} {
		var l line
		used := 0
		for s, n := range all {
			if n == 0 {
				continue
			}
			text := fmt.Sprintf(form, faces[s].mark(look), n, faces[s].word)
			if form == "%s%d" {
				text = fmt.Sprintf(form, faces[s].mark(look), n)
			}
			l = append(l, span{"  ", ""}, span{text, faces[s].color})
			used += 2 + columns(text)
		}
		if used <= width || form == "%s%d" {
			return l
		}
	}
	return nil
}

// left is the time to the deadline; a second that has begun counts, so that it
// and the time that went by add up.
func (f *Frame) left(now time.Time) time.Duration {
	return f.Deadline.Sub(f.Started) - now.Sub(f.Started).Truncate(time.Second)
}

// clock writes a length of time as clocks do.
func clock(d time.Duration) string {
	d = max(d, 0).Truncate(time.Second)
	h, m, s := int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60
	if h > 0 {
		return fmt.Sprintf("%d:%02d:%02d", h, m, s)
	}
	return fmt.Sprintf("%d:%02d", m, s)
}

// fit chooses which rows are shown when there is no room for all: those that
// failed, those at work, those that have not begun, those that are done.
// It counts the others.
func fit(rows []Row, room int) (shown []Row, left int) {
	if len(rows) <= room {
		return rows, 0
	}
	room-- // for the line that says so
	chosen := make([]bool, len(rows))
	for _, rank := range []func(Stage) bool{
		func(s Stage) bool { return s == Failed },
		func(s Stage) bool { return s != Failed && s != OK && s != Requested },
		func(s Stage) bool { return s == Requested },
		func(s Stage) bool { return s == OK },
	} {
		for i := range rows {
			if room > 0 && rank(rows[i].Stage) {
				chosen[i] = true
				room--
			}
		}
	}
	for i := range rows {
		if chosen[i] {
			shown = append(shown, rows[i])
		}
	}
	return shown, len(rows) - len(shown)
}

// cut shortens a line to a width.
func (l line) cut(width int, look Look) line {
	used := 0
	for i, s := range l {
		n := columns(s.text)
		if used+n > width {
			return append(l[:i:i], span{cut(s.text, width-used, look), s.color})
		}
		used += n
	}
	return l
}

func (l line) columns() (n int) {
	for _, s := range l {
		n += columns(s.text)
	}
	return n
}

// paint writes a line as a terminal wants it.
func (l line) paint(look Look) string {
	var b strings.Builder
	for _, s := range l {
		if look.Color && s.color != "" {
			b.WriteString("\x1b[" + s.color + "m" + s.text + "\x1b[0m")
			continue
		}
		b.WriteString(s.text)
	}
	return b.String()
}

// cut shortens text to a width, and shows that it did.
func cut(text string, width int, look Look) string {
	if columns(text) <= width {
		return text
	}
	dots := "..."
	if look.Unicode {
		dots = "…"
	}
	if width <= len(dots) {
		dots = ""
	}
	used := columns(dots)
	for i, r := range text {
		if used += columnsOf(r); used > width {
			return text[:i] + dots
		}
	}
	return text
}

func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-columns(text)))
}

// columns is how wide text is on a terminal, or a little less.
func columns(text string) (n int) {
	for _, r := range text {
		n += columnsOf(r)
	}
	return n
}

// columnsOf knows what we draw ourselves, and takes what it does not know for
// wide: too short a line does no harm.
func columnsOf(r rune) int {
	if r < 0x1100 || 0x2010 <= r && r <= 0x2027 || 0x2500 <= r && r <= 0x25ff {
		return 1
	}
	return 2
}
