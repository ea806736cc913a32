package match

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"nimbus/broker/cluster"
)

// fullLogs is how many error reports keep their whole log; the cause is among
// the first, and ten thousand logs are of no use to anybody.
const (
	fullLogs = 100
	shortLog = 1 << 10
)

// maxRetries is how often a node may begin again: each time adds to the log of
// events, and a machine gone mad must not fill the disk.
const maxRetries = 100

func (s *State) report(at time.Time, r Reported) error {
	w, place, err := s.place(r.Claimant)
	if err != nil {
		return err
	}
	n := &w.nodes[place.Index]
	if r.Stage != 0 {
		return fmt.Errorf("%w: this context has no stage %d", ErrInvalid, r.Stage)
	}
	if n.report != nil {
		known, told := *n.report, r.Report
		if known.OK == told.OK && known.Step == told.Step && known.Code == told.Code && strings.HasSuffix(told.Log, known.Log) {
			return ErrRepeated
		}
		return fmt.Errorf("%w: another report of node %s is stored already", ErrReported, place)
	}
	if r.OK {
		if n.identities == nil {
			return fmt.Errorf("%w: node %s reports ok, but never joined", ErrNotJoined, place)
		}
		if !s.requirements[w.requirement].told {
			return fmt.Errorf("%w: node %s reports ok, but was not answered yet", ErrInvalid, place)
		}
		n.report, n.reported = &Report{OK: true}, at
		w.ok++
		s.ok++
		s.latest = &place
		s.serve(w.byOK)
		return nil
	}
	n.claim = r.Claim
	s.claims[r.Claim] = place
	s.fail(w, place, at, r.Report)
	return nil
}

// fail stores an error report.
func (s *State) fail(w *workspace, place cluster.Place, at time.Time, r Report) {
	if len(s.failed) >= fullLogs && len(r.Log) > shortLog {
		r.Log = r.Log[len(r.Log)-shortLog:]
	}
	n := &w.nodes[place.Index]
	n.report, n.reported = &r, at
	w.failed++
	s.failed = append(s.failed, place)
	s.latest = &place
}

// retry takes a report back, so that the node can report anew. Its addresses
// and keys stay: others may have been told of them.
func (s *State) retry(r Retried) error {
	w, place, err := s.place(r.Claimant)
	if err != nil {
		return err
	}
	n := &w.nodes[place.Index]
	switch {
	case n.claim == "":
		return fmt.Errorf("%w: node %s has neither joined nor reported", ErrNotJoined, place)
	case n.report == nil:
		return ErrRepeated
	case n.identities != nil && !n.counted:
		return fmt.Errorf("%w: node %s joined without the SSH host key that others require, and cannot join again; \"nimbus release\" frees its place for another machine", ErrReported, place)
	case n.retries >= maxRetries:
		return fmt.Errorf("%w: node %s has begun again %d times; \"nimbus release\" frees its place for another machine", ErrReported, place, n.retries)
	case n.report.OK:
		w.ok--
		s.ok--
		s.unserve(w.byOK)
	default:
		s.unfail(w, place)
	}
	n.report, n.reported = nil, time.Time{}
	n.retries++
	if s.latest != nil && *s.latest == place && n.identities == nil {
		s.latest = nil // what was heard of it is taken back
	}
	return nil
}

// unfail takes a node out of those that failed.
func (s *State) unfail(w *workspace, place cluster.Place) {
	w.failed--
	s.failed = slices.DeleteFunc(s.failed, func(p cluster.Place) bool { return p == place })
}

func (s *State) release(place cluster.Place) error {
	if !s.Has(place) {
		return fmt.Errorf("%w: there is no node %s", ErrNoPlace, place)
	}
	w := &s.workspaces[s.position[place.Workspace]]
	n := &w.nodes[place.Index]
	if n.claim == "" {
		return ErrRepeated
	}
	if n.report != nil && n.report.OK {
		return fmt.Errorf("%w: node %s has reported ok", ErrTold, place)
	}
	if n.identities != nil && s.told(w) {
		return fmt.Errorf("%w: others know the addresses and keys of node %s already", ErrTold, place)
	}
	delete(s.claims, n.claim)
	s.released[n.claim] = true
	for _, identity := range n.identities {
		delete(s.ips, identity.IP)
		for _, name := range names(identity.Hostname) {
			delete(s.hosts, name)
		}
	}
	if n.identities != nil {
		w.joined--
		s.joined--
	}
	if n.counted {
		s.unserve(w.byJoin)
	}
	if n.report != nil {
		s.unfail(w, place)
	}
	*n = node{}
	if s.latest != nil && *s.latest == place {
		s.latest = nil
	}
	return nil
}
