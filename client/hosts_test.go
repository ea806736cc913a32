package client

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"nimbus/broker/cluster"
	"nimbus/broker/software"
	"nimbus/broker/wire"
	"nimbus/client/history"
	"nimbus/client/settings"
	"nimbus/cloud"
	"nimbus/cloud/ssh"
)

// A hostWorld is a world whose clouds are hosts: it notes what drivers were
// opened with.
type hostWorld struct {
	*world
	opened  []settings.Settings
	names   []string
	refused map[string]error // by launch: what List says
}

// inHostWorld runs a story in a bubble with hosts that reach this machine
// through their connections.
func inHostWorld(t *testing.T, story func(w *hostWorld)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &hostWorld{world: newWorld(t), refused: map[string]error{}}
		w.cloud.Hosts, w.cloud.Apart = []netip.Addr{netip.MustParseAddr("127.0.0.1")}, true
		w.cloud.OnList = func(_ context.Context, launch string) error { return w.refused[launch] }
		driver := loggedIn{endlessCloud{w.cloud, w.cloud, w.cloud, w.cloud, w.cloud, w.cloud}}
		w.boot(allOK)
		w.change = func(env *Env) {
			env.OpenCloud = func(name string, s settings.Settings) (cloud.Driver, error) {
				w.names, w.opened = append(w.names, name), append(w.opened, s)
				return driver, nil
			}
		}
		w.write("hosts.ini", "[front]\n10.0.0.1\n[back]\nann@10.0.0.2:2222\n10.0.0.3\n10.0.0.4\n")
		story(w)
	})
}

// loggedIn is a driver whose instances are logged in to as somebody.
type loggedIn struct{ endlessCloud }

func (d loggedIn) Launch(ctx context.Context, requests []cloud.Request) ([]cloud.Instance, error) {
	return d.as(d.endlessCloud.Launch(ctx, requests))
}

func (d loggedIn) List(ctx context.Context, launch string) ([]cloud.Instance, error) {
	return d.as(d.endlessCloud.List(ctx, launch))
}

func (loggedIn) as(list []cloud.Instance, err error) ([]cloud.Instance, error) {
	for i := range list {
		list[i].Login, list[i].HostKey = "ann", hostKey(byte(i+1))
	}
	return list, err
}

// last is what the driver was opened with last.
func (w *hostWorld) last() settings.Settings { return w.opened[len(w.opened)-1] }

// A file of hosts is all that is needed; the commands that come after it find
// the same hosts without it, also when the file says something else.
func TestRunOnHosts(t *testing.T) {
	inHostWorld(t, func(w *hostWorld) {
		mine := "10.0.0.1 " + hostKey(9) + "\n192.0.2.1 " + hostKey(8) + "\n"
		w.write(".ssh/known_hosts", mine)
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml"), "--hosts", w.path("hosts.ini")},
			"    https://127.0.0.1:8443  (through the SSH connections, to your own)\n", "cluster-001: contextualized",
			"SSH trusts new key for front-0.cluster-001",
			"To log in:\n  nimbus ssh --handle cluster-001 front-0\n",
			"cluster-001 goes on until you end it:\n  nimbus terminate --handle cluster-001\n")
		w.without("ssh ann@", "Made an SSH key")
		c := w.last().Clouds["ssh"]
		if w.names[0] != "ssh" || c.HostsFile != w.path("hosts.ini") || w.last().Cloud != "ssh" {
			t.Errorf("cloud %s was opened with %+v", w.names[0], c)
		}
		known := w.read(".ssh/known_hosts")
		if !strings.HasPrefix(known, mine) || !strings.Contains(known, "\nfront-0.cluster-001 ") || strings.Contains(known, "192.0.2.1 "+hostKey(1)) {
			t.Errorf("known_hosts:\n%s", known)
		}
		if _, err := os.Stat(w.path("state/ssh")); err == nil {
			t.Error("a key was made that nobody lets in")
		}

		w.write("hosts.ini", "[front]\n10.9.9.9\n")
		var entered atomic.Value // which machine last; exec enters all at once
		w.cloud.OnEnter = func(_ context.Context, i cloud.Instance, p cloud.Program) (int, error) {
			entered.Store(i.Token)
			return 0, nil
		}
		w.programs = map[string]string{"ssh": "/usr/bin/ssh"}
		for _, args := range [][]string{{"status"}, {"status", "--handle", "cluster-001"}, {"exec", "--all", "--", "true"}, {"ssh", "back-1", "true"}, {"resume"}, {"terminate", "--all"}} {
			w.opened = nil
			w.expect(0, args)
			c := w.last().Clouds["ssh"]
			if len(w.opened) != 1 || c.HostsFile != "" || strings.Join(c.Hosts["back"], " ") != "ann@10.0.0.2:2222 root@10.0.0.3:22 root@10.0.0.4:22" || w.last().KnownHosts != w.path(".ssh/known_hosts") {
				t.Errorf("%v: opened %d times with %+v", args, len(w.opened), c)
			}
		}
		if entered.Load() != "back-1" || w.became != nil {
			t.Errorf("entered %q, became %q", entered.Load(), w.became)
		}
		w.nothingLeft()
		if got := w.read(".ssh/known_hosts"); got != mine {
			t.Errorf("known_hosts is left as\n%s", got)
		}
	})
}

func TestRunOnHostsRefused(t *testing.T) {
	inHostWorld(t, func(w *hostWorld) {
		w.write("bad.ini", "10.0.0.1\n\n[back]\nann@:22\n")
		w.write("none.ini", "# nobody\n[back]\n")
		w.write("both.toml", "[clouds.ssh]\nhosts_file = \"x\"\nhosts.back = [\"10.0.0.1\"]\n")
		w.write("twice.toml", "[clouds.ssh]\nhosts.back = [\"10.0.0.1\", \"ann@10.0.0.1:22\"]\n")
		w.write("address.toml", "[clouds.ssh]\nhosts.back = [\"10.0.0.1:99999\"]\n")
		w.write("jump.toml", "[clouds.lab]\ndriver = \"ssh\"\njump = \"-x\"\n")
		w.write("group.toml", "[clouds.ssh.hosts]\n\"a b\" = [\"10.0.0.1\"]\n")
		run := func(args ...string) []string {
			return append([]string{"run", "--cluster", w.path("hello.xml")}, args...)
		}
		for _, c := range []struct {
			args []string
			want string
		}{
			{run("--hosts", w.path("bad.ini")), w.path("bad.ini") + ":4: "},
			{run("--hosts", w.path("none.ini")), "there is no host in it"},
			{run("--hosts", w.path("no.ini")), "hosts file " + w.path("no.ini") + ": no such file or directory"},
			{run("--hosts", w.home), "it is no file"},
			{run("--hosts", w.path("hosts.ini"), "--cloud", "local"), `--hosts is for hosts that run already, and cloud "local" has driver "local"`},
			{run("--host-keys", "accept-new"), `--host-keys is for hosts that run already, and cloud "local"`},
			{run("--hosts", w.path("hosts.ini"), "--host-keys", "no"), `clouds.ssh.host_keys: "no" must be "strict" or "accept-new"`},
			{run("--conf", w.path("both.toml")), "clouds.ssh.hosts_file: there are hosts in the settings, too"},
			{run("--conf", w.path("twice.toml")), "clouds.ssh.hosts.back: host 10.0.0.1 is in the list twice"},
			{run("--conf", w.path("address.toml")), `clouds.ssh.hosts.back: host "10.0.0.1:99999"`},
			{run("--conf", w.path("jump.toml")), `clouds.lab.jump: `},
			{run("--conf", w.path("group.toml")), `clouds.ssh.hosts."a b": want the name of a workspace, or "*" for any`},
		} {
			for _, more := range [][]string{nil, {"--dry-run"}} {
				w.expect(1, append(c.args, more...), c.want, "nimbus: hint: ")
			}
		}
		w.nothingLeft()
		if entries, _ := os.ReadDir(w.path("state/history")); len(entries) > 0 {
			t.Errorf("the history has %v", entries)
		}
	})
}

// Hosts may stand in the settings, for a cloud of any name.
func TestHostsOfTheSettings(t *testing.T) {
	inHostWorld(t, func(w *hostWorld) {
		w.write("c.toml", "cloud = \"lab\"\n[clouds.lab]\ndriver = \"ssh\"\nuser = \"debian\"\n[clouds.lab.hosts]\nfront = [\"10.0.0.1\"]\n\"*\" = [\"10.0.0.2\", \"ann@[fd00::3]:24\"]\nbak = [\"10.0.0.9\"]\n")
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml"), "--conf", w.path("c.toml"), "--dry-run"},
			"made of 10.0.0.1, then any of the 2 hosts that are for all workspaces", "Ends: when you end it",
			"No host was asked. To log in to each and look: nimbus doctor --conf "+w.path("c.toml")+" --cloud lab\n",
			`Warning: 1 host of workspace "bak": the cluster has no such workspace; did you mean "back"?`)
		w.without("SSH key:")
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml"), "--conf", w.path("c.toml")}, `did you mean "back"?`)
		var record history.Record
		h, err := history.Open(w.path("state/history"))
		if err == nil {
			l, _ := h.Get("cluster-001")
			record, err = l.Record()
		}
		if err != nil || record.Cloud != "lab" || strings.Join(record.Run.Hosts["*"], " ") != "debian@10.0.0.2:22 ann@[fd00::3]:24" {
			t.Errorf("%v: %+v", err, record.Run)
		}
		// A file on the command line is for that cloud, then.
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml"), "--conf", w.path("c.toml"), "--hosts", w.path("hosts.ini")})
		if c := w.last().Clouds["lab"]; w.last().Cloud != "lab" || c.HostsFile != w.path("hosts.ini") || c.Hosts != nil {
			t.Errorf("%+v", c)
		}
	})
}

// A host that does not answer keeps nobody from seeing another launch.
func TestStatusOfHosts(t *testing.T) {
	inHostWorld(t, func(w *hostWorld) {
		for range 2 {
			w.expect(0, []string{"run", "--cluster", w.path("plain.xml"), "--hosts", w.path("hosts.ini")})
		}
		w.refused[w.instances()[0].Launch] = errors.New("10.0.0.3: no route to host")
		w.expect(2, []string{"status"}, "cluster-001  ok     ?      0 s  -", "?", "cluster-002  ok     ok     0 s  no end", "10.0.0.3: no route to host", "1 cloud or broker could not be asked")
		w.expect(0, []string{"status", "--handle", "cluster-002"}, "box-1")
	})
}

// The way to the broker is open only while a command works: whoever lets nodes
// work opens it.
func TestHostsReachTheBroker(t *testing.T) {
	inHostWorld(t, func(w *hostWorld) {
		forwards := 0
		w.cloud.OnForward = func(context.Context, string, string) error { forwards++; return nil }
		w.boot(func(node string) *wire.Report {
			return &wire.Report{OK: node != "back-1", Code: 1, Step: "1-ipandhost/head"}
		})
		w.expect(1, []string{"run", "--cluster", w.path("hello.xml"), "--hosts", w.path("hosts.ini"), "--keep"}, "until you end it")
		if forwards != 1 {
			t.Fatalf("forwarded %d times", forwards)
		}
		w.cloud.OnEnter = func(context.Context, cloud.Instance, cloud.Program) (int, error) {
			if forwards != 2 {
				t.Errorf("the agent begins when forwarded %d times", forwards)
			}
			w.broker.report("ctx1", "back-1", wire.Report{OK: true})
			return 0, nil
		}
		w.expect(0, []string{"rerun", "back-1"}, "all nodes are ok")
		w.expect(0, []string{"resume"}, "cluster-001: contextualized")
		if forwards != 3 {
			t.Errorf("forwarded %d times after resume, want 3", forwards)
		}
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml"), "--hosts", w.path("hosts.ini"), "--no-wait"},
			"its nodes reached your broker through this command, and wait (--no-wait). To let them go on:\n  nimbus resume --handle cluster-002\n")
		// A broker elsewhere is theirs to reach.
		forwards, w.cloud.OnEnter = 0, func(context.Context, cloud.Instance, cloud.Program) (int, error) { return 0, nil }
		w.cloud.Hosts, w.cloud.Apart = nil, false
		w.boot(allOK)
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml"), "--hosts", w.path("hosts.ini"), "--broker", "https://broker.example.org"})
		if w.last().Broker != "https://broker.example.org" || forwards != 0 {
			t.Errorf("opened with broker %q, forwarded %d times", w.last().Broker, forwards)
		}
		w.expect(0, []string{"exec", "--handle", "cluster-003", "--all", "--", "true"})
		if w.last().Broker != "https://broker.example.org" {
			t.Errorf("opened with broker %q", w.last().Broker)
		}
	})
}

func TestTooFewHosts(t *testing.T) {
	inHostWorld(t, func(w *hostWorld) {
		w.cloud.OnLimits = nil
		w.change = func(env *Env) {
			env.OpenCloud = func(string, settings.Settings) (cloud.Driver, error) { return w.cloud, nil }
		}
		w.cloud.OnLimits = func(d cloud.Demand) ([]cloud.Limit, error) {
			if d.Groups["back"] == 2 {
				return nil, cloud.ErrNoCapacity
			}
			return nil, nil
		}
		w.expect(2, []string{"run", "--cluster", w.path("hello.xml"), "--hosts", w.path("hosts.ini")}, "nothing was launched", "add hosts to "+w.path("hosts.ini")+", end a launch that has some (\"nimbus status\"), or ask for fewer instances (--quantity)")
		w.expect(2, []string{"run", "--cluster", w.path("hello.xml"), "--cloud", "ssh"}, "--hosts FILE says which hosts there are")
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml"), "--hosts", w.path("hosts.ini"), "--quantity", "back=1"})
	})
}

// surveyedCloud has machines that can be looked at beforehand, and no way out.
type surveyedCloud struct {
	loggedIn
	cloud cloud.Limiter
	found func(cloud.Demand) error
	shut  bool
}

func (c *surveyedCloud) Survey(_ context.Context, d cloud.Demand) error { return c.found(d) }
func (c *surveyedCloud) Limits(ctx context.Context, d cloud.Demand) ([]cloud.Limit, error) {
	return c.cloud.Limits(ctx, d)
}
func (c *surveyedCloud) Encloses() bool { return c.shut }

// unknownKey is what a host with an unknown key is refused with.
type unknownKey struct{}

func (unknownKey) Error() string { return "root@10.0.0.1:22: its host key is not known" }
func (unknownKey) Hint() string  { return "take it as it is: " + ssh.AcceptNewSetting }

// What can be found before a launch has a name and a context leaves neither.
func TestHostsAreLookedAtFirst(t *testing.T) {
	inHostWorld(t, func(w *hostWorld) {
		c := &surveyedCloud{cloud: w.cloud, loggedIn: loggedIn{endlessCloud{w.cloud, w.cloud, w.cloud, w.cloud, w.cloud, w.cloud}}}
		w.change = func(env *Env) {
			env.OpenCloud = func(string, settings.Settings) (cloud.Driver, error) { return c, nil }
		}
		c.found = func(d cloud.Demand) error {
			if d.Groups["back"] != 2 {
				t.Errorf("demand %+v", d)
			}
			return unknownKey{}
		}
		run := func(args ...string) []string {
			return append([]string{"run", "--cluster", w.path("hello.xml")}, args...)
		}
		w.expect(2, run("--hosts", w.path("hosts.ini")), "Looking at 3 hosts.", "its host key is not known\nnothing was launched", "nimbus: hint: take it as it is: --host-keys accept-new")
		w.write("c.toml", "cloud = \"ssh\"\n[clouds.ssh]\nhosts_file = \"~/hosts.ini\"\n")
		w.write("hosts.ini", "[front]\n10.0.0.1\n[bakc]\n10.0.0.2\n10.0.0.3\n")
		c.found = func(cloud.Demand) error { return errors.New("no route to host") }
		w.expect(2, run("--conf", w.path("c.toml")), "nothing was launched", "nimbus doctor --conf "+w.path("c.toml")+" --cloud ssh --hosts '~/hosts.ini'")
		w.cloud.OnLimits = func(cloud.Demand) ([]cloud.Limit, error) { return nil, cloud.ErrNoCapacity }
		for _, more := range []string{"--quantity=back=2", "--dry-run"} {
			w.expect(2, run("--hosts", w.path("hosts.ini"), more), "nothing was launched", `hint: 2 hosts of workspace "bakc": the cluster has no such workspace; did you mean "back"?; or add hosts to`)
		}
		w.cloud.OnLimits = nil
		c.shut = true
		for _, more := range []string{"--quantity=back=2", "--dry-run"} {
			w.expect(1, run("--hosts", w.path("hosts.ini"), "--broker", "https://broker.example.org", more), "reach this machine and nothing else, not the broker https://broker.example.org; nothing was launched")
		}
		w.nothingLeft()
		if entries, _ := os.ReadDir(w.path("state/history")); len(entries) > 0 {
			t.Errorf("the history has %v", entries)
		}
	})
}

func TestHostList(t *testing.T) {
	one, two := ssh.Host{Address: "10.0.0.1"}, ssh.Host{Name: "b", Address: "10.0.0.2"}
	for want, hosts := range map[string]map[string][]ssh.Host{
		"":                                    {"y": {one}},
		"10.0.0.1":                            {"x": {one}},
		"the host that is for all workspaces": {"*": {one}},
		"b, then any of the 2 hosts that are for all workspaces": {"x": {two}, "*": {one, one}},
	} {
		if got := hostList(hosts, "x"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestCopies(t *testing.T) {
	var c copies
	for _, step := range []struct {
		host   string
		copied bool
		want   string
	}{
		{"", false, ""},
		{"a", false, "the same as ours already on 1 host"},
		{"b", true, "copied to 1 host, the same as ours already on 1"},
		{"a", true, "copied to 2 hosts"},
		{"b", false, "copied to 2 hosts"}, // asked again
	} {
		if step.host != "" {
			c.note(step.host, step.copied)
		}
		if got := c.String(); got != step.want {
			t.Errorf("%+v: %q", step, got)
		}
	}
}

// A client whose own program hosts cannot run needs a release beside it.
func TestNoBuildsForHosts(t *testing.T) {
	err := refuseBuilds(map[string]string{"darwin-arm64": "x"}, "put it there")
	var f *Failure
	if !errors.As(err, &f) || f.Advice != "put it there" || !strings.Contains(f.Text, "no build for Linux hosts beside it; nothing was launched") {
		t.Error(err)
	}
	if err := refuseBuilds(map[string]string{"darwin-arm64": "x", "linux-riscv64": "y"}, ""); err != nil {
		t.Error(err)
	}
	env := &Env{Executable: "/opt/n/nimbus"}
	if _, err := env.programFor("Linux", "x86_64"); err != nil && software.Own() == "linux-amd64" {
		t.Error(err)
	}
	_, err = env.programFor("Linux", "s390x")
	if hint := hintOf(err); software.Own() != "linux-s390x" && hint != `put nimbus-linux-s390x and SHA256SUMS of a release into /opt/n ("make release" builds one)` {
		t.Errorf("%v: %q", err, hint)
	}
	if _, err := env.programFor("Linux", "mips"); err == nil {
		t.Error("there is a program for mips")
	}
}

// What the settings say of hosts reaches the driver.
func TestSSHOptions(t *testing.T) {
	w := newWorld(t)
	env := &Env{Home: w.home, StateDir: w.path("state"), SSHKnownHosts: "/somewhere/known_hosts"}
	c := settings.Cloud{Driver: "ssh", HostsFile: "~/hosts.ini", User: "debian", Key: "~/key", Jump: "gate@192.0.2.1:24", HostKeys: settings.HostKeysAcceptNew}
	w.write("hosts.ini", "[back]\n10.0.0.1\nann@10.0.0.2:23\n")
	all := func(change func(*settings.Settings, *settings.Cloud)) settings.Settings {
		s, c := settings.Default(), c
		change(&s, &c)
		s.Clouds["lab"] = c
		return s
	}
	o, err := env.sshOptions("lab", all(func(*settings.Settings, *settings.Cloud) {}))
	if err != nil {
		t.Fatal(err)
	}
	want := []ssh.Host{{User: "debian", Address: "10.0.0.1", Port: 22}, {User: "ann", Address: "10.0.0.2", Port: 23}}
	if len(o.Hosts["back"]) != 2 || o.Hosts["back"][0] != want[0] || o.Hosts["back"][1] != want[1] {
		t.Errorf("hosts %+v", o.Hosts)
	}
	if o.Key != w.path("key") || o.Jump.Port != 24 || !o.AcceptNew || o.KnownHosts[0] != w.path(".ssh/known_hosts") || !o.Forward || o.Dir != w.path("state/hosts/lab") {
		t.Errorf("%+v", o)
	}
	for name, change := range map[string]func(*settings.Settings, *settings.Cloud){
		"a broker elsewhere":    func(s *settings.Settings, _ *settings.Cloud) { s.Broker = "https://b.example.org" },
		"an address of our own": func(_ *settings.Settings, c *settings.Cloud) { c.BrokerAddress = "192.0.2.9" },
	} {
		if o, err := env.sshOptions("lab", all(change)); err != nil || o.Forward {
			t.Errorf("%s: %v, forward %v", name, err, o.Forward)
		}
	}
	none := func(s *settings.Settings, _ *settings.Cloud) { s.KnownHosts = settings.KnownHostsOff }
	if _, err := env.sshOptions("lab", all(none)); err == nil || !strings.Contains(hintOf(err), "--known-hosts") {
		t.Errorf("new keys without a file for them: %v", err)
	}
	c.HostKeys = ""
	if o, err := env.sshOptions("lab", all(none)); err != nil || o.KnownHosts[0] != "/somewhere/known_hosts" || o.AcceptNew {
		t.Errorf("%v: %+v", err, o)
	}
}

func TestSettingsOf(t *testing.T) {
	s := settings.Default()
	s.Broker = "https://new.example.org"
	record := history.Record{Cloud: "ssh", Created: time.Now(), Run: &history.Run{Hosts: map[string][]string{"*": {"root@10.0.0.1:22"}}}, Context: &history.Context{}}
	got := settingsOf(s, record)
	if got.Broker != "" || got.KnownHosts != settings.KnownHostsOff || len(got.Clouds["ssh"].Hosts) != 1 || s.Clouds["ssh"].Hosts != nil {
		t.Errorf("%+v, of %+v", got, s)
	}
}

// Machines that nobody gave a name of their own may all be called the same.
func TestSameNames(t *testing.T) {
	node := func(name string, hostnames ...string) wire.Node {
		n := wire.Node{Node: name}
		for _, h := range hostnames {
			n.Identities = append(n.Identities, cluster.Identity{Hostname: h})
		}
		return n
	}
	got := sameNames([]wire.Node{node("a-0", "debian", "debian"), node("b-0", "box"), node("b-1", "Debian"), node("c-0"), node("c-1")})
	if len(got) != 1 || got[0] != `the host name "debian" is that of a-0, b-1: to the others it leads to one of them` {
		t.Error(got)
	}
}
