package host

import (
	"net/netip"
	"strings"

	"nimbus/broker/cluster"
)

// FirstName is the first of the candidates by which other machines could call
// this one: a host name, and neither "localhost" nor an address.
func FirstName(candidates ...string) string {
	for _, name := range candidates {
		name = strings.TrimSuffix(strings.TrimSpace(name), ".")
		short := strings.ToLower(cluster.Short(name))
		if name == "" || strings.HasPrefix(short, "localhost") {
			continue
		}
		if _, err := netip.ParseAddr(name); err == nil {
			continue
		}
		i := cluster.Identity{IP: netip.IPv4Unspecified().Next(), Hostname: name}
		if i.Check() == nil {
			return name
		}
	}
	return ""
}

// Address reads an IP address; text that is none gives the zero address.
func Address(text string) netip.Addr {
	a, _ := netip.ParseAddr(text)
	return a
}
