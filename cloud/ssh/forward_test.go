//go:build linux

package ssh

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nimbus/cloud"
	"nimbus/cloud/cloudtest"
)

// echoes is a server at a Unix socket, as a broker's for its nodes would be.
func echoes(t *testing.T, word string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "nimbus-echo-") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "socket")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.WriteString(c, word+" ")
				io.Copy(c, c)
			}()
		}
	}()
	return socket
}

// The hosts find a socket of this machine, also when a port is in use there,
// when the connection breaks, and by another process.
func TestForward(t *testing.T) {
	b := newBench(t, 2)
	o := b.options()
	o.Forward = true
	d := b.open(o)
	id := cloudtest.Token()
	prepared, err := d.Prepare(t.Context(), cloud.Preparation{Launch: id})
	if err != nil || !prepared.Apart || len(prepared.Hosts) != 2 {
		t.Fatalf("%v, %v", prepared, err)
	}
	doors, err := d.Forward(t.Context(), id, echoes(t, "one"))
	if err != nil {
		t.Fatal(err)
	}
	call := func(n, door int) string {
		return b.in(n, fmt.Sprintf(`bash -c '{ exec 3<>/dev/tcp/127.0.0.1/%d; } 2>/dev/null || { echo refused; exit; }; echo hello >&3; head -c 10 <&3 2>/dev/null || echo refused'`, doors[door].Port()))
	}
	// Somebody else has the first port of the second host.
	b.in(1, fmt.Sprintf("cp /bin/busybox /tmp/nc 2>/dev/null; setsid perl -MIO::Socket::INET -e 'my $s = IO::Socket::INET->new(LocalPort => %d, Listen => 1, ReuseAddr => 1) or die; sleep 1000' >/dev/null 2>&1 & sleep 0.3", doors[0].Port()))
	eventually(t, "the port is in use", func() bool {
		return strings.Contains(b.in(1, "cat /proc/net/tcp"), fmt.Sprintf(":%04X ", doors[0].Port()))
	})
	all := launched(t, d, requests(id, "w", "w"))
	for _, c := range []struct {
		host, door int
		want       string
	}{{0, 0, "one hello"}, {0, 1, "refused"}, {1, 1, "one hello"}} {
		if got := call(c.host, c.door); got != c.want {
			t.Errorf("host %d, door %v: %q, want %q", c.host, doors[c.door], got, c.want)
		}
	}
	// Much, and many at once.
	if got := b.in(0, fmt.Sprintf(`bash -c 'for i in 1 2 3 4 5 6 7 8; do { exec 3<>/dev/tcp/127.0.0.1/%d; (head -c 300000 /dev/zero >&3 &); head -c 300004 <&3 | wc -c; } & done; wait'`, doors[0].Port())); got != strings.TrimSpace(strings.Repeat("300004\n", 8)) {
		t.Errorf("many: %s", got)
	}

	// The connections break.
	b.in(0, "pkill -f 'sshd: [r]oot'")
	eventually(t, "the way is open again", func() bool { return call(0, 0) == "one hello" || call(0, 1) == "one hello" })
	if !strings.Contains(b.said.String(), b.hosts[0].String()+": the connection is there again") {
		t.Errorf("said: %s", b.said.String())
	}

	// Another process goes on, with another socket.
	d.Close()
	eventually(t, "the way is closed", func() bool { return call(0, 0) == "refused" && call(0, 1) == "refused" })
	o.Forward = false // what the launch began with counts
	d = b.open(o)
	if again, err := d.Prepare(t.Context(), cloud.Preparation{Launch: id}); err != nil || !again.Apart {
		t.Errorf("%v, %v", again, err)
	}
	again, err := d.Forward(t.Context(), id, echoes(t, "two"))
	if err != nil || fmt.Sprint(again) != fmt.Sprint(doors) {
		t.Errorf("%v, %v, want %v", again, err, doors)
	}
	if got := call(0, 0); got != "two hello" {
		t.Errorf("another process: %q", got)
	}
	if err := d.Terminate(t.Context(), all); err != nil {
		t.Error(err)
	}
	if got := call(0, 0); got != "refused" {
		t.Errorf("after the end: %q", got)
	}
	if err := d.Release(t.Context(), id); err != nil {
		t.Error(err)
	}
}

// Hosts that do not allow it, and that are not there just now.
func TestForwardIsRefused(t *testing.T) {
	b := newBench(t, 2)
	o := b.options()
	o.Forward = true
	d := b.open(o)
	begin := func(d *Driver) string {
		id := cloudtest.Token()
		if _, err := d.Prepare(t.Context(), cloud.Preparation{Launch: id}); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Forward(t.Context(), id, echoes(t, "one")); err != nil {
			t.Fatal(err)
		}
		return id
	}
	id := begin(d)
	all := launched(t, d, requests(id, "w", "w"))
	d.Close()

	b.in(1, "kill -9 $(cat /run/sshd.pid); pkill -9 -f 'sshd: [r]oot' || true")
	d = b.open(o)
	if _, err := d.Forward(t.Context(), id, echoes(t, "one")); err != nil {
		t.Errorf("a host that is down: %v", err)
	}
	if !strings.Contains(b.said.String(), b.hosts[1].String()+": dial tcp") {
		t.Errorf("said: %s", b.said.String())
	}
	b.in(1, "echo AllowTcpForwarding local >>/etc/ssh/nimbus_sshd_config; "+startSSHD)
	eventually(t, "it is up again", func() bool { _, err := d.List(t.Context(), id); return err == nil })
	_, err := b.open(o).Forward(t.Context(), id, "/none")
	refuses(t, "a resumed launch", err, b.hosts[1].String()+": its SSH server does not let us forward", "AllowTcpForwarding", "--broker URL")
	if err := d.Terminate(t.Context(), all); err != nil {
		t.Error(err)
	}

	before := b.in(1, listing)
	id = begin(d)
	instances, err := d.Launch(context.WithoutCancel(t.Context()), requests(id, "w", "w"))
	refuses(t, "a launch", err, b.hosts[1].String()+": its SSH server does not let us forward")
	unchanged(t, "refused", before, b.in(1, listing))
	if err := d.Terminate(t.Context(), instances); err != nil {
		t.Error(err)
	}
	if err := d.Release(t.Context(), id); err != nil {
		t.Error(err)
	}
}

func TestPorts(t *testing.T) {
	seen := map[string]bool{}
	for n := range 1000 {
		p := portsOf(fmt.Sprint(n))
		if len(p) != 2 || p[0] == p[1] || min(p[0], p[1]) < lowestPort || max(p[0], p[1]) >= lowestPort+ports {
			t.Fatalf("%d: %v", n, p)
		}
		seen[fmt.Sprint(p)] = true
	}
	if len(seen) < 990 {
		t.Errorf("%d of 1000 are different", len(seen))
	}
}
