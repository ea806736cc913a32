// Package progress shows how a cluster comes up, one row for each workspace.
// The model decides what is to be said; a view puts it on a terminal or into a
// file.
package progress

import (
	"fmt"
	"strings"
	"time"
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
	Nodes Counts
}

// Frame is what is shown at one moment.
type Frame struct {
	Rows     []Row
	Latest   string    // what happened last
	Started  time.Time // zero: unknown
	Deadline time.Time // when the wait is given up; zero: never
}

// Model knows how far each workspace is.
type Model struct {
	workspaces        []workspace
	latest            string
	started, deadline time.Time
}

type workspace struct {
	name     string
	quantity int
	ctx      bool
	accepted int
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

// Between says when the wait began and when it will be given up.
func (m *Model) Between(started, deadline time.Time) { m.started, m.deadline = started, deadline }

// Accepted tells how many instances of each workspace the cloud has.
func (m *Model) Accepted(accepted map[string]int) {
	for i := range m.workspaces {
		m.workspaces[i].accepted = accepted[m.workspaces[i].name]
	}
}

// Instances tells how many instances of each workspace run.
func (m *Model) Instances(running map[string]int) {
	before, now, all := 0, 0, 0
	for i := range m.workspaces {
		w := &m.workspaces[i]
		before += w.running
		w.running = running[w.name]
		now, all = now+w.running, all+w.quantity
	}
	if now > before {
		m.latest = fmt.Sprintf("%d of %d instances run", now, all)
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
	if l := s.Latest; l != nil {
		happened := map[wire.NodeState]string{wire.NodeJoined: "joined", wire.NodeOK: "is ok", wire.NodeError: "failed"}[l.State]
		if happened != "" {
			m.latest = Printable(l.Node) + " " + happened
		}
	}
}

// Frame is what there is to show, the workspaces in the order of the
// definition.
func (m *Model) Frame() *Frame {
	f := &Frame{Latest: m.latest, Started: m.started, Deadline: m.deadline}
	for i := range m.workspaces {
		f.Rows = append(f.Rows, m.workspaces[i].row())
	}
	return f
}

func (w *workspace) row() Row {
	row := func(stage Stage, format string, args ...any) Row {
		return Row{w.name, stage, fmt.Sprintf(format, args...), w.counts()}
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

// counts says in which state how many nodes are. They add up to the quantity
// whatever a broker or a cloud says.
func (w *workspace) counts() Counts {
	var c Counts
	left := w.quantity
	take := func(s State, n int) {
		n = min(max(n, 0), left)
		c[s] += n
		left -= n
	}
	if s := w.status; s != nil {
		take(NodeFailed, s.Failed)
		take(NodeOK, s.OK)
		joined := NodeJoined
		if len(s.Waiting) == 0 {
			joined = NodeConfiguring
		}
		take(joined, s.Joined-s.OK-s.Failed)
	}
	further := w.quantity - left // these run, too
	if w.ctx {
		take(NodeBooted, w.running-further)
	} else {
		take(NodeOK, w.running-further) // more is not asked of them
	}
	take(NodeLaunched, w.accepted-max(w.running, further))
	take(NodeRequested, left)
	return c
}

// slowest is the workspace that is the least far, as all others may have to
// wait for it; nil when all are done.
func slowest(rows []Row) *Row {
	var last *Row
	for i := range rows {
		r := &rows[i]
		if r.Stage == OK || r.Stage == Failed {
			continue
		}
		if last == nil || r.Stage < last.Stage || r.Stage == last.Stage && r.Nodes.undone() > last.Nodes.undone() {
			last = r
		}
	}
	return last
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
