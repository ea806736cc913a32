//go:build linux

package local

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"testing"

	"nimbus/cloud"
)

// fakeHost is a machine on which everything is as it should be, until a test
// changes something.
type fakeHost struct {
	files   map[string]string
	dirs    []string
	user    bool // not root
	noSSHD  bool
	routes  []netip.Prefix
	routing error
}

func goodHost() *fakeHost {
	return &fakeHost{
		files: map[string]string{
			"/proc/sys/kernel/osrelease":                             "6.1.0-9-amd64",
			"/proc/self/status":                                      "Name:\tnimbus\nCapEff:\t000001ffffffffff\nSeccomp:\t0",
			"/proc/filesystems":                                      "nodev\tsysfs\nnodev\toverlay\n\text4",
			"/proc/sys/kernel/seccomp/actions_avail":                 "kill_process allow",
			"/proc/sys/user/max_user_namespaces":                     "63000",
			"/proc/sys/kernel/unprivileged_userns_clone":             "1",
			"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "0",
		},
		dirs: []string{"/srv/debian"},
	}
}

func (h *fakeHost) read(path string) (string, error) {
	text, ok := h.files[path]
	if !ok {
		return "", fs.ErrNotExist
	}
	return text, nil
}

func (h *fakeHost) isDir(path string) error {
	for _, d := range h.dirs {
		if d == path {
			return nil
		}
	}
	return fmt.Errorf("stat %s: %w", path, fs.ErrNotExist)
}

func (h *fakeHost) root() bool { return !h.user }

func (h *fakeHost) sshd(string) string {
	if h.noSSHD {
		return ""
	}
	return "/usr/sbin/sshd"
}

func (h *fakeHost) taken() ([]netip.Prefix, error) { return h.routes, h.routing }

func TestCheck(t *testing.T) {
	set := func(path, value string) func(*fakeHost, *Options) {
		return func(h *fakeHost, _ *Options) { h.files[path] = value }
	}
	asUser := func(change func(*fakeHost, *Options)) func(*fakeHost, *Options) {
		return func(h *fakeHost, o *Options) { h.user = true; change(h, o) }
	}
	without := func(path string) func(*fakeHost, *Options) {
		return func(h *fakeHost, _ *Options) { delete(h.files, path) }
	}
	for _, c := range []struct {
		name   string
		change func(*fakeHost, *Options)
		want   string // "level what - advice", parts of one finding; all others must be fine
	}{
		{"nothing is wrong", func(*fakeHost, *Options) {}, ""},
		{"a user may make namespaces", asUser(func(*fakeHost, *Options) {}), ""},
		{"old kernel", set("/proc/sys/kernel/osrelease", "5.4.0"), "fail kernel: this is Linux 5.4.0 - sandboxes need Linux 5.6"},
		{"very old kernel", set("/proc/sys/kernel/osrelease", "4.19"), "fail kernel: this is Linux 4.19 - "},
		{"no /proc", without("/proc/sys/kernel/osrelease"), "warn kernel: its version cannot be read - "},
		{"a container", set("/proc/self/status", "Name:\tx\nCapEff:\t00000000a80425fb\n"), "fail rights: root, but without CAP_SYS_ADMIN - in a container"},
		{"no network rights", set("/proc/self/status", "Name:\tx\nCapEff:\t0000000000200000\n"), "fail rights: root, but without CAP_NET_ADMIN - "},
		{"no capabilities told", set("/proc/self/status", "Name:\tx"), "warn rights: the kernel does not tell - "},
		{"no user namespaces", asUser(without("/proc/sys/user/max_user_namespaces")), "fail this kernel has no user namespaces - run as root"},
		{"user namespaces off", asUser(set("/proc/sys/user/max_user_namespaces", "0")), "fail user namespaces are off - user.max_user_namespaces=10000"},
		{"Debian's switch", asUser(set("/proc/sys/kernel/unprivileged_userns_clone", "0")), "fail user namespaces are off - kernel.unprivileged_userns_clone=1"},
		{"Ubuntu's switch", asUser(set("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1")), "fail user namespaces are off - kernel.apparmor_restrict_unprivileged_userns=0"},
		{"the switches do not matter to root", set("/proc/sys/user/max_user_namespaces", "0"), ""},
		{"no overlay", set("/proc/filesystems", "ext4"), "warn overlay: the kernel does not have it yet - modprobe overlay"},
		{"overlay is a module", func(h *fakeHost, _ *Options) {
			h.files["/proc/filesystems"] = "ext4"
			h.files["/lib/modules/6.1.0-9-amd64/modules.dep"] = "kernel/fs/overlayfs/overlay.ko:"
		}, ""},
		{"no seccomp", without("/proc/sys/kernel/seccomp/actions_avail"), "warn seccomp: the kernel cannot filter - keyrings"},
		{"no room", func(h *fakeHost, _ *Options) { h.routes = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} },
			"fail networks: 0 of 64 are free in 10.78.0.0/16 - terminate clusters"},
		{"little room", func(h *fakeHost, o *Options) {
			o.Subnets = netip.MustParsePrefix("10.90.0.0/20")
			h.routes = []netip.Prefix{netip.MustParsePrefix("10.90.4.0/24")}
		}, "warn networks: 3 of 4 are free in 10.90.0.0/20 - larger range"},
		{"no routes", func(h *fakeHost, _ *Options) { h.routing = errors.New("list routes: no") }, "warn networks: list routes: no - "},
		{"no sshd", func(h *fakeHost, _ *Options) { h.noSSHD = true }, "warn ssh server: there is none - openssh-server"},
		{"an image", func(_ *fakeHost, o *Options) { o.Images = map[string]Image{"debian": {Root: "/srv/debian"}} }, ""},
		{"no image", func(_ *fakeHost, o *Options) { o.Images = map[string]Image{"debian": {Root: "/srv/debain"}} },
			`fail image "debian": root: stat /srv/debain - images.debian.root`},
		{"no scripts", func(_ *fakeHost, o *Options) { o.Images = map[string]Image{"debian": {Scripts: "/x"}} },
			`fail image "debian": scripts: stat /x - images.debian.scripts`},
		{"bad options", func(_ *fakeHost, o *Options) { o.Subnets = netip.MustParsePrefix("10.0.0.0/24") }, "fail settings of the local cloud: subnets - docs/settings.md"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, o := goodHost(), Options{}
			c.change(h, &o)
			var bad []cloud.Finding
			for _, f := range check(h, o) {
				if f.Level != cloud.Fine {
					bad = append(bad, f)
				} else if f.Advice != "" {
					t.Errorf("advice where nothing is wrong: %+v", f)
				}
			}
			if c.want == "" {
				if len(bad) > 0 {
					t.Fatalf("%+v", bad)
				}
				return
			}
			level, rest, _ := strings.Cut(c.want, " ")
			what, advice, _ := strings.Cut(rest, " - ")
			if len(bad) != 1 || string(bad[0].Level) != level || !strings.Contains(bad[0].What, what) || !strings.Contains(bad[0].Advice, advice) || bad[0].Advice == "" {
				t.Errorf("got %+v, want %s", bad, c.want)
			}
		})
	}
}

// This machine runs the tests of sandboxes: at least its kernel must do.
func TestCheckHere(t *testing.T) {
	found := Check(Options{})
	if len(found) < len(checks)-2 || found[0].Level != cloud.Fine || !strings.HasPrefix(found[0].What, "kernel: Linux ") {
		t.Errorf("%+v", found)
	}
}
