package install

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// A tree is built of lines: "dir/", "path -> target", "path", "path: content",
// with \n in it.
func build(t *testing.T, lines ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, line := range lines {
		name, target, link := strings.Cut(line, " -> ")
		name, text, _ := strings.Cut(name, ": ")
		at := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(at), 0o755))
		switch {
		case strings.HasSuffix(name, "/"):
			must(t, os.MkdirAll(at, 0o755))
		case link:
			must(t, os.Symlink(target, at))
		default:
			must(t, os.WriteFile(at, []byte(strings.ReplaceAll(text, `\n`, "\n")), 0o755))
		}
	}
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// listing is everything below a directory: mode, name, and a sum or target.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		short, _ := filepath.Rel(dir, name)
		switch {
		case d.IsDir():
			fmt.Fprintf(&b, "%v %s/\n", info.Mode().Perm(), short)
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(name)
			fmt.Fprintf(&b, "link %s -> %s\n", short, target)
			return err
		default:
			text, err := os.ReadFile(name)
			fmt.Fprintf(&b, "%v %s %.8x\n", info.Mode().Perm(), short, sha256.Sum256(text))
			return err
		}
		return nil
	}))
	return b.String()
}

// stamps are the times and inodes of all files: what was not touched keeps
// them.
func stamps(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			fmt.Fprintln(&b, name, info.ModTime().UnixNano())
		}
		return err
	}))
	return b.String()
}

// elf is a program for Linux, as far as its first bytes say.
func elf(machine string, text string) *Program {
	head := "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x02\x00" + machine
	content := []byte(head + text)
	return &Program{Content: bytes.NewReader(content), Size: int64(len(content))}
}

const amd64 = "\x3e\x00"

func opened(t *testing.T, dir string) *Tree {
	t.Helper()
	tree, err := OpenTree(dir)
	must(t, err)
	t.Cleanup(func() { tree.Close() })
	return tree
}

// put installs an agent in a tree.
func put(t *testing.T, dir, version string) (Report, Boot) {
	t.Helper()
	tree := opened(t, dir)
	plan, boot, err := Agent(tree, elf(amd64, version), true)
	must(t, err)
	report, err := tree.Put(plan)
	must(t, err)
	return report, boot
}

// The systems that there are, each with traces of others, and what calls the
// agent at boot.
var systems = []struct {
	name, init string
	tree       []string
	entry      []string // of what is there afterwards
}{
	{"Debian", "systemd",
		[]string{"bin -> usr/bin", "lib -> usr/lib", "sbin -> usr/sbin", "usr/bin/", "usr/lib/systemd/systemd", "usr/sbin/init -> /lib/systemd/systemd", "etc/rc3.d/", "etc/init.d/", "etc/systemd/system/"},
		[]string{"-rw-r--r-- etc/systemd/system/nimbus-agent.service", "link etc/systemd/system/multi-user.target.wants/nimbus-agent.service -> /etc/systemd/system/nimbus-agent.service"}},
	{"Debian without an init yet", "systemd",
		[]string{"lib/systemd/systemd", "etc/systemd/system/multi-user.target.wants/"},
		[]string{"link etc/systemd/system/multi-user.target.wants/nimbus-agent.service -> "}},
	{"Debian with sysvinit, and systemd beside it", "SysV init",
		[]string{"lib/systemd/systemd", "sbin/init", "etc/rc2.d/", "etc/rc3.d/", "etc/rc4.d/", "etc/rc5.d/", "etc/init.d/"},
		[]string{"-rwxr-xr-x etc/init.d/nimbus-agent", "link etc/rc2.d/S99nimbus-agent -> ../init.d/nimbus-agent", "link etc/rc5.d/S99nimbus-agent -> "}},
	{"CentOS 6", "SysV init",
		[]string{"sbin/init", "etc/rc.d/rc3.d/", "etc/rc.d/rc5.d/", "etc/rc.d/init.d/", "etc/init.d -> rc.d/init.d", "etc/rc3.d -> rc.d/rc3.d", "etc/rc5.d -> rc.d/rc5.d"},
		[]string{"-rwxr-xr-x etc/rc.d/init.d/nimbus-agent", "link etc/rc.d/rc3.d/S99nimbus-agent -> ../init.d/nimbus-agent"}},
	{"Alpine", "OpenRC",
		[]string{"bin/busybox", "sbin/init -> /bin/busybox", "sbin/openrc-run", "etc/init.d/", "etc/runlevels/default/"},
		[]string{"-rwxr-xr-x etc/init.d/nimbus-agent", "link etc/runlevels/default/nimbus-agent -> /etc/init.d/nimbus-agent"}},
	{"BSD-like", "/etc/rc.local",
		[]string{"sbin/init", "etc/rc.local: #!/bin/sh\\nexit 0\\n"},
		[]string{"-rwxr-xr-x etc/rc.local"}},
	{"rc.local elsewhere", "/etc/rc.local",
		[]string{"etc/rc.local -> /etc/rc.d/rc.local", "etc/rc.d/rc.local: #!/bin/sh\\n"},
		[]string{"-rwxr-xr-x etc/rc.d/rc.local", "link etc/rc.local -> /etc/rc.d/rc.local"}},
	{"Buildroot", "busybox init",
		[]string{"bin/busybox", "sbin/init -> ../bin/busybox", "etc/init.d/rcS: #!/bin/sh\\nfor i in /etc/init.d/S??*; do $i start; done\\n"},
		[]string{"-rwxr-xr-x etc/init.d/S99nimbus"}},
	{"busybox by hand", "busybox init",
		[]string{"bin/busybox", "sbin/init -> ../bin/busybox", "etc/init.d/rcS: #!/bin/sh\\nmount -a\\n"},
		[]string{"-rwxr-xr-x etc/init.d/rcS"}},
	{"nothing", "", nil, nil},
}

func TestEachInit(t *testing.T) {
	for _, s := range systems {
		t.Run(s.name, func(t *testing.T) {
			dir := build(t, s.tree...)
			before := listing(t, dir)
			report, boot := put(t, dir, "1")
			if boot.Init != s.init {
				t.Errorf("it is called by %q, want %q", boot.Init, s.init)
			}
			after := listing(t, dir)
			for _, want := range append(s.entry, "-rwxr-xr-x opt/nimbus/ctx/launch.sh ", "-rwxr-xr-x opt/nimbus/bin/nimbus ", "link opt/nimbus/bin/ctx-agent -> nimbus",
				"-rwxr-xr-x opt/nimbus/ctx-scripts/0-etchosts.all ", "-rw-r--r-- opt/nimbus/ctx-scripts/README.md ") {
				if !strings.Contains(after, want) {
					t.Errorf("there is no %q in\n%s", want, after)
				}
			}
			if !report.Changed() || len(report.Kept) > 0 {
				t.Errorf("%+v", report)
			}
			// The second time changes nothing.
			still := stamps(t, dir)
			if report, _ := put(t, dir, "1"); report.Changed() || len(report.Kept) > 0 || stamps(t, dir) != still {
				t.Errorf("again: %+v", report)
			}
			// And all of it goes again.
			if _, err := opened(t, dir).Remove(AgentRecord); err != nil {
				t.Fatal(err)
			}
			if got := listing(t, dir); got != before {
				t.Errorf("uninstalled, it is\n%s\nand was\n%s", got, before)
			}
		})
	}
}

// What is written into a script of the system stands before its exit, once,
// and keeps what is around it.
func TestRcLocal(t *testing.T) {
	const call = "# nimbus begin\n[ ! -x /opt/nimbus/ctx/launch.sh ] || /opt/nimbus/ctx/launch.sh </dev/null &\n# nimbus end\n"
	for before, after := range map[string]string{
		"#!/bin/sh\nif x; then\n\texit 1\nfi\nfoo\nexit 0\n": "#!/bin/sh\nif x; then\n\texit 1\nfi\nfoo\n" + call + "exit 0\n",
		"#!/bin/sh\nfoo": "#!/bin/sh\nfoo\n" + call,
		"#!/bin/sh\nexit 1\n# nimbus begin\nold\n# nimbus end\nexit\n": "#!/bin/sh\nexit 1\n" + call + "exit\n",
		"":                               call,
		"sh /opt/nimbus/ctx/launch.sh\n": "sh /opt/nimbus/ctx/launch.sh\n", // somebody has done it
	} {
		dir := build(t, "etc/rc.local")
		at := filepath.Join(dir, "etc/rc.local")
		must(t, os.WriteFile(at, []byte(before), 0o700))
		must(t, os.Chmod(at, 0o700))
		for range 2 {
			put(t, dir, "1")
			if got := read(t, at); got != after {
				t.Errorf("%q became %q, want %q", before, got, after)
			}
		}
		if info, err := os.Stat(at); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	must(t, err)
	return string(text)
}

// Scripts: a newer one takes the place of one that nobody has changed; what
// somebody has changed stays, also when all goes.
func TestChangedScriptsStay(t *testing.T) {
	dir := build(t)
	put(t, dir, "1")
	scripts := filepath.Join(dir, "opt/nimbus/ctx-scripts")
	mine, old := filepath.Join(scripts, "1-ipandhost/testrole1"), filepath.Join(scripts, "problem.sh")
	must(t, os.WriteFile(mine, []byte("#!/bin/sh\n# mine\n"), 0o755))
	must(t, os.WriteFile(filepath.Join(scripts, "1-ipandhost/web"), []byte("#!/bin/sh\n"), 0o755))
	// As if an older version had put other text there.
	must(t, os.WriteFile(old, []byte("older\n"), 0o755))
	record := filepath.Join(dir, AgentRecord)
	is, err := opened(t, dir).sumOf("opt/nimbus/ctx-scripts/clean.sh")
	must(t, err)
	r, err := parseRecord([]byte(read(t, record)))
	must(t, err)
	n := slices.IndexFunc(r.Entries, func(e entry) bool { return strings.HasSuffix(e.Path, "/problem.sh") })
	r.Entries[n].Sum = fmt.Sprintf("%x", sha256.Sum256([]byte("older\n")))
	r.Entries = append(r.Entries, entry{Path: "opt/nimbus/ctx-scripts/gone", Sum: is, Yours: true}, entry{Path: "opt/nimbus/ctx-scripts/gone-but-mine", Sum: is, Yours: true})
	must(t, os.WriteFile(record, r.encoded(), 0o644))
	must(t, os.WriteFile(filepath.Join(scripts, "gone"), []byte(read(t, filepath.Join(scripts, "clean.sh"))), 0o755))
	must(t, os.WriteFile(filepath.Join(scripts, "gone-but-mine"), []byte("mine"), 0o755))

	report, _ := put(t, dir, "2")
	if got := strings.Join(report.Kept, " "); got != "opt/nimbus/ctx-scripts/1-ipandhost/testrole1 opt/nimbus/ctx-scripts/gone-but-mine" {
		t.Errorf("kept: %s", got)
	}
	if got := strings.Join(report.Replaced, " "); got != "opt/nimbus/bin/nimbus opt/nimbus/ctx-scripts/problem.sh opt/nimbus/installed.json" {
		t.Errorf("replaced: %s", got)
	}
	if read(t, mine) != "#!/bin/sh\n# mine\n" || read(t, old) == "older\n" {
		t.Error("the wrong one was replaced")
	}
	if _, err := os.Stat(filepath.Join(scripts, "gone")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("what the new version does not have is still there")
	}
	report, err = opened(t, dir).Remove(AgentRecord)
	must(t, err)
	if got := strings.Join(report.Kept, " "); got != "opt/nimbus/ctx-scripts/1-ipandhost/testrole1" {
		t.Errorf("kept at the end: %s", got)
	}
	got := listing(t, dir)
	for _, line := range strings.Split(strings.TrimSpace(got), "\n") {
		if name := strings.Fields(line)[1]; !strings.HasSuffix(name, "/") && name != "opt/nimbus/ctx-scripts/1-ipandhost/testrole1" &&
			name != "opt/nimbus/ctx-scripts/1-ipandhost/web" && name != "opt/nimbus/ctx-scripts/gone-but-mine" {
			t.Errorf("left over: %s", line)
		}
	}
}

// Whatever links an image has, nothing outside of it is written, read or
// removed.
func TestLinksStayInside(t *testing.T) {
	outside := build(t, "secret: x", "hosts: # nimbus begin\\nmine\\n# nimbus end\\n", "lock", "rc.local: exit 0\\n")
	must(t, os.MkdirAll(filepath.Join(outside, "nimbus"), 0o755))
	before := listing(t, outside)
	for _, links := range [][]string{
		{"opt -> " + outside},
		{"opt -> ../../../../../../../.." + outside},
		{"opt/nimbus -> " + outside},
		{"opt/nimbus/bin -> " + outside},
		{"opt/nimbus/bin/nimbus -> " + outside + "/secret"},
		{"opt/nimbus/bin/.nimbus.nimbus-new -> " + outside + "/secret"},
		{"opt/nimbus/installed.json -> " + outside + "/secret"},
		{"opt/nimbus/ctx-scripts -> " + outside, "etc/rc.local -> " + outside + "/rc.local"},
		{"etc -> " + outside},
		{"etc/hosts -> " + outside + "/hosts", "var/lib -> " + outside},
		{"var/lib/nimbus -> " + outside},
		{"var/lib/nimbus/deep -> " + outside, "opt/nimbus/ctxlog.txt -> " + outside + "/secret"},
	} {
		dir := t.TempDir()
		for _, line := range links {
			name, target, _ := strings.Cut(line, " -> ")
			_ = os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755)
			_ = os.Symlink(target, filepath.Join(dir, name)) // one may be below another
		}
		tree := opened(t, dir)
		plan, _, err := Agent(tree, elf(amd64, "1"), true)
		must(t, err)
		_, err = tree.Put(plan)
		_, wiped := tree.Wipe(usual)
		_, removed := tree.Remove(AgentRecord)
		if got := listing(t, outside); got != before {
			t.Fatalf("%v: (%v, %v, %v) outside is now\n%s", links, err, wiped, removed, got)
		}
	}
	// What the image itself would find there is meant.
	dir := build(t, "opt -> /data/opt")
	put(t, dir, "1")
	if _, err := os.Stat(filepath.Join(dir, "data/opt/nimbus/bin/nimbus")); err != nil {
		t.Error(err)
	}
	// Links that go round in circles have an end.
	dir = build(t, "opt -> popt", "popt -> opt")
	plan, _, err := Agent(opened(t, dir), elf(amd64, "1"), true)
	must(t, err)
	if _, err = opened(t, dir).Put(plan); err == nil || !strings.Contains(err.Error(), "too many symbolic links") {
		t.Errorf("%v", err)
	}
}

// A record in an image may say what it likes.
func TestHostileRecord(t *testing.T) {
	for _, text := range []string{`{`, `{"files":[{"path":"../../etc/passwd"}]}`, `{"files":[{"path":"/etc/passwd"}]}`, `{"files":[{"path":"."}]}`, `{"directories":[".."]}`} {
		dir := build(t, AgentRecord)
		must(t, os.WriteFile(filepath.Join(dir, AgentRecord), []byte(text), 0o644))
		if _, err := opened(t, dir).Remove(AgentRecord); err == nil || !strings.Contains(err.Error(), "installed.json") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// A fault in the middle leaves the tree as it was.
func TestAllOrNothing(t *testing.T) {
	dir := build(t, "lib/systemd/systemd", "etc/systemd/system/nimbus-agent.service/", "opt/nimbus/bin/nimbus: old")
	before := listing(t, dir)
	tree := opened(t, dir)
	plan, _, err := Agent(tree, elf(amd64, "1"), true)
	must(t, err)
	if _, err = tree.Put(plan); err == nil || !strings.Contains(err.Error(), "nimbus-agent.service is a directory") {
		t.Errorf("%v", err)
	}
	if got := listing(t, dir); got != before {
		t.Errorf("it is now\n%s\nand was\n%s", got, before)
	}
}

func FuzzLines(f *testing.F) {
	f.Add("127.0.0.1 localhost\n# nimbus begin\nx\n# nimbus end\n", "10.0.0.1 a\n")
	f.Add("# nimbus begin\n# nimbus begin\nx\n", "a\n")
	f.Add("x\nexit 0", "y\n")
	f.Fuzz(func(t *testing.T, text, lines string) {
		if strings.Contains(lines, "# nimbus") || lines != "" && !strings.HasSuffix(lines, "\n") {
			t.Skip()
		}
		without := withoutLines(text)
		if withoutLines(without) != without && !strings.Contains(without, beginMark) {
			t.Errorf("%q: %q, then %q", text, without, withoutLines(without))
		}
		with := withLines(text, lines)
		if strings.Count(with, beginMark) < 1 || withLines(with, lines) != with && !strings.Contains(without, beginMark) {
			t.Errorf("%q: %q, then %q", text, with, withLines(with, lines))
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"files":[{"path":"opt/x","sha256":"aa"},{"path":"b","link":"x"}],"directories":["opt"]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseRecord(text)
		if err != nil {
			return
		}
		for _, e := range r.Entries {
			if strings.HasPrefix(e.Path, "/") || strings.HasPrefix(e.Path, "..") {
				t.Errorf("%q", e.Path)
			}
		}
		if _, err := parseRecord(r.encoded()); err != nil {
			t.Error(err)
		}
	})
}

// When a place cannot be had after others were given, those are given back. (A
// directory that is not empty stands for a file that is mounted by itself.)
func TestAPlaceThatCannotBeHad(t *testing.T) {
	dir := build(t)
	put(t, dir, "1")
	tree := opened(t, dir)
	before := listing(t, dir)
	p := &putting{Tree: tree}
	plan, _, err := Agent(tree, elf(amd64, "2"), true)
	must(t, err)
	plan.Items = append(plan.Items, Item{Path: "opt/nimbus/new", Mode: 0o644, Text: []byte("x")}, Item{Path: "etc/taken", Mode: 0o644, Text: []byte("x")})
	if _, err := p.draft(plan); err != nil {
		t.Fatal(err)
	}
	must(t, os.MkdirAll(filepath.Join(dir, "etc/taken/in"), 0o755))
	if err := p.place(); err == nil || !strings.Contains(err.Error(), "etc/taken") {
		t.Errorf("%v", err)
	}
	p.undraft()
	must(t, os.RemoveAll(filepath.Join(dir, "etc/taken")))
	for _, made := range p.dirs {
		must(t, os.Remove(filepath.Join(dir, made)))
	}
	if got := listing(t, dir); got != before {
		t.Errorf("now\n%s\nbefore\n%s", got, before)
	}
}

// The same program that anybody could change, or that makes its caller root, is
// not the same.
func TestOpenProgram(t *testing.T) {
	dir := build(t)
	put(t, dir, "1")
	program := filepath.Join(dir, Home, "bin/nimbus")
	for _, spoil := range []func() error{
		func() error { return os.Chmod(program, 0o777) },
		func() error { return os.Chmod(program, 0o755|fs.ModeSetuid) },
		func() error {
			if os.Geteuid() != 0 {
				return os.Chmod(program, 0o700)
			}
			return os.Chown(program, 12345, 12345)
		},
	} {
		must(t, spoil())
		put(t, dir, "1")
		info, err := os.Stat(program)
		must(t, err)
		if info.Mode() != 0o755 || !ours(info) {
			t.Errorf("%v, ours %v", info.Mode(), ours(info))
		}
	}
}

// What lies in an image in the place of ours, or is called ours by its record,
// is not read when it has no end, or no beginning.
func TestEndlessFiles(t *testing.T) {
	dir := build(t)
	put(t, dir, "1")
	program, script := filepath.Join(dir, Home, "bin/nimbus"), filepath.Join(dir, scriptsDir, "problem.sh")
	must(t, os.Truncate(program, 7<<40))
	must(t, os.Truncate(script, 7<<40))
	report, _ := put(t, dir, "1")
	if !slices.Contains(report.Replaced, "opt/nimbus/bin/nimbus") || !slices.Contains(report.Kept, scriptsDir+"/problem.sh") {
		t.Errorf("%+v", report)
	}
	must(t, os.Remove(script))
	must(t, syscall.Mkfifo(script, 0o600))
	report, err := opened(t, dir).Remove(AgentRecord)
	if err != nil || !slices.Contains(report.Kept, scriptsDir+"/problem.sh") {
		t.Errorf("%+v, %v", report, err)
	}
}
