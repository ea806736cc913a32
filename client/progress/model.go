// Package progress shows how a cluster comes up, one row for each workspace.
// The model decides what a row says; a view puts rows on a terminal or into a
// file.
package progress

import (
	"fmt"
	"strings"
	"unicode"

	"nimbus/broker/cluster"
	"nimbus/broker/wire"
)

// Stage is how far a workspace has come.
type Stage int

// The stages, in the order in which a workspace goes through them.
const (
	Requested Stage = iota
	Launched        // some instances run
	Running         // all instances run
	Joining         // some nodes have joined
	Waiting         // all nodes have joined, and wait for others
	Working         // their scripts run
	OK
	Failed
)

// Row is what is shown of one workspace.
type Row struct {
	Name  string
	Stage Stage
	Text  string
}

// Model knows how far each workspace is.
type Model struct{ workspaces []workspace }

type workspace struct {
	name     string
	quantity int
	ctx      bool
	running  int
	status   *wire.WorkspaceStatus // nil: nothing heard from the broker
}

// New makes the model of a launch that was only asked for.
func New(d *cluster.Definition) *Model {
	m := &Model{}
	for _, w := range d.Workspaces {
		m.workspaces = append(m.workspaces, workspace{name: w.Name, quantity: w.Quantity, ctx: w.Ctx != nil})
	}
	return m
}

// Instances tells how many instances of each workspace run.
func (m *Model) Instances(running map[string]int) {
	for i := range m.workspaces {
		m.workspaces[i].running = running[m.workspaces[i].name]
	}
}

// Context tells what the broker knows.
func (m *Model) Context(s wire.Status) {
	known := map[string]*wire.WorkspaceStatus{}
	for i := range s.Workspaces {
		known[s.Workspaces[i].Name] = &s.Workspaces[i]
	}
	for i := range m.workspaces {
		if status := known[m.workspaces[i].name]; status != nil {
			m.workspaces[i].status = status
		}
	}
}

// Rows are the workspaces in the order of the definition.
func (m *Model) Rows() []Row {
	rows := make([]Row, 0, len(m.workspaces))
	for i := range m.workspaces {
		rows = append(rows, m.workspaces[i].row())
	}
	return rows
}

func (w *workspace) row() Row {
	row := func(stage Stage, format string, args ...any) Row {
		return Row{w.name, stage, fmt.Sprintf(format, args...)}
	}
	s := w.status
	switch {
	case s != nil && s.Failed > 0:
		return row(Failed, "%d of %d failed", s.Failed, s.Expected)
	case s != nil && s.OK == s.Expected:
		return row(OK, "ok")
	case s != nil && s.Joined == s.Expected && len(s.Waiting) == 0:
		return row(Working, "scripts run, %d of %d ok", s.OK, s.Expected)
	case s != nil && s.Joined == s.Expected:
		return row(Waiting, "joined, waits for %s", Printable(strings.Join(s.Waiting, "; ")))
	case s != nil && s.Joined > 0:
		return row(Joining, "%d of %d joined", s.Joined, s.Expected)
	case w.running >= w.quantity && !w.ctx:
		return row(OK, "running")
	case w.running >= w.quantity:
		return row(Running, "running")
	case w.running > 0:
		return row(Launched, "%d of %d running", w.running, w.quantity)
	}
	return row(Requested, "launching")
}

// Printable replaces what could steer a terminal: text that machines sent is
// shown, not obeyed. Tabs and line ends stay.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, strings.ToValidUTF8(text, "?"))
}
