package broker

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"sync"

	"nimbus/broker/cluster"
	"nimbus/broker/httpd"
	"nimbus/broker/match"
	"nimbus/broker/wire"
)

// An answer is written down and compressed once, by whoever asks first, and
// sent to all from the same bytes.
type answer struct {
	manifest cluster.Manifest
	once     sync.Once
	ready    httpd.Answer
	err      error
}

// worthwhile is the size in bytes from which an answer is compressed.
const worthwhile = 1 << 10

func (a *answer) encode() (*httpd.Answer, error) {
	a.once.Do(func() {
		a.ready.JSON, a.err = json.Marshal(a.manifest)
		a.manifest = cluster.Manifest{}
		if a.err != nil || len(a.ready.JSON) < worthwhile {
			return
		}
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(a.ready.JSON) // a buffer does not fail
		_ = z.Close()
		a.ready.Gzip = b.Bytes()
	})
	return &a.ready, a.err
}

// summarize says in short how a context is.
func summarize(s *match.State) wire.Summary {
	created, at := s.Created()
	summary := wire.Summary{ID: created.ID, Name: created.Name, State: contextState(s), Created: at, Expires: s.Expires()}
	summary.Expected, summary.Joined, summary.OK, summary.Failed = s.Counts()
	return summary
}

func contextState(s *match.State) wire.State {
	expected, joined, _, _ := s.Counts()
	switch {
	case s.Cancelled():
		return wire.Cancelled
	case s.Ended():
		return wire.Expired
	case s.Failing():
		return wire.Failing
	case s.AllOK():
		return wire.OK
	case !s.Locked():
		return wire.Open
	case joined < expected:
		return wire.Joining
	}
	return wire.Working
}

// told is how many failures a status holds; the rest is in the nodes.
const told = 10

// status is how far the context is.
func (r *rendezvous) status(s *match.State) wire.Status {
	status := wire.Status{Summary: summarize(s), Seq: r.version, Locked: s.Locked(), Refused: r.refused}
	for _, w := range s.Workspaces() {
		status.Workspaces = append(status.Workspaces, wire.WorkspaceStatus(w))
	}
	for _, n := range s.Failures(told) {
		status.Failures = append(status.Failures, wire.Failure{Node: n.Place.String(), Report: wire.Report(*n.Report)})
	}
	if n, any := s.Latest(); any {
		d := nodeDocument(n)
		status.Latest = &wire.Latest{Node: d.Node, State: d.State}
	}
	return status
}

// nodeDocument is a node as its owner sees it.
func nodeDocument(n match.Node) wire.Node {
	d := wire.Node{Node: n.Place.String(), Workspace: n.Place.Workspace, Index: n.Place.Index,
		State: nodeState(n), Roles: n.Roles, Identities: n.Identities, Joined: n.Joined, Reported: n.Reported}
	if d.State == wire.NodeError {
		report := wire.Report(*n.Report)
		d.Report = &report
	}
	return d
}

func nodeState(n match.Node) wire.NodeState {
	switch {
	case n.Report != nil && n.Report.OK:
		return wire.NodeOK
	case n.Report != nil:
		return wire.NodeError
	case n.Identities != nil:
		return wire.NodeJoined
	}
	return wire.NodeExpected
}
