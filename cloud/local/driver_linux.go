package local

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"nimbus/cloud"
)

// Driver starts instances as sandboxes on this machine. It keeps nothing: any
// other Driver with the same Options.Dir finds what this one started.
type Driver struct {
	o     Options
	quick time.Duration // for a keeper to answer what takes no work
}

var (
	_ cloud.Driver    = (*Driver)(nil)
	_ cloud.Preparer  = (*Driver)(nil)
	_ cloud.Encloser  = (*Driver)(nil)
	_ cloud.Forwarder = (*Driver)(nil)
	_ cloud.Networker = (*Driver)(nil)
	_ cloud.Imager    = (*Driver)(nil)
	_ cloud.Consoler  = (*Driver)(nil)
	_ cloud.Extender  = (*Driver)(nil)
	_ cloud.Enterer   = (*Driver)(nil)
	_ cloud.Equipper  = (*Driver)(nil)
)

// New returns a driver, or an error that says what this machine lacks for it.
func New(o Options) (*Driver, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("local driver: %v", err)
	}
	return &Driver{o: o, quick: quickPatience}, nil
}

// Prepare makes the networks of a launch, each with a bridge that this machine
// has an address on, and starts the launch's keeper when there is none.
func (d *Driver) Prepare(ctx context.Context, p cloud.Preparation) (cloud.Prepared, error) {
	if err := fits(p.Networks); err != nil {
		return cloud.Prepared{}, fmt.Errorf("prepare: %w", err)
	}
	if !p.Expires.IsZero() && !p.Expires.After(time.Now()) {
		return cloud.Prepared{}, fmt.Errorf("prepare: the launch expired at %v", p.Expires)
	}
	sweep(d.o.Dir)
	a, err := d.demand(ctx, p.Launch, question{Op: opPrepare, Networks: p.Networks, Expires: p.Expires})
	if err != nil {
		return cloud.Prepared{}, fmt.Errorf("prepare: %w", err)
	}
	return cloud.Prepared{Hosts: a.Hosts, Apart: a.Apart}, nil
}

// Forward has the keeper of a launch pass connections on to a socket.
func (d *Driver) Forward(ctx context.Context, launch, socket string) ([]netip.AddrPort, error) {
	a, err := d.ask(ctx, launch, question{Op: opForward, Socket: socket})
	if err != nil {
		return nil, fmt.Errorf("forward: %w", err)
	}
	return a.Doors, nil
}

// Release ends the keeper of a launch that has no instances.
func (d *Driver) Release(ctx context.Context, launch string) error {
	_, err := d.ask(ctx, launch, question{Op: opRelease})
	sweep(d.o.Dir)
	if err != nil && !errors.Is(err, errNoKeeper) {
		return fmt.Errorf("release: %w", err)
	}
	return nil
}

// Launch starts a sandbox for each request and returns when their first
// processes serve user data and have started the boot command. A launch that
// was not prepared gets its networks now.
func (d *Driver) Launch(ctx context.Context, requests []cloud.Request) ([]cloud.Instance, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("launch: %w", err)
	}
	files, err := sources(d.o.Files)
	if err != nil {
		return nil, fmt.Errorf("launch: %w", err)
	}
	sweep(d.o.Dir)
	q := question{Op: opLaunch, Common: common{
		Files: files,
		Links: d.o.Links,
		Hide:  append([]string{d.o.Dir}, d.o.Hide...),
		Boot:  d.o.Boot,
		SSHD:  d.o.SSHD,
	}}
	byLaunch := map[string][]request{}
	for _, r := range requests {
		byLaunch[r.Launch] = append(byLaunch[r.Launch], d.resolve(r))
	}
	var started []cloud.Instance
	var failures []error
	for launch, rs := range byLaunch {
		q.Requests = rs
		a, err := d.demand(ctx, launch, q)
		started = append(started, a.Instances...)
		if err != nil {
			failures = append(failures, err)
		}
	}
	if len(failures) > 0 {
		return inOrder(started, requests), fmt.Errorf("launch: %w", errors.Join(failures...))
	}
	return inOrder(started, requests), nil
}

// resolve adds to a request what its image name means here.
func (d *Driver) resolve(r cloud.Request) request {
	image := d.o.Images[r.Image]
	if image.Root == "" {
		image.Root = "/"
	}
	return request{Request: r, Root: image.Root, Scripts: image.Scripts, Own: image.Own}
}

// inOrder sorts instances of several launches as they were asked for.
func inOrder(instances []cloud.Instance, requests []cloud.Request) []cloud.Instance {
	type key struct{ launch, token string }
	place := map[key]int{}
	for i, r := range requests {
		place[key{r.Launch, r.Token}] = i
	}
	slices.SortStableFunc(instances, func(a, b cloud.Instance) int {
		return place[key{a.Launch, a.Token}] - place[key{b.Launch, b.Token}]
	})
	return instances
}

// List asks the keeper of a launch, or all keepers.
func (d *Driver) List(ctx context.Context, launch string) ([]cloud.Instance, error) {
	sweep(d.o.Dir)
	launches := []string{launch}
	if launch == "" {
		var err error
		if launches, err = launchesIn(d.o.Dir); err != nil {
			return nil, fmt.Errorf("list: %w", err)
		}
	}
	var all []cloud.Instance
	for _, l := range launches {
		a, err := d.ask(ctx, l, question{Op: opList})
		if errors.Is(err, errNoKeeper) {
			continue
		}
		if err != nil {
			return all, fmt.Errorf("list: %w", err)
		}
		all = append(all, a.Instances...)
	}
	return all, nil
}

// Terminate ends instances. With the last one of a launch its keeper and all
// that it made are gone as well.
func (d *Driver) Terminate(ctx context.Context, instances []cloud.Instance) error {
	byLaunch := map[string][]string{}
	for _, i := range instances {
		launch := launchOf(i)
		byLaunch[launch] = append(byLaunch[launch], i.ID)
	}
	var failures []error
	for launch, ids := range byLaunch {
		_, err := d.ask(ctx, launch, question{Op: opTerminate, IDs: ids})
		if err != nil && !errors.Is(err, errNoKeeper) {
			failures = append(failures, err)
		}
	}
	sweep(d.o.Dir)
	if len(failures) > 0 {
		return fmt.Errorf("terminate: %w", errors.Join(failures...))
	}
	return nil
}

// Extend moves the end of a launch and of its instances.
func (d *Driver) Extend(ctx context.Context, launch string, expires time.Time) error {
	if _, err := d.ask(ctx, launch, question{Op: opExtend, Expires: expires}); err != nil {
		return fmt.Errorf("extend: %w", err)
	}
	return nil
}

// Pid returns the host's number of an instance's first process, by which its
// namespaces can be entered.
func (d *Driver) Pid(ctx context.Context, instance cloud.Instance) (int, error) {
	a, err := d.ask(ctx, launchOf(instance), question{Op: opPid, IDs: []string{instance.ID}})
	if err != nil {
		return 0, fmt.Errorf("instance %s: %w", instance.ID, err)
	}
	return a.Pid, nil
}

// launchID is what can be a directory and part of a socket's name.
var launchID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// fits refuses more NICs than a network has addresses for.
func fits(networks map[string]int) error {
	for name, n := range networks {
		if n > perNetwork {
			return fmt.Errorf("network %q: %d NICs, but at most %d fit: %w", name, n, perNetwork, cloud.ErrNoCapacity)
		}
	}
	return nil
}

// sources follows symbolic links: in the sandbox they would lead elsewhere.
func sources(files []File) ([]File, error) {
	files = slices.Clone(files)
	for i := range files {
		real, err := filepath.EvalSymlinks(files[i].Source)
		if err != nil {
			return nil, fmt.Errorf("file for the sandboxes: %w", err)
		}
		files[i].Source = real
	}
	return files, nil
}

// addressOf is the first address, zero when there is none.
func addressOf(all []cloud.Address) netip.Addr {
	if len(all) == 0 {
		return netip.Addr{}
	}
	return all[0].IP
}

// Encloses says that sandboxes reach this machine, and nothing beyond it.
func (d *Driver) Encloses() bool { return true }
