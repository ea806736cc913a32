package client

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"nimbus/client/deploy"
	"nimbus/client/history"
	"nimbus/cloud"
)

// Hosts that are gone for good, or do not answer when their launch is ended:
// nobody else ends what they have.

// abandon gives up the hosts of a launch that cannot be reached, where its
// cloud has such. What they are is written down: one may come back.
func (s *session) abandon(ctx context.Context, l *history.Launch, driver cloud.Driver, record *history.Record) error {
	abandoner, ok := driver.(cloud.Abandoner)
	if !ok {
		return nil
	}
	gone, err := abandoner.Abandon(ctx, record.Launch)
	for _, m := range deploy.Machines(gone) {
		node := m.Node.String()
		record.Unreachable = slices.DeleteFunc(record.Unreachable, func(i history.Instance) bool { return i.Node == node })
		record.Unreachable = append(record.Unreachable, history.Instance{Node: node, Workspace: m.Node.Workspace, Index: m.Node.Index, Instance: m.Instance})
		s.out.warn("  - %s: %s: it is given up, and what is there stays. Should it come back: %s\n", node, printable(m.Reason), s.command("terminate", "--handle", record.Handle))
	}
	if len(gone) > 0 {
		if e := l.Save(*record); err == nil {
			err = e
		}
	}
	if err != nil {
		return &Failure{Code: exitFailed, Text: fmt.Sprintf("terminate %s: %v", record.Handle, err)}
	}
	return nil
}

// terminateRest ends what is left on hosts that were given up when the launch
// was ended, if they are there again.
func (s *session) terminateRest(ctx context.Context, l *history.Launch, record *history.Record, t *Termination, without bool) error {
	if len(record.Unreachable) == 0 {
		return nil
	}
	driver, err := s.cloudOf(*record)
	if err != nil {
		return err
	}
	failures := make([]error, len(record.Unreachable))
	var at sync.WaitGroup
	for n, i := range record.Unreachable {
		at.Go(func() { failures[n] = driver.Terminate(ctx, []cloud.Instance{i.Instance}) })
	}
	at.Wait()
	var left []history.Instance
	var first error
	for n, i := range record.Unreachable {
		if failures[n] == nil {
			s.sayLeftBy(i)
			continue
		}
		if left = append(left, i); first == nil {
			first = failures[n]
		}
	}
	record.Unreachable, t.Unreachable = left, nodesOf(left)
	if err := l.Save(*record); err != nil {
		return &Failure{Code: exitFailed, Text: err.Error(), Advice: s.doctorAdvice()}
	}
	switch {
	case len(left) == 0 || without:
		return nil
	case ctx.Err() != nil:
		return &Failure{Code: exitInterrupted, Text: fmt.Sprintf("interrupted: %s may have something of %s still", strings.Join(nodesOf(left), ", "), record.Handle)}
	}
	return &Failure{Code: exitFailed, Text: fmt.Sprintf("%s was given up, and is not back: %v", few(nodesOf(left)), first),
		Advice: "the same command tries again; to be rid of it: " + s.command("forget", "--handle", record.Handle)}
}

func nodesOf(instances []history.Instance) (nodes []string) {
	for _, i := range instances {
		nodes = append(nodes, i.Node)
	}
	return nodes
}
