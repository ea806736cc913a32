package install

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// usual is what the agent's settings say where nobody has changed them.
var usual = Left{
	State: "/var/lib/nimbus", Bootstrap: "/var/lib/nimbus/bootstrap", Log: "/opt/nimbus/ctxlog.txt", Scripts: "/opt/nimbus/ctx-scripts",
	Hosts: "/etc/hosts", KnownHosts: "/etc/ssh/ssh_known_hosts", HostsEquiv: "/etc/hosts.equiv",
}

var used = []string{
	"etc/hosts: 127.0.0.1 localhost\n# nimbus begin\n10.0.0.1 head-0\n# nimbus end\n10.0.0.7 mine\n",
	"etc/ssh/ssh_known_hosts: # nimbus begin\nhead-0 ssh-ed25519 AAAA\n# nimbus end\n",
	"etc/hosts.equiv: head-0\n", "etc/hosts.equiv.before-nimbus: trusted\n",
	"var/lib/nimbus/lock", "var/lib/nimbus/context: c1", "var/lib/nimbus/c1/claim: secret", "var/lib/nimbus/c1/data/key: secret", "var/lib/nimbus/bootstrap: {}",
	"opt/nimbus/ctxlog.txt: x", "opt/nimbus/ctxlog.txt.1: x", "opt/nimbus/ctx-test/testrole1: x",
	"opt/nimbus/ctx-scripts/.pack/mark", "opt/nimbus/ctx-scripts/1-ipandhost/theirs: x", "opt/nimbus/ctx-scripts.image/1-ipandhost/ours: x", "opt/nimbus/ctx-scripts.image/problem.sh: x",
}

// One truth: what clean.sh --image does to a machine, Wipe does to a tree.
func TestWipeIsWhatCleanDoes(t *testing.T) {
	for _, lines := range [][]string{used, {"etc/hosts: 127.0.0.1 localhost\n"}, {"etc/hosts: # nimbus begin\n127.0.0.1 localhost\n", "etc/hosts.equiv: x"}, nil} {
		ours, theirs := build(t, lines...), build(t, lines...)
		if _, err := opened(t, ours).Wipe(usual); err != nil {
			t.Fatal(err)
		}
		at := func(name string) string { return filepath.Join(theirs, name) }
		clean := exec.Command("sh", "../ctxscripts/ctx-scripts/clean.sh", "--image")
		clean.Env = append(os.Environ(), "NIMBUS_HOSTS_FILE="+at(usual.Hosts), "NIMBUS_KNOWN_HOSTS="+at(usual.KnownHosts), "NIMBUS_HOSTS_EQUIV="+at(usual.HostsEquiv),
			"NIMBUS_TESTDIR="+at(testDir), "NIMBUS_STATE_DIR="+at(usual.State), "NIMBUS_LOG_FILE="+at(usual.Log), "NIMBUS_SCRIPTS_DIR="+at(usual.Scripts))
		if out, err := clean.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if got, want := listing(t, ours), listing(t, theirs); got != want {
			t.Errorf("Wipe leaves\n%s\nclean.sh leaves\n%s", got, want)
		}
		if _, err := opened(t, ours).Wipe(usual); err != nil {
			t.Errorf("again: %v", err)
		}
	}
}

// By hand nobody tells clean.sh where things are: it looks into the settings, as
// the agent does.
func TestCleanKnowsTheSettings(t *testing.T) {
	dir := build(t, "srv/state/lock", "srv/state/c1/claim: secret", "srv/boot: {}", "srv/log: x", "srv/log.1: x", "srv/known: # nimbus begin\nx\n# nimbus end\n",
		"lib/dpkg: x", "scripts/1-ipandhost/x: x", "hosts: 127.0.0.1 localhost\n")
	for _, lines := range []string{
		"state_dir = \"DIR/srv/state\"\nbootstrap_file='DIR/srv/boot'\n  log_file = \"DIR/srv/log\" # where\nknown_hosts = \"DIR/srv/known\"\nhosts_equiv = \"DIR/none\"\n",
		"state_dir = \"DIR/lib\"\nbootstrap_file='/dev/null'\nlog_file = \"/dev/null\"\nknown_hosts = \"/dev/null\"\nhosts_equiv = \"DIR/none\"\n",
	} {
		must(t, os.WriteFile(filepath.Join(dir, "ctx.conf"), []byte(strings.ReplaceAll(lines, "DIR", dir)), 0o644))
		clean := exec.Command("sh", "../ctxscripts/ctx-scripts/clean.sh", "--image")
		clean.Env = append(os.Environ(), "NIMBUS_CONFIG="+filepath.Join(dir, "ctx.conf"), "NIMBUS_HOSTS_FILE="+filepath.Join(dir, "hosts"),
			"NIMBUS_TESTDIR="+filepath.Join(dir, "test"), "NIMBUS_SCRIPTS_DIR="+filepath.Join(dir, "scripts"))
		if out, err := clean.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if got := listing(t, dir); strings.Contains(got, "srv/state") || strings.Contains(got, "srv/boot") || strings.Contains(got, "srv/log") || strings.Contains(got, "srv/known") || !strings.Contains(got, "lib/dpkg") {
			t.Errorf("%s", got)
		}
	}
	if info, err := os.Stat("/dev/null"); err != nil || info.Mode().IsRegular() {
		t.Errorf("/dev/null: %v, %v", info, err)
	}
}

// A directory that settings name, and in which no agent was ever at work, is
// not emptied.
func TestWipeOfAForeignDirectory(t *testing.T) {
	dir := build(t, "var/lib/dpkg/status: x", "srv/nimbus/lock", "srv/nimbus/c1/claim: secret")
	left := usual
	left.State = "/var/lib"
	if _, err := opened(t, dir).Wipe(left); err != nil {
		t.Fatal(err)
	}
	left.State = "/srv/nimbus"
	done, err := opened(t, dir).Wipe(left)
	if err != nil || strings.Join(done, " ") != "srv/nimbus" {
		t.Errorf("%v, %v", done, err)
	}
	if got := listing(t, dir); !strings.Contains(got, "dpkg/status") || strings.Contains(got, "claim") {
		t.Errorf("%s", got)
	}
}

// While the scripts of a launch lie over the machine's own, a newer version is
// put under them.
func TestScriptsUnderThoseOfALaunch(t *testing.T) {
	dir := build(t)
	put(t, dir, "1")
	scripts := filepath.Join(dir, scriptsDir)
	before := listing(t, scripts)
	must(t, os.Rename(scripts, scripts+beside))
	must(t, os.MkdirAll(filepath.Join(scripts, ".pack"), 0o755))
	must(t, os.WriteFile(filepath.Join(scripts, "problem.sh"), []byte("theirs"), 0o755))
	over := listing(t, scripts)
	if report, _ := put(t, dir, "2"); len(report.Kept) > 0 || strings.Join(report.Replaced, " ") != "opt/nimbus/bin/nimbus opt/nimbus/installed.json" || len(report.Made) > 0 {
		t.Errorf("%+v", report)
	}
	if got := listing(t, scripts); got != over {
		t.Errorf("those of the launch are now\n%s", got)
	}
	if _, err := opened(t, dir).Wipe(usual); err != nil {
		t.Fatal(err)
	}
	if got := listing(t, scripts); got != before {
		t.Errorf("the machine's own are now\n%s", got)
	}
}

// Settings may say that something is not wanted at all: /dev/null stays what it
// is.
func TestWipeOfWhatIsNoFile(t *testing.T) {
	dir := build(t, "dev/", "var/log/link -> /dev/null")
	null := filepath.Join(dir, "dev/null")
	must(t, syscall.Mkfifo(null, 0o600)) // whoever tests need not be root
	left := usual
	left.Log, left.Bootstrap, left.KnownHosts = "/dev/null", "/var/log/link", "/dev/null"
	if done, err := opened(t, dir).Wipe(left); err != nil || len(done) > 0 {
		t.Errorf("%v, %v", done, err)
	}
	if info, err := os.Lstat(null); err != nil || info.Mode().IsRegular() {
		t.Errorf("/dev/null is %v now, %v", info, err)
	}
}
