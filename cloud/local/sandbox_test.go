//go:build linux

package local

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"nimbus/cloud"
	"nimbus/cloud/cloudtest"
)

// What is on the host and shall not be seen, or not be changed, in a sandbox.
func TestIsolation(t *testing.T) {
	marker := filepath.Join("/tmp", "nimbus-test-"+cloudtest.Token())
	write(t, marker, "the host's")
	secret := filepath.Join(t.TempDir(), "secret")
	write(t, secret, "hidden")

	d := open(t, Options{SSHD: "none", Hide: []string{filepath.Dir(secret)}})
	i := started(t, d, wanted(cloudtest.Token(), "one.isolated", "public"))[0]

	for _, dir := range []string{"/home", "/tmp", "/run", "/opt/nimbus", "/var/tmp"} {
		if got := in(t, d, i, "ls -A "+dir); got != "" {
			t.Errorf("%s has %q, want nothing", dir, got)
		}
	}
	if got := in(t, d, i, "ls -A /root"); got != ".ssh" {
		t.Errorf("/root has %q, want .ssh only", got)
	}
	for _, path := range []string{
		"/etc/machine-id", "/var/lib/nimbus", "/var/nimbus-metadata-server-url", "/etc/nimbus",
		"/etc/ssh/ssh_host_rsa_key", marker, secret, d.o.Dir, oldRoot,
	} {
		if got := in(t, d, i, "test -e "+path+" && echo there || echo gone"); got != "gone" {
			t.Errorf("%s is %s", path, got)
		}
	}
	if got := in(t, d, i, "cat /etc/ssh/ssh_host_ed25519_key.pub"); got != i.HostKey {
		t.Errorf("host key is %q, want %q", got, i.HostKey)
	}
	if !strings.HasPrefix(i.HostKey, "ssh-ed25519 ") || !strings.HasSuffix(i.HostKey, " root@one.isolated") {
		t.Errorf("host key is %q", i.HostKey)
	}
	for cmd, want := range map[string]string{
		"hostname":          "one.isolated",
		"cat /etc/hostname": "one.isolated",
		"stat -c %a /root /root/.ssh /root/.ssh/authorized_keys /tmp /etc/ssh/ssh_host_ed25519_key": "700\n700\n600\n1777\n600",
		"grep one /etc/hosts": i.Addresses[0].IP.String() + "\tone.isolated one",
		"ls /proc | grep -c '^[0-9]*$' | xargs test 5 -ge && echo few": "few",
		"echo x > /dev/null && head -c3 /dev/zero | wc -c":             "3",
		"stat -f -c %T /": map[bool]string{false: "overlayfs", true: "tmpfs"}[apart()],
	} {
		if got := in(t, d, i, cmd); got != want {
			t.Errorf("%s: %q, want %q", cmd, got, want)
		}
	}

	// What an instance writes stays its own.
	trace := map[bool]string{false: "/usr/local", true: "/opt"}[apart()] + "/nimbus-test-" + cloudtest.Token()
	in(t, d, i, fmt.Sprintf("mkdir %s && echo x >>/etc/hosts && rm /etc/os-release", trace))
	if _, err := os.Stat(trace); err == nil {
		t.Errorf("a directory made in the sandbox is on the host")
	}
	if _, err := os.Stat("/etc/os-release"); err != nil {
		t.Errorf("a file removed in the sandbox: %v", err)
	}
}

// The first process and what it starts have few capabilities, on all threads.
func TestCapabilities(t *testing.T) {
	d := open(t, Options{
		Boot: []string{"/bin/sh", "-c", "grep -h ^Cap /proc/1/task/*/status /proc/self/status >/var/caps; " +
			"for try in 'mount -t tmpfs x /mnt' 'echo 1 >/proc/sys/vm/swappiness' 'mknod /dev/x b 254 0' " +
			"'umount /proc/sys' 'hostname x' ': >>/proc/1/exe' 'echo x >/proc/sysrq-trigger' 'chroot /proc/1/root true'; " +
			"do (eval \"$try\") 2>/dev/null && echo \"$try\" >>/var/allowed; done; " +
			"touch /var/done; sleep 1000"},
		SSHD: "none",
	})
	i := started(t, d, wanted(cloudtest.Token(), "caps", "public"))[0]
	eventually(t, "boot", func() bool { return in(t, d, i, "ls /var/done 2>&1 || true") == "/var/done" })

	var most uint64
	for _, c := range capabilities {
		most |= 1 << c
	}
	caps := in(t, d, i, "cat /var/caps")
	if n := strings.Count(caps, "CapBnd"); n < 3 {
		t.Errorf("%d threads and processes have been looked at, want more", n)
	}
	for line := range strings.Lines(caps) {
		var name string
		var set uint64
		if _, err := fmt.Sscanf(line, "%s %x", &name, &set); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if set&^most != 0 {
			t.Errorf("%s has %x too many", name, set&^most)
		}
		if name == "CapBnd:" && set != most {
			t.Errorf("%s is %x, want %x", name, set, most)
		}
	}
	for _, c := range []int{
		unix.CAP_SYS_ADMIN, unix.CAP_SYS_MODULE, unix.CAP_SYS_BOOT, unix.CAP_SYS_TIME, unix.CAP_SYS_RAWIO,
		unix.CAP_MKNOD, unix.CAP_DAC_READ_SEARCH, unix.CAP_SYS_PTRACE,
	} {
		if most&(1<<c) != 0 {
			t.Errorf("capability %d is allowed", c)
		}
	}
	// The last one is fine, and shows that the others were tried.
	if got := in(t, d, i, "cat /var/allowed"); got != "chroot /proc/1/root true" {
		t.Errorf("these were not refused:\n%s", got)
	}
	if got := in(t, d, i, "grep NoNewPrivs /proc/1/status; grep ' /proc/sys ' /proc/mounts | cut -d' ' -f4 | cut -c1-3"); got != "NoNewPrivs:\t0\nro," {
		t.Errorf("got %q", got)
	}
}

func TestFilesLinksAndImages(t *testing.T) {
	host := t.TempDir()
	write(t, host+"/tool", "#!/bin/sh\necho tool\n")
	os.Chmod(host+"/tool", 0o755)
	if err := os.Symlink("tool", host+"/link"); err != nil {
		t.Fatal(err)
	}
	write(t, host+"/scripts/1-ipandhost/web", "script")
	write(t, host+"/image/etc/ssh/ssh_host_rsa_key", "secret")
	write(t, host+"/image/etc/shadow", "bin:*:1\nroot:!locked:2:3\n")
	os.MkdirAll(host+"/image/var", 0o750)
	// Links that lead to another disk, or to what is not there.
	os.Symlink("/data/home", host+"/image/home")
	write(t, host+"/image/data/home/ann/secret", "secret")
	os.Symlink("/mnt/gone/opt", host+"/image/opt")
	for _, dir := range []string{"lib", "lib64"} { // where tests are linked dynamically
		os.Symlink("usr/"+dir, host+"/image/"+dir)
	}

	d := open(t, Options{
		SSHD: "none",
		Files: []File{
			{Source: host + "/link", Target: "/opt/nimbus/ctx/nimbus", ReadOnly: true},
			{Source: host + "/scripts", Target: "/opt/more"},
			{Source: "/usr", Target: "/usr", ReadOnly: true},
		},
		Links: []Link{{Target: "nimbus", Name: "/opt/nimbus/ctx/launch.sh"}},
		Images: map[string]Image{
			"base": {Scripts: host + "/scripts", Description: "base"},
			"tree": {Root: host + "/image"},
		},
	})
	id := cloudtest.Token()
	base, tree := wanted(id, "base"), wanted(id, "tree")
	base.Image, tree.Image = "base", "tree"
	both := started(t, d, base, tree)

	if got := in(t, d, both[0], "/opt/nimbus/ctx/launch.sh; cat /opt/nimbus/ctx-scripts/1-ipandhost/web; echo; ls /opt/more"); got != "tool\nscript\n1-ipandhost" {
		t.Errorf("base: %q", got)
	}
	if got := in(t, d, both[0], "(echo x >>/opt/nimbus/ctx/nimbus) 2>&1 || true"); !strings.Contains(strings.ToLower(got), "read-only") {
		t.Errorf("writing to a read-only file: %q", got)
	}
	pid, err := d.Pid(t.Context(), both[1])
	if err != nil {
		t.Fatal(err)
	}
	root := fmt.Sprintf("/proc/%d/root", pid)
	if text, err := os.ReadFile(root + "/etc/shadow"); string(text) != "bin:*:1\nroot:*:2:3\n" {
		t.Errorf("shadow of the tree: %q, %v", text, err)
	}
	if left, _ := filepath.Glob(root + "/etc/ssh/ssh_host_rsa*"); len(left) > 0 {
		t.Errorf("host keys of the tree: %v", left)
	}
	if fi, err := os.Stat(root + "/var"); err != nil || fi.Mode().Perm() != 0o750 {
		t.Errorf("/var of the tree: %v, %v", fi, err)
	}
	if all, err := os.ReadDir(root + "/data/home"); err != nil || len(all) > 0 {
		t.Errorf("home of the tree: %v, %v", all, err)
	}
	if _, err := os.Stat(root + "/opt/nimbus/ctx/nimbus"); err != nil {
		t.Error(err)
	}
	if d.ResolvesToHost("base") || !d.ResolvesToHost("other") {
		t.Errorf("ResolvesToHost is wrong")
	}
}

// What is hidden may be anywhere or nowhere, and images, scripts and files may
// come from below it.
func TestHide(t *testing.T) {
	host := "/srv/nimbus-test-" + cloudtest.Token()
	if apart() {
		host = ownTop(t) + "/host"
	}
	t.Cleanup(func() { os.RemoveAll(host) })
	write(t, host+"/home/scripts/1-ipandhost/web", "script")
	write(t, host+"/home/tool", "tool")
	write(t, host+"/home/key", "secret")
	write(t, host+"/key", "secret")
	write(t, host+"/seen", "seen")
	tree, wide := host+"/home/tree", host+"/home/wide"
	write(t, tree+"/etc/passwd", "root:x:0:0::/root:/bin/sh\n")
	write(t, wide+"/etc/passwd", "root:x:0:0::/root:/bin/sh\n")
	write(t, wide+"/data/home/key", "secret")
	write(t, wide+"/data/key", "secret")
	write(t, wide+"/data/seen", "seen")
	for _, link := range [][2]string{
		{"key", host + "/link"}, {"loop", host + "/loop"}, {"usr/lib", tree + "/lib"}, {"usr/lib64", tree + "/lib64"},
		{"usr/bin", wide + "/bin"}, {"usr/lib", wide + "/lib"}, {"usr/lib64", wide + "/lib64"},
	} {
		if err := os.Symlink(link[0], link[1]); err != nil {
			t.Fatal(err)
		}
	}
	d := open(t, Options{
		SSHD: "none",
		Hide: []string{
			host + "/home/key", host + "/home", host + "/home/none", host + "/link", // below and above each other
			host + "/none/deep", host + "/seen/deep", host + "/loop/deep", "/none", "/home", "/root", "/tmp",
			"/data/home", "/data/key",
		},
		Files: []File{
			{Source: host + "/home/tool", Target: "/opt/tool", ReadOnly: true},
			{Source: "/usr", Target: "/usr", ReadOnly: true},
		},
		Images: map[string]Image{
			"base": {Scripts: host + "/home/scripts"},
			"tree": {Root: tree, Scripts: host + "/home/scripts"},
			"wide": {Root: wide},
		},
	})
	id := cloudtest.Token()
	base, other := wanted(id, "base"), wanted(id, "tree")
	base.Image, other.Image = "base", "tree"
	for _, i := range started(t, d, base, other) {
		pid, err := d.Pid(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		root := fmt.Sprintf("/proc/%d/root", pid)
		for path, want := range map[string]string{
			"/opt/tool": "tool", "/opt/nimbus/ctx-scripts/1-ipandhost/web": "script", "/etc/hostname": i.Name + "\n",
		} {
			if text, err := os.ReadFile(root + path); string(text) != want {
				t.Errorf("%s of %s: %q, %v", path, i.Name, text, err)
			}
		}
		for path, want := range map[string]string{host: "link loop seen", "/root": ".ssh", "/tmp": "", "/home": ""} {
			if path == host && (i.Image == "tree" || apart()) {
				want = "" // it has no such path
			}
			var names []string
			entries, _ := os.ReadDir(root + path)
			for _, e := range entries {
				names = append(names, e.Name())
			}
			if got := strings.Join(names, " "); got != want {
				t.Errorf("%s of %s has %q, want %q", path, i.Name, got, want)
			}
		}
	}
	if apart() {
		covered := wanted(id, "covered")
		covered.Image = "wide"
		i := started(t, d, covered)[0]
		got := in(t, d, i, "ls -A /data/home; cat /data/key; (echo x >/data/home/x) 2>/dev/null || (echo x >/data/seen) 2>/dev/null || echo no; cat /data/seen")
		if got != "no\nseen" {
			t.Errorf("what is covered has %q", got)
		}
	}
	for _, path := range []string{"", "home", "/", "/home/.."} {
		if _, err := New(Options{Hide: []string{path}}); err == nil {
			t.Errorf("hiding %q was accepted", path)
		}
	}
}

// One instance that cannot be made does not keep the others from running.
func TestPartialFailure(t *testing.T) {
	d := open(t, Options{SSHD: "none", Images: map[string]Image{"broken": {Root: "/does/not/exist"}}})
	id := cloudtest.Token()
	rs := []cloud.Request{wanted(id, "a", "public"), wanted(id, "b", "public"), wanted(id, "c", "public")}
	rs[1].Image = "broken"
	got, err := d.Launch(t.Context(), rs)
	if err == nil || !strings.Contains(err.Error(), `instance "b": image root "/does/not/exist"`) {
		t.Errorf("error is %v", err)
	}
	if len(got) != 2 || got[0].Token != rs[0].Token || got[1].Token != rs[2].Token {
		t.Errorf("started %v, want the first and the last", got)
	}
	all, err := d.List(t.Context(), id)
	if err != nil || len(all) != 2 {
		t.Errorf("list: %v, %v", all, err)
	}
}

// write writes a file of the host, for the time of the test.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(path) })
}
