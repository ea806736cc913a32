package host

import (
	"fmt"
	"net/netip"
	"strings"

	"nimbus/broker/cluster"
	"nimbus/broker/wire"
)

// Names are what this machine may be called.
type Names struct {
	Host     string     // full name; empty when it has none that others could use
	Public   string     // its name towards the outside, where the cloud has another for that
	PublicIP netip.Addr // the address that Public belongs to
}

// Identities labels the machine's interfaces as the bootstrap document says.
// A single label means the interface that the machine speaks to the world
// through; several are given to the interfaces in the order of their indexes.
// The error names the labels that found none.
func Identities(nics []wire.BootstrapNIC, interfaces []Interface, names Names, key string) ([]cluster.Identity, error) {
	chosen := choose(len(nics), interfaces)
	if len(chosen) < len(nics) {
		return nil, missing(nics, chosen)
	}
	identities := make([]cluster.Identity, len(nics))
	for i, nic := range nics {
		identity := cluster.Identity{Interface: nic.Label, IP: chosen[i].Addr(), Hostname: names.Host, Pubkey: key}
		if nic.Label == cluster.PublicNIC && names.Public != "" && names.PublicIP == identity.IP {
			identity.Hostname = names.Public
		}
		if err := identity.Check(); err != nil {
			return nil, fmt.Errorf("interface %s for %s: %w", chosen[i].Name, nic.Label, err)
		}
		identities[i] = identity
	}
	return identities, nil
}

// choose picks at most so many interfaces.
func choose(count int, interfaces []Interface) []Interface {
	var usable []Interface
	for _, i := range interfaces {
		if !i.virtual() || i.Default {
			usable = append(usable, i)
		}
	}
	if len(usable) == 0 {
		usable = interfaces
	}
	if count != 1 || len(usable) == 0 {
		return usable[:min(count, len(usable))]
	}
	best, rank := usable[0], -1
	for _, i := range usable {
		r := 0
		if i.Addr().Is4() {
			r = 1
		}
		if i.Default {
			r = 2
		}
		if r > rank {
			best, rank = i, r
		}
	}
	return []Interface{best}
}

// missing says which labels have no interface, and which have one.
func missing(nics []wire.BootstrapNIC, chosen []Interface) error {
	var want, have []string
	for i, n := range nics {
		if i < len(chosen) {
			have = append(have, fmt.Sprintf("%s is %s", n.Label, chosen[i].Name))
		} else {
			want = append(want, fmt.Sprintf("%s (network %q)", n.Label, n.Network))
		}
	}
	text := "no interface with an address for " + strings.Join(want, ", ")
	if len(have) > 0 {
		text += "; " + strings.Join(have, ", ")
	}
	return fmt.Errorf("network: %s", text)
}
