package ssh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"nimbus/cloud"
)

// endPatience is how long a host may take for it: its agent may have to end a
// script.
const endPatience = 2 * time.Minute

// Terminate takes back what a launch left on hosts, and leaves the hosts. A host
// that does not answer is an error, and can be terminated later; the others are
// done.
func (d *Driver) Terminate(ctx context.Context, instances []cloud.Instance) error {
	failures := make([]error, len(instances))
	numbers := make([]int, len(instances))
	for n := range instances {
		numbers[n] = n
	}
	each(numbers, func(n int) { failures[n] = d.terminate(ctx, instances[n]) })
	failures = slices.DeleteFunc(failures, func(err error) bool { return err == nil })
	if len(failures) > 0 && ctx.Err() != nil {
		return fmt.Errorf("terminate: %w", ctx.Err())
	}
	if err := joined(failures); err != nil {
		return fmt.Errorf("terminate: %w", err)
	}
	return nil
}

func (d *Driver) terminate(ctx context.Context, i cloud.Instance) error {
	h, tag, err := parseID(i.ID)
	if err != nil {
		return nil // it never was
	}
	_, n, err := d.glance(ctx, h)
	if err != nil {
		return err
	}
	if n != nil && tagOf(n.Launch, n.Token) == tag {
		d.quiet(i.ID)
		if err := d.endOn(ctx, h, n.Launch, n.Token); err != nil {
			return err
		}
	}
	return d.forget(i.ID)
}

// endOn has a host take back what it got for an instance, if it is for that one.
func (d *Driver) endOn(ctx context.Context, h Host, launch, token string) error {
	d.quiet(instanceID(h, launch, token))
	conn, err := d.conns.to(ctx, h)
	if err != nil {
		return err
	}
	a, err := conn.ask(ctx, "end", values{"tag": tagOf(launch, token), "whose": whose(launch, token)}, nil)
	if err != nil {
		return fmt.Errorf("take back what was put there: %w", err)
	}
	if left, found := a["left"]; found {
		d.said(h, "%s has files that are not ours: it was left", printable(left))
	}
	return nil
}

// forget removes the note of an instance, and with the last one its launch.
func (d *Driver) forget(id string) error {
	unlock, err := d.book.lock()
	if err != nil {
		return err
	}
	defer unlock()
	all, err := d.book.all()
	if err != nil {
		return err
	}
	for _, p := range all {
		if h, err := p.host(); err != nil || instanceID(h, p.Launch, p.Token) != id {
			continue
		}
		if err := d.book.forget(p); err != nil {
			return err
		}
		if left, err := d.book.places(p.Launch); err != nil || len(left) > 0 {
			return err
		}
		return d.release(p.Launch)
	}
	return nil
}

// Release forgets a launch that has no host any more. Hosts that were noted and
// never touched, as their client was killed in between, say so themselves.
func (d *Driver) Release(ctx context.Context, launch string) error {
	if err := d.spare(ctx, launch); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	unlock, err := d.book.lock()
	if err == nil {
		defer unlock()
		err = d.release(launch)
	}
	if err != nil {
		return fmt.Errorf("release: %w", err)
	}
	return nil
}

// spare forgets the places of a launch whose hosts are not used for it.
func (d *Driver) spare(ctx context.Context, launch string) error {
	places, err := d.book.places(launch)
	if err != nil {
		return err
	}
	failures := make(chan error, len(places))
	each(places, func(p place) {
		h, err := p.host()
		var n *note
		if err == nil {
			_, n, err = d.glance(ctx, h)
		}
		if err == nil && (n == nil || n.Launch != p.Launch || n.Token != p.Token) {
			err = d.book.forget(p)
		}
		failures <- err
	})
	close(failures)
	var all []error
	for err := range failures {
		if err != nil {
			all = append(all, err)
		}
	}
	return joined(all)
}

// Abandon forgets the hosts of a launch that cannot be logged in to: those that
// are off or gone, and those that were made anew and have another key.
func (d *Driver) Abandon(ctx context.Context, launch string) ([]cloud.Instance, error) {
	places, err := d.book.places(launch)
	if err != nil {
		return nil, fmt.Errorf("abandon: %w", err)
	}
	found := make(chan cloud.Instance, len(places))
	each(places, func(p place) {
		h, err := p.host()
		if err != nil {
			return // those that are damaged are not in the book
		}
		if _, err := d.conns.to(ctx, h); err != nil {
			found <- cloud.Instance{ID: p.id(h), Launch: p.Launch, Token: p.Token, Name: p.Name, Image: p.Image, State: cloud.Failed, Reason: printable(err.Error()), Login: h.User, Created: p.Created}
		}
	})
	close(found)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("abandon: %w", err)
	}
	unlock, err := d.book.lock()
	if err != nil {
		return nil, fmt.Errorf("abandon: %w", err)
	}
	defer unlock()
	var gone []cloud.Instance
	for i := range found {
		if err := d.book.forget(place{Launch: i.Launch, Token: i.Token}); err != nil {
			return gone, fmt.Errorf("abandon: %w", err)
		}
		d.quiet(i.ID)
		gone = append(gone, i)
	}
	slices.SortFunc(gone, func(a, b cloud.Instance) int { return cmp.Compare(a.Token, b.Token) })
	return gone, nil
}

func (d *Driver) release(launch string) error {
	if err := d.book.release(launch); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.forwards, launch)
	return nil
}

var errNotThere = errors.New("it is not running")
