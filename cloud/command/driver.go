package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"nimbus/cloud"
)

// Driver asks a program for instances.
type Driver struct {
	o      Options
	limits limits
}

// No Extender: what the program started goes on until somebody ends it.
var (
	_ cloud.Driver   = (*Driver)(nil)
	_ cloud.Consoler = (*Driver)(nil)
	_ cloud.Checker  = (*Driver)(nil)
)

// limits are how long the program may take for each verb, and how long it has
// to clean up when it is given up.
type limits struct {
	launch, list, terminate, console, grace time.Duration
}

// New returns a driver, or an error that says what is wrong with the options.
func New(o Options) (*Driver, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("command driver: %w", err)
	}
	return &Driver{o: o, limits: limits{
		launch: 30 * time.Minute, list: 2 * time.Minute, terminate: 10 * time.Minute, console: time.Minute, grace: 10 * time.Second,
	}}, nil
}

// Launch has the program start what is asked for and is not there yet.
func (d *Driver) Launch(ctx context.Context, requests []cloud.Request) ([]cloud.Instance, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("launch: %w", err)
	}
	byLaunch := map[string][]cloud.Request{}
	var launches []string
	for _, r := range requests {
		if byLaunch[r.Launch] == nil {
			launches = append(launches, r.Launch)
		}
		byLaunch[r.Launch] = append(byLaunch[r.Launch], r)
	}
	var all []cloud.Instance
	var failures []error
	for _, launch := range launches {
		started, err := d.launch(ctx, launch, byLaunch[launch])
		all = append(all, started...)
		if err != nil {
			failures = append(failures, err)
		}
	}
	if len(failures) > 0 {
		return all, fmt.Errorf("launch: %w", errors.Join(failures...))
	}
	return all, nil
}

// launch starts the instances of one launch.
func (d *Driver) launch(ctx context.Context, launch string, requests []cloud.Request) (started []cloud.Instance, err error) {
	for _, r := range requests {
		if err := checkRequest(r); err != nil {
			return nil, fmt.Errorf("instance %q: %w", r.Name, err)
		}
	}
	before, err := d.List(ctx, launch)
	if err != nil {
		return nil, err
	}
	fresh := missing(requests, before)
	if len(fresh) == 0 {
		return answer(requests, before), nil
	}
	if err := d.note(launch, fresh); err != nil {
		return answer(requests, before), err
	}
	dir, err := d.write(fresh)
	if err != nil {
		return answer(requests, before), err
	}
	defer func() { err = errors.Join(err, d.discard(dir)) }()
	_, failure := d.call(ctx, d.limits.launch, "launch", launch, dir)

	// Also of a call that was given up: what it started is somebody's to end.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.limits.list)
	defer cancel()
	after, err := d.List(ctx, launch)
	if err != nil {
		return answer(requests, before), errors.Join(failure, err)
	}
	started = answer(requests, after)
	if len(living(after)) == 0 {
		failure = errors.Join(failure, d.forget(launch))
	}
	if failure == nil {
		if lacking := missing(requests, after); len(lacking) > 0 {
			failure = fmt.Errorf("%s launch said that it was done, but its list lacks %s", d.o.Program, tokens(lacking))
		}
	}
	return started, failure
}

// living are those that somebody may have to end.
func living(instances []cloud.Instance) []cloud.Instance {
	return slices.DeleteFunc(slices.Clone(instances), func(i cloud.Instance) bool { return i.State == cloud.Ended })
}

// missing are the requests that no instance was started for, each token once.
func missing(requests []cloud.Request, instances []cloud.Instance) []cloud.Request {
	there := map[string]bool{}
	for _, i := range living(instances) {
		there[i.Token] = true
	}
	var lacking []cloud.Request
	for _, r := range requests {
		if !there[r.Token] {
			lacking = append(lacking, r)
			there[r.Token] = true
		}
	}
	return lacking
}

// answer are the instances of the requests, in their order.
func answer(requests []cloud.Request, instances []cloud.Instance) []cloud.Instance {
	byToken := map[string]cloud.Instance{}
	for _, i := range living(instances) {
		if _, twice := byToken[i.Token]; !twice {
			byToken[i.Token] = i
		}
	}
	var all []cloud.Instance
	for _, r := range requests {
		if i, ok := byToken[r.Token]; ok {
			all = append(all, i)
		}
	}
	return all
}

// tokens names some of the requests.
func tokens(requests []cloud.Request) string {
	var names []string
	for _, r := range requests {
		names = append(names, r.Token)
	}
	if more := len(names) - 5; more > 0 {
		names = append(names[:5], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}

// List asks the program what there is.
func (d *Driver) List(ctx context.Context, launch string) ([]cloud.Instance, error) {
	args := []string{"list"}
	if launch != "" {
		if err := checkName("launch", launch); err != nil {
			return nil, fmt.Errorf("list: %w", err)
		}
		args = append(args, launch)
	}
	out, err := d.call(ctx, d.limits.list, args...)
	if err != nil {
		return nil, err
	}
	rows, err := parseList(out, launch)
	if err != nil {
		return nil, fmt.Errorf("%s list: %w", d.o.Program, err)
	}
	notes := map[string]notes{}
	var all []cloud.Instance
	for _, r := range rows {
		if _, read := notes[r.launch]; !read {
			notes[r.launch] = d.recall(r.launch)
		}
		all = append(all, r.instance(notes[r.launch], d.o.User))
	}
	return all, nil
}

// perCall is how many instances are ended by one call of the program: all
// names of a call fit into what a system takes for arguments.
const perCall = 200

// Terminate has the program end instances, and asks whether they are gone.
func (d *Driver) Terminate(ctx context.Context, instances []cloud.Instance) error {
	var ids, launches []string
	for _, i := range instances {
		if err := checkID(i.ID); err != nil {
			return fmt.Errorf("terminate: %w", err)
		}
		ids = append(ids, i.ID)
		launches = append(launches, i.Launch)
	}
	slices.Sort(ids)
	var failures []error
	for chunk := range slices.Chunk(slices.Compact(ids), perCall) {
		if _, err := d.call(ctx, d.limits.terminate, append([]string{"terminate"}, chunk...)...); err != nil {
			failures = append(failures, err)
		}
	}
	slices.Sort(launches)
	for _, launch := range slices.Compact(launches) {
		if err := d.gone(ctx, launch, ids); err != nil {
			failures = append(failures, err)
		}
	}
	return errors.Join(failures...)
}

// gone checks that none of these instances of a launch is left, and forgets
// the launch when nothing is.
func (d *Driver) gone(ctx context.Context, launch string, ids []string) error {
	left, err := d.List(ctx, launch)
	if err != nil {
		return err
	}
	left = living(left)
	for _, i := range left {
		if _, ended := slices.BinarySearch(ids, i.ID); ended {
			return fmt.Errorf("%s terminate: instance %s (%s) is still there, %s", d.o.Program, i.ID, i.Token, i.State)
		}
	}
	if len(left) == 0 && launch != "" {
		return d.forget(launch)
	}
	return nil
}

// Console asks the program what an instance printed.
func (d *Driver) Console(ctx context.Context, instance cloud.Instance) ([]byte, error) {
	if err := checkID(instance.ID); err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	return d.call(ctx, d.limits.console, "console", instance.ID)
}
