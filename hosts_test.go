package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	xssh "golang.org/x/crypto/ssh"

	"nimbus/cloud"
	"nimbus/cloud/cloudtest"
	"nimbus/cloud/local"
)

// Hosts that run already, for tests: sandboxes with an SSH server and without
// anything of Nimbus. What they are made by has nothing to do with the client
// that is under test.
type runningHosts struct {
	driver    *local.Driver
	instances []cloud.Instance
}

// startHosts starts n of them. Their key is in dir's .ssh, and who has it may
// log in as root; their host keys are in the known_hosts beside it.
func startHosts(ctx context.Context, state, home string, n int) (*runningHosts, error) {
	public, err := makeLoginKey(filepath.Join(home, ".ssh"))
	if err != nil {
		return nil, err
	}
	driver, err := local.New(local.Options{Dir: state})
	if err != nil {
		return nil, err
	}
	h := &runningHosts{driver: driver}
	launch := cloudtest.Token()
	if _, err := driver.Prepare(ctx, cloud.Preparation{Launch: launch, Networks: map[string]int{"lan": n}}); err != nil {
		return nil, err
	}
	var requests []cloud.Request
	for i := range n {
		requests = append(requests, cloud.Request{Launch: launch, Token: fmt.Sprintf("host-%d", i), Name: fmt.Sprintf("box%d.example.org", i), Networks: []string{"lan"}, PublicKeys: []string{public}})
	}
	if h.instances, err = driver.Launch(ctx, requests); err != nil {
		return h, err
	}
	var known strings.Builder
	for i, instance := range h.instances {
		fmt.Fprintf(&known, "%s %s\n", h.address(i), instance.HostKey)
	}
	return h, os.WriteFile(filepath.Join(home, ".ssh", "known_hosts"), []byte(known.String()), 0o600)
}

// makeLoginKey makes id_ed25519 in a directory, unless there is one.
func makeLoginKey(dir string) (public string, err error) {
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	block, err := xssh.MarshalPrivateKey(private, "")
	if err != nil {
		return "", err
	}
	key, err := xssh.NewPublicKey(pub)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	public = string(xssh.MarshalAuthorizedKey(key))
	if err := os.WriteFile(filepath.Join(dir, "id_ed25519.pub"), []byte(public), 0o644); err != nil {
		return "", err
	}
	return strings.TrimSpace(public), os.WriteFile(filepath.Join(dir, "id_ed25519"), pem.EncodeToMemory(block), 0o600)
}

func (h *runningHosts) address(i int) netip.Addr { return h.instances[i].Addresses[0].IP }

// end ends them.
func (h *runningHosts) end() error {
	return h.driver.Terminate(context.Background(), h.instances)
}

// do runs a shell script in one of them as root, without SSH.
func (h *runningHosts) do(ctx context.Context, i int, script string) (string, error) {
	var out strings.Builder
	code, err := h.driver.Enter(ctx, h.instances[i], cloud.Program{Command: []string{"/bin/sh", "-c", script}, Stdout: &out, Stderr: &out})
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d", code)
	}
	if err != nil {
		return out.String(), fmt.Errorf("on host %d: %s: %w\n%s", i, script, err, out.String())
	}
	return out.String(), nil
}

// must is do where nothing may go wrong.
func (h *runningHosts) must(t *testing.T, i int, script string) string {
	t.Helper()
	out, err := h.do(t.Context(), i, script)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// hostsOfSession is the key of a session's value: its hosts.
type hostsOfSession struct{}

// hosts is a command of the sessions: "hosts N" starts hosts, whose addresses
// are in $HOST0 and so on; "hosts I SCRIPT" runs a shell script in one as root.
func hosts(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: hosts N | hosts I SCRIPT")
	}
	var n int
	if _, err := fmt.Sscan(args[0], &n); err != nil {
		ts.Fatalf("hosts: %v", err)
	}
	if len(args) == 1 {
		h, err := startHosts(context.Background(), ts.MkAbs("hosts-state"), ts.Getenv("HOME"), n)
		*ts.Value(hostsOfSession{}).(**runningHosts) = h
		ts.Check(err)
		for i := range n {
			ts.Setenv(fmt.Sprintf("HOST%d", i), h.address(i).String())
		}
		return
	}
	h := *ts.Value(hostsOfSession{}).(**runningHosts)
	if h == nil {
		ts.Fatalf("hosts: none was started")
	}
	out, err := h.do(context.Background(), n, args[1])
	fmt.Fprint(ts.Stdout(), out)
	ts.Check(err)
}

// tree lists what there is on a host where Nimbus may leave something, with the
// content of small files.
const tree = `for d in /opt /etc /var/lib /root /run /usr/local /home; do
	find $d -xdev \( -path /run/sshd.pid -o -path /run/utmp -o -path /etc/mtab -o -path '/var/lib/dpkg' \) -prune -o -printf '%p %y %m %u %l\n' 2>/dev/null
done | sort
cat /etc/hosts /root/.ssh/authorized_keys`

// Five hosts that run already become a cluster by one command, twice; in the
// end each is as it was.
func TestFiveHosts(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root makes sandboxes with an SSH server")
	}
	home := newHome(t)
	h, err := startHosts(t.Context(), t.TempDir(), home, 5)
	if h != nil {
		t.Cleanup(func() {
			if err := h.end(); err != nil {
				t.Error(err)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminateAll(t, home) }) // before the hosts go
	var before []string
	for i := range h.instances {
		h.must(t, i, "rmdir /opt/nimbus") // as on a machine that never heard of us
		before = append(before, h.must(t, i, tree))
	}
	known, err := os.ReadFile(filepath.Join(home, ".ssh/known_hosts"))
	if err != nil {
		t.Fatal(err)
	}
	file := fmt.Sprintf("[head]\n%v\n[worker]\n%v\n%v\n[*]\n%v\n%v\n", h.address(0), h.address(1), h.address(2), h.address(3), h.address(4))
	if err := os.WriteFile(filepath.Join(home, "hosts.ini"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	run := []string{"run", "--cluster", sample(t, "five-hosts.xml"), "--hosts", "hosts.ini"}

	first := ok(t, home, run...)
	for _, part := range []string{"Agent: copied to 5 hosts.", "cluster-001: contextualized", "nimbus ssh --handle cluster-001 head-0", "cluster-001 goes on until you end it"} {
		if !strings.Contains(first, part) {
			t.Errorf("%q is missing from\n%s", part, first)
		}
	}
	for i, node := range []string{"head-0", "worker-0", "worker-1", "worker-2", "worker-3"} {
		names := h.must(t, i, "cat /etc/hosts")
		for j := range h.instances {
			// They keep the names that they have.
			if want := fmt.Sprintf("%v\tbox%d.example.org box%d\n", h.address(j), j, j); !strings.Contains(names, want) {
				t.Errorf("%s does not know %q:\n%s", node, want, names)
			}
		}
		if got := ok(t, home, "ssh", node, "hostname; id -un"); !strings.Contains(got, "root") {
			t.Errorf("%s: %s", node, got)
		}
	}
	ok(t, home, "exec", "--all", "--", "true")
	if status := ok(t, home, "status"); !strings.Contains(status, "no end") {
		t.Error(status)
	}

	// The same hosts for another launch, while they have one: no.
	out, err := nimbus(home, run...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "nothing was launched") || !strings.Contains(string(out), "hosts for any workspace: 2, in use: 2 (") || !strings.Contains(string(out), ".cluster-001") {
		t.Errorf("hosts in use: %v\n%s", err, out)
	}
	if out := ok(t, home, "terminate", "--handle", "cluster-001"); !strings.Contains(out, fmt.Sprintf("worker-3: left root@%v:22, nothing of the launch is there any more", h.address(4))) {
		t.Error(out)
	}
	after := func(what string) {
		for i := range h.instances {
			if got := h.must(t, i, tree); got != before[i] {
				t.Errorf("%s: host %d is not as it was:\n%s", what, i, hostDifference(before[i], got))
			}
		}
		if now, _ := os.ReadFile(filepath.Join(home, ".ssh/known_hosts")); string(now) != string(known) {
			t.Errorf("%s: known_hosts is\n%s", what, now)
		}
	}
	after("terminate")

	// Where Nimbus may stay, the second time nothing is copied.
	for n, agent := range []string{"Agent: copied to 5 hosts.", "Agent: the same as ours already on 5 hosts."} {
		out := ok(t, home, append(run, "--keep-agent")...)
		if !strings.Contains(out, agent) || !strings.Contains(out, "contextualized") {
			t.Errorf("%q is missing from\n%s", agent, out)
		}
		if out := ok(t, home, "terminate", "--handle", fmt.Sprintf("cluster-%03d", n+2)); !strings.Contains(out, "the agent stays on these hosts (keep-agent)") {
			t.Error(out)
		}
	}
	for i := range h.instances {
		h.must(t, i, "/opt/nimbus/bin/nimbus agent install --uninstall")
	}
	after("taking Nimbus away")

	// So does the end of a launch that leaves nothing.
	for n, more := range [][]string{{"--keep-agent"}, nil} {
		ok(t, home, append(run, more...)...)
		ok(t, home, "terminate", "--handle", fmt.Sprintf("cluster-%03d", n+4))
	}
	after("a launch that keeps nothing")
}

// hostDifference lists the lines that only one of two texts has.
func hostDifference(before, after string) string {
	var b strings.Builder
	for _, side := range []struct{ mark, has, lacks string }{{"-", before, after}, {"+", after, before}} {
		lines := map[string]bool{}
		for line := range strings.Lines(side.lacks) {
			lines[line] = true
		}
		for line := range strings.Lines(side.has) {
			if !lines[line] {
				b.WriteString(side.mark + line)
			}
		}
	}
	return b.String()
}
