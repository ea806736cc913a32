package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// nimbus is a command of this test binary, run as the program.
func nimbus(home string, args ...string) *exec.Cmd {
	executable, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return &exec.Cmd{Path: executable, Args: append([]string{"nimbus"}, args...), Dir: home,
		Env: []string{"HOME=" + home, "PATH=" + os.Getenv("PATH")}}
}

// ok runs a command that must succeed and returns what it printed.
func ok(t *testing.T, home string, args ...string) string {
	t.Helper()
	out, err := nimbus(home, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("nimbus %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// terminateAll ends what a test launched with that home.
func terminateAll(t *testing.T, home string) {
	if _, err := os.Stat(filepath.Join(home, ".local/state/nimbus/history")); err != nil {
		return
	}
	if out, err := nimbus(home, "terminate", "--all").CombinedOutput(); err != nil {
		t.Errorf("terminate --all: %v\n%s", err, out)
	}
}

func sample(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("samples", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func newHome(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	t.Cleanup(func() { terminateAll(t, home) })
	return home
}

// within polls until something is so; nothing else tells when processes end.
func within(t *testing.T, limit time.Duration, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v still not: %s", limit, what)
		}
	}
}

// addresses of the nodes of a launch, by node.
func addresses(t *testing.T, home, handle string) map[string]string {
	t.Helper()
	var nodes []struct {
		Node       string
		Identities []struct{ IP string }
	}
	out, err := nimbus(home, "nodes", "--handle", handle, "--json").Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, &nodes); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	found := map[string]string{}
	for _, n := range nodes {
		found[n.Node] = n.Identities[0].IP
	}
	return found
}

// ssh runs a command on a node; any question would be a failure.
func ssh(home, address, command string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return exec.CommandContext(ctx, "ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes",
		"-o", "UserKnownHostsFile="+filepath.Join(home, ".ssh/known_hosts"),
		"-i", filepath.Join(home, ".local/state/nimbus/ssh/id_ed25519"), "root@"+address, command).CombinedOutput()
}

// Fifty machines: each knows all, every login is without a question, and
// ending them leaves nothing.
func TestBigClusterComesAndGoes(t *testing.T) {
	home := newHome(t)
	out := ok(t, home, "run", "--cluster", sample(t, "big.xml"))
	if !strings.Contains(out, "cluster-001: contextualized") {
		t.Fatal(out)
	}
	nodes := addresses(t, home, "cluster-001")
	if len(nodes) != 50 {
		t.Fatalf("%d nodes", len(nodes))
	}
	left := newTrace(t, home)
	if left.processes() == 0 || left.links() == 0 || len(left.namespaces) < 50 || left.mounts() < 50 {
		t.Fatalf("the trace sees %d processes, %d links, %d namespaces, %d mounts: it cannot tell what is left", left.processes(), left.links(), len(left.namespaces), left.mounts())
	}
	var wg sync.WaitGroup
	atOnce := make(chan struct{}, 2*runtime.NumCPU())
	for node, address := range nodes {
		wg.Go(func() {
			atOnce <- struct{}{}
			defer func() { <-atOnce }()
			hosts, err := ssh(home, address, "cat /etc/hosts")
			if err != nil {
				t.Errorf("ssh to %s: %v\n%s", node, err, hosts)
				return
			}
			for other, ip := range nodes {
				if !bytes.Contains(hosts, fmt.Appendf(nil, "%s\t%s.cluster-001 %s\n", ip, other, other)) {
					t.Errorf("%s does not know %s (%s)", node, other, ip)
				}
			}
		})
	}
	wg.Wait()

	ok(t, home, "terminate", "--handle", "cluster-001")
	within(t, 5*time.Second, "all processes are gone, the broker too", func() bool { return left.processes() == 0 })
	if n := left.links(); n != 0 {
		t.Errorf("%d links are left", n)
	}
	if n := left.mounts(); n != 0 {
		t.Errorf("%d mounts are left", n)
	}
	if files := left.files(home); len(files) != 0 {
		t.Errorf("files are left: %q", files)
	}
}

// A trace is what a launch of this test binary has on the machine. (Other
// tests may have launches of their own at the same time.)
type trace struct {
	launch     string // random id
	executable fs.FileInfo
	namespaces map[string]bool // network namespaces of its processes, but for the test's own
}

func newTrace(t *testing.T, home string) *trace {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	executable, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	var record struct{ Launch string }
	if text, err := os.ReadFile(filepath.Join(home, ".local/state/nimbus/history/cluster-001/launch.json")); err != nil {
		t.Fatal(err)
	} else if err := json.Unmarshal(text, &record); err != nil || record.Launch == "" {
		t.Fatalf("no launch id: %v", err)
	}
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	tr := &trace{launch: record.Launch, executable: executable, namespaces: map[string]bool{}}
	tr.each(func(pid string) {
		if ns, err := os.Readlink("/proc/" + pid + "/ns/net"); err == nil && ns != own {
			tr.namespaces[ns] = true
		}
	})
	return tr
}

// each calls f for every process that runs this binary or is in one of the
// namespaces, but for the test itself.
func (tr *trace) each(f func(pid string)) {
	paths, _ := filepath.Glob("/proc/[0-9]*")
	for _, path := range paths {
		pid := filepath.Base(path)
		if pid == strconv.Itoa(os.Getpid()) {
			continue
		}
		ns, _ := os.Readlink(path + "/ns/net")
		exe, err := os.Stat(path + "/exe") // a zombie has none
		if err == nil && (tr.namespaces[ns] || os.SameFile(exe, tr.executable)) {
			f(pid)
		}
	}
}

func (tr *trace) processes() int {
	n := 0
	tr.each(func(string) { n++ })
	return n
}

// links counts those that are tagged with the launch.
func (tr *trace) links() int {
	links, _ := netlink.LinkList()
	n := 0
	for _, l := range links {
		if strings.Contains(l.Attrs().Alias, tr.launch) {
			n++
		}
	}
	return n
}

// mounts counts the mount namespaces that its processes are in, and mounts on
// the host that name the launch.
func (tr *trace) mounts() int {
	own, _ := os.Readlink("/proc/self/ns/mnt")
	seen := map[string]bool{}
	tr.each(func(pid string) {
		if ns, err := os.Readlink("/proc/" + pid + "/ns/mnt"); err == nil && ns != own {
			seen[ns] = true
		}
	})
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	return len(seen) + bytes.Count(mounts, []byte(tr.launch))
}

// files lists what is left besides the history, the login key and the keys of
// the user's broker.
func (tr *trace) files(home string) []string {
	var left []string
	_ = filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		name, _ := filepath.Rel(filepath.Join(home, ".local/state/nimbus"), path)
		kept := []string{"ssh/id_ed25519", "ssh/id_ed25519.pub", "broker/ca.key", "broker/ca.pem", "broker/master.key", "broker/owner.key",
			"broker/contexts.db", "broker/broker.log", "broker/reach.json", "broker/start.lock"}
		if !strings.HasPrefix(name, "history/") && !slices.Contains(kept, name) {
			left = append(left, name)
		}
		return nil
	})
	return left
}

// slowCluster is a cluster whose one node waits in a script until a file is
// there; it returns the arguments that launch it, and what lets it go.
func slowCluster(t *testing.T, home string) (args []string, letGo func(address string)) {
	t.Helper()
	scripts := filepath.Join(home, "scripts")
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write("scripts/0-etchosts", "#!/bin/sh\n")
	write("scripts/1-ipandhost/slow", "#!/bin/sh\nuntil [ -e /tmp/go ]; do sleep 0.02; done\n")
	write("conf.toml", fmt.Sprintf("[clouds.local.images.slow]\nscripts = %q\n", scripts))
	write("slow.xml", `<cluster><workspace><name>slow</name><image>slow</image><quantity>1</quantity><nic wantlogin="true">n</nic>
		<ctx><provides><identity/><role>slow</role></provides><requires><identity/><role name="slow"/></requires></ctx></workspace></cluster>`)
	return []string{"run", "--conf", filepath.Join(home, "conf.toml"), "--cluster", filepath.Join(home, "slow.xml"), "--known-hosts", "none"},
		func(address string) {
			t.Helper()
			out, err := exec.Command("ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
				"-i", filepath.Join(home, ".local/state/nimbus/ssh/id_ed25519"), "root@"+address, "touch /tmp/go").CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
}

// state is what print-ctx-status says of a one-node launch, with its address.
func state(home, handle string) (address, state string) {
	out, _ := nimbus(home, "print-ctx-status", "--handle", handle).Output()
	fields := strings.Fields(string(out))
	if len(fields) != 2 {
		return "", string(out)
	}
	return fields[0], fields[1]
}

// A client that is killed leaves a cluster that comes up all the same; the
// next one finds it and can end it.
func TestClusterOutlivesItsClient(t *testing.T) {
	home := newHome(t)
	args, letGo := slowCluster(t, home)
	client := nimbus(home, args...)
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	pending := func() bool { _, s := state(home, "cluster-001"); return s == "[CTX_CHECKED_IN_PENDING]" }
	within(t, 20*time.Second, "the node has joined", pending)
	if err := client.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = client.Wait()
	address, _ := state(home, "cluster-001")
	letGo(address)
	within(t, 20*time.Second, "the node is ok", func() bool { _, s := state(home, "cluster-001"); return s == "[CTX_SUCCESS]" })
	if out := ok(t, home, "status", "--handle", "cluster-001"); !strings.Contains(out, "slow-0  running  ok") {
		t.Error(out)
	}
	ok(t, home, "terminate", "--handle", "cluster-001")
}

// A broker that is killed in the middle is started again by the client that
// waits; the nodes find it where it was.
func TestRunOutlivesItsBroker(t *testing.T) {
	home := newHome(t)
	args, letGo := slowCluster(t, home)
	client := nimbus(home, args...)
	var out bytes.Buffer
	client.Stdout, client.Stderr = &out, &out
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	within(t, 20*time.Second, "the node has joined", func() bool { _, s := state(home, "cluster-001"); return s == "[CTX_CHECKED_IN_PENDING]" })
	address, _ := state(home, "cluster-001")
	// From here on nobody but the client looks for the broker.
	killBroker(t, home)
	letGo(address)
	if err := client.Wait(); err != nil || !strings.Contains(out.String(), "cluster-001: contextualized") {
		t.Fatalf("%v\n%s", err, out.String())
	}
}

// killBroker ends the broker of a home without a warning.
func killBroker(t *testing.T, home string) {
	t.Helper()
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range paths {
		line, _ := os.ReadFile(path)
		if bytes.HasPrefix(line, []byte("nimbus\x00broker\x00")) && bytes.Contains(line, []byte(home+"/")) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err != nil {
				t.Fatal(err)
			}
			process, err := os.FindProcess(pid)
			if err != nil {
				t.Fatal(err)
			}
			if err := process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("no broker runs")
}

// Two launches at once, of one user, do not meet.
func TestTwoClustersAtOnce(t *testing.T) {
	home := newHome(t)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			out, err := nimbus(home, "run", "--cluster", sample(t, "hello-cluster.xml")).CombinedOutput()
			if err != nil || !bytes.Contains(out, []byte(": contextualized")) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	wg.Wait()
	first, second := addresses(t, home, "cluster-001"), addresses(t, home, "cluster-002")
	for node, address := range first {
		if second[node] == address {
			t.Errorf("%s has the address %s in both", node, address)
		}
		hosts, err := ssh(home, address, "cat /etc/hosts")
		if err != nil || bytes.Contains(hosts, []byte("cluster-002")) {
			t.Errorf("%s of the first knows the second: %v\n%s", node, err, hosts)
		}
	}
	ok(t, home, "terminate", "--handle", "cluster-001")
	if out := ok(t, home, "status", "--handle", "cluster-002"); !strings.Contains(out, "head-0    running  ok") {
		t.Error(out)
	}
}

// What a run and its files say holds no secret.
func TestNoSecretIsShown(t *testing.T) {
	home := newHome(t)
	out, err := nimbus(home, "run", "--cluster", sample(t, "failing.xml"), "--keep", "--json").CombinedOutput()
	if err == nil {
		t.Fatal("it did not fail")
	}
	owner, err := os.ReadFile(filepath.Join(home, ".local/state/nimbus/broker/owner.key"))
	if err != nil {
		t.Fatal(err)
	}
	// The token of a node is in its user data, which its machine may read.
	secrets := [][]byte{bytes.TrimSpace(owner), []byte("head:0:"), []byte("worker:0:"), []byte("PRIVATE KEY")}
	find := func(where string, text []byte) {
		for _, secret := range secrets {
			if bytes.Contains(text, secret) {
				t.Errorf("%s holds %.12q…", where, secret)
			}
		}
	}
	find("the output", out)
	_ = filepath.WalkDir(filepath.Join(home, ".local/state/nimbus/history"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		find(path, text)
		return nil
	})
	log, err := os.ReadFile(filepath.Join(home, ".local/state/nimbus/broker/broker.log"))
	if err != nil {
		t.Fatal(err)
	}
	find("broker.log", log)
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range paths {
		if line, err := os.ReadFile(path); err == nil {
			find(path, line)
		}
		if line, err := os.ReadFile(filepath.Join(filepath.Dir(path), "environ")); err == nil && bytes.Contains(line, []byte(home)) {
			find(filepath.Dir(path)+"/environ", line)
		}
	}
}
