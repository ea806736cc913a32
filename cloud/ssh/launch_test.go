//go:build linux

package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"nimbus/cloud"
	"nimbus/cloud/cloudtest"
)

// A launch, the same again, and its end: the second copies nothing, and at the
// end the hosts are as they were.
func TestLaunchTwiceAndTerminate(t *testing.T) {
	b := newBench(t, 2)
	before := b.in(0, listing)
	d := b.open(b.options())
	id := cloudtest.Token()
	rs := requests(id, "head", "worker")
	first := launched(t, d, rs)

	i := first[0]
	want := cloud.Instance{
		ID: b.hosts[0].String() + "/" + tagOf(id, "head-0"), Launch: id, Token: "head-0", Name: "head-0.cluster-001", Image: "any",
		State: cloud.Running, Login: "root", Created: i.Created,
		HostKey:   strings.Join(strings.Fields(b.machines[0].HostKey)[:2], " "),
		Addresses: []cloud.Address{{Network: "public", IP: netip.MustParseAddr(b.hosts[0].Address)}, {Network: "private"}},
	}
	if fmt.Sprint(i) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", i, want)
	}
	if got := b.in(0, "cat /var/lib/nimbus/bootstrap; stat -c %a /var/lib/nimbus /var/lib/nimbus/bootstrap /var/lib/nimbus/ssh-instance.json"); got != "for head it's \"secret\"\n700\n600\n600" {
		t.Errorf("bootstrap: %q", got)
	}
	eventually(t, "the agents' lines arrive", func() bool {
		return strings.Contains(b.logs.String(), b.hosts[0].String()+": agent begins: for head") && strings.Contains(b.logs.String(), b.hosts[1].String()+": agent begins: for worker")
	})
	console, err := d.Console(t.Context(), i)
	if err != nil || !strings.HasPrefix(string(console), "agent begins") {
		t.Errorf("console: %q, %v", console, err)
	}

	again := launched(t, d, rs)
	if fmt.Sprint(again) != fmt.Sprint(first) {
		t.Errorf("again: %v", again)
	}
	other := b.open(b.options()) // another process
	if all, err := other.List(t.Context(), id); err != nil || len(all) != 2 {
		t.Errorf("list: %v, %v", all, err)
	}
	if got := b.in(0, "grep -c begins /opt/nimbus/ctxlog.txt"); got != "1" {
		t.Errorf("the agent was started %s times", got)
	}
	d.Close() // which ends what it follows
	d = other
	if err := d.Terminate(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	unchanged(t, "terminated", before, b.in(0, listing))
	b.quiet(0)
	if left, _ := filepath.Glob(b.dir + "/notes/*/*"); len(left) > 0 {
		t.Errorf("notes: %v", left)
	}

	// With the agent in the image nothing is copied, and it stays.
	b.in(0, "rm /var/tmp/installed")
	b.write("nimbus.sh", string(content(t, standIn(t, ""))))
	b.in(0, "mkdir -p /opt/nimbus/bin && cat >/tmp/n <<'EOF'\n"+string(content(t, standIn(t, "")))+"EOF\nsh /tmp/n agent install --keep-state; rm -f /tmp/n /var/tmp/installed; chmod 755 /opt/nimbus/bin/nimbus")
	b.copied.clear()
	prepared := b.in(0, listing)
	instances := launched(t, d, requests(cloudtest.Token(), "head"))
	if got := b.in(0, "ls /var/tmp/installed 2>&1 || true"); !strings.Contains(got, "No such file") {
		t.Errorf("it was installed again: %s", got)
	}
	if got := b.copied.String(); got != b.hosts[0].String()+": false" {
		t.Errorf("copied: %q", got)
	}
	if err := d.Terminate(t.Context(), instances); err != nil {
		t.Fatal(err)
	}
	unchanged(t, "with an agent of its own", prepared, b.in(0, listing))
}

// What one launch leaves on purpose, the next one without that purpose takes
// away. What others had put there stays.
func TestKeepProgram(t *testing.T) {
	b := newBench(t, 1)
	keeping := b.options()
	keeping.KeepProgram = true
	launch := func(o Options) {
		t.Helper()
		d := b.open(o)
		if err := d.Terminate(t.Context(), launched(t, d, requests(cloudtest.Token(), "head"))); err != nil {
			t.Fatal(err)
		}
	}
	for _, top := range []string{"rmdir /opt/nimbus", "mkdir /opt/nimbus"} {
		b.in(0, top+"; rm -f /var/tmp/installed")
		before := b.in(0, listing)
		launch(keeping)
		launch(keeping)
		if got := b.in(0, "cat /opt/nimbus/bin/nimbus | wc -l; wc -l </var/tmp/installed; ls /var/lib"); !strings.Contains(got, "\n1\n") || strings.Contains(got, "nimbus") {
			t.Errorf("%s: kept: %s", top, got)
		}
		launch(b.options())
		b.in(0, "rm -f /var/tmp/installed")
		unchanged(t, top, before, b.in(0, listing))
	}
}

func content(t *testing.T, p Program) []byte {
	t.Helper()
	text, err := io.ReadAll(io.NewSectionReader(p.Content, 0, p.Size))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Nothing is touched where one host cannot be had.
func TestUnreachableAmongFive(t *testing.T) {
	b := newBench(t, 4)
	o := b.options()
	down := Host{User: "root", Address: b.hosts[0].Address, Port: 9}
	o.Hosts = map[string][]Host{"w": {b.hosts[0], b.hosts[1], down, b.hosts[2], b.hosts[3]}}
	d := b.open(o)
	id := cloudtest.Token()
	instances, err := d.Launch(t.Context(), requests(id, "w", "w", "w", "w", "w"))
	refuses(t, "a host is down", err, down.String()+": dial tcp", "connection refused")
	if strings.Contains(fmt.Sprint(err), b.hosts[1].Address) || len(instances) > 0 {
		t.Errorf("%v, %v", instances, err)
	}
	for n := range b.hosts {
		if got := b.in(n, "ls -A /opt/nimbus /var/lib/nimbus 2>/dev/null || true"); got != "" && got != "/opt/nimbus:" {
			t.Errorf("host %d was touched: %s", n, got)
		}
	}
	if all, err := d.List(t.Context(), ""); err != nil || len(all) > 0 {
		t.Errorf("list: %v, %v", all, err)
	}

	// At the end as well the others are done, and that one can be done later.
	o.Hosts = map[string][]Host{"w": b.hosts}
	d = b.open(o)
	all := launched(t, d, requests(id, "w", "w"))
	b.in(1, "kill -9 $(cat /run/sshd.pid); pkill -9 -x sshd || true")
	err = d.Terminate(t.Context(), all)
	refuses(t, "a host went down", err, "terminate: "+b.hosts[1].String())
	if strings.Contains(err.Error(), b.hosts[0].String()) {
		t.Error(err)
	}
	left, err := d.List(t.Context(), id)
	refuses(t, "list", err, b.hosts[1].String())
	if len(left) > 0 {
		t.Errorf("list: %v", left)
	}
	b.in(1, startSSHD)
	eventually(t, "it is up again", func() bool {
		left, err = d.List(t.Context(), id)
		return err == nil && len(left) == 1
	})
	if err := d.Terminate(t.Context(), left); err != nil {
		t.Error(err)
	}
}

// What a host says of itself does not count where it was written down here: it
// could have itself trusted by any name.
func TestForgedNote(t *testing.T) {
	b := newBench(t, 1)
	d := b.open(b.options())
	id := cloudtest.Token()
	instances := launched(t, d, requests(id, "head"))
	b.in(0, `sed -i 's/"head-0.cluster-001"/"github.com"/; s/"any"/"evil"/; s/"public","private"/"x"/' /var/lib/nimbus/ssh-instance.json; grep -q github.com /var/lib/nimbus/ssh-instance.json`)
	for what, other := range map[string]*Driver{"the same": d, "another": b.open(b.options())} {
		all, err := other.List(t.Context(), id)
		if err != nil || fmt.Sprint(all) != fmt.Sprint(instances) {
			t.Errorf("%s driver: %v, %v, want %v", what, all, err, instances)
		}
		if again := launched(t, other, requests(id, "head")); fmt.Sprint(again) != fmt.Sprint(instances) {
			t.Errorf("%s driver: again: %v, want %v", what, again, instances)
		}
	}
	if err := d.Terminate(t.Context(), instances); err != nil {
		t.Error(err)
	}
}

// A host whose instance takes no part in a context is used, and gets nothing.
func TestBareHost(t *testing.T) {
	b := newBench(t, 1)
	before := b.in(0, listing)
	o := b.options()
	o.Program = func(string, string) (Program, error) { return Program{}, errors.New("no build for that") }
	d := b.open(o)
	rs := requests(cloudtest.Token(), "w")
	rs[0].UserData = nil
	all := launched(t, d, rs)
	if again := launched(t, b.open(o), rs); fmt.Sprint(again) != fmt.Sprint(all) {
		t.Errorf("again: %v", again)
	}
	if got := b.in(0, "find /opt/nimbus /var/lib/nimbus -type f; ls /etc/systemd/system /etc/init.d | grep nimbus || true"); got != "/var/lib/nimbus/ssh-instance.json" {
		t.Errorf("it has %s", got)
	}
	if code, err := d.Enter(t.Context(), all[0], cloud.Program{Command: []string{"true"}}); code != 0 || err != nil {
		t.Errorf("enter: %d, %v", code, err)
	}
	if err := d.Terminate(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	unchanged(t, "terminated", before, b.in(0, listing))
}

// A host that lets us in and then hangs is not waited for without end.
func TestHangs(t *testing.T) {
	b := newBench(t, 1)
	d := b.open(b.options())
	conn, err := d.conns.to(t.Context(), d.o.Hosts[AnyGroup][0])
	if err != nil {
		t.Fatal(err)
	}
	b.in(0, `printf '#!/bin/sh\nexec sleep 1\n' >/usr/local/sbin/df; chmod 755 /usr/local/sbin/df`)
	_, err = conn.askWithin(t.Context(), 100*time.Millisecond, "look", nil, nil)
	refuses(t, "it hangs", err, b.hosts[0].String()+": it lets us in, but has not done what it was told within 100ms", "hint: look at it")
	b.in(0, "rm /usr/local/sbin/df")
	if _, err := conn.ask(t.Context(), "look", nil, nil); err != nil {
		t.Error(err)
	}
	for _, script := range []string{"look", "glance", "claim", "copy", "start", "end", "logsize"} {
		if patienceWith(script) > time.Hour {
			t.Errorf("%s: %v", script, patienceWith(script))
		}
	}
}

// A client that is killed between writing a host down and touching it leaves
// nothing that could not be ended.
func TestKilledBeforeItTouched(t *testing.T) {
	b := newBench(t, 2)
	d := b.open(b.options())
	id := cloudtest.Token()
	if _, err := d.Prepare(t.Context(), cloud.Preparation{Launch: id}); err != nil {
		t.Fatal(err)
	}
	rs := requests(id, "head", "worker")
	if _, err := d.jobs(rs); err != nil {
		t.Fatal(err)
	}
	launched(t, d, rs[1:])
	next := b.open(b.options())
	all, err := next.List(t.Context(), id)
	if err != nil || len(all) != 1 {
		t.Fatalf("list: %v, %v", all, err)
	}
	if err := next.Release(t.Context(), id); err == nil || !strings.Contains(err.Error(), "still has 1 hosts") {
		t.Errorf("release while one is used: %v", err)
	}
	if err := next.Terminate(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	if err := next.Release(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(b.dir + "/notes/" + id); len(left) > 0 {
		t.Errorf("notes: %v", left)
	}
}

// Hosts that are gone for good keep nobody from ending the rest; one that is
// back after all can still be ended.
func TestAbandon(t *testing.T) {
	b := newBench(t, 3)
	before := b.in(1, listing)
	d := b.open(b.options())
	id := cloudtest.Token()
	if _, err := d.Prepare(t.Context(), cloud.Preparation{Launch: id}); err != nil {
		t.Fatal(err)
	}
	all := launched(t, d, requests(id, "w", "w", "w"))
	d.Close()
	b.in(1, "kill -9 $(cat /run/sshd.pid); pkill -9 -x sshd || true")
	known := b.known
	text, err := os.ReadFile(known)
	if err != nil {
		t.Fatal(err)
	}
	b.known = b.write("renewed", strings.Replace(string(text), b.machines[2].HostKey, b.machines[0].HostKey, 1)) // as of a host that was made anew
	d = b.open(b.options())
	if err := d.Terminate(t.Context(), all); err == nil {
		t.Fatal("all of them were ended")
	}
	gone, err := d.Abandon(t.Context(), id)
	if err != nil || len(gone) != 2 || gone[0].ID != all[1].ID || gone[1].ID != all[2].ID || !strings.Contains(gone[0].Reason, "refused") || !strings.Contains(gone[1].Reason, "another") {
		t.Fatalf("%v, %v", gone, err)
	}
	if again, err := d.Abandon(t.Context(), id); err != nil || len(again) > 0 {
		t.Errorf("again: %v, %v", again, err)
	}
	if left, err := d.List(t.Context(), id); err != nil || len(left) > 0 {
		t.Errorf("list: %v, %v", left, err)
	}
	if err := d.Release(t.Context(), id); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(b.dir + "/notes/" + id); len(left) > 0 {
		t.Errorf("notes: %v", left)
	}

	b.in(1, startSSHD)
	b.known = known
	d = b.open(b.options())
	if err := d.Terminate(t.Context(), gone); err != nil {
		t.Error(err)
	}
	unchanged(t, "back again", before, b.in(1, listing))

	// A host that can be reached is not given up.
	all = launched(t, d, requests(id, "w"))
	if gone, err := d.Abandon(t.Context(), id); err != nil || len(gone) > 0 {
		t.Errorf("%v, %v", gone, err)
	}
	if err := d.Terminate(t.Context(), all); err != nil {
		t.Error(err)
	}
}

func TestInUse(t *testing.T) {
	b := newBench(t, 1)
	d := b.open(b.options())
	mine := cloudtest.Token()
	instances := launched(t, d, requests(mine, "head"))
	// Somebody with notes of his own.
	o := b.options()
	o.Dir += "-other"
	other := b.open(o)
	rs := requests(cloudtest.Token(), "web")
	_, err := other.Launch(t.Context(), rs)
	refuses(t, "in use", err, b.hosts[0].String()+": it is in use: as head-0.cluster-001 of launch "+mine+" by ", "hint: terminate that launch first")
	// By our notes we have no host left.
	_, err = d.Launch(t.Context(), rs)
	if !errors.Is(err, cloud.ErrNoCapacity) {
		t.Error(err)
	}
	// An old instance of the same host is not this one.
	old := instances[0]
	old.Launch, old.ID = "old", instanceID(b.hosts[0], "old", old.Token)
	if err := other.Terminate(t.Context(), []cloud.Instance{old}); err != nil {
		t.Error(err)
	}
	if err := other.endOn(t.Context(), b.hosts[0], "old", old.Token); err != nil { // the host itself knows, too
		t.Error(err)
	}
	if _, err := d.Enter(t.Context(), old, cloud.Program{Command: []string{"true"}}); err == nil || !strings.Contains(err.Error(), "it is not running") {
		t.Error(err)
	}
	if all, err := d.List(t.Context(), mine); err != nil || len(all) != 1 {
		t.Errorf("list: %v, %v", all, err)
	}
	if err := d.Terminate(t.Context(), instances); err != nil {
		t.Fatal(err)
	}
	b.in(0, "mkdir -p /var/lib/nimbus && echo x >/var/lib/nimbus/bootstrap")
	_, err = other.Launch(t.Context(), rs)
	refuses(t, "another cluster", err, "it is a node of a cluster", "remove that file")
	b.in(0, "echo x >/var/lib/nimbus/ssh-instance.json")
	_, err = other.Launch(t.Context(), rs)
	refuses(t, "a damaged note", err, "is damaged")
}

// Many hosts are worked on together.
func TestFiftyHosts(t *testing.T) {
	b := newBench(t, 50)
	d := b.open(b.options())
	id := cloudtest.Token()
	var groups []string
	for range b.hosts {
		groups = append(groups, "w")
	}
	all := launched(t, d, requests(id, groups...))
	if listed, err := d.List(t.Context(), id); err != nil || len(listed) != len(all) {
		t.Errorf("list: %d, %v", len(listed), err)
	}
	if err := d.Terminate(t.Context(), all); err != nil {
		t.Error(err)
	}
}

// giveUp is a program whose copying is interrupted.
type giveUp struct {
	io.ReaderAt
	cancel context.CancelFunc
	mu     sync.Mutex
	reads  int
	at     int
}

func (g *giveUp) ReadAt(p []byte, off int64) (int, error) {
	g.mu.Lock()
	if g.reads++; g.reads == g.at {
		g.cancel()
	}
	g.mu.Unlock()
	return g.ReaderAt.ReadAt(p, off)
}

// Whenever it is interrupted, what Launch returns is all that there is.
func TestInterrupted(t *testing.T) {
	b := newBench(t, 3)
	before := b.in(0, listing)
	for _, at := range []int{1, 2, 4, 9} {
		ctx, cancel := context.WithCancel(t.Context())
		o := b.options()
		o.Program = func(string, string) (Program, error) {
			p := standIn(t, strings.Repeat("#\n", 1<<20))
			p.Content = &giveUp{ReaderAt: p.Content, cancel: cancel, at: at}
			return p, nil
		}
		d := b.open(o)
		id := cloudtest.Token()
		instances, err := d.Launch(ctx, requests(id, "w", "w", "w"))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("at %d: %v", at, err)
		}
		all, err := d.List(t.Context(), id)
		if err != nil || len(all) != len(instances) {
			t.Errorf("at %d: %v, %v, but launch returned %v", at, all, err, instances)
		}
		if err := d.Terminate(t.Context(), instances); err != nil {
			t.Error(err)
		}
		for n := range b.hosts {
			if n == 0 {
				unchanged(t, fmt.Sprintf("interrupted at %d", at), before, b.in(n, listing))
				b.quiet(n)
			}
			if got := b.in(n, "ls -A /opt/nimbus 2>/dev/null || true"); got != "" {
				t.Errorf("at %d, host %d has %s", at, n, got)
			}
		}
		d.Close()
	}
}

// outside runs a command in the mount namespace of a sandbox, as only root of
// the machine can.
func (b *bench) outside(n int, command ...string) {
	b.t.Helper()
	pid, err := b.sandboxes.Pid(b.t.Context(), b.machines[n])
	if err != nil {
		b.t.Fatal(err)
	}
	if out, err := exec.Command("nsenter", append([]string{"-t", fmt.Sprint(pid), "-m", "--"}, command...)...).CombinedOutput(); err != nil {
		b.t.Fatalf("%v: %v: %s", command, err, out)
	}
}

// Hosts on which it does not go well, at each step; nothing is left on them.
func TestBadHosts(t *testing.T) {
	b := newBench(t, 1)
	big := strings.Repeat("#\n", 1<<20)
	for _, c := range []struct {
		name    string
		prepare func()
		tail    string
		change  func(*Program)
		repair  func()
		parts   []string
	}{
		{"read-only", func() { b.outside(0, "mount", "-t", "tmpfs", "-o", "ro", "x", "/opt/nimbus") }, "", nil,
			func() { b.outside(0, "umount", "/opt/nimbus") }, []string{"copy the program: ", "Read-only file system"}},
		{"full", func() { b.outside(0, "mount", "-t", "tmpfs", "-o", "size=64k", "x", "/opt/nimbus") }, big, nil,
			func() { b.outside(0, "umount", "/opt/nimbus") }, []string{"copy the program: ", "there is no room for", "bytes in /opt/nimbus/bin"}},
		{"noexec", func() { b.outside(0, "mount", "-t", "tmpfs", "-o", "noexec", "x", "/opt/nimbus") }, "", nil,
			func() { b.outside(0, "umount", "/opt/nimbus") }, []string{"the program could not install itself", "Permission denied"}},
		{"a wrong sum", nil, "", func(p *Program) { p.SHA256 = strings.Repeat("0", 64) }, nil, []string{"arrived damaged", strings.Repeat("0", 64)}},
		{"too short", nil, "", func(p *Program) { p.Size++ }, nil, []string{"arrived in part"}},
		{"a program that fails", nil, "", func(p *Program) {
			*p = standIn(t, "")
			text := "#!/bin/sh\necho 'no, \033[31mnever'\nexit 1\n"
			p.Content, p.Size = strings.NewReader(text), int64(len(text))
			p.SHA256 = sumOf(text)
		}, nil, []string{"could not install itself: no, ?[31mnever"}},
		{"no state", func() { b.outside(0, "mount", "-t", "tmpfs", "-o", "ro", "x", "/var/lib") }, "", nil,
			func() { b.outside(0, "umount", "/var/lib") }, []string{"/var/lib/nimbus", "Read-only file system"}},
	} {
		before := b.in(0, listing)
		if c.prepare != nil {
			c.prepare()
		}
		p := standIn(t, c.tail)
		if c.change != nil {
			c.change(&p)
		}
		o := b.options()
		o.Program = func(string, string) (Program, error) { return p, nil }
		d := b.open(o)
		id := cloudtest.Token()
		instances, err := d.Launch(t.Context(), requests(id, "w"))
		refuses(t, c.name, err, append(c.parts, b.hosts[0].String())...)
		if all, e := d.List(t.Context(), id); e != nil || len(all) > 0 || len(instances) > 0 {
			t.Errorf("%s: %v, %v, %v", c.name, all, instances, e)
		}
		if c.repair != nil {
			c.repair()
		}
		unchanged(t, c.name, before, b.in(0, listing))
	}
	o := b.options()
	o.Program = func(sysname, machine string) (Program, error) {
		return Program{}, fmt.Errorf("no build for %s %s", sysname, machine)
	}
	_, err := b.open(o).Launch(t.Context(), requests(cloudtest.Token(), "w"))
	refuses(t, "no program", err, b.hosts[0].String()+": no build for Linux ")
}

// A host with nothing but busybox is enough.
func TestBusybox(t *testing.T) {
	if _, err := os.Stat("/bin/busybox"); err != nil {
		t.Skip("there is no busybox here (Debian: busybox-static)")
	}
	b := newBench(t, 1)
	b.in(0, "mkdir -p /usr/local/sbin; /bin/busybox --install -s /usr/local/sbin; rm -f /usr/local/sbin/su /usr/local/sbin/login")
	before := b.in(0, listing)
	const processes = "ls -d /proc/[0-9]* | wc -l" // its tail is called sh
	running := b.in(0, processes)
	d := b.open(b.options())
	all := launched(t, d, requests(cloudtest.Token(), "w"))
	eventually(t, "the agent's lines arrive", func() bool { return strings.Contains(b.logs.String(), "agent begins: for w") })
	var out strings.Builder
	code, err := d.Enter(t.Context(), all[0], cloud.Program{Command: []string{"sh", "-c", "readlink /proc/$$/exe; cat; exit 3"}, Stdin: strings.NewReader("in"), Stdout: &out})
	if err != nil || code != 3 || !strings.HasSuffix(out.String(), "busybox\nin") {
		t.Errorf("enter: %d, %v, %q", code, err, out.String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = d.Enter(ctx, all[0], cloud.Program{Command: []string{"sh", "-c", "echo; sleep 999"}, Stdout: writer(cancel)})
	if !errors.Is(err, context.Canceled) || b.in(0, "pgrep -f 'sleep 99[9]' || true") != "" {
		t.Errorf("given up: %v", err)
	}
	if err := d.Terminate(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	unchanged(t, "terminated", before, b.in(0, listing))
	b.quiet(0)
	d.Close()
	eventually(t, "no process is left", func() bool { return b.in(0, processes) == running })
}

// writer calls a function whenever something is written.
type writer func()

func (w writer) Write(b []byte) (int, error) {
	w()
	return len(b), nil
}
