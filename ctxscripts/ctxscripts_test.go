package ctxscripts

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// installed is a scripts directory as an image has it.
func installed(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "opt", "ctx-scripts")
	if err := Install(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestInstall(t *testing.T) {
	dir := installed(t)
	err := fs.WalkDir(FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil {
			return err
		}
		want := fs.FileMode(0o755)
		if path == "README.md" {
			want = 0o644
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(filepath.Dir(dir))
	if err != nil || len(left) != 1 {
		t.Errorf("beside the scripts: %v, %v", left, err)
	}
}

func TestInstallLeavesOtherDirectoriesAlone(t *testing.T) {
	dir := t.TempDir()
	own := filepath.Join(dir, "0-etchosts")
	if err := os.WriteFile(own, []byte("mine"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Install(dir); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 || read(t, own) != "mine" {
		t.Errorf("%v, %v", entries, err)
	}
	// An empty one is filled, and filling it again changes nothing.
	empty := t.TempDir()
	for range 2 {
		if err := Install(empty); err != nil {
			t.Fatal(err)
		}
	}
	read(t, filepath.Join(empty, "0-etchosts.all"))
}

// A directory that cannot be replaced is filled in its place; one that a crash
// left half full is filled again.
func TestInstallIsRepeatedUntilItIsComplete(t *testing.T) {
	real, dir := t.TempDir(), filepath.Join(t.TempDir(), "ctx-scripts")
	if err := os.Symlink(real, dir); err != nil {
		t.Fatal(err)
	}
	if err := Install(dir); err != nil {
		t.Fatal(err)
	}
	complete, err := os.ReadDir(real)
	if err != nil || len(complete) < 5 {
		t.Fatalf("%v, %v", complete, err)
	}
	put(t, filepath.Join(real, unfinished), "")
	put(t, filepath.Join(real, "0-etchosts.all"), "")
	if err := os.Remove(filepath.Join(real, "problem.sh")); err != nil {
		t.Fatal(err)
	}
	if err := Install(dir); err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadDir(real); err != nil || len(again) != len(complete) || read(t, filepath.Join(real, "0-etchosts.all")) == "" {
		t.Errorf("%v, %v", again, err)
	}
}

// What a crash left before the scripts were put into place is no part of them.
func TestInstallRemovesAnOldDraft(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ctx-scripts")
	put(t, filepath.Join(filepath.Dir(dir), ".ctx-scripts.draft", "1-ipandhost", "half"), "")
	if err := Install(dir); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(filepath.Dir(dir))
	if _, half := os.Stat(filepath.Join(dir, "1-ipandhost", "half")); half == nil || err != nil || len(left) != 1 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestScriptsAreCleanShell(t *testing.T) {
	dir := installed(t)
	var scripts []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Ext(path) != ".md" {
			scripts = append(scripts, path)
			if !strings.HasPrefix(read(t, path), "#!/bin/sh\n") {
				t.Errorf("%s does not begin with #!/bin/sh", path)
			}
			if out, err := exec.Command("sh", "-n", path).CombinedOutput(); err != nil {
				t.Errorf("sh -n %s: %v\n%s", path, err, out)
			}
		}
		return err
	})
	if err != nil || len(scripts) < 12 {
		t.Fatalf("%d scripts, %v", len(scripts), err)
	}
	if out, err := exec.Command("shellcheck", append([]string{"-s", "sh"}, scripts...)...).CombinedOutput(); err != nil {
		t.Errorf("shellcheck (make test installs it): %v\n%s", err, out)
	}
}

const set = "10.0.0.1\thead-0\thead-0.cluster-001\thead\t0\tssh-ed25519 AAAA\n" +
	"10.0.0.2\t\t\twork\t0\t\n" +
	"10.0.0.3\twork-1\twork-1\twork\t1\t\n"

const block = "# nimbus begin\n10.0.0.1\thead-0.cluster-001 head-0\n10.0.0.3\twork-1\n# nimbus end\n"

// run calls a script as the agent would, with a hosts file of its own.
func run(t *testing.T, dir, script, stdin string, env []string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(filepath.Join(dir, script), args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func must(t *testing.T, dir, script, stdin string, env []string, args ...string) {
	t.Helper()
	if out, err := run(t, dir, script, stdin, env, args...); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

func TestEtcHostsAll(t *testing.T) {
	dir := installed(t)
	hosts := filepath.Join(t.TempDir(), "hosts")
	env := []string{"NIMBUS_HOSTS_FILE=" + hosts}
	put(t, hosts, "127.0.0.1 localhost\n127.0.1.1 me\n")
	want := "127.0.0.1 localhost\n127.0.1.1 me\n" + block
	for range 2 {
		must(t, dir, "0-etchosts.all", set, env)
		if got := read(t, hosts); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
	must(t, dir, "0-etchosts.all", "10.0.0.9\tx\tx\tx\t0\t\n", env)
	if got := read(t, hosts); got != "127.0.0.1 localhost\n127.0.1.1 me\n# nimbus begin\n10.0.0.9\tx\n# nimbus end\n" {
		t.Errorf("a smaller set left\n%s", got)
	}
	put(t, hosts, "# nimbus begin\n127.0.0.1 localhost\n")
	must(t, dir, "0-etchosts.all", set, env)
	if got := read(t, hosts); got != "# nimbus begin\n127.0.0.1 localhost\n"+block {
		t.Errorf("a lost end took foreign lines:\n%s", got)
	}
	info, err := os.Stat(hosts)
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(hosts + ".*"); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestEtcHostsOneByOne(t *testing.T) {
	dir := installed(t)
	hosts := filepath.Join(t.TempDir(), "hosts")
	env := []string{"NIMBUS_HOSTS_FILE=" + hosts}
	put(t, hosts, "127.0.0.1 localhost\n10.0.0.3 foreign\n")
	for range 2 {
		must(t, dir, "0-etchosts", "", env, "10.0.0.1", "head-0", "head-0.cluster-001")
		must(t, dir, "0-etchosts", "", env, "10.0.0.3", "work-1", "work-1")
	}
	if got := read(t, hosts); got != "127.0.0.1 localhost\n10.0.0.3 foreign\n"+block {
		t.Errorf("got\n%s", got)
	}
}

// Names and addresses that mean something on every machine are not a node's.
func TestEtcHostsRefuses(t *testing.T) {
	dir := installed(t)
	hosts := filepath.Join(t.TempDir(), "hosts")
	env := []string{"NIMBUS_HOSTS_FILE=" + hosts}
	put(t, hosts, "127.0.0.1 localhost\n")
	for _, c := range []struct{ ip, short, full string }{
		{"10.0.0.1", "localhost", "localhost"},
		{"10.0.0.1", "node", "LocalHost.example.org"},
		{"10.0.0.1", "10", "10.0.0.2"},
		{"10.0.0.1", "head-0", "head-0 evil"},
		{"10.0.0.1", "head-0", "#head-0"},
		{"10.0.0.1", "head-0", "-head"},
		{"127.0.0.1", "head-0", "head-0"},
		{"::1", "head-0", "head-0"},
		{"10.0.0.1 localhost #", "head-0", "head-0"},
	} {
		out, err := run(t, dir, "0-etchosts.all", c.ip+"\t"+c.short+"\t"+c.full+"\thead\t0\t\n", env)
		if err == nil || !strings.Contains(out, "refused: ") {
			t.Errorf("all, %+v: %v, %q", c, err, out)
		}
		if out, err := run(t, dir, "0-etchosts", "", env, c.ip, c.short, c.full); err == nil || !strings.Contains(out, "refused: ") {
			t.Errorf("one, %+v: %v, %q", c, err, out)
		}
	}
	if got := read(t, hosts); got != "127.0.0.1 localhost\n" {
		t.Errorf("got\n%s", got)
	}
	if left, _ := filepath.Glob(hosts + ".*"); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
	// The names that a definition may lead to.
	must(t, dir, "0-etchosts.all", "fd00::1\twork_1\twork_1.x-y.org\twork\t1\t\n10.0.0.2\t42\t42\t42\t0\t\n", env)
	if got := read(t, hosts); got != "127.0.0.1 localhost\n# nimbus begin\nfd00::1\twork_1.x-y.org work_1\n10.0.0.2\t42\n# nimbus end\n" {
		t.Errorf("got\n%s", got)
	}
}

func TestSamples(t *testing.T) {
	dir, test := installed(t), filepath.Join(t.TempDir(), "ctx-test")
	env := []string{"NIMBUS_TESTDIR=" + test, "NIMBUS_ROLE=testrole1", "NIMBUS_NODE=work-0", "NIMBUS_ROLE_COUNT=2"}
	for range 2 {
		must(t, dir, "1-ipandhost/testrole1", "", env, "10.0.0.1", "head-0", "head-0.cluster-001")
		must(t, dir, "1-ipandhost/testrole1", "", env, "10.0.0.2")
	}
	must(t, dir, "1-ipandhost/testrole2", "", env, "10.0.0.2")
	must(t, dir, "2-thishost/publicnic", "", env, "10.0.0.2", "work-0", "work-0")
	data := filepath.Join(t.TempDir(), "testdata-0")
	put(t, data, "a value\n")
	must(t, dir, "3-data/testdata", "", env, data)
	must(t, dir, "4-restarts/testrole1", "", env)
	must(t, dir, "5-thishost-finalize/localnic", "", env, "10.0.0.2", "work-0", "work-0")
	for name, want := range map[string]string{
		"testrole1":          "10.0.0.1 head-0 head-0.cluster-001\n10.0.0.2\n",
		"testrole2":          "10.0.0.2\n",
		"thishost-publicnic": "10.0.0.2 work-0 work-0\n",
		"testdata-0":         "a value\n",
		"restart-testrole1":  "work-0 knows 2\n",
		"finalize-localnic":  "10.0.0.2 work-0 work-0\n",
	} {
		if got := read(t, filepath.Join(test, name)); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	out, err := run(t, dir, "1-ipandhost/testrole3", "", env, "10.0.0.1", "head-0", "head-0.cluster-001")
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 7 || !strings.Contains(out, "head-0.cluster-001") {
		t.Errorf("testrole3: %v, %q", err, out)
	}
	out, err = run(t, dir, "problem.sh", "", env, "1-ipandhost/testrole3", "7")
	if err != nil || !strings.Contains(out, `work-0 failed in step "1-ipandhost/testrole3" with code 7`) || strings.Contains(out, "powering") {
		t.Errorf("problem.sh: %v, %q", err, out)
	}
}

func TestClean(t *testing.T) {
	dir, root := installed(t), t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	env := []string{
		"NIMBUS_HOSTS_FILE=" + at("hosts"), "NIMBUS_KNOWN_HOSTS=" + at("known"), "NIMBUS_HOSTS_EQUIV=" + at("equiv"),
		"NIMBUS_TESTDIR=" + at("test"), "NIMBUS_STATE_DIR=" + at("state"), "NIMBUS_LOG_FILE=" + at("log"),
	}
	put(t, at("hosts"), "127.0.0.1 localhost\n"+block+"10.0.0.7 mine\n")
	put(t, at("equiv"), "head-0\n")
	put(t, at("equiv.before-nimbus"), "trusted\n")
	put(t, at("state/ctx-1/claim"), "secret\n")
	put(t, at("test/testrole1"), "x\n")
	put(t, at("log"), "x\n")

	before := read(t, at("hosts"))
	must(t, dir, "clean.sh", "", env) // as an old image does at every boot
	if read(t, at("hosts")) != before || read(t, at("equiv")) != "head-0\n" || read(t, at("test/testrole1")) == "" {
		t.Error("the context did not change, but something was cleaned")
	}
	must(t, dir, "clean.sh", "", append(env, "NIMBUS_OLD_CONTEXT=ctx-1"))
	if got := read(t, at("hosts")); got != "127.0.0.1 localhost\n10.0.0.7 mine\n" {
		t.Errorf("hosts:\n%s", got)
	}
	if got := read(t, at("equiv")); got != "trusted\n" {
		t.Errorf("hosts.equiv: %q", got)
	}
	read(t, at("state/ctx-1/claim")) // the agent's own, while it runs
	must(t, dir, "clean.sh", "", env, "--image")
	for _, name := range []string{"state", "log", "test", "equiv.before-nimbus"} {
		if _, err := os.Lstat(at(name)); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
}

// A machine that is saved as an image has its own scripts again.
func TestCleanBringsOwnScriptsBack(t *testing.T) {
	dir, root := installed(t), t.TempDir()
	env := []string{"NIMBUS_STATE_DIR=" + root + "/state", "NIMBUS_LOG_FILE=" + root + "/log", "NIMBUS_TESTDIR=" + root + "/test",
		"NIMBUS_HOSTS_FILE=" + root + "/hosts", "NIMBUS_KNOWN_HOSTS=" + root + "/known", "NIMBUS_HOSTS_EQUIV=" + root + "/equiv"}
	if err := os.CopyFS(dir+".image", os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	own := read(t, filepath.Join(dir, "0-etchosts.all"))
	put(t, dir+".image/.pack", "{}")
	put(t, filepath.Join(dir, "0-etchosts.all"), "brought")
	put(t, filepath.Join(dir, "3-data", "brought"), "brought")
	put(t, filepath.Join(dir, ".brought"), "brought")
	must(t, dir, "clean.sh", "", append(env, "NIMBUS_OLD_CONTEXT=ctx-1"))
	read(t, dir+".image/.pack") // the agent's own, while it runs
	must(t, dir, "clean.sh", "", env, "--image")
	if read(t, filepath.Join(dir, "0-etchosts.all")) != own {
		t.Error("own scripts are not back")
	}
	for _, name := range []string{"/3-data/brought", "/.brought", "/.pack", ".image"} {
		if _, err := os.Lstat(dir + name); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
	must(t, dir, "clean.sh", "", env, "--image") // again: its own scripts stay
	read(t, filepath.Join(dir, "0-etchosts.all"))
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
