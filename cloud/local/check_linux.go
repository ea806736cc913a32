package local

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"

	"nimbus/cloud"
)

// A host is what Check looks at, so that each finding can be had in a test.
type host interface {
	read(path string) (string, error) // a file of the kernel's
	isDir(path string) error          // nil when it is one
	apart() bool                      // see apart
	problems() []Problem              // see Problems
	sshd(wanted string) string
	taken() ([]netip.Prefix, error)
}

// Check looks at what sandboxes need of this machine, and at what the options
// name of it. It changes nothing.
func Check(o Options) []cloud.Finding { return check(thisHost{}, o) }

// checks in the order in which they are told.
var checks = []func(host, Options) []cloud.Finding{
	checkKernel, checkRights, checkSeccomp, checkSubnets, checkSSHD, checkImages,
}

func check(h host, o Options) []cloud.Finding {
	if err := o.complete(); err != nil {
		return []cloud.Finding{{Level: cloud.Fail, Text: "settings of the local cloud: " + err.Error(), Advice: "correct them; docs/settings.md explains each"}}
	}
	var all []cloud.Finding
	for _, look := range checks {
		all = append(all, look(h, o)...)
	}
	return all
}

// The oldest kernel that has all that sandboxes are made of.
const oldestMajor, oldestMinor = 5, 6

func checkKernel(h host, _ Options) []cloud.Finding {
	release, err := h.read("/proc/sys/kernel/osrelease")
	var major, minor int
	if err == nil {
		_, err = fmt.Sscanf(release, "%d.%d", &major, &minor)
	}
	switch {
	case err != nil:
		return one(cloud.Warn, "kernel: its version cannot be read", fmt.Sprintf("mount /proc; Linux %d.%d or newer is needed", oldestMajor, oldestMinor))
	case major < oldestMajor || major == oldestMajor && minor < oldestMinor:
		return one(cloud.Fail, "kernel: this is Linux "+release, fmt.Sprintf("sandboxes need Linux %d.%d or newer: upgrade the kernel, or choose another cloud", oldestMajor, oldestMinor))
	}
	return one(cloud.Fine, "kernel: Linux "+release, "")
}

// checkRights tries what sandboxes are made of.
func checkRights(h host, _ Options) []cloud.Finding {
	var all []cloud.Finding
	for _, p := range h.problems() {
		if p.Advice == "" {
			p.Advice = "run as root on the host, or choose another cloud with --cloud NAME"
		}
		all = append(all, cloud.Finding{Level: cloud.Fail, Text: "rights: " + p.Text, Advice: p.Advice})
	}
	switch {
	case all != nil:
		return all
	case h.apart():
		return one(cloud.Fine, "rights: not root, may make user namespaces", "")
	}
	return one(cloud.Fine, "rights: root, may make namespaces and networks", "")
}

func checkSeccomp(h host, _ Options) []cloud.Finding {
	if _, err := h.read("/proc/sys/kernel/seccomp/actions_avail"); err != nil {
		return one(cloud.Warn, "seccomp: the kernel cannot filter system calls", "launches work, but sandboxes can use the kernel's keyrings: launch only what you trust")
	}
	return one(cloud.Fine, "seccomp: the kernel filters system calls", "")
}

// fewNetworks is how many free networks are few: a launch takes one for each
// name.
const fewNetworks = 4

func checkSubnets(h host, o Options) []cloud.Finding {
	if h.apart() {
		return nil // the networks are in a world of their own
	}
	taken, err := h.taken()
	if err != nil {
		return one(cloud.Warn, "networks: "+err.Error(), "without the routes of this machine no free network can be chosen")
	}
	free := freePrefixes(o.Subnets, taken)
	what := fmt.Sprintf("networks: %d of %d are free in %v", free, 1<<(subnetBits-o.Subnets.Bits()), o.Subnets)
	switch {
	case free == 0:
		return one(cloud.Fail, what, "terminate clusters, or set clouds.NAME.subnets to a range that this machine does not route")
	case free < fewNetworks:
		return one(cloud.Warn, what, "each launch takes one for each network name: set clouds.NAME.subnets to a larger range")
	}
	return one(cloud.Fine, what, "")
}

// freePrefixes counts the networks of a range that are free.
func freePrefixes(of netip.Prefix, taken []netip.Prefix) (n int) {
	b := of.Masked().Addr().As4()
	first := binary.BigEndian.Uint32(b[:])
	for i := range uint32(1) << (subnetBits - of.Bits()) {
		binary.BigEndian.PutUint32(b[:], first+i<<(32-subnetBits))
		if !slices.ContainsFunc(taken, netip.PrefixFrom(netip.AddrFrom4(b), subnetBits).Overlaps) {
			n++
		}
	}
	return n
}

func checkSSHD(h host, o Options) []cloud.Finding {
	if h.apart() {
		return one(cloud.Fine, "ssh server: not offered without root; \"nimbus ssh NODE\" goes in without one", "")
	}
	if path := h.sshd(o.SSHD); path != "" {
		return one(cloud.Fine, "ssh server: "+path, "")
	}
	return one(cloud.Warn, "ssh server: there is none on this machine", "sandboxes take no logins by ssh: install openssh-server")
}

func checkImages(h host, o Options) []cloud.Finding {
	var all []cloud.Finding
	for _, name := range slices.Sorted(maps.Keys(o.Images)) {
		i := o.Images[name]
		for _, dir := range []struct{ setting, path string }{{"root", i.Root}, {"scripts", i.Scripts}} {
			if dir.path == "" {
				continue
			}
			if err := h.isDir(dir.path); err != nil {
				all = append(all, cloud.Finding{Level: cloud.Fail, Text: fmt.Sprintf("image %q: %s: %v", name, dir.setting, err),
					Advice: fmt.Sprintf("make the directory, or correct images.%s.%s in the settings", name, dir.setting)})
			}
		}
	}
	if all == nil && len(o.Images) > 0 {
		return one(cloud.Fine, fmt.Sprintf("images: the directories of all %d are there", len(o.Images)), "")
	}
	return all
}

func one(level cloud.Level, what, advice string) []cloud.Finding {
	return []cloud.Finding{{Level: level, Text: what, Advice: advice}}
}

// thisHost is the machine that this program runs on.
type thisHost struct{}

func (thisHost) read(path string) (string, error) {
	text, err := os.ReadFile(path)
	return strings.TrimSpace(string(text)), err
}

func (thisHost) isDir(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is no directory", path)
	}
	return err
}

func (thisHost) apart() bool { return apart() }

func (thisHost) problems() []Problem { return Problems() }

func (thisHost) sshd(wanted string) string { return findSSHD(wanted) }

func (thisHost) taken() ([]netip.Prefix, error) { return takenPrefixes() }
