package client

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"nimbus/client/history"
	"nimbus/cloud"
)

// launched is a world with a cluster of front-0, back-0 and back-1, whose
// programs run on this machine, each with a home of its own.
func launched(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.boot(allOK)
	w.expect(0, []string{"run", "--cluster", w.path("hello.xml"), "--hours", "2"})
	w.cloud.OnEnter = func(ctx context.Context, i cloud.Instance, p cloud.Program) (int, error) {
		if len(p.Command) == 0 {
			fmt.Fprintf(p.Stdout, "login on %s\n", i.Token)
			return 0, nil
		}
		cmd := exec.CommandContext(ctx, p.Command[0], p.Command[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = p.Stdin, p.Stdout, p.Stderr
		cmd.Env = append(os.Environ(), "HOME="+w.homeOf(i.Token), "NODE="+i.Token)
		cmd.WaitDelay = time.Second
		err := cmd.Run()
		var exit *exec.ExitError
		if errors.As(err, &exit) && ctx.Err() == nil {
			return exit.ExitCode(), nil
		}
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return 0, err
	}
	return w
}

// homeOf is root's home on a node.
func (w *world) homeOf(node string) string {
	dir := w.path("nodes/" + node)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		w.t.Error(err)
	}
	return dir
}

// noEnterer is a cloud with no way in but SSH.
type noEnterer struct{ cloud.Driver }

func TestWhichLaunchIsMeant(t *testing.T) {
	w := newWorld(t)
	w.expect(1, []string{"ssh", "front-0"}, "error: nothing runs", `"nimbus status" lists all launches`)
	w.expect(1, []string{"exec", "--all", "true"}, "error: nothing runs")
	w.boot(allOK)
	w.expect(0, []string{"run", "--cluster", w.path("hello.xml"), "--hours", "2"})
	w.expect(0, []string{"run", "--cluster", w.path("hello.xml"), "--hours", "2"})
	w.expect(1, []string{"ssh", "front-0"}, "which launch? There are cluster-001, cluster-002", "add --handle HANDLE")
	w.expect(0, []string{"terminate", "--handle", "cluster-001"})
	w.programs = map[string]string{"ssh": "/usr/bin/ssh"}
	w.expect(0, []string{"ssh", "front-0"}) // of cluster-002, the only one now
	w.expect(0, []string{"nodes"}, "front-0.cluster-002")
	w.expect(1, []string{"release"}, "release: which node?", `"nimbus nodes --handle cluster-002" lists`)
	w.expect(0, []string{"release", "--node", "front-0"}, "Released front-0 of cluster-002")
	w.expect(6, []string{"print-ctx-status"}, "cluster-002: not every node is ok", `"nimbus nodes --handle cluster-002" says more`)
	w.classic = true
	w.expect(1, []string{"print-ctx-status"}, "no handle given")
	w.classic = false
	if want := "root@192.0.2.4"; !slices.Contains(w.became, want) {
		t.Errorf("became %q, want %s", w.became, want)
	}
	w.expect(1, []string{"ssh", "--handle", "cluster-001", "front-0"}, "nothing of cluster-001 runs: it was terminated")
	w.expect(1, []string{"ssh", "--handle", "cluster-009", "front-0"}, `unknown handle "cluster-009"`)
}

func TestTargets(t *testing.T) {
	w := launched(t)
	record := w.record("cluster-001")
	for word, want := range map[string]string{
		"front-0":            "front-0",
		"back":               "back-0 back-1",
		"worker":             "back-0 back-1",
		"head":               "front-0",
		"Back-1.Cluster-001": "back-1",
		"192.0.2.3":          "back-1",
	} {
		found, err := targets(record, word)
		var names []string
		for _, i := range found {
			names = append(names, i.Node)
		}
		if got := strings.Join(names, " "); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", word, got, err, want)
		}
	}
	for word, advice := range map[string]string{
		"back-2": `did you mean "back-0"?`, "wroker": `did you mean "worker"?`, "": "it has ", "zzzzzz": "it has back, back-0, back-1, front, front-0, head, worker",
	} {
		_, err := targets(record, word)
		var f *Failure
		if !errors.As(err, &f) || f.Code != 1 || !strings.Contains(f.Text, "cluster-001 has no node, workspace or role") || !strings.HasPrefix(f.Advice, advice) {
			t.Errorf("%q: %+v", word, err)
		}
	}
}

func (w *world) record(handle string) history.Record {
	w.t.Helper()
	h, err := history.Open(w.path("state/history"))
	if err != nil {
		w.t.Fatal(err)
	}
	l, err := h.Get(handle)
	if err != nil {
		w.t.Fatal(err)
	}
	record, err := l.Record()
	if err != nil {
		w.t.Fatal(err)
	}
	return record
}

func TestSSH(t *testing.T) {
	w := launched(t)
	// No ssh program here: it goes in without.
	w.expect(0, []string{"ssh", "front-0"}, "login on front-0")
	w.expect(0, []string{"ssh", "worker"}, "back-0, the first of 2\n", "login on back-0")
	w.expect(5, []string{"ssh", "back-1", "echo", "$NODE", "|", "tr b B;", "exit", "5"}, "Back-1\n")
	w.expect(0, []string{"ssh", "back-1", "--", "echo", "x"}, "x\n")
	w.expect(1, []string{"ssh"}, "into which machine?")
	w.expect(1, []string{"ssh", "front-0", "--tty"}, "the option --tty stands after the node")
	w.expect(1, []string{"ssh", "frnt-0"}, `did you mean "front-0"?`)

	w.programs = map[string]string{"ssh": "/usr/bin/ssh"}
	w.expect(0, []string{"ssh", "-t", "front-0", "top", "-b"})
	want := []string{"/usr/bin/ssh", "ssh", "-o", "StrictHostKeyChecking=yes", "-tt", "--", "root@192.0.2.1", "top -b"}
	if !slices.Equal(w.became, want) {
		t.Errorf("became %q\nwant %q", w.became, want)
	}
	w.became = nil
	w.expect(0, []string{"ssh", "--enter", "front-0"}, "login on front-0")
	if w.became != nil {
		t.Errorf("became %q", w.became)
	}

	w.driver = noEnterer{w.cloud}
	w.expect(1, []string{"ssh", "--enter", "front-0"}, "has no way into its machines but SSH", "leave out --enter")
	w.programs = nil
	w.expect(2, []string{"ssh", "front-0"}, "front-0: there is no ssh program on this machine")
}

func TestSSHCommandLine(t *testing.T) {
	l := sshLogin{user: "root", address: netip.MustParseAddr("10.0.0.1"), strict: true}
	full := l
	full.user, full.key, full.knownHosts, full.batch = "ubuntu", "/k/id", "/a b/100%", true
	loose := sshLogin{user: "x", address: netip.MustParseAddr("2001:db8::1")}
	for _, c := range []struct {
		l       sshLogin
		command string
		want    string
	}{
		{l, "", "ssh|-o|StrictHostKeyChecking=yes|--|root@10.0.0.1"},
		{l, "a b", "ssh|-o|StrictHostKeyChecking=yes|-T|--|root@10.0.0.1|a b"},
		{full, rootCommand("ubuntu", []string{"id"}), `ssh|-i|/k/id|-o|UserKnownHostsFile="/a b/100%%"|-o|StrictHostKeyChecking=yes|-o|BatchMode=yes|-T|--|ubuntu@10.0.0.1|exec sudo -n -H -- 'id'`},
		{loose, "", "ssh|--|x@2001:db8::1"},
	} {
		if got := strings.Join(c.l.argv(c.command), "|"); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
	for _, c := range []struct{ user, want string }{{"root", ""}, {"ubuntu", "exec sudo -n -i"}} {
		if got := rootCommand(c.user, nil); got != c.want {
			t.Errorf("login as %s: %q", c.user, got)
		}
	}
}

// Whatever the words are, the shell on the other side finds the same ones.
func TestShellWords(t *testing.T) {
	words := []string{"printf", "%s|", "", "a  b", "it's", `"$HOME" \ `, "*", "~", "-n", "if", "a=b", "new\nline", "\xff;&|<>()#!"}
	out, err := exec.Command("/bin/sh", "-c", rootCommand("root", words)).Output()
	if want := strings.Join(words[2:], "|") + "|"; err != nil || string(out) != want {
		t.Errorf("got  %q, %v\nwant %q", out, err, want)
	}
}

// Where nothing but SSH leads in, exec runs the ssh program of this machine.
func TestExecBySSH(t *testing.T) {
	w := launched(t)
	w.driver = noEnterer{w.cloud}
	w.expect(255, []string{"exec", "--node", "front-0", "true"}, "front-0: there is no ssh program on this machine")
	// This one runs the command here, or is refused.
	w.write("ssh", "#!/bin/sh\nfor last; do :; done\ncase \"$*\" in *192.0.2.2*) echo 'Permission denied' >&2; exit 255 ;; esac\n"+
		"case \"$*\" in *BatchMode=yes*) ;; *) exit 99 ;; esac\nexec /bin/sh -c \"$last\"\n")
	if err := os.Chmod(w.path("ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.programs = map[string]string{"ssh": w.path("ssh")}
	w.expect(255, []string{"exec", "--all", "--", "sh", "-c", "echo \"$1\"; exit 7", "x", "a  b"},
		"front-0| a  b\n", "back-1 | a  b\n", "front-0, back-1: exit code 7", "back-0: ssh to root@192.0.2.2 failed: Permission denied")
	w.expect(124, []string{"exec", "--node", "front-0", "--timeout", "1s", "sleep", "100"}, "it took longer than 1 s")
}

func TestExec(t *testing.T) {
	w := launched(t)
	w.expect(0, []string{"exec", "--all", "--", "sh", "-c", "echo I am $NODE; echo err >&2; printf end"},
		"front-0| I am front-0\n", "back-1 | I am back-1\n", "back-0 | err\n", "back-0 | end\n")
	if strings.Contains(w.stdout.String(), "err") || strings.Count(w.stderr.String(), "\n") != 3 {
		t.Errorf("stdout:\n%s\nstderr:\n%s", w.stdout.String(), w.stderr.String())
	}
	for _, c := range []struct {
		args  []string
		nodes string
	}{
		{[]string{"--role", "worker"}, "back-0 back-1"},
		{[]string{"--role", "worker", "--role", "head"}, "back-0 back-1 front-0"},
		{[]string{"--workspace", "back", "--node", "back-1"}, "back-0 back-1"},
		{[]string{"--node", "front-0", "--node", "back-1"}, "back-1 front-0"},
	} {
		w.expect(0, append(append([]string{"exec"}, c.args...), "sh", "-c", "echo $NODE"))
		var nodes []string
		for line := range strings.Lines(w.stdout.String()) {
			_, node, _ := strings.Cut(line, "| ")
			nodes = append(nodes, strings.TrimSpace(node))
		}
		slices.Sort(nodes)
		if got := strings.Join(nodes, " "); got != c.nodes {
			t.Errorf("%v: %s", c.args, got)
		}
	}
	// What machines say cannot steer the terminal.
	w.expect(0, []string{"exec", "--node", "front-0", "printf", `\033[2J%05000d`, "0"}, "front-0| ?[2J0000")

	w.expect(4, []string{"exec", "--all", "--", "sh", "-c", "case $NODE in back-0) exit 4;; back-1) exit 2;; esac"}, "back-0: exit code 4; back-1: exit code 2")
	w.expect(1, []string{"exec", "true"}, "on which nodes?")
	w.expect(1, []string{"exec", "--all"}, "no command is given")
	w.expect(1, []string{"exec", "--role", "back", "true"}, `cluster-001 has no role "back", but something else of that name`)
	w.expect(1, []string{"exec", "--role", "wroker", "true"}, `did you mean "worker"?`)
	w.expect(1, []string{"exec", "--all", "--parallel", "0", "true"}, "want at least 1")
	w.expect(1, []string{"exec", "--all", "--timeout", "x", "true"}, "is no length of time")

	// One that is gone does not stop the others.
	if err := w.cloud.Terminate(t.Context(), w.instances()[1:2]); err != nil {
		t.Fatal(err)
	}
	w.expect(255, []string{"exec", "--all", "--json", "--", "sh", "-c", "echo out; echo err >&2"})
	var got []Execution
	if err := json.Unmarshal(w.stdout.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[0] != (Execution{Node: "front-0", Stdout: "out\n", Stderr: "err\n"}) || got[1].Code != 255 || !strings.Contains(got[1].Error, "not running") {
		t.Errorf("%+v", got)
	}
	w.expect(0, []string{"exec", "--node", "front-0", "--json", "--", "sh", "-c", "yes | head -c 2000000"})
	if err := json.Unmarshal(w.stdout.Bytes(), &got); err != nil || len(got[0].Stdout) != maxKept || !got[0].Truncated {
		t.Errorf("%v, %d bytes, truncated: %v", err, len(got[0].Stdout), got[0].Truncated)
	}
}

// So many at once and no more, until Ctrl-C ends all of them.
func TestExecInParallel(t *testing.T) {
	w := launched(t)
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	running, most := 0, 0
	w.cloud.OnEnter = func(ctx context.Context, _ cloud.Instance, p cloud.Program) (int, error) {
		mu.Lock()
		running++
		most = max(most, running)
		if running == 2 {
			cancel()
		}
		mu.Unlock()
		<-ctx.Done()
		mu.Lock()
		running--
		mu.Unlock()
		return 0, ctx.Err()
	}
	w.expectContext(ctx, 130, []string{"exec", "--all", "--parallel", "2", "true"}, "interrupted")
	if most != 2 || running != 0 {
		t.Errorf("%d at once, %d left", most, running)
	}
}

// Lines are printed as a whole, and long ones are broken.
func TestPrefixed(t *testing.T) {
	var out calls
	p := &prefixed{prefix: "n| ", to: &out, mu: new(sync.Mutex)}
	for _, part := range []string{"a", "b\r\nc\n\nd", "", strings.Repeat("x", maxLine)} {
		p.Write([]byte(part))
	}
	p.flush()
	p.Write([]byte("e"))
	p.flush()
	p.flush()
	want := []string{"n| ab\nn| c\nn| \n", "n| d" + strings.Repeat("x", maxLine) + "\n", "n| e\n"}
	if !slices.Equal(out, want) {
		t.Errorf("%.100q", out)
	}
}

// calls remembers what is written in one piece.
type calls []string

func (c *calls) Write(b []byte) (int, error) {
	*c = append(*c, string(b))
	return len(b), nil
}

func TestParseCopy(t *testing.T) {
	for text, want := range map[string]side{
		"a": {"", "a"}, "n:": {"n", ""}, "n:/x:y": {"n", "/x:y"}, "./a:b": {"", "./a:b"}, "/a:b": {"", "/a:b"}, ":x": {"", ":x"},
	} {
		if got := parseSide(text); got != want {
			t.Errorf("%s: %+v", text, got)
		}
	}
	for args, want := range map[string]string{
		"a":       "give what to copy",
		"a b":     "neither side is a machine",
		"n:a m:b": "both sides are machines",
		"n:a b c": "either from machines or from here",
		"a n: -v": "the option -v stands after the files",
		"a  n:":   "an empty name",
	} {
		if _, err := parseCopy(strings.Split(args, " ")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// tree lists what is below a directory: names, kinds, permissions, contents.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, fi os.FileInfo, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		text, _ := os.ReadFile(path)
		if fi.Mode()&os.ModeSymlink != 0 {
			target, _ := os.Readlink(path)
			fmt.Fprintf(&b, "%s -> %s\n", rel, target)
		} else {
			fmt.Fprintf(&b, "%s %o %s\n", rel, fi.Mode().Perm(), bytes.TrimSpace(text))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// sample makes a directory with a bit of everything.
func (w *world) sample(name string) string {
	w.t.Helper()
	dir := w.path(name)
	for _, err := range []error{
		os.MkdirAll(dir+"/sub/empty", 0o755), os.WriteFile(dir+"/a b", []byte("one"), 0o600), os.WriteFile(dir+"/.hidden", nil, 0o644),
		os.WriteFile(dir+"/sub/run", []byte("two"), 0o755), os.Symlink("../a b", dir+"/sub/link"), os.Symlink("/nowhere", dir+"/dangling"),
		os.WriteFile(dir+"/"+strings.Repeat("long", 40), []byte("long"), 0o644), os.Chmod(dir+"/sub", 0o500), os.Chmod(dir+"/sub/run", 0o711),
	} {
		if err != nil {
			w.t.Fatal(err)
		}
	}
	w.t.Cleanup(func() { os.Chmod(dir+"/sub", 0o700) })
	return dir
}

func TestCopyThereAndBack(t *testing.T) {
	w := launched(t)
	dir := w.sample("data")
	want := tree(t, dir)

	w.expect(0, []string{"cp", dir, "worker:"}) // to both, into a directory that is there
	w.expect(0, []string{"cp", dir, "worker:"}) // and again, over it
	for _, node := range []string{"back-0", "back-1"} {
		if got := tree(t, w.homeOf(node)+"/data"); got != want {
			t.Errorf("%s has\n%s\nwant\n%s", node, got, want)
		}
	}
	w.expect(0, []string{"cp", dir, "front-0:other"}) // under a new name
	if got := tree(t, w.homeOf("front-0")+"/other"); got != want {
		t.Errorf("other:\n%s\nwant\n%s", got, want)
	}
	w.expect(0, []string{"cp", dir + "/sub/link", "front-0:name"}) // what a named link leads to
	w.expect(0, []string{"cp", "--json", dir + "/a b", w.path("hello.xml"), "front-0:other"}, `"node": "front-0"`, `"files": 2`)
	if got := tree(t, w.homeOf("front-0")); !strings.Contains(got, "\nname 600 one\n") && !strings.HasPrefix(got, "name 600 one\n") || !strings.Contains(got, "other/hello.xml 600 <cluster>") {
		t.Errorf("front-0 has\n%s", got)
	}

	back := w.path("back")
	w.expect(0, []string{"cp", "front-0:other/", back})
	if got := strings.Replace(tree(t, back), "hello.xml 600 "+hello+"\n", "", 1); got != want {
		t.Errorf("back:\n%s\nwant\n%s", got, want)
	}
	w.expect(0, []string{"cp", "front-0:other", back}) // into it
	if _, err := os.Stat(back + "/other/sub/run"); err != nil {
		t.Error(err)
	}
	w.expect(0, []string{"cp", "front-0:other", back}) // over it
	w.expect(0, []string{"cp", "front-0:other/sub/link", "front-0:name", back})
	w.expect(0, []string{"cp", "worker:data/sub", w.path("each")}) // from two, by node
	if got := tree(t, w.path("each")); !strings.Contains(got, "back-0/sub/run 711 two\n") || !strings.Contains(got, "back-1/sub 500") {
		t.Errorf("each:\n%s", got)
	}
	os.Chmod(w.path("each/back-0/sub"), 0o700)
	os.Chmod(w.path("each/back-1/sub"), 0o700)

	for _, c := range []struct {
		code int
		args []string
		want string
	}{
		{2, []string{dir, "worker:no/such"}, "back-0, back-1: there is no directory no"},
		{2, []string{dir, w.path("hello.xml"), "front-0:none"}, "front-0: none is no directory, for several files"},
		{2, []string{dir, "front-0:new/"}, "there is no directory new/"},
		{2, []string{dir, "front-0:name"}, "name is no directory"},
		{1, []string{dir, "frnt-0:"}, `did you mean "front-0"?`},
		{1, []string{w.path("none"), "front-0:"}, "no such file"},
		{1, []string{dir, "front-0:x", "front-0:y"}, "both sides are machines"},
		{1, []string{dir, back + "/../data", "front-0:"}, `two of the files are called "data"`},
		{2, []string{"front-0:none", back}, "front-0: there is no none"},
		{1, []string{"front-0:name", w.path("no/such")}, "there is no directory " + w.path("no")},
		{1, []string{"front-0:name", "back-0:data", w.path("no")}, "there is no directory " + w.path("no")},
		{2, []string{"front-0:other", w.path("hello.xml")}, "hello.xml is no directory"},
	} {
		w.expect(c.code, append([]string{"cp"}, c.args...), c.want)
	}
	// Nothing half-made is left on either side.
	if left := strings.Join(append(w.glob(".nimbus-cp-*"), w.glob("*/.nimbus-cp-*")...), " ") + strings.Join(w.glob("nodes/*/.nimbus-cp-*"), " "); left != "" {
		t.Errorf("left: %s", left)
	}
}

// Of a directory that is not called by its name it is what is in it, both ways.
func TestCopyWhatIsInADirectory(t *testing.T) {
	w := launched(t)
	dir := w.sample("data")
	want := tree(t, dir)
	for _, node := range []string{"back-0", "back-1"} {
		if err := os.Mkdir(w.homeOf(node)+"/srv", 0o700); err != nil {
			t.Fatal(err)
		}
	}
	w.expect(0, []string{"cp", dir + "/.", "worker:srv"})
	w.expect(0, []string{"cp", dir + "/./", "back-1:srv/"})    // over it
	w.expect(0, []string{"cp", dir + "/sub/..", "back-1:new"}) // a new name
	for _, place := range []string{"back-0/srv", "back-1/srv", "back-1/new"} {
		if got := tree(t, w.path("nodes/"+place)); got != want {
			t.Errorf("%s has\n%s\nwant\n%s", place, got, want)
		}
	}
	w.expect(0, []string{"cp", dir + "/sub/empty/.", "back-1:nothing"})
	w.expect(0, []string{"cp", dir + "/sub/.", w.path("hello.xml"), "front-0:"})
	if got := tree(t, w.homeOf("front-0")); !strings.Contains(got, "hello.xml 600 ") || !strings.Contains(got, "run 711 two\n") || strings.Contains(got, "sub") {
		t.Errorf("front-0 has\n%s", got)
	}
	w.expect(1, []string{"cp", dir + "/sub/.", dir + "/sub/run", "front-0:"}, `two of the files are called "run"`)
	w.expect(2, []string{"cp", dir + "/.", w.path("hello.xml"), "front-0:none"}, "none is no directory, for several files")

	for _, err := range []error{os.Mkdir(w.path("into"), 0o755), os.Mkdir(w.path("each"), 0o755)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	w.expect(0, []string{"cp", "back-1:srv/.", w.path("into")})
	w.expect(0, []string{"cp", "worker:srv/.", w.path("each")})
	for _, place := range []string{"into", "each/back-0", "each/back-1"} {
		if got := tree(t, w.path(place)); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", place, got, want)
		}
	}
}

// A file that does not say how much is in it is not taken for an empty one; one
// that is written to meanwhile is copied as it was.
func TestCopyOfWhatHasNoSize(t *testing.T) {
	if _, err := os.Stat("/proc/cpuinfo"); err != nil {
		t.Skip("there is no /proc")
	}
	w := launched(t)
	w.expect(2, []string{"cp", "/proc/cpuinfo", "front-0:x"}, "front-0: /proc/cpuinfo has more in it than its size says (0 bytes)")
	if got := tree(t, w.homeOf("front-0")); got != "" {
		t.Errorf("left:\n%s", got)
	}
	w.write("log", "one two")
	f, err := os.Open(w.path("log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Seek(3, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if err := checkEnd(f, 3); err != nil {
		t.Error(err)
	}
}

// What is there already keeps its permissions, a link what it leads to, and a
// program goes on while its file is replaced. What cannot be is found before
// anything is changed.
func TestCopyOverWhatIsThere(t *testing.T) {
	w := launched(t)
	for _, err := range []error{
		os.MkdirAll(w.path("d/dir/sub"), 0o755), os.WriteFile(w.path("d/dir/x"), []byte("new"), 0o644),
		os.WriteFile(w.path("d/dir/link"), []byte("new"), 0o600), os.WriteFile(w.path("d/dir/sub/.y"), []byte("new"), 0o640),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	there := w.homeOf("front-0")
	for _, err := range []error{
		os.MkdirAll(there+"/d/dir/sub", 0o755), os.Chmod(there+"/d", 0o711), os.Chmod(there+"/d/dir", 0o700), os.Chmod(there+"/d/dir/sub", os.ModeSticky|0o777),
		os.WriteFile(there+"/d/dir/kept", []byte("old"), 0o600), os.WriteFile(there+"/victim", []byte("old"), 0o600), os.Symlink("../../victim", there+"/d/dir/link"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", sleep, there+"/d/dir/x").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	program := exec.Command(there+"/d/dir/x", "1000")
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	defer program.Wait()
	defer program.Process.Kill()
	w.expect(0, []string{"cp", w.path("d"), "front-0:"})
	want := "d 711 \nd/dir 700 \nd/dir/kept 600 old\nd/dir/link 600 new\nd/dir/sub 777 \nd/dir/sub/.y 640 new\nd/dir/x 644 new\nvictim 600 old\n"
	if got := tree(t, there); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if fi, err := os.Stat(there + "/d/dir/sub"); err != nil || fi.Mode()&os.ModeSticky == 0 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}

	// Below comes what cannot be.
	w.write("d/dir/kept", "new")
	for _, c := range []struct {
		here, there func(path string) error
		want        string
	}{
		{aFile, aDir, "d/dir/z is a directory"},
		{aDir, aFile, "d/dir/z is no directory"},
		{aDir, aLink, "d/dir/z is a link, no directory"},
	} {
		here, there := w.path("d/dir/z"), there+"/d/dir/z"
		for _, err := range []error{os.RemoveAll(here), os.RemoveAll(there), c.here(here), c.there(there)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		w.expect(2, []string{"cp", w.path("d"), "front-0:"}, "front-0: ./"+c.want)
	}
	if got, want := w.read("nodes/front-0/d/dir/kept"), "old"; got != want {
		t.Errorf("something was changed: %s", got)
	}
}

func aFile(path string) error { return os.WriteFile(path, []byte("z"), 0o600) }
func aDir(path string) error  { return os.Mkdir(path, 0o755) }
func aLink(path string) error { return os.Symlink("sub", path) }

func (w *world) glob(pattern string) []string {
	found, err := filepath.Glob(w.path(pattern))
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

// A file that cannot be read, or a machine that vanishes, leaves nothing.
func TestCopyBreaksOff(t *testing.T) {
	w := launched(t)
	dir := w.sample("data")
	// Right behind a link: what is there of the stream looks complete.
	if err := exec.Command("mkfifo", dir+"/e").Run(); err != nil {
		t.Fatal(err)
	}
	w.expect(2, []string{"cp", dir, "front-0:"}, "e is neither file, directory nor link")
	if got := tree(t, w.homeOf("front-0")); got != "" {
		t.Errorf("left:\n%s", got)
	}
	run := w.cloud.OnEnter
	w.cloud.OnEnter = func(ctx context.Context, i cloud.Instance, p cloud.Program) (int, error) {
		if p.Stdout != nil {
			run(ctx, i, cloud.Program{Command: []string{"tar", "-cf", "-", "-C", w.home, "hello.xml"}, Stdout: p.Stdout})
		}
		return 0, errors.New("it ended while the program ran")
	}
	w.expect(2, []string{"cp", "front-0:hello.xml", w.path("copy")}, "it ended while the program ran")
	if _, err := os.Stat(w.path("copy")); err == nil {
		t.Error("what did not arrive as a whole has its name")
	}
	if left := w.glob(".nimbus-cp-*"); len(left) > 0 {
		t.Errorf("left: %s", left)
	}
}

// Who is told to end while something arrives leaves nothing of it.
func TestCopyIsToldToEnd(t *testing.T) {
	w := launched(t)
	signals := make(chan os.Signal, 1)
	w.change = func(e *Env) { e.Leave = func() (<-chan os.Signal, func()) { return signals, func() {} } }
	w.cloud.OnEnter = func(ctx context.Context, _ cloud.Instance, p cloud.Program) (int, error) {
		// The directory that it gets into is there when this has been read.
		if _, err := p.Stdout.Write(stream(t, entry(tar.TypeDir, "./", ""), entry(tar.TypeReg, "a", ""))); err != nil {
			t.Error(err)
		}
		if len(w.glob(".nimbus-cp-*")) != 1 {
			t.Error("nothing arrives")
		}
		signals <- syscall.SIGTERM
		<-ctx.Done()
		return 0, ctx.Err()
	}
	w.expect(143, []string{"cp", "--json", "front-0:", w.path("copy")}, "told to end (terminated): what was not complete was not kept", `"error": "told to end`)
	if left := append(w.glob(".nimbus-cp-*"), w.glob("copy")...); len(left) > 0 {
		t.Errorf("left: %s", left)
	}
}

// The other side tidies up though nobody is there to hear what it says.
func TestCopyWhoseClientIsGone(t *testing.T) {
	home := t.TempDir()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", receiveScript, "nimbus-cp", "", "1")
	cmd.Env = append(os.Environ(), "HOME="+home)
	cmd.Stdin = bytes.NewReader(stream(t, entry(tar.TypeDir, "data/", ""), entry(tar.TypeReg, "data/a", "")))
	cmd.Stderr = writer
	err = cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); !ended {
		t.Errorf("%v", err)
	}
	if got := tree(t, home); got != "" {
		t.Errorf("left:\n%s", got)
	}
}
