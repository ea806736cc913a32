package broker

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// addresses are the URLs by which nodes reach the broker.
type addresses struct {
	mu   sync.Mutex
	urls []string
}

// list returns them. Loopback leads a node to itself: it is only told when
// there is nothing else.
func (a *addresses) list() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	loopback := func(url string) bool {
		return strings.HasPrefix(url, "https://127.") || strings.HasPrefix(url, "https://[::1]")
	}
	if others := slices.DeleteFunc(slices.Clone(a.urls), loopback); len(others) > 0 {
		return others
	}
	return slices.Clone(a.urls)
}

// add puts a URL first: what came last belongs to the network that was made
// last.
func (a *addresses) add(url string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.urls = slices.DeleteFunc(a.urls, func(u string) bool { return u == url })
	a.urls = slices.Insert(a.urls, 0, url)
}

// remove takes back the URLs of an address.
func (a *addresses) remove(address string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	prefix := "https://" + net.JoinHostPort(address, "")
	a.urls = slices.DeleteFunc(a.urls, func(u string) bool { return strings.HasPrefix(u, prefix) })
}

// bound turns a listener's address into URLs. One that listens everywhere is
// reached by every address of this machine.
func (a *addresses) bound(listener net.Addr) error {
	tcp := listener.(*net.TCPAddr)
	port := strconv.Itoa(tcp.Port)
	if ip, ok := netip.AddrFromSlice(tcp.IP); ok && !ip.IsUnspecified() {
		a.add("https://" + net.JoinHostPort(ip.Unmap().String(), port))
		return nil
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	for _, one := range all {
		prefix, err := netip.ParsePrefix(one.String())
		if err == nil && prefix.Addr().IsGlobalUnicast() {
			a.add("https://" + net.JoinHostPort(prefix.Addr().String(), port))
		}
	}
	return nil
}
