package host

import (
	"context"
	"fmt"
	"time"

	"nimbus/broker/wire"
)

// Poll is how often the network is looked at; routeGrace how long a machine
// with several interfaces may take to say which of them is the way out.
const (
	poll       = 50 * time.Millisecond
	routeGrace = 2 * time.Second
)

// A Network is a machine that is waited for.
type Network struct {
	Read  func() ([]Interface, error) // Interfaces, but for tests
	Bound time.Duration
}

// Wait returns the interfaces as soon as there is one for each NIC of the
// bootstrap document. When the time is up, it says which of them is missing.
func (n Network) Wait(ctx context.Context, nics []wire.BootstrapNIC) ([]Interface, error) {
	start := time.Now()
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		interfaces, err := n.Read()
		waited := time.Since(start)
		if err == nil {
			chosen := choose(len(nics), interfaces)
			enough := len(chosen) >= len(nics)
			if enough && (settled(nics, interfaces) || waited >= min(routeGrace, n.Bound)) {
				return interfaces, nil
			}
			if !enough {
				err = missing(nics, chosen)
			}
		}
		if err != nil && waited >= n.Bound {
			return nil, fmt.Errorf("%w (waited %v)", err, n.Bound)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-ticker.C:
		}
	}
}

// settled tells whether a route can still change the choice: it comes a moment
// after the address, and only matters to one label and several interfaces.
func settled(nics []wire.BootstrapNIC, interfaces []Interface) bool {
	if len(nics) > 1 || len(interfaces) < 2 {
		return true
	}
	for _, i := range interfaces {
		if i.Default {
			return true
		}
	}
	return false
}
