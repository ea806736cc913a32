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
	trouble []Problem
	routes  []netip.Prefix
	routing error
}

func goodHost() *fakeHost {
	return &fakeHost{
		files: map[string]string{
			"/proc/sys/kernel/osrelease":             "6.1.0-9-amd64",
			"/proc/sys/kernel/seccomp/actions_avail": "kill_process allow",
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

func (h *fakeHost) apart() bool { return h.user }

func (h *fakeHost) problems() []Problem { return h.trouble }

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
		{"no rights", func(h *fakeHost, _ *Options) {
			h.trouble = []Problem{{"make namespaces: no permission", "start the container with --privileged"}}
		},
			"fail rights: make namespaces: no permission - --privileged"},
		{"trouble of an unknown kind", func(h *fakeHost, _ *Options) { h.trouble = []Problem{{Text: "mount tmpfs: odd"}} }, "fail rights: mount tmpfs: odd - choose another cloud"},
		{"a user needs no free networks", asUser(func(h *fakeHost, _ *Options) { h.routes = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }), ""},
		{"a user needs no ssh server", asUser(func(h *fakeHost, _ *Options) { h.noSSHD = true }), ""},
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
			if len(bad) != 1 || string(bad[0].Level) != level || !strings.Contains(bad[0].Text, what) || !strings.Contains(bad[0].Advice, advice) || bad[0].Advice == "" {
				t.Errorf("got %+v, want %s", bad, c.want)
			}
		})
	}
}

// This machine runs the tests of sandboxes: at least its kernel must do.
func TestCheckHere(t *testing.T) {
	found := Check(Options{})
	if len(found) < len(checks)-2 || found[0].Level != cloud.Fine || !strings.HasPrefix(found[0].Text, "kernel: Linux ") {
		t.Errorf("%+v", found)
	}
}
