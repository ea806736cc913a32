//go:build vm

package vm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// slow is the time for systemd and cloud-init with emulated processors, from
// the command to the report: 80 s on an idle machine.
const slow = 5 * time.Minute

// one machine that provides what it requires; %s is the image.
const one = `<cluster>
  <workspace>
    <name>only</name> <image>%s</image> <quantity>1</quantity>
    <nic wantlogin="true">vms</nic>
    <ctx>
      <provides><identity/><role>testrole1</role></provides>
      <requires><identity/><role name="testrole1"/></requires>
    </ctx>
  </workspace>
</cluster>`

// runOne launches one machine of an image and waits until cloud-init is done.
func (w *world) runOne(image string) {
	w.Helper()
	w.env = append(w.env, "NIMBUS_QEMU_MEMORY=512")
	out := w.ok(slow, "run", "--cluster", w.write("one.xml", fmt.Sprintf(one, image)), "--timeout", "4m30s")
	if !strings.Contains(out, "cluster-001: contextualized") {
		w.Fatal(out)
	}
	if out := w.there("cloud-init status --wait --long"); !strings.Contains(out, "status: done") {
		w.Errorf("cloud-init: %s\n%s", out, w.there("cat /var/log/cloud-init-output.log"))
	}
	if hosts := w.there("cat /etc/hosts"); !strings.Contains(hosts, "10.77.0.10\tonly-0.cluster-001 only-0\n") {
		w.Errorf("it does not know itself:\n%s", hosts)
	}
}

// there runs a command on the machine; what that returns is not looked at.
func (w *world) there(command string) string {
	w.Helper()
	out, err := w.nimbus(2*time.Minute, "exec", "--all", "--", "sh", "-c", command+"; true")
	if err != nil {
		w.Errorf("exec %s: %v\n%s", command, err, out)
	}
	return strings.ReplaceAll(out, "only-0| ", "")
}

func TestCloudInitNoCloud(t *testing.T) {
	w := newWorld(t)
	w.runOne("cloud-init")
	w.ok(time.Minute, "terminate", "--all")
	w.nothingLeft()
}

// On EC2 there is no drive: cloud-init asks the metadata server, which wants a
// token of those who ask.
func TestCloudInitEC2(t *testing.T) {
	w := newWorld(t)
	m := &metadata{dir: t.TempDir(), ip: "10.77.0.10", mac: "52:54:0a:4d:00:0a"}
	w.serveMetadata(m)
	// cloud-init takes a machine for one of EC2's by these.
	const uuid = "ec200000-0000-4000-8000-000000000001"
	w.must(os.Symlink(filepath.Join(os.Getenv(imagesVar), "debian.qcow2"), filepath.Join(w.images, "ec2.qcow2")))
	w.must(os.WriteFile(filepath.Join(w.images, "ec2.conf"), []byte(w.conf("cloud-init")+"seed=none\noptions='-smbios type=1,uuid="+uuid+",serial="+uuid+"'\n"), 0o644))
	// What a machine is told goes to where the server finds it.
	qemu, err := filepath.Abs("../../samples/clouds/qemu.sh")
	w.must(err)
	program := w.write("ec2.sh", fmt.Sprintf("#!/bin/sh\n[ \"$1\" != launch ] || cp \"$3\"/*/* %q\nexec %q \"$@\"\n", m.dir, qemu))
	w.append(".config/nimbus/config.toml", fmt.Sprintf("[clouds.ec2]\ndriver = \"command\"\ncommand = %q\nbroker_address = %q\n", program, here))
	w.write(".config/nimbus/config.toml", strings.Replace(w.read(".config/nimbus/config.toml"), `cloud = "vms"`, `cloud = "ec2"`, 1))

	dhcp := exec.Command("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface="+bridge, "--bind-interfaces", "--user=root",
		"--dhcp-range=10.77.0.100,10.77.0.200,1h", "--dhcp-host="+m.mac+","+m.ip, "--dhcp-leasefile="+filepath.Join(w.home, "leases"), "--dhcp-option=3,"+here,
		"--pid-file=", "--log-facility="+filepath.Join(w.home, "dhcp.log"))
	w.must(dhcp.Start())
	t.Cleanup(func() { _ = dhcp.Process.Kill(); _ = dhcp.Wait() })

	w.runOne("ec2")
	if source := w.there("cloud-id"); !strings.Contains(source, "aws") {
		t.Errorf("it took itself for %q", source)
	}
	m.mu.Lock()
	if m.served == 0 {
		t.Error("nobody asked for user data")
	}
	t.Logf("user data were asked for %d times, and %d requests came without a token", m.served, m.refused)
	m.mu.Unlock()
	w.ok(time.Minute, "terminate", "--all")
}

func (w *world) read(name string) string {
	w.Helper()
	text, err := os.ReadFile(filepath.Join(w.home, name))
	w.must(err)
	return string(text)
}

// The agent is in the image already and systemd starts it; cloud-init runs the
// same user data. One of them does the work, and nothing is fetched.
func TestCloudInitPrepared(t *testing.T) {
	w := newWorld(t)
	tree := w.prepare("both", "true", w.conf("cloud-init"))
	stamp := func(path string) string { return "stat -c '%Y %s' " + path + "/opt/nimbus/bin/nimbus" }
	before := w.sh(stamp(tree))
	w.runOne("both")
	if after := w.there(stamp("")); after != before {
		t.Errorf("the agent was replaced: %s, and was %s", after, before)
	}
	unit := w.there("systemctl show -p ActiveState -p Result -p ExecMainStatus nimbus-agent.service")
	if !strings.Contains(unit, "Result=success") || !strings.Contains(unit, "ExecMainStatus=0") && !strings.Contains(unit, "ExecMainStatus=5") {
		t.Errorf("the unit:\n%s%s", unit, w.there("journalctl -b -u nimbus-agent.service"))
	}
	log := w.there("cat /opt/nimbus/ctxlog.txt")
	if n := strings.Count(log, "provider of testrole1: "); n != 1 {
		t.Errorf("the role's script was called %d times:\n%s", n, log)
	}
	t.Logf("the unit: %s\nthe log:\n%s", strings.Join(strings.Fields(unit), " "), log)
	w.ok(time.Minute, "terminate", "--all")
}
