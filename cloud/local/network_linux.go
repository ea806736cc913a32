package local

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"nimbus/cloud"
)

// network is one bridge of a launch. This machine has its first address, the
// instances get the next ones; it leads nowhere else.
type network struct {
	name   string
	bridge int // link index
	prefix netip.Prefix
	used   map[netip.Addr]bool
}

// host is this machine's address in the network.
func (n *network) host() netip.Addr { return n.prefix.Addr().Next() }

// free is how many NICs the network has room for.
func (n *network) free() int { return perNetwork - len(n.used) }

// take returns the lowest free address. There is one: see free.
func (n *network) take() netip.Addr {
	a := n.host().Next()
	for n.used[a] {
		a = a.Next()
	}
	n.used[a] = true
	return a
}

// ensureNetworks makes the networks that are not there yet.
func (k *keeper) ensureNetworks(names []string) error {
	k.netMu.Lock()
	defer k.netMu.Unlock()
	k.mu.Lock()
	names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return k.networks[n] != nil })
	k.mu.Unlock()
	if len(names) == 0 {
		return nil
	}
	unlock, err := lockNetwork()
	if err != nil {
		return err
	}
	defer unlock()
	taken, err := takenPrefixes()
	if err != nil {
		return err
	}
	for _, name := range names {
		p, ok := freePrefix(k.subnets, taken)
		if !ok {
			return fmt.Errorf("network %q: no /%d of %v is free of this machine's routes (choose another range for the local networks): %w",
				name, subnetBits, k.subnets, cloud.ErrNoCapacity)
		}
		n, err := k.makeNetwork(name, p)
		if err != nil {
			return fmt.Errorf("network %q: %w", name, err)
		}
		taken = append(taken, p)
		k.mu.Lock()
		k.networks[name] = n
		k.mu.Unlock()
	}
	return nil
}

// makeNetwork makes a bridge with its address.
func (k *keeper) makeNetwork(name string, p netip.Prefix) (*network, error) {
	n := &network{name: name, prefix: p, used: map[netip.Addr]bool{}}
	snooping := false
	bridge := &netlink.Bridge{
		LinkAttrs: netlink.LinkAttrs{
			Name:         newLinkName("nmb"),
			HardwareAddr: hardware(n.host()), // else it changes with each port
			Group:        k.group,
		},
		MulticastSnooping: &snooping,
	}
	err := netlink.LinkAdd(bridge)
	if errors.Is(err, unix.EPERM) && !apart() {
		return nil, errors.New("make bridge: no permission: the local driver needs root with CAP_NET_ADMIN (in a container: a privileged one)")
	}
	if err != nil {
		return nil, fmt.Errorf("make bridge: %w", err)
	}
	n.bridge = bridge.Index
	if err := func() error {
		if err := netlink.LinkSetAlias(bridge, tag(k.launch, name)); err != nil {
			return fmt.Errorf("tag bridge: %w", err)
		}
		quiet(bridge.Name)
		// What comes from a sandbox stays here, also where this machine routes.
		setSysctl("net/ipv4/conf/"+bridge.Name+"/forwarding", "0")
		if err := netlink.AddrAdd(bridge, address(netip.PrefixFrom(n.host(), p.Bits()))); err != nil {
			return fmt.Errorf("give the bridge %v: %w", n.host(), err)
		}
		if err := netlink.LinkSetUp(bridge); err != nil {
			return fmt.Errorf("bridge up: %w", err)
		}
		return nil
	}(); err != nil {
		netlink.LinkDel(bridge)
		return nil, err
	}
	return n, nil
}

// connect makes an interface in the network namespace of a process, and the
// bridge's end of it. The hardware address follows from the address: when that
// is used again, nobody's neighbour table is wrong.
func (k *keeper) connect(p *plug, pid int) error {
	name := p.nic.Name
	veth := &netlink.Veth{
		LinkAttrs:        netlink.LinkAttrs{Name: newLinkName("nmv"), Group: k.group},
		PeerName:         name,
		PeerHardwareAddr: hardware(p.nic.Prefix.Addr()),
		PeerNamespace:    netlink.NsPid(pid),
	}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("make %s: %w", name, err)
	}
	p.link = veth
	quiet(veth.Name)
	if err := netlink.LinkSetMasterByIndex(veth, p.network.bridge); err != nil {
		return fmt.Errorf("connect %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(veth); err != nil {
		return fmt.Errorf("%s up: %w", name, err)
	}
	return nil
}

// freePrefix returns the first part of a range that overlaps nothing taken.
func freePrefix(of netip.Prefix, taken []netip.Prefix) (netip.Prefix, bool) {
	for a := of.Masked().Addr(); of.Contains(a); {
		p := netip.PrefixFrom(a, subnetBits)
		if !slices.ContainsFunc(taken, p.Overlaps) {
			return p, true
		}
		b := a.As4()
		n := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
		next := n + 1<<(32-subnetBits)
		if next < n {
			break
		}
		a = netip.AddrFrom4([4]byte{byte(next >> 24), byte(next >> 16), byte(next >> 8), byte(next)})
	}
	return netip.Prefix{}, false
}

// takenPrefixes are what this machine has an address in or routes somewhere.
// Default routes do not count, nor the halves and quarters of the Internet
// that VPNs put in place of one.
func takenPrefixes() ([]netip.Prefix, error) {
	taken := map[netip.Prefix]bool{}
	addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		add(taken, a.IPNet)
		add(taken, a.Peer)
	}
	all := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
	routes, err := dump(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_V4, all, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		add(taken, r.Dst)
	}
	return slices.Collect(maps.Keys(taken)), nil
}

func add(taken map[netip.Prefix]bool, n *net.IPNet) {
	if n == nil {
		return
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	if p := netip.PrefixFrom(addr.Unmap(), ones).Masked(); ok && p.IsValid() && ones >= 8 {
		taken[p] = true
	}
}

// hardware derives an interface's hardware address, locally administered.
func hardware(a netip.Addr) net.HardwareAddr {
	b := a.As4()
	return net.HardwareAddr{0x02, 0x4e, b[0], b[1], b[2], b[3]}
}

// address is a prefix as netlink wants it.
func address(p netip.Prefix) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{
		IP:   p.Addr().AsSlice(),
		Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
	}}
}
