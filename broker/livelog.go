package broker

import (
	"context"
	"time"

	"nimbus/broker/cluster"
	"nimbus/broker/httpd"
	"nimbus/broker/match"
	"nimbus/broker/wire"
)

// TakeLog takes in what a node at work has logged.
func (s *Service) TakeLog(_ context.Context, n httpd.Node, l wire.LogText) error {
	r, err := s.find(n.Context)
	if err != nil {
		return err
	}
	var place cluster.Place
	err = r.ask(func(state *match.State) (err error) {
		if place, _, err = state.Holder(claimant(n)); err != nil {
			return err
		}
		if node := state.Node(place); node.Report != nil {
			return wire.Errorf(wire.Reported, "node %s has reported: its log is closed", place)
		}
		// Here, as it would never be forgotten when the context has ended.
		s.logs.add(logKey{r.id, place}, l.Offset, l.Text)
		return nil
	})
	return err
}

// NodeLog waits until a node has logged more than the caller knows.
func (s *Service) NodeLog(ctx context.Context, owner, id, name string, offset int64) (wire.NodeLog, error) {
	r, err := s.owned(owner, id)
	if err != nil {
		return wire.NodeLog{}, err
	}
	place, err := cluster.ParsePlace(name)
	if err != nil {
		return wire.NodeLog{}, wire.Errorf(wire.BadRequest, "%v", err)
	}
	key := logKey{id, place}
	late := time.NewTimer(s.hold())
	defer late.Stop()
	for atOnce := offset < 0; ; {
		var node match.Node
		var news <-chan struct{}
		err := r.ask(func(state *match.State) error {
			if !state.Has(place) {
				return wire.Errorf(wire.NotFound, "context %s has no node %s", id, place)
			}
			node, news = state.Node(place), r.changed
			s.logs.expect(key)
			return nil
		})
		if err != nil {
			return wire.NodeLog{}, err
		}
		// The log after the state: what came before a report is in it.
		log, more := s.nodeLog(key, node, max(0, offset))
		if atOnce || log.Text != "" || node.Report != nil {
			return log, nil
		}
		select {
		case <-more:
		case <-news:
		case <-late.C:
			atOnce = true
		case <-ctx.Done():
			return wire.NodeLog{}, ctx.Err()
		}
	}
}

// nodeLog is what there is of a node's log from an offset on. Of a node that
// failed before anybody could watch, that is the log of its report.
func (s *Service) nodeLog(key logKey, node match.Node, offset int64) (log wire.NodeLog, more <-chan struct{}) {
	log = wire.NodeLog{Offset: offset, State: nodeState(node)}
	log.Text, log.Next, more = s.logs.read(key, offset)
	if log.State == wire.NodeError && !s.logs.has(key) && offset < int64(len(node.Report.Log)) {
		log.Text, log.Next = node.Report.Log[offset:], int64(len(node.Report.Log))
	}
	return log, more
}
