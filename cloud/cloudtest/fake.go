package cloudtest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"nimbus/cloud"
)

// Fake is a driver whose instances are in memory only, to test what uses
// drivers. Its zero value works; hooks are set before it is used and may be
// called by several goroutines at once.
type Fake struct {
	// OnLaunch is called before each new instance, n counting from 1 over the
	// fake's life. It may block until ctx is done; its error is the failure of
	// this request, and the others go on.
	OnLaunch func(ctx context.Context, n int, r cloud.Request) error
	// OnList and OnTerminate fail the whole call with their error.
	OnList      func(ctx context.Context, launch string) error
	OnTerminate func(ctx context.Context, instances []cloud.Instance) error
	// OnPrepare fails Prepare.
	OnPrepare func(ctx context.Context, p cloud.Preparation) error
	// OnLimits says what there is room for; nil: no bounds.
	OnLimits func(d cloud.Demand) ([]cloud.Limit, error)
	// OnConsole fails Console.
	OnConsole func(i cloud.Instance) error
	// Started is called with each new instance, as if it now booted.
	Started func(i cloud.Instance, r cloud.Request)
	// Slow has new instances start; Boot has them run.
	Slow bool
	// OnEnter runs a program in an instance; nil: Enter fails.
	OnEnter func(ctx context.Context, i cloud.Instance, p cloud.Program) (code int, err error)
	// Hosts and Apart are what Prepare answers; Forward opens a door at port
	// 8443 of each host. With Apart nobody logs in to the instances by SSH.
	Hosts []netip.Addr
	Apart bool
	// Stock images have no agent, and the fake brings none.
	Stock bool
	// OnForward fails Forward.
	OnForward func(ctx context.Context, launch, socket string) error

	mu        sync.Mutex
	instances []cloud.Instance
	requests  map[string]cloud.Request // by instance ID
	prepared  map[string]cloud.Preparation
	forwarded map[string]string // launch → socket
	n         int
}

var (
	_ cloud.Driver    = (*Fake)(nil)
	_ cloud.Preparer  = (*Fake)(nil)
	_ cloud.Limiter   = (*Fake)(nil)
	_ cloud.Forwarder = (*Fake)(nil)
	_ cloud.Networker = (*Fake)(nil)
	_ cloud.Imager    = (*Fake)(nil)
	_ cloud.Consoler  = (*Fake)(nil)
	_ cloud.Extender  = (*Fake)(nil)
	_ cloud.Enterer   = (*Fake)(nil)
	_ cloud.Equipper  = (*Fake)(nil)
)

// Launch starts instances one after the other.
func (f *Fake) Launch(ctx context.Context, requests []cloud.Request) ([]cloud.Instance, error) {
	var started []cloud.Instance
	var failed []error
	for _, r := range requests {
		i, err := f.launch(ctx, r)
		if err != nil {
			failed = append(failed, fmt.Errorf("instance %q: %w", r.Name, err))
			continue
		}
		started = append(started, i)
	}
	return started, errors.Join(failed...)
}

func (f *Fake) launch(ctx context.Context, r cloud.Request) (cloud.Instance, error) {
	if err := ctx.Err(); err != nil {
		return cloud.Instance{}, err
	}
	f.mu.Lock()
	for _, i := range f.instances {
		if i.Launch == r.Launch && i.Token == r.Token {
			f.mu.Unlock()
			return i, nil
		}
	}
	f.n++
	n := f.n
	f.mu.Unlock()
	if f.OnLaunch != nil {
		if err := f.OnLaunch(ctx, n, r); err != nil {
			return cloud.Instance{}, err
		}
	}
	i := cloud.Instance{
		ID:      fmt.Sprintf("fake-%d", n),
		Launch:  r.Launch,
		Token:   r.Token,
		Name:    r.Name,
		Image:   r.Image,
		State:   cloud.Running,
		Login:   "root",
		Created: time.Now(),
		Expires: r.Expires,
	}
	if f.Apart {
		i.Login = ""
	}
	if f.Slow {
		i.State = cloud.Starting
	}
	for nic, network := range r.Networks {
		ip := netip.AddrFrom4([4]byte{192, 0, byte(2 + nic), byte(n)})
		i.Addresses = append(i.Addresses, cloud.Address{Network: network, IP: ip})
	}
	f.mu.Lock()
	f.instances = append(f.instances, i)
	if f.requests == nil {
		f.requests = map[string]cloud.Request{}
	}
	f.requests[i.ID] = r
	f.mu.Unlock()
	if f.Started != nil {
		f.Started(i, r)
	}
	return i, nil
}

// List returns what was launched and not terminated.
func (f *Fake) List(ctx context.Context, launch string) ([]cloud.Instance, error) {
	if f.OnList != nil {
		if err := f.OnList(ctx, launch); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(f.instances), func(i cloud.Instance) bool {
		return launch != "" && i.Launch != launch
	}), nil
}

// Terminate forgets instances.
func (f *Fake) Terminate(ctx context.Context, instances []cloud.Instance) error {
	if f.OnTerminate != nil {
		if err := f.OnTerminate(ctx, instances); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.instances = slices.DeleteFunc(f.instances, func(i cloud.Instance) bool {
		return slices.ContainsFunc(instances, func(gone cloud.Instance) bool { return gone.ID == i.ID })
	})
	return nil
}

// Prepare notes that it was called.
func (f *Fake) Prepare(ctx context.Context, p cloud.Preparation) (cloud.Prepared, error) {
	if f.OnPrepare != nil {
		if err := f.OnPrepare(ctx, p); err != nil {
			return cloud.Prepared{}, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.prepared == nil {
		f.prepared = map[string]cloud.Preparation{}
	}
	f.prepared[p.Launch] = p
	return cloud.Prepared{Hosts: f.Hosts, Apart: f.Apart}, nil
}

// Forward notes where the connections of a launch go.
func (f *Fake) Forward(ctx context.Context, launch, socket string) ([]netip.AddrPort, error) {
	if f.OnForward != nil {
		if err := f.OnForward(ctx, launch, socket); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.prepared[launch]; !ok {
		return nil, fmt.Errorf("launch %s is not prepared", launch)
	}
	if f.forwarded == nil {
		f.forwarded = map[string]string{}
	}
	f.forwarded[launch] = socket
	var doors []netip.AddrPort
	for _, host := range f.Hosts {
		doors = append(doors, netip.AddrPortFrom(host, 8443))
	}
	return doors, nil
}

// Forwarded returns the socket that a launch's connections go to.
func (f *Fake) Forwarded(launch string) (socket string, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	socket, ok = f.forwarded[launch]
	return socket, ok
}

// Equips is true of every image, unless they are Stock.
func (f *Fake) Equips(string) bool { return !f.Stock }

// Limits is as OnLimits says.
func (f *Fake) Limits(_ context.Context, d cloud.Demand) ([]cloud.Limit, error) {
	if f.OnLimits == nil {
		return nil, nil
	}
	return f.OnLimits(d)
}

// Release undoes Prepare, unless there are instances.
func (f *Fake) Release(_ context.Context, launch string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if slices.ContainsFunc(f.instances, func(i cloud.Instance) bool { return i.Launch == launch }) {
		return fmt.Errorf("launch %s still has instances", launch)
	}
	delete(f.prepared, launch)
	delete(f.forwarded, launch)
	return nil
}

// Prepared returns what Prepare was last called with for a launch that has not
// been released.
func (f *Fake) Prepared(launch string) (p cloud.Preparation, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok = f.prepared[launch]
	return p, ok
}

// Request returns what an instance was started for.
func (f *Fake) Request(instance cloud.Instance) cloud.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests[instance.ID]
}

// Boot has the first n instances that still start, among those with this
// prefix of their token, run.
func (f *Fake) Boot(prefix string, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for k := range f.instances {
		if i := &f.instances[k]; n > 0 && i.State == cloud.Starting && strings.HasPrefix(i.Token, prefix) {
			i.State = cloud.Running
			n--
		}
	}
}

// Fail makes an instance fail, as a cloud does when something breaks.
func (f *Fake) Fail(id, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for n := range f.instances {
		if f.instances[n].ID == id {
			f.instances[n].State, f.instances[n].Reason = cloud.Failed, reason
		}
	}
}

// Extend sets the end of a launch and its instances.
func (f *Fake) Extend(_ context.Context, launch string, expires time.Time) error {
	if !expires.After(time.Now()) {
		return fmt.Errorf("extend launch %s: %v is over", launch, expires)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for n := range f.instances {
		if f.instances[n].Launch == launch {
			f.instances[n].Expires = expires
		}
	}
	if p, ok := f.prepared[launch]; ok {
		p.Expires = expires
		f.prepared[launch] = p
	}
	return nil
}

// Enter is as OnEnter says.
func (f *Fake) Enter(ctx context.Context, i cloud.Instance, p cloud.Program) (int, error) {
	f.mu.Lock()
	known := slices.ContainsFunc(f.instances, func(one cloud.Instance) bool { return one.ID == i.ID })
	f.mu.Unlock()
	if !known {
		return 0, fmt.Errorf("instance %s: it is not running", i.ID)
	}
	if f.OnEnter == nil {
		return 0, fmt.Errorf("instance %s: this fake cannot be entered", i.ID)
	}
	return f.OnEnter(ctx, i, p)
}

// Networks returns two names; every other does as well.
func (f *Fake) Networks(context.Context) ([]cloud.Network, error) {
	return []cloud.Network{{Name: "public", Description: "fake"}, {Name: "private", Description: "fake"}}, nil
}

// Images returns one name; every other does as well.
func (f *Fake) Images(context.Context) ([]cloud.Image, error) {
	return []cloud.Image{{Name: "fake", Description: "nothing at all"}}, nil
}

// Console returns a line with the instance's name.
func (f *Fake) Console(_ context.Context, i cloud.Instance) ([]byte, error) {
	if f.OnConsole != nil {
		if err := f.OnConsole(i); err != nil {
			return nil, err
		}
	}
	return []byte("console of " + i.Name + "\n"), nil
}

// FailNth is an OnLaunch that fails the n-th request with err.
func FailNth(n int, err error) func(context.Context, int, cloud.Request) error {
	return func(_ context.Context, i int, _ cloud.Request) error {
		if i == n {
			return err
		}
		return nil
	}
}
