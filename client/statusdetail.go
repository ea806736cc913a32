package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"nimbus/broker/wire"
	"nimbus/client/history"
	"nimbus/cloud"
)

// LaunchDetail is what --json prints of one launch.
type LaunchDetail struct {
	LaunchStatus
	Instances []history.Instance `json:"instances,omitempty"`
	Nodes     []NodeStatus       `json:"nodes,omitempty"`
	Context   *wire.Status       `json:"context,omitempty"`
}

// statusOf shows one launch with its nodes.
func (s *session) statusOf(ctx context.Context, handle string) error {
	_, record, err := s.launch(handle)
	if err != nil {
		return err
	}
	detail, unasked := s.detail(ctx, record)
	if !s.out.document(detail) {
		s.out.print("%s", s.detailText(detail))
		s.warnOf([]LaunchStatus{detail.LaunchStatus})
	}
	return incomplete(0, unasked)
}

// detail is what can be found out about one launch, and how many could not be
// asked.
func (s *session) detail(ctx context.Context, record history.Record) (d LaunchDetail, unasked int) {
	if !mayRun(record) {
		d.LaunchStatus = s.row(record, survey{})
		return d, 0
	}
	place := s.place(record)
	answer := s.askClouds(ctx, []history.Record{record}, record.Launch)[place]
	view := survey{clouds: map[string]listing{place: answer}, brokers: map[string]contexts{}}
	if answer.err != nil {
		d.LaunchStatus = s.row(record, view)
		d.Instances = record.Instances
		return d, 1
	}
	instances := answer.of(record.Launch)
	var nodes []wire.Node
	if c := record.Context; c != nil && len(instances) > 0 {
		var answered contexts
		if d.Context, nodes, answered.err = s.askContext(ctx, c); answered.err != nil {
			unasked = 1
		} else if d.Context != nil {
			answered.byID = map[string]wire.Summary{c.ID: d.Context.Summary}
		}
		view.brokers[c.Broker] = answered
	}
	d.LaunchStatus = s.row(record, view)
	if unasked > 0 && len(d.Notes) == 0 { // of one that is ok the broker need not be asked
		d.Notes = []string{view.brokers[record.Context.Broker].err.Error()}
	}
	for _, i := range instances {
		d.Instances = append(d.Instances, placed(record, i))
	}
	if len(instances) > 0 {
		d.Nodes = nodeStatuses(record.Definition, instances, d.Context, nodes)
	}
	return d, unasked
}

// placed is an instance as the cloud lists it, with its place in the
// definition.
func placed(record history.Record, i cloud.Instance) history.Instance {
	instance := history.Instance{Node: i.Token, Instance: i}
	for _, known := range record.Instances {
		if known.Token == i.Token {
			instance.Node, instance.Workspace, instance.Index = known.Node, known.Workspace, known.Index
		}
	}
	return instance
}

// askContext asks a broker for one context; nil: it is not there any more.
func (s *session) askContext(ctx context.Context, c *history.Context) (*wire.Status, []wire.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, brokerPatience)
	defer cancel()
	broker, err := s.findBroker(ctx, c.Broker)
	var status wire.Status
	if err == nil {
		status, err = broker.Status(ctx, c.ID, 0)
	}
	var nodes []wire.Node
	if err == nil {
		nodes, err = broker.Nodes(ctx, c.ID)
	}
	switch code := wire.CodeOf(err); {
	case err == nil:
		return &status, nodes, nil
	case errors.Is(err, ErrNoBroker) || code == wire.NotFound || code == wire.ContextGone:
		return nil, nil, nil
	}
	return nil, nil, fmt.Errorf("the broker (%s) could not be asked: %w", brokerName(c.Broker), err)
}

// detailText prints one launch for people.
func (s *session) detailText(d LaunchDetail) string {
	var b strings.Builder
	now := s.env.Now()
	fmt.Fprintf(&b, "%s: %s", d.Handle, stateWords(d.State, d.Outcome))
	if d.Phase != "" && d.Phase != d.State {
		fmt.Fprintf(&b, " (%s)", d.Phase)
	}
	fmt.Fprintf(&b, ", launched %s ago", spanText(now.Sub(d.Created)))
	switch left := s.left(d.LaunchStatus); left {
	case "-":
	case noEnd:
		b.WriteString(", goes on until you end it")
	default:
		fmt.Fprintf(&b, ", ends in %s", left)
	}
	b.WriteString("\n")
	if len(d.Nodes) > 0 {
		b.WriteString("\n")
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "NODE\tSTATE\tPHASE\tAGE\tADDRESSES\tROLES")
		for _, n := range d.Nodes {
			state, age, addresses := n.State, "-", "-"
			if n.Reason != "" {
				state += " (" + n.Reason + ")"
			}
			if !n.Created.IsZero() {
				age, addresses = spanText(now.Sub(n.Created)), addressText(n.Addresses)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", n.Node, state, orDash(n.Phase), age, addresses, orDash(strings.Join(n.Roles, ", ")))
		}
		_ = w.Flush() // a builder takes everything
	}
	if c := d.Context; c != nil {
		b.WriteString("\nContext:\n")
		for _, w := range c.Workspaces {
			fmt.Fprintf(&b, "  - %s: %d of %d joined, %d ok, %d failed\n", w.Name, w.Joined, w.Expected, w.OK, w.Failed)
			for _, waiting := range w.Waiting {
				fmt.Fprintf(&b, "      waits for %s\n", waiting)
			}
		}
		for _, f := range c.Failures {
			fmt.Fprintf(&b, "  - %s: %s\n", f.Node, stepText(f.Report))
		}
	}
	return printable(b.String())
}
