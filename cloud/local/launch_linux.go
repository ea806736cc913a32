package local

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"nimbus/cloud"
)

// atOnce is how many sandboxes are being made at the same time: a few more
// than there are processors here, since the kernel makes them wait a lot.
const atOnce = 4

// launchAll starts what is asked for and is not there.
func (k *keeper) launchAll(ctx context.Context, q question) (answer, error) {
	instances, fresh, err := k.enrol(q.Requests)
	if err == nil {
		slots := make(chan struct{}, atOnce)
		var starts sync.WaitGroup
		for n, i := range instances {
			if !fresh[i] {
				continue
			}
			delete(fresh, i) // its token may be there twice
			slots <- struct{}{}
			starts.Go(func() {
				k.start(ctx, i, q.Requests[n], q.Common)
				<-slots
			})
		}
		starts.Wait()
	}
	var a answer
	var failed []error
	for n, i := range instances {
		<-i.up // also those that another question started
		if i.err != nil {
			failed = append(failed, fmt.Errorf("instance %q: %w", q.Requests[n].Name, i.err))
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.making--
	for _, i := range instances {
		if i.err == nil {
			a.Instances = append(a.Instances, i.Instance)
		}
	}
	k.look()
	switch len(failed) {
	case 0:
		return a, err
	case 1:
		return a, failed[0]
	default:
		return a, fmt.Errorf("%w (and %d more failed)", failed[0], len(failed)-1)
	}
}

// enrol finds or makes the instance of each request, with its addresses. When
// it fails nothing is taken.
func (k *keeper) enrol(requests []request) (all []*instance, fresh map[*instance]bool, err error) {
	if err := k.ensureNetworks(networksOf(requests)); err != nil {
		return nil, nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	known := map[string]*instance{}
	for _, i := range k.instances {
		known[i.Token] = i
	}
	need := map[string]int{}
	for _, r := range requests {
		if known[r.Token] == nil {
			for _, n := range r.Networks {
				need[n]++
			}
		}
	}
	for name, n := range need {
		if free := k.networks[name].free(); n > free {
			return nil, nil, fmt.Errorf("network %q: %d more NICs, but there is room for %d: %w", name, n, free, cloud.ErrNoCapacity)
		}
	}
	fresh = map[*instance]bool{}
	for _, r := range requests {
		i := known[r.Token]
		if i == nil {
			i = k.newInstance(r)
			known[r.Token] = i
			fresh[i] = true
			k.instances = append(k.instances, i)
		}
		all = append(all, i)
	}
	return all, fresh, nil
}

// networksOf names the networks, each once.
func networksOf(requests []request) []string {
	seen := map[string]bool{}
	for _, r := range requests {
		for _, n := range r.Networks {
			seen[n] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// newInstance takes a number and addresses. Caller holds mu.
func (k *keeper) newInstance(r request) *instance {
	k.count++
	i := &instance{
		Instance: cloud.Instance{
			ID:      fmt.Sprintf("%s/%d", k.launch, k.count),
			Launch:  k.launch,
			Token:   r.Token,
			Name:    r.Name,
			Image:   r.Image,
			State:   cloud.Starting,
			Login:   loginUser(),
			Created: time.Now().Round(0).UTC(),
			Expires: r.Expires,
		},
		number: k.count,
		up:     make(chan struct{}),
		done:   make(chan struct{}),
	}
	i.life, i.kill = context.WithCancel(k.life)
	for n, name := range r.Networks {
		network := k.networks[name]
		a := network.take()
		i.Addresses = append(i.Addresses, cloud.Address{Network: name, IP: a})
		i.plugs = append(i.plugs, plug{network: network, nic: nic{
			Name:   fmt.Sprintf("eth%d", n),
			Prefix: netip.PrefixFrom(a, network.prefix.Bits()),
		}})
	}
	return i
}
