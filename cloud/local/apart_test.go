//go:build linux

package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"nimbus/cloud"
	"nimbus/cloud/cloudtest"
)

// ordinary is the number of a user who may do nothing in particular.
const ordinary = 65534

// What the tests tell themselves when they start again as another user.
const (
	topEnv         = "NIMBUS_TEST_TOP"          // a directory right below the root
	removedEnv     = "NIMBUS_TEST_REMOVED"      // remove the binary first
	coveredEnv     = "NIMBUS_TEST_COVERED"      // what was covered
	switchedOffEnv = "NIMBUS_TEST_SWITCHED_OFF" // allow no user namespaces
)

// noSandboxes is why tests are skipped where root of the machine does more.
const noSandboxes = "an ordinary user cannot make sandboxes here"

// ofTheMachine skips what only root of the whole machine does.
func ofTheMachine(t *testing.T) {
	t.Helper()
	if apart() {
		t.Skip("not done without root")
	}
}

// ownTop is a directory of the ordinary user right below the root.
func ownTop(t *testing.T) string {
	t.Helper()
	top := os.Getenv(topEnv)
	if top == "" {
		t.Skip("without root this runs as part of TestAsOrdinaryUser")
	}
	return top
}

// again prepares these tests to run again in a place where an ordinary user can
// work.
func again(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	ofTheMachine(t)
	dir, top := t.TempDir(), "/nimbus-test-"+cloudtest.Token()
	if err := os.Mkdir(top, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(top) })
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "test")
	if err := os.WriteFile(binary, self, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, binary, top} {
		if err := os.Chown(path, ordinary, ordinary); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(binary, append(args, "-test.v")...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, topEnv + "=" + top}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ordinary, Gid: ordinary}}
	return cmd
}

// passes runs the tests again.
func passes(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case bytes.Contains(out, []byte(noSandboxes)):
		t.Skipf("%s", out)
	case !bytes.Contains(out, []byte("\n--- PASS")) && !bytes.HasPrefix(out, []byte("--- PASS")):
		t.Errorf("nothing was tested:\n%s", out)
	}
}

// All that these tests say of sandboxes is true without root as well.
func TestAsOrdinaryUser(t *testing.T) {
	passes(t, again(t, "-test.run=.", "-test.skip=^(TestCapacity|TestHangingKeeper)$"))
}

// A program that was replaced while it runs still starts sandboxes.
func TestReplacedBinary(t *testing.T) {
	cmd := again(t, "-test.run=^TestLeavesNothing$")
	cmd.Env = append(cmd.Env, removedEnv+"=1")
	passes(t, cmd)
}

// Where parts of /sys or /proc are covered, as in a container, the kernel gives
// a user namespace none of its own. The host's /sys will do; /proc will not.
func TestCovered(t *testing.T) {
	if covered := os.Getenv(coveredEnv); covered != "" {
		d, err := New(Options{Dir: t.TempDir(), SSHD: "none"})
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.Launch(t.Context(), []cloud.Request{wanted(cloudtest.Token(), "covered", "x")})
		if covered == "/proc/sys" {
			if p := Problems(); err == nil || !strings.Contains(err.Error(), "systempaths=unconfined") || len(p) != 1 || !strings.Contains(p[0].Advice, "systempaths=unconfined") {
				t.Errorf("launch: %v; problems: %v", err, p)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		defer d.Terminate(context.Background(), got)
		if got := in(t, d, got[0], "touch /sys/kernel/x /sys/fs/x 2>&1 | grep -c Read-only; ls /sys/kernel /sys/firmware"); got != "2\n/sys/firmware:\n\n/sys/kernel:" {
			t.Errorf("/sys: %q", got)
		}
		return
	}
	for _, path := range []string{"/sys/kernel", "/proc/sys"} {
		cmd := again(t, "-test.run=^TestCovered$")
		cmd.Args = append([]string{"unshare", "--mount", "sh", "-c",
			`mount -t tmpfs none "$1" && shift && exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"`, "sh", path}, cmd.Args...)
		cmd.Path, cmd.Err = exec.LookPath("unshare")
		cmd.SysProcAttr = nil
		cmd.Env = append(cmd.Env, coveredEnv+"="+path)
		passes(t, cmd)
	}
}

// Networks are the launch's own: two launches have the same addresses and do
// not meet, and what an instance connects to at its keeper leads to a socket.
func TestForward(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "nodes.sock")
	d := open(t, Options{SSHD: "none"})
	var hosts []string
	for _, name := range []string{"one", "two"} {
		id := cloudtest.Token()
		prepared, err := d.Prepare(t.Context(), cloud.Preparation{Launch: id, Networks: map[string]int{"x": 2, "y": 1}})
		if err != nil {
			t.Fatal(err)
		}
		if prepared.Apart != apart() {
			t.Errorf("apart is %v, want %v", prepared.Apart, apart())
		}
		hosts = append(hosts, fmt.Sprint(prepared.Hosts))
		doors, err := d.Forward(t.Context(), id, socket)
		if err != nil || len(doors) != 2 || doors[0].Addr() != prepared.Hosts[0] || doors[1].Addr() != prepared.Hosts[1] {
			t.Fatalf("doors: %v, %v, want one at each of %v", doors, err, prepared.Hosts)
		}
		if again, err := d.Forward(t.Context(), id, socket); err != nil || fmt.Sprint(again) != fmt.Sprint(doors) {
			t.Errorf("forward again: %v, %v, want %v", again, err, doors)
		}
		all := started(t, d, wanted(id, name, "x", "y"), wanted(id, "other", "x"))
		talk := fmt.Sprintf("bash -c 'exec 3<>/dev/tcp/%v/%d; echo %s >&3; head -n1 <&3'", doors[0].Addr(), doors[0].Port(), name)
		if got := in(t, d, all[0], talk+" 2>&1; true"); strings.Contains(got, "echo") {
			t.Errorf("nobody listens at the socket, but %q came back", got)
		}
		listenEcho(t, socket)
		for _, i := range all {
			if got := in(t, d, i, talk); got != "echo "+name {
				t.Errorf("through the door: %q", got)
			}
		}
		// What has no listener answers that it has none.
		refused := fmt.Sprintf("bash -c 'exec 3<>/dev/tcp/%v/9' 2>&1; true", all[1].Addresses[0].IP)
		if got := in(t, d, all[0], refused); !strings.Contains(got, "Connection refused") {
			t.Errorf("from one instance to the other: %q", got)
		}
		os.Remove(socket)
	}
	if apart() != (hosts[0] == hosts[1]) {
		t.Errorf("addresses of the two launches: %v", hosts)
	}
	if _, err := d.Forward(t.Context(), cloudtest.Token(), socket); err == nil {
		t.Errorf("forwarding for an unknown launch works")
	}
}

// listenEcho answers each line at a socket.
func listenEcho(t *testing.T, socket string) {
	t.Helper()
	var l *net.UnixListener
	if err := within(filepath.Dir(socket), filepath.Base(socket), func(addr *net.UnixAddr) (err error) {
		l, err = net.ListenUnix("unix", addr)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				var line string
				if _, err := fmt.Fscanln(conn, &line); err == nil {
					fmt.Fprintln(conn, "echo "+line)
				}
				io.Copy(io.Discard, conn)
			}()
		}
	}()
}

// What is copied and what is not, and that root in a sandbox cannot change what
// is shown of the host.
func TestCopiedRoot(t *testing.T) {
	if !apart() {
		t.Skip("runs as part of TestAsOrdinaryUser")
	}
	top := ownTop(t)
	write(t, top+"/home/.local/key", "secret")
	home := t.TempDir()
	// A home that is at two places of the host, and hidden at one of them.
	d := open(t, Options{SSHD: "sshd-that-is-not-started", Hide: []string{home}, Images: map[string]Image{"again": {Root: "/usr/.."}}})
	id := cloudtest.Token()
	i := started(t, d, wanted(id, "copied", "x"))[0]
	again := wanted(id, "again", "x")
	again.Image = "again"
	for _, i := range append(started(t, d, again), i) {
		if got := in(t, d, i, "ls -A /; cat "+top+"/home/.local/key 2>/dev/null; true"); strings.Contains(got, filepath.Base(top)) || strings.Contains(got, "secret") {
			t.Errorf("%s sees other directories of the host's root: %s", i.Name, got)
		}
	}
	if i.Login != "" {
		t.Errorf("somebody can log in as %q", i.Login)
	}
	for cmd, want := range map[string]string{
		"touch /usr/x 2>&1 | grep -o Read-only":                  "Read-only",
		"cat /etc/shadow; stat -c %a /etc/shadow":                "root:*:::::::\n600",
		"stat -c '%u %g' /etc/passwd":                            "0 0",
		"ls -A /var/lib /var/log /srv /mnt /media":               "/media:\n\n/mnt:\n\n/srv:\n\n/var/lib:\n\n/var/log:",
		"readlink /var/run":                                      "/run",
		"echo x >>/etc/passwd && tail -n1 /etc/passwd":           "x",
		"(exec 3<>/dev/ptmx) && echo terminal":                   "terminal",
		"cat /proc/self/uid_map | tr -s ' '":                     fmt.Sprintf("0 %d 1", ordinary),
		"cat /proc/self/setgroups":                               "deny",
		"test -w /proc/sys/net/ipv4/ip_forward || echo no":       "no",
		"grep -c . /sys/class/net/eth0/address":                  "1",
		"grep ' /sys ' /proc/mounts | cut -d' ' -f4 | cut -c1-3": "ro,",
	} {
		if got := in(t, d, i, cmd); got != want {
			t.Errorf("%s: %q, want %q", cmd, got, want)
		}
	}
}

// A machine where user namespaces are switched off says so, and what to ask for.
func TestSwitchedOff(t *testing.T) {
	if os.Getenv(switchedOffEnv) != "" {
		d, err := New(Options{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.Prepare(t.Context(), cloud.Preparation{Launch: "x", Networks: map[string]int{"y": 1}})
		var hint interface{ Hint() string }
		if err == nil || !strings.Contains(err.Error(), "user.max_user_namespaces is 0") || !errors.As(err, &hint) || !strings.Contains(hint.Hint(), "sysctl -w user.max_user_namespaces=") {
			t.Errorf("prepare: %v", err)
		}
		if p := Problems(); len(p) != 1 || !strings.Contains(p[0].Text, "user.max_user_namespaces is 0") {
			t.Errorf("problems: %v", p)
		}
		return
	}
	cmd := again(t, "-test.run=^TestSwitchedOff$")
	cmd.Env = append(cmd.Env, switchedOffEnv+"=1")
	everybody := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: ordinary + 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER, UidMappings: everybody, GidMappings: everybody, GidMappingsEnableSetgroups: true,
		Credential: &syscall.Credential{},
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestSwitchedOff")) {
		t.Errorf("%v\n%s", err, out)
	}
}

// switchOff allows no more user namespaces in the one that this process is in,
// and makes it an ordinary user's.
func switchOff() {
	err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0)
	if err == nil {
		err = errors.Join(syscall.Setgroups(nil), syscall.Setgid(ordinary), syscall.Setuid(ordinary))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "switch user namespaces off:", err)
		os.Exit(1)
	}
}

func TestNoProblems(t *testing.T) {
	open(t, Options{}) // skips where there are some
	if p := Problems(); len(p) > 0 {
		t.Errorf("sandboxes run here, but there are problems: %v", p)
	}
}

// Whatever the machine has switched off, the message names it.
func TestDiagnose(t *testing.T) {
	fine := switches{MaxUserNamespaces: "1000", Supported: true, Apart: true}
	with := func(change func(*switches)) switches {
		s := fine
		change(&s)
		return s
	}
	for _, c := range []struct {
		err  error
		s    switches
		text string // part of it
		hint string // part of it
	}{
		{unix.ENOSPC, with(func(s *switches) { s.MaxUserNamespaces = "0" }), "user.max_user_namespaces is 0", "user.max_user_namespaces=15000"},
		{unix.ENOSPC, fine, "all 1000 user namespaces", "launches"},
		{unix.EUSERS, fine, "all 1000 user namespaces", "launches"},
		{unix.EPERM, with(func(s *switches) { s.Clone = "0" }), "kernel.unprivileged_userns_clone is 0", "kernel.unprivileged_userns_clone=1"},
		{unix.EPERM, with(func(s *switches) { s.Clone, s.AppArmor = "1", "1" }), "AppArmor", "kernel.apparmor_restrict_unprivileged_userns=0"},
		{unix.EACCES, with(func(s *switches) { s.AppArmor = "1" }), "AppArmor", "kernel.apparmor_restrict_unprivileged_userns=0"},
		{unix.EPERM, with(func(s *switches) { s.Filtered = true }), "filter of system calls", "seccomp=unconfined"},
		{unix.EPERM, fine, "no permission", "as root"},
		{unix.EINVAL, with(func(s *switches) { s.Supported = false; s.MaxUserNamespaces = "" }), "no user namespaces", "CONFIG_USER_NS"},
		{unix.EPERM, switches{Supported: true}, "no permission", "--privileged"},
		{unix.ENOENT, fine, "no such file", ""},
		{unix.EINVAL, fine, "invalid argument", ""},
		{unix.ENODEV, switches{Supported: true}, "no such device", ""},
	} {
		p := diagnose(fmt.Errorf("clone: %w", c.err), c.s)
		if !strings.Contains(p.Text, c.text) || !strings.Contains(p.Advice, c.hint) || (c.hint == "") != (p.Advice == "") {
			t.Errorf("%v with %+v: %+v, want %q and %q", c.err, c.s, p, c.text, c.hint)
		}
	}
}

func TestWholeMachine(t *testing.T) {
	for text, want := range map[string]bool{
		"         0          0 4294967295\n":                                   true,
		"         0       1000          1\n":                                   false,
		"         0          0      65536\n":                                   false,
		"         0     100000      65536\n     65536     200000      65536\n": false,
		"": false,
	} {
		if got := wholeMachine(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestUnescaped(t *testing.T) {
	for text, want := range map[string]string{
		"/": "/", `/a\040b\011`: "/a b\t", `/a\134040`: `/a\040`, `/a\`: `/a\`, `/a\999x`: `/a\999x`,
	} {
		if got := unescaped(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
