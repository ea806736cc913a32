//go:build linux

package local

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/crypto/ssh"

	"nimbus/cloud"
	"nimbus/cloud/cloudtest"
)

func TestMetadata(t *testing.T) {
	d := open(t, Options{SSHD: "none"})
	r := wanted(cloudtest.Token(), "head-0.cluster-001", "public", "private")
	r.UserData = []byte("#!/bin/sh\necho \x00binary\n")
	i := started(t, d, r)[0]
	const get = "exec 3<>/dev/tcp/169.254.169.254/80; printf 'GET %s HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"
	got := in(t, d, i, fmt.Sprintf("bash -c \"%s\" | tr '\\000' 0", fmt.Sprintf(get, "/2007-01-19/user-data")))
	if !strings.Contains(got, "200 OK") || !strings.HasSuffix(got, "\r\n\r\n#!/bin/sh\necho 0binary") {
		t.Errorf("user data: %q", got)
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if a.IP.String() == metadataAddr.String() {
			t.Errorf("%v is on the host too", metadataAddr)
		}
	}
}

func TestMetadataPaths(t *testing.T) {
	m := newMetadata(service{
		ID: "launch/1", Name: "a.b", Image: "host", Address: netip.MustParseAddr("10.78.0.2"),
		UserData: []byte("data"), Keys: []string{"ssh-ed25519 AAAA one", "ssh-ed25519 BBBB two"},
	})
	for path, want := range map[string]string{
		"/":                                           "1.0\n2007-01-19\nlatest",
		"/latest":                                     "meta-data/\nuser-data",
		"/latest/":                                    "meta-data/\nuser-data",
		"/latest/user-data":                           "data",
		"/2007-01-19/user-data":                       "data",
		"/1.0/user-data":                              "data",
		"/2009-04-04/meta-data/local-ipv4":            "10.78.0.2",
		"/latest/meta-data/public-ipv4":               "10.78.0.2",
		"/latest/meta-data/hostname":                  "a.b",
		"/latest/meta-data/local-hostname":            "a.b",
		"/latest/meta-data/public-hostname":           "a.b",
		"/latest/meta-data/instance-id":               "launch/1",
		"/latest/meta-data/ami-id":                    "host",
		"/latest/meta-data/public-keys/":              "0=key-0\n1=key-1",
		"/latest/meta-data/public-keys/0/":            "openssh-key",
		"/latest/meta-data/public-keys/0/openssh-key": "ssh-ed25519 AAAA one",
		"/latest/meta-data/": "ami-id\nhostname\ninstance-id\nlocal-hostname\nlocal-ipv4\n" +
			"public-hostname\npublic-ipv4\npublic-keys/",
		"/latest/meta-data/nothing": "404",
		"/latest/dynamic":           "404",
		"/oldest/user-data":         "404",
		"/user-data":                "404",
	} {
		w := httptest.NewRecorder()
		m.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		got := w.Body.String()
		if w.Code != 200 {
			got = fmt.Sprint(w.Code)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	w := httptest.NewRecorder()
	m.ServeHTTP(w, httptest.NewRequest("PUT", "/latest/api/token", nil))
	if w.Code != 404 {
		t.Errorf("PUT: %d, want 404", w.Code)
	}
}

// Two instances on two networks and a third with two NICs on one of them: all
// reach each other on all addresses, and so does the host.
func TestNetworks(t *testing.T) {
	ofTheMachine(t)
	d := open(t, Options{})
	id := cloudtest.Token()
	prepared, err := d.Prepare(t.Context(), cloud.Preparation{
		Launch: id, Networks: map[string]int{"public": 2, "my own net!": 4},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(prepared.Hosts) != 2 {
		t.Fatalf("prepare answers %v, want two addresses", prepared.Hosts)
	}
	all := started(t, d,
		wanted(id, "a", "public", "my own net!"),
		wanted(id, "b", "my own net!", "public"),
		wanted(id, "c", "my own net!", "my own net!"),
	)
	for _, i := range all {
		for n, a := range i.Addresses {
			if got := in(t, d, i, fmt.Sprintf("ip -o -4 addr show eth%d", n)); !strings.Contains(got, fmt.Sprintf("inet %v/22 ", a.IP)) {
				t.Errorf("eth%d of %s: %q, want %v/22", n, i.Name, got, a.IP)
			}
			greeted(t, a.IP)
		}
		if got := in(t, d, i, "ip -4 route show default; ip -6 addr show eth0"); got != "" {
			t.Errorf("%s: %q, want no default route and no IPv6", i.Name, got)
		}
	}
	for _, a := range append(all[0].Addresses, all[2].Addresses...) {
		script := fmt.Sprintf("bash -c 'exec 3<>/dev/tcp/%v/22; head -c4 <&3'", a.IP)
		if got := in(t, d, all[1], script); got != "SSH-" {
			t.Errorf("from b to %v: %q", a.IP, got)
		}
	}
	if n := len(linksOf(t, id)); n != 2 {
		t.Errorf("the launch has %d bridges, want 2", n)
	}
	if a, b := all[0].Addresses[0].IP, all[0].Addresses[1].IP; netip.PrefixFrom(a, subnetBits).Masked().Contains(b) {
		t.Errorf("two networks share one prefix: %v, %v", a, b)
	}
}

// greeted connects to an ssh server once it is up.
func greeted(t *testing.T, ip netip.Addr) {
	t.Helper()
	eventually(t, fmt.Sprintf("ssh at %v", ip), func() bool {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(ip.String(), "22"), time.Second)
		if err != nil {
			return false
		}
		defer conn.Close()
		line, _ := bufio.NewReader(conn).ReadString('\n')
		return strings.HasPrefix(line, "SSH-")
	})
}

// linksOf returns the bridges that are tagged with a launch.
func linksOf(t *testing.T, launch string) []netlink.Link {
	t.Helper()
	all, err := dump(netlink.LinkList)
	if err != nil {
		t.Fatal(err)
	}
	var ours []netlink.Link
	for _, l := range all {
		if owner, ok := tagged(l.Attrs().Alias); ok && owner == launch {
			ours = append(ours, l)
		}
	}
	return ours
}

func TestSSH(t *testing.T) {
	ofTheMachine(t)
	d := open(t, Options{})
	key, err := newHostKey("user") // any key will do
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKey([]byte(key.Private))
	if err != nil {
		t.Fatal(err)
	}
	r := wanted(cloudtest.Token(), "ssh.sandbox", "public")
	r.PublicKeys = []string{key.Public}
	i := started(t, d, r)[0]
	hostKey, _, _, _, err := ssh.ParseAuthorizedKey([]byte(i.HostKey))
	if err != nil {
		t.Fatal(err)
	}
	greeted(t, i.Addresses[0].IP)
	client, err := ssh.Dial("tcp", net.JoinHostPort(i.Addresses[0].IP.String(), "22"), &ssh.ClientConfig{
		User:            i.Login,
		Auth:            []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: ssh.FixedHostKey(hostKey),
		Timeout:         10 * time.Second,
	})
	if err != nil {
		console, _ := d.Console(t.Context(), i)
		t.Fatalf("%v\n%s", err, console)
	}
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.RequestPty("xterm", 24, 80, nil); err != nil {
		t.Errorf("terminal: %v", err)
	}
	out, err := session.Output("hostname; id -un; tty | cut -c1-9; su nobody -s /bin/sh -c 'id -un'")
	if got := strings.ReplaceAll(string(out), "\r", ""); err != nil || got != "ssh.sandbox\nroot\n/dev/pts/\nnobody\n" {
		t.Errorf("ssh: %q, %v", out, err)
	}
}

func TestCapacity(t *testing.T) {
	d := open(t, Options{SSHD: "none"})
	id := cloudtest.Token()
	_, err := d.Prepare(t.Context(), cloud.Preparation{Launch: id, Networks: map[string]int{"public": perNetwork + 1}})
	if !errors.Is(err, cloud.ErrNoCapacity) {
		t.Errorf("prepare for too many NICs: %v", err)
	}
	var rs []cloud.Request
	for range perNetwork/2 + 1 {
		rs = append(rs, wanted(id, "many", "public", "public"))
	}
	started, err := d.Launch(t.Context(), rs)
	if !errors.Is(err, cloud.ErrNoCapacity) || len(started) > 0 {
		t.Errorf("launch of too many NICs: %v, %v", len(started), err)
	}
	if n := strings.Count(err.Error(), cloud.ErrNoCapacity.Error()); n != 1 {
		t.Errorf("it is said %d times: %v", n, err)
	}
	if launches, _ := launchesIn(d.o.Dir); len(launches) > 0 {
		t.Errorf("left: %v", launches)
	}
}

func TestFreePrefix(t *testing.T) {
	prefix := netip.MustParsePrefix
	for _, c := range []struct {
		of    string
		taken []string
		want  string
	}{
		{"10.78.0.0/16", nil, "10.78.0.0/22"},
		{"10.78.0.0/16", []string{"10.78.0.0/22", "10.78.5.0/24"}, "10.78.8.0/22"},
		{"10.78.0.0/16", []string{"10.0.0.0/8"}, ""},
		{"10.78.0.0/22", []string{"10.78.3.255/32"}, ""},
		{"255.255.248.0/21", []string{"255.255.248.0/21"}, ""},
	} {
		var taken []netip.Prefix
		for _, p := range c.taken {
			taken = append(taken, prefix(p))
		}
		got, ok := freePrefix(prefix(c.of), taken)
		if ok != (c.want != "") || ok && got != prefix(c.want) {
			t.Errorf("free in %s without %v: %v, want %q", c.of, c.taken, got, c.want)
		}
	}
}
