package local

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"nimbus/cloud"
)

var _ cloud.Limiter = (*Driver)(nil)

// Limits counts the addresses of each network, and the networks that are free
// of this machine's routes now.
func (d *Driver) Limits(_ context.Context, demand cloud.Demand) ([]cloud.Limit, error) {
	var taken []netip.Prefix
	if !apart() { // else the networks are in a world of their own
		var err error
		if taken, err = takenPrefixes(); err != nil {
			return nil, err
		}
	}
	return limits(demand.Networks, d.o.Subnets, taken)
}

// limits compares what is asked for with what there is.
func limits(networks map[string]int, subnets netip.Prefix, taken []netip.Prefix) ([]cloud.Limit, error) {
	var all []cloud.Limit
	var failures []error
	for _, name := range slices.Sorted(maps.Keys(networks)) {
		all = append(all, cloud.Limit{What: fmt.Sprintf("NICs in network %q", name), Asked: networks[name], Most: perNetwork})
		failures = append(failures, fits(map[string]int{name: networks[name]}))
	}
	free := freePrefixes(subnets, taken)
	all = append(all, cloud.Limit{What: fmt.Sprintf("networks in %v", subnets), Asked: len(networks), Most: free})
	if len(networks) > free {
		failures = append(failures, fmt.Errorf("%d networks, but %d of /%d in %v are free of this machine's routes (choose another range for the local networks): %w",
			len(networks), free, subnetBits, subnets, cloud.ErrNoCapacity))
	}
	return all, errors.Join(failures...)
}
