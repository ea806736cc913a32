//go:build vm

package vm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nimbus/cloud"
	"nimbus/cloud/cloudtest"
	"nimbus/cloud/command"
)

// deadline for a light machine, from the command to the cluster's last report:
// some twenty seconds on an idle machine.
const deadline = 4 * time.Minute

// three machines that need each other; %s is the image.
const three = `<cluster>
  <workspace>
    <name>head</name> <image>%s</image> <quantity>1</quantity>
    <nic wantlogin="true">vms</nic>
    <ctx>
      <provides><identity/><role>testrole1</role></provides>
      <requires><identity/><role name="testrole2" hostname="true" pubkey="true"/><data name="testdata">Hello, machines!</data></requires>
    </ctx>
  </workspace>
  <workspace>
    <name>worker</name> <image>%[1]s</image> <quantity>2</quantity>
    <nic wantlogin="true">vms</nic>
    <ctx>
      <provides><identity/><role>testrole2</role></provides>
      <requires><identity/><role name="testrole1" hostname="true" pubkey="true"/></requires>
    </ctx>
  </workspace>
</cluster>`

// nodes are those of three, with their addresses.
func (w *world) nodes() map[string]string {
	w.Helper()
	var nodes []struct {
		Node       string
		Identities []struct{ IP string }
	}
	out := w.ok(time.Minute, "nodes", "--handle", "cluster-001", "--json")
	if err := json.Unmarshal([]byte(out), &nodes); err != nil {
		w.Fatalf("%v in %s", err, out)
	}
	found := map[string]string{}
	for _, n := range nodes {
		found[n.Node] = n.Identities[0].IP
	}
	return found
}

// know checks, by a login without a question, that each node knows all.
func (w *world) know(nodes map[string]string) {
	w.Helper()
	for node, address := range nodes {
		hosts, err := exec.Command("ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes",
			"-o", "UserKnownHostsFile="+filepath.Join(w.home, ".ssh/known_hosts"),
			"-i", filepath.Join(w.home, ".local/state/nimbus/ssh/id_ed25519"), "root@"+address,
			"hostname; cat /etc/hosts; ls /opt/nimbus/ctx-test; cat /etc/ssh/ssh_known_hosts").CombinedOutput()
		if err != nil {
			w.Errorf("ssh to %s: %v\n%s", node, err, hosts)
			continue
		}
		want := []string{node + ".cluster-001\n"}
		for other, ip := range nodes {
			want = append(want, fmt.Sprintf("%s\t%s.cluster-001 %s\n", ip, other, other), other+".cluster-001,")
		}
		if strings.HasPrefix(node, "head") {
			want = append(want, "testrole2\n", "testdata-0\n")
		} else {
			want = append(want, "testrole1\n")
		}
		for _, text := range want {
			if !strings.Contains(string(hosts), text) {
				w.Errorf("%s lacks %q:\n%s", node, text, hosts)
			}
		}
	}
}

// One command makes a cluster of three machines whose image has never seen
// Nimbus: their user data fetches the agent from the user's own broker.
func TestThreeStockMachines(t *testing.T) {
	w := newWorld(t)
	// A role of one's own travels with the launch.
	w.sh("cp -r ../../ctxscripts/ctx-scripts " + w.home + "/scripts")
	w.write("scripts/1-ipandhost/testrole2", "#!/bin/sh\nmkdir -p /opt/nimbus/ctx-test\necho \"this was written on the spot for $3\" >>/opt/nimbus/ctx-test/testrole2\n")
	out := w.ok(deadline, "run", "--timeout", "3m", "--scripts", "scripts", "--cluster", w.write("three.xml", fmt.Sprintf(three, "light")))
	if !strings.Contains(out, "cluster-001: contextualized") {
		t.Fatal(out)
	}
	nodes := w.nodes()
	if len(nodes) != 3 {
		t.Fatalf("%d nodes", len(nodes))
	}
	w.know(nodes)
	if out := w.ok(time.Minute, "exec", "--all", "--", "sha256sum", "/opt/nimbus/bin/nimbus"); strings.Count(out, w.sum()) != 3 {
		t.Errorf("the agents are others than %s:\n%s", w.sum(), out)
	}
	if out := w.ok(time.Minute, "ssh", "head-0", "cat", "/opt/nimbus/ctx-test/testrole2"); strings.Count(out, "this was written on the spot for worker-") != 2 {
		t.Errorf("the role's script did not come with the launch:\n%s", out)
	}
	w.ok(time.Minute, "terminate", "--handle", "cluster-001")
	w.nothingLeft()
}

// sum of the program under test.
func (w *world) sum() string {
	w.Helper()
	return strings.Fields(w.sh("sha256sum " + os.Getenv(programVar)))[0]
}

// The sample program keeps what every driver promises, on machines that need
// not get further than their first instruction.
func TestSampleProgram(t *testing.T) {
	w := newWorld(t)
	for name, file := range map[string]string{"image.qcow2": "light.qcow2", "image.conf": "light.conf"} {
		w.must(os.Symlink(filepath.Join(os.Getenv(imagesVar), file), filepath.Join(w.images, name)))
	}
	w.sh("ip link add public type bridge && ip addr add 10.78.0.1/24 dev public && ip link set public up")
	t.Cleanup(func() { w.sh("ip link del public") })
	t.Setenv(imagesVar, w.images)
	cloudtest.Run(t, func(t *testing.T) cloud.Driver {
		d, err := command.New(command.Options{Program: "../../samples/clouds/qemu.sh", Dir: filepath.Join(w.home, "cloud")})
		if err != nil {
			t.Fatal(err)
		}
		return d
	})
	if out, _ := exec.Command("pgrep", "-a", "qemu").Output(); len(out) > 0 {
		t.Errorf("processes are left:\n%s", out)
	}
}

// Ctrl-C while the machines boot ends them all.
func TestInterrupted(t *testing.T) {
	w := newWorld(t)
	client := exec.Command(os.Getenv(programVar), "run", "--cluster", w.write("three.xml", fmt.Sprintf(three, "light")))
	client.Dir, client.Env = w.home, w.env
	var out bytes.Buffer
	client.Stdout, client.Stderr = &out, &out
	w.must(client.Start())
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if files, _ := filepath.Glob(filepath.Join(w.state(), "machines/*/pid")); len(files) == 3 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("no machines after a minute")
		}
	}
	w.must(client.Process.Signal(os.Interrupt))
	if err := client.Wait(); err == nil || !strings.Contains(out.String(), "Destroyed 'cluster-001'") {
		t.Errorf("%v\n%s", err, out.String())
	}
	w.nothingLeft()
}
