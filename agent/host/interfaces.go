// Package host finds out what this machine is on its network: addresses,
// names, SSH host key. What it reads comes from the kernel; what it makes of
// that is decided by pure functions.
package host

import (
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
)

// Interface is one network interface with the addresses other machines can
// use: no loopback, no link-local ones.
type Interface struct {
	Name    string
	Addrs   []netip.Addr
	Default bool // the machine's default route leads through it
}

// Addr is the interface's address as others are told it: IPv4 where there is
// one.
func (i Interface) Addr() netip.Addr {
	for _, a := range i.Addrs {
		if a.Is4() {
			return a
		}
	}
	return i.Addrs[0]
}

// virtual reports interfaces that lead to containers and guests on this
// machine, not to other nodes.
func (i Interface) virtual() bool {
	for _, prefix := range []string{"docker", "virbr", "veth", "br-", "lxcbr", "lxdbr", "cni", "flannel", "podman"} {
		if strings.HasPrefix(i.Name, prefix) {
			return true
		}
	}
	return false
}

// Interfaces lists those that are up and have an address, in the order of
// their indexes.
func Interfaces() ([]Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("network interfaces: %w", err)
	}
	through := defaultRoute(os.DirFS("/proc/net"))
	var usable []Interface
	for _, one := range all {
		if one.Flags&net.FlagUp == 0 || one.Flags&net.FlagLoopback != 0 {
			continue
		}
		addrs, err := one.Addrs()
		if err != nil {
			continue // it went away while we looked
		}
		i := Interface{Name: one.Name, Default: one.Name == through}
		for _, a := range addrs {
			prefix, err := netip.ParsePrefix(a.String())
			if err != nil {
				continue
			}
			if addr := prefix.Addr().Unmap(); addr.IsGlobalUnicast() {
				i.Addrs = append(i.Addrs, addr)
			}
		}
		if len(i.Addrs) > 0 {
			usable = append(usable, i)
		}
	}
	return usable, nil
}

// defaultRoute names the interface that the best default route leads through,
// IPv4 before IPv6; empty when there is none. The file system is /proc/net.
func defaultRoute(proc fs.FS) string {
	name, best := "", uint64(0)
	take := func(device, metric string, base int) {
		var m uint64
		if _, err := fmt.Sscanf(metric, map[int]string{10: "%d", 16: "%x"}[base], &m); err == nil && (name == "" || m < best) {
			name, best = device, m
		}
	}
	const up, reject = 1, 0x200
	for _, f := range table(proc, "route", 11) {
		if f[1] == "00000000" && f[7] == "00000000" && flags(f[3])&up != 0 && flags(f[3])&reject == 0 {
			take(f[0], f[6], 10)
		}
	}
	if name != "" {
		return name
	}
	for _, f := range table(proc, "ipv6_route", 10) {
		if f[0] == strings.Repeat("0", 32) && f[1] == "00" && f[9] != "lo" && flags(f[8])&up != 0 && flags(f[8])&reject == 0 {
			take(f[9], f[5], 16)
		}
	}
	return name
}

// table reads lines of at least so many fields; a file that is not there has
// none.
func table(proc fs.FS, name string, fields int) (lines [][]string) {
	content, err := fs.ReadFile(proc, name)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(content)) {
		if f := strings.Fields(line); len(f) >= fields {
			lines = append(lines, f)
		}
	}
	return lines
}

func flags(hex string) (f uint64) {
	if _, err := fmt.Sscanf(hex, "%x", &f); err != nil {
		return 0
	}
	return f
}
