package cluster

import (
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with a definition, or odd about it.
type Problem struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"` // 0: the document as a whole
	Warning bool   `json:"warning,omitempty"`
	Text    string `json:"text"`          // what is wrong
	Fix     string `json:"fix,omitempty"` // what to write instead
}

// String is the form that compilers use: file:line: error: text: fix.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File + ":")
	}
	if p.Line > 0 {
		fmt.Fprintf(&b, "%d:", p.Line)
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	if p.Warning {
		b.WriteString("warning: ")
	} else {
		b.WriteString("error: ")
	}
	b.WriteString(p.Text)
	if p.Fix != "" {
		b.WriteString("; " + p.Fix)
	}
	return b.String()
}

// maxProblems is how many a person is shown; a hostile file has no end of them.
const maxProblems = 200

// Problems is a list of them, in the order of the file.
type Problems []Problem

// Errors tells how many of the problems forbid a launch.
func (ps Problems) Errors() int {
	n := 0
	for _, p := range ps {
		if !p.Warning {
			n++
		}
	}
	return n
}

// Err is nil when nothing forbids a launch, else all errors in one.
func (ps Problems) Err() error {
	var lines []string
	for _, p := range ps {
		if !p.Warning {
			lines = append(lines, p.String())
		}
	}
	if lines == nil {
		return nil
	}
	return &InvalidError{ps, strings.Join(lines, "\n")}
}

// InvalidError says why a definition is refused.
type InvalidError struct {
	Problems Problems
	text     string
}

func (e *InvalidError) Error() string { return e.text }

func (ps *Problems) errorf(line int, fix, format string, args ...any) {
	ps.add(Problem{Line: line, Text: fmt.Sprintf(format, args...), Fix: fix})
}

func (ps *Problems) warnf(line int, fix, format string, args ...any) {
	ps.add(Problem{Line: line, Text: fmt.Sprintf(format, args...), Fix: fix, Warning: true})
}

// add cuts what a hostile file put into a message, and keeps errors rather
// than warnings when there are too many: none may hide behind them.
func (ps *Problems) add(p Problem) {
	if len(p.Text) > 600 {
		p.Text = strings.ToValidUTF8(p.Text[:600], "") + "…"
	}
	if len(*ps) < maxProblems {
		*ps = append(*ps, p)
		return
	}
	if last := slices.IndexFunc(*ps, func(o Problem) bool { return o.Warning }); last >= 0 && !p.Warning {
		*ps = append(slices.Delete(*ps, last, last+1), p)
	}
}

// full tells that no further error would be told.
func (ps Problems) full() bool { return ps.Errors() >= maxProblems }

// inFile names the file in every problem and puts them in its order.
func (ps Problems) inFile(name string) Problems {
	for i := range ps {
		ps[i].File = name
	}
	slices.SortStableFunc(ps, func(a, b Problem) int { return a.Line - b.Line })
	return ps
}
