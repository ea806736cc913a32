package deploy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"nimbus/broker/cluster"
	"nimbus/cloud"
)

// Machine is an instance and its place in the definition.
type Machine struct {
	Node cluster.Place
	cloud.Instance
}

// Prepare makes what the launch needs before its first instance, and returns
// how the instances will see this machine.
func Prepare(ctx context.Context, driver cloud.Driver, def *cluster.Definition, launch string, expires time.Time) (cloud.Prepared, error) {
	preparer, ok := driver.(cloud.Preparer)
	if !ok {
		return cloud.Prepared{}, nil
	}
	return preparer.Prepare(ctx, cloud.Preparation{Launch: launch, Networks: Networks(def), Expires: expires})
}

// Launch starts what a plan asks for. Machines that did start come back also
// when it fails; the error names those that did not.
func Launch(ctx context.Context, driver cloud.Driver, plan []Item) ([]Machine, error) {
	requests := make([]cloud.Request, 0, len(plan))
	for _, item := range plan {
		requests = append(requests, item.Request)
	}
	instances, err := driver.Launch(ctx, requests)
	machines := Machines(instances)
	if err != nil {
		return machines, err
	}
	started := map[string]bool{}
	for _, m := range machines {
		started[m.Token] = true
	}
	for _, item := range plan {
		if !started[item.Request.Token] {
			return machines, fmt.Errorf("the cloud started %d of %d instances; %s is not among them", len(machines), len(plan), item.Node)
		}
	}
	return machines, nil
}

// Machines finds the places of instances by their tokens. What has none was
// not launched by a plan, and is left out.
func Machines(instances []cloud.Instance) []Machine {
	machines := make([]Machine, 0, len(instances))
	for _, i := range instances {
		if place, err := cluster.ParsePlace(i.Token); err == nil {
			machines = append(machines, Machine{place, i})
		}
	}
	return machines
}

// Undo ends everything that a launch left in its cloud, and returns how many
// instances there were. The cloud is asked what that is; the hint serves, too,
// when it cannot say all of it. Repeating it is harmless.
func Undo(ctx context.Context, driver cloud.Driver, launch string, hint []cloud.Instance) (int, error) {
	instances, err := driver.List(ctx, launch)
	var failures []error
	if err != nil {
		failures = append(failures, err)
		instances = withHint(instances, hint)
	}
	if len(instances) > 0 {
		if err := driver.Terminate(ctx, instances); err != nil {
			failures = append(failures, err)
		}
	}
	if preparer, ok := driver.(cloud.Preparer); ok && len(failures) == 0 {
		if err := preparer.Release(ctx, launch); err != nil {
			failures = append(failures, err)
		}
	}
	return len(instances), errors.Join(failures...)
}

// withHint are the instances of two lists, each once.
func withHint(instances, hint []cloud.Instance) []cloud.Instance {
	listed := map[string]bool{}
	for _, i := range instances {
		listed[i.ID] = true
	}
	for _, i := range hint {
		if !listed[i.ID] {
			instances = append(instances, i)
		}
	}
	return instances
}
