//go:build vm

package vm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A box is a machine with systemd that runs already, without cloud-init: this
// user and a user of sudo may log in, and its host keys are known.
type box struct {
	*world
	address string
}

// boot starts one of an image that prepare made with boxed and boxConf.
func (w *world) boot(image string) box {
	w.Helper()
	b := box{w, "10.77.0.10"}
	dir := w.TempDir()
	qemu, err := filepath.Abs("../../samples/clouds/qemu.sh")
	w.must(err)
	w.sh(fmt.Sprintf("mkdir -p %s/requests/box && cd %[1]s/requests/box && echo %s >image && echo %s >networks && echo box >name", dir, image, bridge))
	machines := fmt.Sprintf("cd %s && %s=%s NIMBUS_QEMU_MEMORY=512 %s", dir, imagesVar, w.images, qemu)
	w.sh(machines + " launch running requests")
	w.Cleanup(func() {
		if w.Failed() {
			w.Logf("the console:\n%s", w.sh("tail -c 8000 "+dir+"/machines/*/console"))
		}
		w.sh(machines + " terminate running.box")
	})
	b.up("")
	return b
}

// boxed changes the tree of an image so that its machines are boxes.
func (w *world) boxed() string {
	w.Helper()
	w.sh("mkdir -m 700 " + w.home + "/.ssh && ssh-keygen -q -t ed25519 -N '' -f " + w.home + "/.ssh/id_ed25519")
	return fmt.Sprintf(`set -e
echo box >etc/hostname
ssh-keygen -A -f "$PWD" >/dev/null
sed 's/^/10.77.0.10 /' etc/ssh/ssh_host_*_key.pub >%[1]s/known_hosts
chroot . useradd -m -s /bin/sh friend
echo 'friend ALL=(ALL) NOPASSWD: ALL' >etc/sudoers.d/friend
for home in root home/friend; do install -D -m 600 %[1]s/id_ed25519.pub $home/.ssh/authorized_keys; done
chroot . chown -R friend: /home/friend
printf '[Match]\nName=eth0\n[Network]\nAddress=10.77.0.10/24\nGateway=10.77.0.1\n' >etc/systemd/network/eth0.network
mkdir -p etc/systemd/system/network-online.target.wants
ln -s /lib/systemd/system/systemd-networkd-wait-online.service etc/systemd/system/network-online.target.wants`, w.home+"/.ssh")
}

// boxConf is how such an image is started.
func (w *world) boxConf() string {
	w.Helper()
	return strings.Replace(w.conf("cloud-init"), "systemd.show_status=1", "systemd.show_status=1 cloud-init=disabled", 1) + "seed=none\n"
}

// try runs a shell script there.
func (b box) try(user, script string) (string, error) {
	out, err := exec.Command("ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "StrictHostKeyChecking=yes",
		"-o", "UserKnownHostsFile="+filepath.Join(b.home, ".ssh/known_hosts"), "-i", filepath.Join(b.home, ".ssh/id_ed25519"),
		user+"@"+b.address, script).CombinedOutput()
	return string(out), err
}

// do runs what must work, as root.
func (b box) do(script string) string {
	b.Helper()
	out, err := b.try("root", script)
	if err != nil {
		b.Fatalf("%s: %v\n%s", script, err, out)
	}
	return out
}

// up waits for another boot than that one, and returns its id.
func (b box) up(before string) (id string) {
	b.Helper()
	begun := time.Now()
	for {
		out, err := b.try("root", "cat /proc/sys/kernel/random/boot_id")
		if err == nil && out != before {
			b.Logf("up after %.1f s", time.Since(begun).Seconds())
			return out
		}
		if time.Since(begun) > slow || strings.Contains(out, "Permission denied") && !strings.Contains(out, "nologin") {
			b.Fatalf("it does not boot: %v\n%s", err, out)
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// await asks until a script there ends well.
func (b box) await(limit time.Duration, script string) {
	b.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(500 * time.Millisecond) {
		out, err := b.try("root", script)
		if err == nil {
			return
		}
		if time.Now().After(end) {
			b.Fatalf("after %v still not: %s: %v\n%s", limit, script, err, out)
		}
	}
}

// healthy checks that systemd is content with the boot, and that all is done.
func (b box) healthy() {
	b.Helper()
	state, _ := b.try("root", "timeout 200 systemctl is-system-running --wait")
	if failed := b.do("systemctl --failed --plain --no-legend"); strings.TrimSpace(state) != "running" || failed != "" {
		b.Errorf("the system is %sfailed: %s\n%s", state, failed, b.do("journalctl -b -p warning --no-pager"))
	}
	if cycles := b.do("journalctl -b -o cat --no-pager | grep -i -e 'ordering cycle' -e 'break cycle' || true"); cycles != "" {
		b.Error(cycles)
	}
	if said := b.do("journalctl -b -o cat --no-pager | grep -i 'nimbus.*\\(unknown\\|ignoring\\|failed\\)' || true"); said != "" {
		b.Errorf("systemd does not understand it all:\n%s", said)
	}
}

// show reads properties of a unit.
func (b box) show(unit string, names ...string) map[string]string {
	b.Helper()
	values := map[string]string{}
	for line := range strings.Lines(b.do("systemctl show -p " + strings.Join(names, ",") + " " + unit)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[name] = value
	}
	return values
}

// gone checks that nothing of Nimbus is there but what is named.
func (b box) gone(but string) {
	b.Helper()
	if units := b.do("systemctl list-unit-files --no-legend 'nimbus*'; systemctl list-units --all --plain --no-legend 'nimbus*'"); strings.TrimSpace(units) != "" {
		b.Errorf("units are left:\n%s", units)
	}
	found := b.do("find / -xdev -path /proc -prune -o -iname '*nimbus*' -print | sort; ps -eo args | grep '[n]imbus' | grep -v 'ps -eo' || true")
	if found != but {
		b.Errorf("left:\n%s\nand it should be:\n%s", found, but)
	}
}

// systemd runs what the installers write for it: one machine, two boots.
func TestSystemd(t *testing.T) {
	w := newWorld(t)
	w.prepare("box", w.boxed(), w.boxConf())
	b := w.boot("box")
	b.healthy()
	b.agentWithoutCluster()
	b.do("/opt/nimbus/bin/nimbus agent install --uninstall")
	b.gone("")
	b.installBroker()
	b.rebootInTheMiddle()
	b.sudoAndBroker()
	b.takeBrokerOut()
}

// agentWithoutCluster: the agent of a machine that is in no cluster has ended
// well, and nobody has waited for it.
func (b box) agentWithoutCluster() {
	b.Helper()
	const unit = "nimbus-agent.service"
	b.await(time.Minute, "systemctl show -p SubState "+unit+" | grep -q dead")
	agent := b.show(unit, "ActiveState", "Result", "ExecMainStatus", "ExecMainCode", "ExecMainStartTimestampMonotonic", "ExecMainExitTimestampMonotonic")
	said := b.do("journalctl -b -o cat --no-pager -u " + unit)
	if agent["ActiveState"] != "inactive" || agent["Result"] != "success" || agent["ExecMainStatus"] != "0" || agent["ExecMainCode"] != "1" {
		b.Errorf("the unit: %v\n%s", agent, said)
	}
	if strings.Count(said, "no bootstrap document") != 1 {
		b.Errorf("it said:\n%s", said)
	}
	at := func(text string) int {
		n, err := strconv.Atoi(text)
		b.must(err)
		return n
	}
	users := at(b.show("multi-user.target", "ActiveEnterTimestampMonotonic")["ActiveEnterTimestampMonotonic"])
	begun, ended := at(agent["ExecMainStartTimestampMonotonic"]), at(agent["ExecMainExitTimestampMonotonic"])
	b.Logf("the agent ran from %.1f s to %.1f s, multi-user.target was reached after %.1f s", float64(begun)/1e6, float64(ended)/1e6, float64(users)/1e6)
	if users > ended {
		b.Error("the boot waited for the agent")
	}
	if _, err := b.try("root", "test ! -e /var/lib/nimbus -a ! -e /opt/nimbus/ctxlog.txt"); err != nil {
		b.Error("it has left something")
	}
}

// installBroker: the service serves, and its secrets are its own and root's.
func (b box) installBroker() {
	b.Helper()
	b.sh(fmt.Sprintf("ssh -F none -o BatchMode=yes -o UserKnownHostsFile=%s/.ssh/known_hosts -i %[1]s/.ssh/id_ed25519 root@%s 'cat >/root/program && chmod 755 /root/program' <%s", b.home, b.address, os.Getenv(programVar)))
	b.Logf("nimbus broker install:\n%s", b.do("/root/program broker install && rm /root/program"))
	b.do(`sed -i 's/^listen = .*/listen = ["0.0.0.0:8443"]/' /etc/nimbus/broker.toml && systemctl restart nimbus-broker`)
	b.serves()
	if state := b.do("systemctl is-enabled nimbus-broker"); state != "enabled\n" {
		b.Errorf("at the next boot: %s", state)
	}
	owners := map[string]bool{}
	for line := range strings.Lines(b.do("cd /var/lib/nimbus-broker && stat -Lc '%u %a %n' . *")) {
		var uid, mode, name string
		fmt.Sscan(line, &uid, &mode, &name)
		owners[uid] = true
		if want := map[string]string{".": "700", "owner.key": "600", "ca.key": "600", "master.key": "600", "contexts.db": "600"}[name]; want != "" && mode != want {
			b.Errorf("mode of %s: %s", name, mode)
		}
	}
	if len(owners) != 1 || owners["0"] {
		b.Errorf("the data belong to %v", owners)
	}
	if out, err := b.try("friend", "cat /var/lib/nimbus-broker/owner.key"); err == nil {
		b.Errorf("everybody may read the key: %s", out)
	}
	b.write("broker/ca.pem", b.do("cat /var/lib/nimbus-broker/ca.pem"))
	b.write("broker/owner.key", b.do("cat /var/lib/nimbus-broker/owner.key"))
	url := "https://" + b.address + ":8443"
	if got := b.sh("curl -fsS --cacert " + b.home + "/broker/ca.pem " + url + "/healthz"); strings.TrimSpace(got) != "ok" {
		b.Errorf("it answers %q", got)
	}
	if got := b.sh("curl -fsS --cacert " + b.home + "/broker/ca.pem " + url + "/download/nimbus-linux-amd64 | sha256sum"); !strings.HasPrefix(got, b.sum()) {
		b.Errorf("it hands out %s, and is %s", got, b.sum())
	}
}

// serves waits for the broker, which has not failed on the way.
func (b box) serves() {
	b.Helper()
	b.await(time.Minute, "curl -fsS --cacert /var/lib/nimbus-broker/ca.pem https://127.0.0.1:8443/healthz")
	if unit := b.show("nimbus-broker", "ActiveState", "NRestarts"); unit["ActiveState"] != "active" || unit["NRestarts"] != "0" {
		b.Errorf("the unit: %v\n%s", unit, b.do("journalctl -b --no-pager -u nimbus-broker"))
	}
}

// rebootInTheMiddle: systemd keeps the agent when the connection that started it
// is gone, and starts it again when the machine boots while a script runs.
func (b box) rebootInTheMiddle() {
	b.Helper()
	b.sh("cp -r ../../ctxscripts/ctx-scripts " + b.home + "/scripts")
	b.write("scripts/1-ipandhost/testrole1", "#!/bin/sh\ntouch /run/waits\nuntil [ -e /root/go ]; do sleep 1; done\n")
	hosts := b.write("hosts.ini", b.address+"\n")
	client := exec.Command(os.Getenv(programVar), "run", "--hosts", hosts, "--scripts", "scripts", "--cluster", b.write("one.xml", fmt.Sprintf(one, "any")))
	client.Dir, client.Env = b.home, b.env
	var out strings.Builder
	client.Stdout, client.Stderr = &out, &out
	b.must(client.Start())
	ended := make(chan error, 1)
	go func() { ended <- client.Wait() }()
	begun := time.Now()
	for {
		if _, err := b.try("root", "test -e /run/waits"); err == nil {
			break
		}
		select {
		case err := <-ended:
			b.Fatalf("nimbus run ended: %v\n%s", err, out.String())
		case <-time.After(500 * time.Millisecond):
		}
		if time.Since(begun) > 2*time.Minute {
			b.Fatalf("no script runs\n%s", b.do("cat /opt/nimbus/ctxlog.txt"))
		}
	}
	b.Logf("the script runs after %.1f s", time.Since(begun).Seconds())
	before := b.show("nimbus-agent", "MainPID", "ActiveState")
	b.must(client.Process.Kill())
	<-ended
	b.await(time.Minute, "! ss -tnp | grep -q 'sshd.*127.0.0.1'") // no forwarding any more
	if after := b.show("nimbus-agent", "MainPID", "ActiveState"); after["ActiveState"] != "active" || after["MainPID"] == "0" || after["MainPID"] != before["MainPID"] {
		b.Errorf("the agent was %v, and is %v", before, after)
	}
	boot := b.do("cat /proc/sys/kernel/random/boot_id")
	b.do("systemctl reboot --no-block")
	b.up(boot)
	b.do("touch /root/go")
	if out := b.ok(2*time.Minute, "resume", "--timeout", "2m"); !strings.Contains(out, "cluster-001: contextualized") {
		b.Error(out)
	}
	b.healthy()
	b.serves() // it was started at boot
	if hosts := b.do("cat /etc/hosts"); !strings.Contains(hosts, b.address+"\tbox") {
		b.Errorf("it does not know itself:\n%s", hosts)
	}
	agent := b.show("nimbus-agent", "ActiveState", "Result")
	if agent["ActiveState"] != "inactive" || agent["Result"] != "success" {
		b.Errorf("the unit: %v\n%s", agent, b.do("journalctl -b --no-pager -u nimbus-agent"))
	}
	b.Logf("%s", b.ok(time.Minute, "terminate", "--handle", "cluster-001"))
	b.onlyBroker()
}

// onlyBroker: what there is of Nimbus belongs to the broker.
func (b box) onlyBroker() {
	b.Helper()
	if units := b.do("systemctl list-unit-files --no-legend 'nimbus*' | awk '{ print $1 }'; systemctl list-units --all --plain --no-legend 'nimbus*' | awk '{ print $1 }'"); units != "nimbus-broker.service\nnimbus-broker.service\n" {
		b.Errorf("units:\n%s", units)
	}
	b.do("test ! -e /opt/nimbus -a ! -e /var/lib/nimbus")
	if block := b.do("cat /etc/hosts /etc/ssh/ssh_known_hosts 2>/dev/null | grep -i nimbus || true"); block != "" {
		b.Error(block)
	}
	if failed := b.do("systemctl --failed --plain --no-legend"); failed != "" {
		b.Error(failed)
	}
}

// sudoAndBroker: the same by another user, with the broker that is a service;
// that is started anew and knows the context still.
func (b box) sudoAndBroker() {
	b.Helper()
	url := "https://" + b.address + ":8443"
	b.ok(time.Minute, "login", "--ca", "broker/ca.pem", "--key", "broker/owner.key", url)
	hosts := b.write("hosts.ini", "friend@"+b.address+"\n")
	if out := b.ok(2*time.Minute, "run", "--broker", url, "--hosts", hosts, "--cluster", "one.xml", "--timeout", "90s"); !strings.Contains(out, "cluster-002: contextualized") {
		b.Error(out)
	}
	before := b.ok(time.Minute, "nodes", "--handle", "cluster-002", "--json")
	b.do("systemctl restart nimbus-broker")
	b.serves()
	if after := b.ok(time.Minute, "nodes", "--handle", "cluster-002", "--json"); after != before {
		b.Errorf("the broker knew\n%sand now\n%s", before, after)
	}
	b.ok(time.Minute, "terminate", "--handle", "cluster-002")
	b.onlyBroker()

	// The end comes while a script runs.
	b.do("rm -f /root/go /run/waits")
	b.ok(time.Minute, "run", "--broker", url, "--hosts", hosts, "--scripts", "scripts", "--cluster", "one.xml", "--no-wait")
	b.await(time.Minute, "test -e /run/waits")
	b.ok(time.Minute, "terminate", "--handle", "cluster-003")
	b.onlyBroker()
}

// takeBrokerOut: the unit goes; the data stay, and the settings, which were changed.
func (b box) takeBrokerOut() {
	b.Helper()
	b.Logf("%s", b.do("nimbus broker install --uninstall; systemctl stop nimbus-broker"))
	b.do("test -s /var/lib/nimbus-broker/contexts.db")
	b.gone("/etc/nimbus\n/var/lib/nimbus-broker\n/var/lib/private/nimbus-broker\n")
	if failed := b.do("systemctl --failed --plain --no-legend"); failed != "" {
		b.Error(failed)
	}
}
