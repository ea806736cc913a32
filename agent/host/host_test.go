package host

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"nimbus/broker/wire"
)

const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE1hZGVVcEtleUZvclRlc3RzT25seTEyMzQ1Njc4 made-up"

func nic(name string, addrs ...string) Interface {
	i := Interface{Name: name}
	for _, a := range addrs {
		i.Addrs = append(i.Addrs, netip.MustParseAddr(a))
	}
	return i
}

func way(i Interface) Interface { i.Default = true; return i }

func labels(names ...string) (nics []wire.BootstrapNIC) {
	for _, n := range names {
		nics = append(nics, wire.BootstrapNIC{Label: n, Network: "net-" + n})
	}
	return nics
}

func TestIdentities(t *testing.T) {
	for name, c := range map[string]struct {
		nics       []wire.BootstrapNIC
		interfaces []Interface
		want       string // label=ip, or a part of the error
	}{
		"one":                    {labels("publicnic"), []Interface{nic("eth0", "10.0.0.1")}, "publicnic=10.0.0.1"},
		"the way out":            {labels("publicnic"), []Interface{nic("eth0", "10.0.0.1"), way(nic("eth1", "192.0.2.1"))}, "publicnic=192.0.2.1"},
		"the way out is IPv6":    {labels("publicnic"), []Interface{nic("eth0", "10.0.0.1"), way(nic("eth1", "2001:db8::1"))}, "publicnic=2001:db8::1"},
		"no way out":             {labels("localnic"), []Interface{nic("eth0", "2001:db8::1"), nic("eth1", "10.0.0.1")}, "localnic=10.0.0.1"},
		"IPv4 of both":           {labels("publicnic"), []Interface{nic("eth0", "2001:db8::1", "10.0.0.1")}, "publicnic=10.0.0.1"},
		"not the container's":    {labels("publicnic"), []Interface{nic("docker0", "172.17.0.1"), nic("virbr0", "192.168.122.1"), nic("ens3", "10.0.0.1")}, "publicnic=10.0.0.1"},
		"a bridge is the way":    {labels("publicnic"), []Interface{nic("ens3", "10.0.0.1"), way(nic("br-lan", "10.0.0.2"))}, "publicnic=10.0.0.2"},
		"nothing else":           {labels("publicnic"), []Interface{nic("veth1", "10.0.0.1")}, "publicnic=10.0.0.1"},
		"two in their order":     {labels("publicnic", "localnic"), []Interface{nic("eth0", "192.0.2.1"), nic("docker0", "172.17.0.1"), way(nic("eth1", "10.0.0.1"))}, "publicnic=192.0.2.1 localnic=10.0.0.1"},
		"one of two is missing":  {labels("publicnic", "localnic"), []Interface{nic("eth0", "192.0.2.1")}, `no interface with an address for localnic (network "net-localnic"); publicnic is eth0`},
		"nothing at all":         {labels("publicnic"), nil, `no interface with an address for publicnic`},
		"more interfaces are ok": {labels("a", "b"), []Interface{nic("eth0", "10.0.0.1"), nic("eth1", "10.0.0.2"), nic("eth2", "10.0.0.3")}, "a=10.0.0.1 b=10.0.0.2"},
	} {
		identities, err := Identities(c.nics, c.interfaces, Names{Host: "head.example.org"}, key)
		var got []string
		for _, i := range identities {
			got = append(got, i.Interface+"="+i.IP.String())
			if i.Hostname != "head.example.org" || i.Pubkey != key {
				t.Errorf("%s: %+v", name, i)
			}
		}
		text := strings.Join(got, " ")
		if err != nil {
			text = err.Error()
		}
		if text != c.want && (err == nil || !strings.Contains(text, c.want)) {
			t.Errorf("%s: got %q, want %q", name, text, c.want)
		}
	}
}

func TestPublicNameGoesToThePublicAddress(t *testing.T) {
	names := Names{Host: "ip-10-0-0-1.internal", Public: "ec2.example.org", PublicIP: netip.MustParseAddr("192.0.2.1")}
	interfaces := []Interface{nic("eth0", "192.0.2.1"), nic("eth1", "10.0.0.1")}
	got, err := Identities(labels("publicnic", "localnic"), interfaces, names, "")
	if err != nil || got[0].Hostname != "ec2.example.org" || got[1].Hostname != "ip-10-0-0-1.internal" {
		t.Errorf("got %+v, %v", got, err)
	}
	// Behind address translation the machine does not have that address.
	got, err = Identities(labels("publicnic"), interfaces[1:], names, "")
	if err != nil || got[0].Hostname != "ip-10-0-0-1.internal" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestFirstName(t *testing.T) {
	for _, c := range []struct {
		want       string
		candidates []string
	}{
		{"head.example.org", []string{"head.example.org", "other"}},
		{"head-0", []string{"", "localhost", "head-0"}},
		{"head-0", []string{"localhost.localdomain", "LOCALHOST", "(none)", "head-0"}},
		{"head-0", []string{"10.0.0.1", "head-0"}},
		{"head-0", []string{"two words", "-x", "a..b", "<html>", "head-0"}},
		{"head", []string{" head.\n"}},
		{"", []string{"", "localhost"}},
	} {
		if got := FirstName(c.candidates...); got != c.want {
			t.Errorf("%q: got %q, want %q", c.candidates, got, c.want)
		}
	}
}

func TestDefaultRoute(t *testing.T) {
	const head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
	const v6 = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00450003     eth2\n"
	const unreachable = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n"
	for name, c := range map[string]struct{ v4, v6, want string }{
		"none":     {head + "eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n", unreachable, ""},
		"IPv4":     {head + "eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n", v6, "eth0"},
		"metric":   {head + "eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\neth1\t00000000\t0100000A\t0003\t0\t0\t50\t00000000\t0\t0\t0\n", "", "eth1"},
		"IPv6":     {head, unreachable + v6, "eth2"},
		"rejected": {head + "eth0\t00000000\t0100000A\t0201\t0\t0\t100\t00000000\t0\t0\t0\n", "", ""},
		"garbage":  {"x y z\n1 2 3 4 5 6 7 8 9 10 11 12\n", "?\n", ""},
	} {
		proc := fstest.MapFS{"route": {Data: []byte(c.v4)}, "ipv6_route": {Data: []byte(c.v6)}}
		if got := defaultRoute(proc); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
	if got := defaultRoute(fstest.MapFS{}); got != "" {
		t.Errorf("without the files: %q", got)
	}
}

// This machine has whatever it has; reading it must work all the same.
func TestInterfaces(t *testing.T) {
	got, err := Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range got {
		if len(i.Addrs) == 0 || i.Addr().IsLoopback() || i.Addr().IsLinkLocalUnicast() {
			t.Errorf("%+v", i)
		}
	}
}

func TestWait(t *testing.T) {
	two := []Interface{nic("eth0", "192.0.2.1"), nic("eth1", "10.0.0.1")}
	for name, c := range map[string]struct {
		nics  []wire.BootstrapNIC
		read  func(since time.Duration) ([]Interface, error)
		after time.Duration
		err   string
	}{
		"at once": {labels("publicnic"), func(time.Duration) ([]Interface, error) { return two[:1], nil }, 0, ""},
		"the second comes late": {labels("publicnic", "localnic"), func(since time.Duration) ([]Interface, error) {
			if since < 3*time.Second {
				return two[:1], nil
			}
			return two, nil
		}, 3 * time.Second, ""},
		"the route comes a moment after the address": {labels("publicnic"), func(since time.Duration) ([]Interface, error) {
			if since < 200*time.Millisecond {
				return two, nil
			}
			return []Interface{two[0], way(two[1])}, nil
		}, 200 * time.Millisecond, ""},
		"no route ever":  {labels("publicnic"), func(time.Duration) ([]Interface, error) { return two, nil }, routeGrace, ""},
		"one is missing": {labels("publicnic", "localnic"), func(time.Duration) ([]Interface, error) { return two[:1], nil }, 10 * time.Second, `localnic (network "net-localnic"); publicnic is eth0 (waited 10s)`},
		"cannot look":    {labels("publicnic"), func(time.Duration) ([]Interface, error) { return nil, errors.New("no netlink") }, 10 * time.Second, "no netlink (waited 10s)"},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			n := Network{Read: func() ([]Interface, error) { return c.read(time.Since(start)) }, Bound: 10 * time.Second}
			_, err := n.Wait(t.Context(), c.nics)
			if took := time.Since(start); took != c.after {
				t.Errorf("%s: took %v, want %v", name, took, c.after)
			}
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: got %v", name, err)
			}
		})
	}
}

func TestHostKey(t *testing.T) {
	dir := t.TempDir()
	put := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	k := KeyFiles{Pattern: filepath.Join(dir, "ssh_host_*_key.pub"), Server: "/nonexistent/sshd", Wait: time.Hour}
	if got := k.Read(t.Context()); got != "" {
		t.Errorf("without keys: %q", got)
	}
	put("ssh_host_weird_key.pub", "ssh-weird AAAA\n")
	put("ssh_host_rsa_key.pub", "ssh-rsa AAAA root@x\n")
	if got := k.Read(t.Context()); got != "ssh-rsa AAAA root@x" {
		t.Errorf("rsa: %q", got)
	}
	put("ssh_host_ed25519_key.pub", "ssh-ed25519 AAA") // being written
	if got := k.Read(t.Context()); got != "ssh-rsa AAAA root@x" {
		t.Errorf("half a key: %q", got)
	}
	put("ssh_host_ed25519_key.pub", key+"\n")
	if got := k.Read(t.Context()); got != key {
		t.Errorf("ed25519: %q", got)
	}
}

func TestHostKeyIsWaitedForWhereThereIsAServer(t *testing.T) {
	dir := t.TempDir()
	k := KeyFiles{Pattern: filepath.Join(dir, "ssh_host_*_key.pub"), Server: "/bin/sh", Wait: 5 * time.Second}
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		time.AfterFunc(time.Second, func() {
			_ = os.WriteFile(filepath.Join(dir, "ssh_host_ed25519_key.pub"), []byte(key+"\n"), 0o644)
		})
		if got := k.Read(t.Context()); got != key || time.Since(start) > 2*time.Second {
			t.Errorf("got %q after %v", got, time.Since(start))
		}
	})
	k.Pattern = filepath.Join(dir, "other_*")
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if got := k.Read(context.Background()); got != "" || time.Since(start) != 5*time.Second {
			t.Errorf("got %q after %v", got, time.Since(start))
		}
	})
}
