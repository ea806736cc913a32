package broker

import (
	"context"
	"time"

	"nimbus/broker/httpd"
	"nimbus/broker/match"
	"nimbus/broker/wire"
)

// Join gives a machine its place.
func (s *Service) Join(_ context.Context, n httpd.Node, j wire.Join) (joined wire.Joined, err error) {
	r, err := s.find(n.Context)
	if err != nil {
		return joined, err
	}
	who := claimant(n)
	err = r.propose(match.Event{Joined: &match.Joined{Claimant: who, Identities: j.Identities}}, func(state *match.State) error {
		place, _, err := state.Holder(who)
		if err != nil {
			return err
		}
		joined = wire.Joined{Place: place, Node: place.String(), Context: r.id, Stages: 1, Roles: state.Node(place).Roles, Scripts: packOf(state, place.Workspace)}
		return nil
	})
	if err != nil {
		r.noteRefusal(n, err)
		return wire.Joined{}, err
	}
	s.logs.begin(logKey{r.id, joined.Place})
	s.Log.Debug("joined", "context", r.id, "node", joined.Node, "from", n.From)
	return joined, nil
}

// Answer waits until a node's answer is complete.
func (s *Service) Answer(ctx context.Context, n httpd.Node, stage int) (*httpd.Answer, []string, error) {
	r, err := s.find(n.Context)
	if err != nil {
		return nil, nil, err
	}
	if stage != 0 {
		return nil, nil, wire.Errorf(wire.BadRequest, "this context has no stage %d", stage)
	}
	late := time.NewTimer(s.hold())
	defer late.Stop()
	for timeout := false; ; {
		var found *answer
		var missing []string
		var latch, broken <-chan struct{}
		err := r.ask(func(state *match.State) error {
			_, requirement, err := state.Holder(claimant(n))
			if err != nil {
				return err
			}
			if found = r.answer(requirement); found == nil {
				if timeout {
					missing = state.Missing(requirement)
				}
				latch, broken = r.latches[requirement], r.broken
				return r.hopeless()
			}
			return nil
		})
		switch {
		case err != nil:
			return nil, nil, err
		case found != nil:
			ready, err := found.encode()
			return ready, nil, err
		case timeout:
			return nil, missing, nil
		}
		select {
		case <-latch:
		case <-broken:
		case <-late.C:
			timeout = true
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// Report stores how a node's work ended.
func (s *Service) Report(_ context.Context, n httpd.Node, report wire.Report) error {
	r, err := s.find(n.Context)
	if err != nil {
		return err
	}
	err = r.propose(match.Event{Reported: &match.Reported{Claimant: claimant(n), Report: match.Report(report)}}, nil)
	if err != nil {
		r.noteRefusal(n, err)
	}
	return err
}

// Retry takes a node's report back: its machine begins again.
func (s *Service) Retry(_ context.Context, n httpd.Node) error {
	r, err := s.find(n.Context)
	if err != nil {
		return err
	}
	err = r.propose(match.Event{Retried: &match.Retried{Claimant: claimant(n)}}, nil)
	if err != nil && wire.CodeOf(err) != wire.NotJoined { // a machine of which nothing was heard has nothing to take back
		r.noteRefusal(n, err)
	}
	return err
}

func claimant(n httpd.Node) match.Claimant {
	return match.Claimant{Workspace: n.Token.Workspace, Index: n.Token.Index, Claim: n.Claim}
}
