package local

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// metadataAddr is where an instance finds its user data. It exists in the
// sandbox's own network namespace only.
var metadataAddr = netip.AddrFrom4([4]byte{169, 254, 169, 254})

// setUpNetwork gives the sandbox's interfaces their addresses. There is no
// default route: networks of a launch lead nowhere else.
func setUpNetwork(nics []nic) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("lo up: %w", err)
	}
	own := address(netip.PrefixFrom(metadataAddr, 32))
	own.Scope = unix.RT_SCOPE_HOST // no address by which others reach this instance
	if err := netlink.AddrAdd(lo, own); err != nil {
		return fmt.Errorf("give lo %v: %w", metadataAddr, err)
	}
	// With two interfaces on one network, packets may take either.
	setSysctl("net/ipv4/conf/all/rp_filter", "2")
	for _, n := range nics {
		link, err := netlink.LinkByName(n.Name)
		if err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
		quiet(n.Name)
		if err := netlink.AddrAdd(link, address(n.Prefix)); err != nil {
			return fmt.Errorf("give %s %v: %w", n.Name, n.Prefix, err)
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return fmt.Errorf("%s up: %w", n.Name, err)
		}
	}
	return nil
}
