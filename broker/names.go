package broker

import (
	"net"
	"net/netip"
	"net/url"
)

// knownAs are the host names and addresses by which somebody may know a broker
// that listens and is advertised so, and that was found at a local address: its
// own certificate is valid for them as well as for the broker's id, so that
// programs can be used which cannot ask for that.
func knownAs(listen, urls []string, local net.Addr) []string {
	var names []string
	add := func(host string) {
		ip, err := netip.ParseAddr(host)
		switch {
		case host == "" || err == nil && ip.IsUnspecified():
		case err != nil:
			names = append(names, host)
		default:
			names = append(names, ip.Unmap().WithZone("").String())
			if ip.IsLoopback() {
				names = append(names, "localhost")
			}
		}
	}
	// One that listens everywhere is known by the address that was tried.
	if tcp, ok := local.(*net.TCPAddr); ok {
		add(tcp.IP.String())
	}
	for _, address := range listen {
		if host, _, err := net.SplitHostPort(address); err == nil {
			add(host)
		}
	}
	for _, text := range urls {
		if u, err := url.Parse(text); err == nil {
			add(u.Hostname())
		}
	}
	return names
}
