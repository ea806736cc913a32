package client

import (
	"context"
	"fmt"
	"strings"
	"time"

	"nimbus/broker/wire"
	"nimbus/client/deploy"
	"nimbus/client/history"
	"nimbus/cloud"
)

const (
	pollInstances = 2 * time.Second // the cloud has to be asked
	retryBroker   = time.Second
	// missedLooks is how often a cloud may leave an instance out before it
	// counts as gone: new ones are not in every list at once.
	missedLooks = 3
)

// A watcher knows which instances are alive.
type watcher struct{ missed map[string]int }

// look compares the machines of a launch with what the cloud lists now. It
// returns the machines as they are, and why the first dead one is dead.
func (w *watcher) look(machines []deploy.Machine, instances []cloud.Instance) (now []deploy.Machine, dead *deploy.Machine, why string) {
	listed := map[string]deploy.Machine{}
	for _, m := range deploy.Machines(instances) {
		listed[m.Token] = m
	}
	if w.missed == nil {
		w.missed = map[string]int{}
	}
	for _, m := range machines {
		current, ok := listed[m.Token]
		if ok {
			delete(w.missed, m.Token)
			m = current
		} else {
			w.missed[m.Token]++
		}
		now = append(now, m)
		if dead != nil {
			continue
		}
		switch {
		case !ok && w.missed[m.Token] >= missedLooks:
			dead, why = &m, "the cloud does not know it any more"
		case m.State == cloud.Failed || m.State == cloud.Ended:
			dead, why = &m, string(m.State)
			if m.Reason != "" {
				why += ": " + m.Reason
			}
		}
	}
	return now, dead, why
}

// runningIn counts the running machines of each workspace.
func runningIn(machines []deploy.Machine) (count map[string]int, all bool) {
	count, all = map[string]int{}, true
	for _, m := range machines {
		if m.State == cloud.Running {
			count[m.Node.Workspace]++
		} else {
			all = false
		}
	}
	return count, all
}

// acceptedIn counts the machines of each workspace that the cloud knows.
func acceptedIn(machines []deploy.Machine) map[string]int {
	count := map[string]int{}
	for _, m := range machines {
		count[m.Node.Workspace]++
	}
	return count
}

// waitRunning returns when the cloud says that every instance runs.
func (r *run) waitRunning(ctx context.Context) error {
	r.out.say("\nWaiting for launch updates.\n")
	r.reach(waiting)
	r.model.Accepted(acceptedIn(r.machines))
	var w watcher
	for {
		running, all := runningIn(r.machines)
		r.model.Instances(running)
		if all {
			break
		}
		r.out.show(r.model.Frame())
		select {
		case <-time.After(pollInstances):
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := r.check(ctx, &w, r.list(ctx)); err != nil {
			return err
		}
	}
	r.out.show(nil)
	r.out.say("  - %s: all members are Running\n", r.launch.Handle)
	r.out.event(Event{Event: "running", Handle: r.launch.Handle})
	if err := r.save(); err != nil {
		return err
	}
	return r.writeVMReports()
}

// A listing is one answer of the cloud.
type listing struct {
	instances []cloud.Instance
	err       error
}

func (r *run) list(ctx context.Context) listing {
	instances, err := r.driver.List(ctx, r.record.Launch)
	return listing{instances, err}
}

// check takes a listing in. A cloud that cannot answer now is asked again.
func (r *run) check(ctx context.Context, w *watcher, l listing) error {
	r.watchHours()
	if l.err != nil {
		r.log.Warn("list instances", "error", l.err)
		return nil
	}
	machines, dead, why := w.look(r.machines, l.instances)
	r.machines = machines
	r.note(machines)
	if dead == nil {
		return nil
	}
	if err := r.hoursOver(); err != nil {
		return err
	}
	r.problem("  - %s: the instance is gone (%s)\n", dead.Node, why)
	if consoler, ok := r.driver.(cloud.Consoler); ok {
		if text, err := consoler.Console(ctx, dead.Instance); err == nil {
			r.problem("%s", quoted("its console ended with", string(text)))
		}
	}
	return r.gone(dead.Node.String(), why)
}

func (r *run) gone(node, why string) error {
	return &Failure{Code: exitCluster, Text: fmt.Sprintf("%s: the instance of %s is gone (%s)", r.launch.Handle, node, why), Advice: "with --keep the other machines stay, to be looked at"}
}

// waitContext returns when all nodes have reported ok. What it hears comes
// from two sides: the broker holds a request until something changes, the
// cloud is asked whether the instances still run.
func (r *run) waitContext(ctx context.Context) error {
	r.record.State = history.Waiting
	if err := r.save(); err != nil {
		return err
	}
	r.out.say("\nWaiting for context broker updates.\n")
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	statuses, listings := make(chan wire.Status), make(chan listing)
	failed := make(chan error, 1)
	go func() { failed <- r.follow(ctx, statuses) }()
	go r.poll(ctx, listings)
	var w watcher
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			if err == nil {
				continue // ctx is done
			}
			return r.brokerError(err)
		case l := <-listings:
			if err := r.check(ctx, &w, l); err != nil {
				return err
			}
		case status := <-statuses:
			r.heard(status)
			switch status.State {
			case wire.OK:
				r.out.settle()
				return nil
			case wire.Failing, wire.Cancelled, wire.Expired:
				r.out.settle()
				return r.contextFailed(status)
			}
		}
	}
}

// follow passes on every status of the context, until the broker says
// something that asking again cannot change.
func (r *run) follow(ctx context.Context, statuses chan<- wire.Status) error {
	broker, after := r.broker, uint64(0)
	for silent := false; ; {
		status, err := broker.Status(ctx, r.record.Context.ID, after)
		if ctx.Err() != nil {
			return nil
		}
		if wire.Final(err) {
			return err
		}
		pause := time.Duration(0)
		switch {
		case err != nil:
			if !silent {
				r.out.warn("The broker does not answer: %v. Trying again.\n", err)
			}
			silent, pause = true, retryBroker
			r.log.Warn("context status", "error", err)
			broker = r.reopen(ctx, broker)
		case status.Seq == after:
			pause = retryBroker / 4 // it did not hold the request
		default:
			silent, after = false, status.Seq
			select {
			case statuses <- status:
			case <-ctx.Done():
				return nil
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// reopen starts this user's own broker again when it has died: the context is
// on its disk.
func (r *run) reopen(ctx context.Context, broker Broker) Broker {
	if r.record.Context.Broker != "" {
		return broker
	}
	again, err := r.env.EnsureBroker(ctx, r.env.brokerDir(), r.env.Executable)
	if err != nil {
		r.log.Warn("start the broker again", "error", err)
		return broker
	}
	if _, err := r.letIn(ctx, again); err != nil {
		r.log.Warn("let the instances in again", "error", err)
	}
	return again
}

// poll asks the cloud for the instances every now and then.
func (r *run) poll(ctx context.Context, listings chan<- listing) {
	for {
		select {
		case <-time.After(pollInstances):
		case <-ctx.Done():
			return
		}
		select {
		case listings <- r.list(ctx):
		case <-ctx.Done():
			return
		}
	}
}

// heard shows what has changed in the context.
func (r *run) heard(status wire.Status) {
	for _, refusal := range status.Refused {
		if refusal.Time.After(r.refused) {
			r.refused = refusal.Time
			r.out.warn("The broker refused a request from %s for node %s: %s\n", printable(refusal.From), printable(refusal.Node), printable(refusal.Reason))
		}
	}
	was := map[string]wire.WorkspaceStatus{}
	for _, w := range r.status.Workspaces {
		was[w.Name] = w
	}
	for _, w := range status.Workspaces {
		old, seen := was[w.Name]
		if !seen || old.Joined != w.Joined || old.OK != w.OK || old.Failed != w.Failed || strings.Join(old.Waiting, "\n") != strings.Join(w.Waiting, "\n") {
			r.out.event(Event{Event: "workspace", Handle: r.launch.Handle, Workspace: &w})
		}
	}
	r.status = status
	r.log.Debug("context", "state", status.State, "seq", status.Seq, "joined", status.Joined, "ok", status.OK, "failed", status.Failed)
	r.model.Context(status)
	r.out.show(r.model.Frame())
}
