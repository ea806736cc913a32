package local

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"nimbus/cloud"
)

// A host is what Check looks at, so that each finding can be had in a test.
type host interface {
	read(path string) (string, error) // a file of the kernel's
	isDir(path string) error          // nil when it is one
	root() bool
	sshd(wanted string) string
	taken() ([]netip.Prefix, error)
}

// Check looks at what sandboxes need of this machine, and at what the options
// name of it. It changes nothing.
func Check(o Options) []cloud.Finding { return check(thisHost{}, o) }

// checks in the order in which they are told.
var checks = []func(host, Options) []cloud.Finding{
	checkKernel, checkRights, checkOverlay, checkSeccomp, checkSubnets, checkSSHD, checkImages,
}

func check(h host, o Options) []cloud.Finding {
	if err := o.complete(); err != nil {
		return []cloud.Finding{{Level: cloud.Fail, What: "settings of the local cloud: " + err.Error(), Advice: "correct them; docs/settings.md explains each"}}
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

// Numbers of the capabilities that sandboxes cannot be made without.
const (
	capNetAdmin = 12
	capSysAdmin = 21
)

// checkRights: root makes namespaces, and others where the kernel lets them
// make namespaces of their users.
func checkRights(h host, _ Options) []cloud.Finding {
	if !h.root() {
		return checkUserNamespaces(h)
	}
	status, err := h.read("/proc/self/status")
	if err != nil {
		return one(cloud.Warn, "rights: /proc/self/status cannot be read", "mount /proc")
	}
	_, rest, _ := strings.Cut(status, "\nCapEff:")
	line, _, _ := strings.Cut(rest, "\n")
	caps, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	if err != nil {
		return one(cloud.Warn, "rights: the kernel does not tell the capabilities of this process", "if a launch fails with \"no permission\", run in a privileged container or on the host")
	}
	for _, c := range []struct {
		name   string
		number int
	}{{"CAP_SYS_ADMIN", capSysAdmin}, {"CAP_NET_ADMIN", capNetAdmin}} {
		if caps&(1<<c.number) == 0 {
			return one(cloud.Fail, "rights: root, but without "+c.name, "in a container, run it privileged (--privileged, or --cap-add SYS_ADMIN --cap-add NET_ADMIN)")
		}
	}
	return one(cloud.Fine, "rights: root, may make namespaces and networks", "")
}

// userNamespaces are the switches that can keep a user from making namespaces,
// with the value that does.
var userNamespaces = []struct{ path, off, advice string }{
	{"/proc/sys/user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=10000"},
	{"/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"},
	{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"},
}

func checkUserNamespaces(h host) []cloud.Finding {
	if _, err := h.read("/proc/sys/user/max_user_namespaces"); errors.Is(err, fs.ErrNotExist) {
		return one(cloud.Fail, "rights: not root, and this kernel has no user namespaces", "run as root (sudo), or choose another cloud")
	}
	for _, s := range userNamespaces {
		if value, err := h.read(s.path); err == nil && value == s.off {
			return one(cloud.Fail, fmt.Sprintf("rights: not root, and user namespaces are off (%s is %s)", s.path, value), "ask the administrator for: "+s.advice+" (or run as root)")
		}
	}
	return one(cloud.Fine, "rights: not root; the kernel lets users make namespaces", "")
}

// checkOverlay: root's sandboxes are an overlay of an image. Where the kernel
// has it as a module, the first mount loads it.
func checkOverlay(h host, _ Options) []cloud.Finding {
	if !h.root() {
		return nil
	}
	known, err := h.read("/proc/filesystems")
	if err != nil {
		return one(cloud.Warn, "overlay: /proc/filesystems cannot be read", "mount /proc")
	}
	if slices.Contains(strings.Fields(known), "overlay") {
		return one(cloud.Fine, "overlay: the kernel has it", "")
	}
	if release, err := h.read("/proc/sys/kernel/osrelease"); err == nil {
		for _, list := range []string{"modules.builtin", "modules.dep"} {
			if text, err := h.read("/lib/modules/" + release + "/" + list); err == nil && strings.Contains(text, "/overlay.ko") {
				return one(cloud.Fine, "overlay: a module of the kernel, loaded at the first launch", "")
			}
		}
	}
	return one(cloud.Warn, "overlay: the kernel does not have it yet, and no module of it was found", "modprobe overlay; in a container, do it on the host")
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
				all = append(all, cloud.Finding{Level: cloud.Fail, What: fmt.Sprintf("image %q: %s: %v", name, dir.setting, err),
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
	return []cloud.Finding{{Level: level, What: what, Advice: advice}}
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

func (thisHost) root() bool { return os.Geteuid() == 0 }

func (thisHost) sshd(wanted string) string { return findSSHD(wanted) }

func (thisHost) taken() ([]netip.Prefix, error) { return takenPrefixes() }
