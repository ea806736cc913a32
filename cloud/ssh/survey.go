package ssh

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"

	"nimbus/cloud"
)

var _ cloud.Surveyor = (*Driver)(nil)

// Survey logs in to the hosts that a launch would get and looks whether they are
// free, as the launch itself will do.
func (d *Driver) Survey(ctx context.Context, demand cloud.Demand) error {
	noted, err := d.book.all()
	if err != nil {
		return err
	}
	requests := requestsFor(demand)
	hosts, err := assign(requests, d.o.Hosts, noted)
	if err != nil {
		return err
	}
	var jobs []*job
	for n, r := range requests {
		jobs = append(jobs, &job{d: d, request: r, host: hosts[n]})
	}
	each(jobs, func(j *job) {
		if j.err = j.look(ctx); j.err == nil {
			j.err = d.tryForward(ctx, j.conn)
		}
	})
	if err := ctx.Err(); err != nil {
		return err
	}
	var failures []error
	for _, j := range jobs {
		if j.err != nil {
			failures = append(failures, j.err)
		}
	}
	err = joined(failures)
	var hint interface{ Hint() string }
	if err == nil || errors.As(err, &hint) {
		return err
	}
	return &problem{err.Error(), unusable(err).Advice}
}

// requestsFor are the requests of a launch that nobody has begun.
func requestsFor(demand cloud.Demand) (requests []cloud.Request) {
	for _, group := range slices.Sorted(maps.Keys(demand.Groups)) {
		for n := range demand.Groups[group] {
			name := fmt.Sprintf("%s-%d", group, n)
			requests = append(requests, cloud.Request{Token: name, Name: name, Group: group, Index: n})
		}
	}
	return requests
}

// tryForward finds out whether a host lets us listen there, where a launch
// needs that.
func (d *Driver) tryForward(ctx context.Context, conn *connection) error {
	if !d.o.Forward {
		return nil
	}
	l, err := conn.listen(ctx, portsOf(rand.Text()))
	if err != nil {
		return fmt.Errorf("%s: %w", conn.host, err)
	}
	return l.Close()
}
