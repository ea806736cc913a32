package command

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"nimbus/cloud"
	"nimbus/cloud/cloudtest"
)

func TestConformance(t *testing.T) {
	cloudtest.Run(t, func(t *testing.T) cloud.Driver { return open(t, "") })
}

// open makes a driver of the cloud of files, with a fault.
func open(t *testing.T, fault string) *Driver {
	t.Helper()
	dir := t.TempDir()
	d, err := New(Options{Program: "testdata/cloud.sh", Dir: filepath.Join(dir, "vms")})
	if err != nil {
		t.Fatal(err)
	}
	d.setFault(t, fault)
	return d
}

func (d *Driver) setFault(t *testing.T, fault string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(d.o.home(), "fault"), []byte(fault), 0o600); err != nil {
		t.Fatal(err)
	}
}

func request(token string) cloud.Request {
	return cloud.Request{
		Launch: "l1", Token: token, Name: token + ".cluster-001", Group: "head", Index: 7, Image: "debian 12", Networks: []string{"public", "private"},
		UserData: []byte("a secret\n"), PublicKeys: []string{`ssh-ed25519 AAAA me@"home"`, "ssh-rsa BBBB"}, Expires: time.Now().Add(time.Hour),
	}
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What the program gets, and who else can read it.
func TestRequestArrives(t *testing.T) {
	d := open(t, "")
	instances, err := d.Launch(t.Context(), []cloud.Request{request("head-7")})
	if err != nil {
		t.Fatal(err)
	}
	seen := filepath.Join(d.o.home(), "seen-head-7")
	for file, want := range map[string]string{
		"user-data":       "a secret\n",
		"name":            "head-7.cluster-001\n",
		"group":           "head\n",
		"index":           "7\n",
		"image":           "debian 12\n",
		"networks":        "public\nprivate\n",
		"authorized-keys": "ssh-ed25519 AAAA me@\"home\"\nssh-rsa BBBB\n",
		"meta-data": `instance-id: l1-head-7
local-hostname: head-7.cluster-001
public-keys:
  - "ssh-ed25519 AAAA me@\"home\""
  - "ssh-rsa BBBB"
`,
	} {
		if got := read(t, seen, file); got != want {
			t.Errorf("%s is %q, want %q", file, got, want)
		}
		if info, err := os.Stat(filepath.Join(seen, file)); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", file, info.Mode(), err)
		}
	}
	if info, err := os.Stat(d.o.requests()); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("requests: %v, %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(d.o.requests()); err != nil || len(left) > 0 {
		t.Errorf("secrets are left: %v, %v", left, err)
	}
	i := instances[0]
	if i.ID != "vm-l1-head-7" || i.Name != "head-7.cluster-001" || i.Login != "root" || len(i.Addresses) != 2 || i.Addresses[1].Network != "private" || i.Addresses[1].IP.String() != "192.0.2.21" {
		t.Errorf("%+v", i)
	}
	if text, err := d.Console(t.Context(), i); err != nil || string(text) != "hello from vm-l1-head-7\n" {
		t.Errorf("console: %q, %v", text, err)
	}
}

// Whatever goes wrong, what did start is returned, and the error has the
// program's own words.
func TestWhatStartedComesBack(t *testing.T) {
	for _, c := range []struct {
		fault   string
		started string
		says    string
	}{
		{"second", "head-0", "cloud.sh launch: exit code 1: cloud.sh: launch l1"},
		{"second", "head-0", "no more machines today"},
		{"full", "", "no capacity"},
		{"forgets", "", "its list lacks head-0, head-1"},
		{"foreign", "", `line 1: launch "other" was not asked for`},
	} {
		d := open(t, c.fault)
		instances, err := d.Launch(t.Context(), []cloud.Request{request("head-0"), request("head-1")})
		var started []string
		for _, i := range instances {
			started = append(started, i.Token)
		}
		if strings.Join(started, " ") != c.started || err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, %v", c.fault, started, err)
		}
		if _, err := os.Stat(d.notesFile("l1")); (err == nil) != (c.started != "") {
			t.Errorf("%s: notes: %v", c.fault, err)
		}
		if full := errors.Is(err, cloud.ErrNoCapacity); full != (c.fault == "full") {
			t.Errorf("%s: no capacity: %v", c.fault, full)
		}
	}
}

// A launch that is given up ends all processes of the program, those that do
// not heed too, and returns what there is.
func TestGivenUp(t *testing.T) {
	for _, limit := range []bool{false, true} {
		d := open(t, "hangs")
		d.limits.grace = 50 * time.Millisecond
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		want := "context canceled"
		if limit {
			d.limits.launch, want = 500*time.Millisecond, "it was ended after 500ms: cloud.sh: launch l1"
		} else {
			d.o.Log = func(line string) {
				if line == "now it hangs" {
					cancel()
				}
			}
		}
		instances, err := d.Launch(ctx, []cloud.Request{request("head-0"), request("head-1")})
		if err == nil || !strings.Contains(err.Error(), want) || len(instances) != 1 {
			t.Errorf("%v, %v", instances, err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(read(t, d.o.home(), "stubborn")))
		if err != nil {
			t.Fatal(err)
		}
		ended(t, pid)
		if left, err := os.ReadDir(d.o.requests()); err != nil || len(left) > 0 {
			t.Errorf("secrets are left: %v, %v", left, err)
		}
	}
}

// ended waits until a process is gone: it was sent its signal already.
func ended(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); syscall.Kill(pid, 0) == nil; time.Sleep(5 * time.Millisecond) {
		// Nobody may be there to reap it.
		if stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil && strings.Contains(string(stat), ") Z ") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("process %d is still there", pid)
		}
	}
}

// A machine that runs in the background and holds the output keeps nobody
// waiting for ever, and is left alone.
func TestBackground(t *testing.T) {
	d := open(t, "background")
	d.limits.grace = 50 * time.Millisecond
	instances, err := d.Launch(t.Context(), []cloud.Request{request("head-0")})
	if err != nil || len(instances) != 1 {
		t.Errorf("%v, %v", instances, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(read(t, d.o.home(), "background")))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("it was ended: %v", err)
	}
}

func TestTerminateAsksWhetherTheyAreGone(t *testing.T) {
	d := open(t, "")
	instances, err := d.Launch(t.Context(), []cloud.Request{request("head-0"), request("head-1")})
	if err != nil {
		t.Fatal(err)
	}
	d.setFault(t, "stays")
	if err := d.Terminate(t.Context(), instances[:1]); err == nil || !strings.Contains(err.Error(), "instance vm-l1-head-0 (head-0) is still there, running") {
		t.Errorf("%v", err)
	}
	d.setFault(t, "")
	if err := d.Terminate(t.Context(), instances); err != nil {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(d.notesFile("l1")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the notes are left: %v", err)
	}
}

// Without its notes a driver still knows what there is, and can end it.
func TestNotesAreLost(t *testing.T) {
	d := open(t, "")
	if _, err := d.Launch(t.Context(), []cloud.Request{request("head-0")}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.notesFile("l1"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := d.List(t.Context(), "")
	if err != nil || len(all) != 1 || all[0].Token != "head-0" || len(all[0].Addresses) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	if err := d.Terminate(t.Context(), all); err != nil {
		t.Error(err)
	}
}

func TestEndlessOutput(t *testing.T) {
	d := open(t, "endless")
	d.limits.list, d.limits.grace = 2*time.Second, time.Second
	if _, err := d.List(t.Context(), ""); err == nil {
		t.Error("a list without an end was taken")
	}
}

func TestConsoleIsOptional(t *testing.T) {
	d := open(t, "")
	if _, err := d.Console(t.Context(), cloud.Instance{ID: "vm-2"}); !errors.Is(err, errCannot) {
		t.Error(err)
	}
}

// Nothing that is no name gets to the program, as a file or as an argument.
func TestNames(t *testing.T) {
	d := open(t, "")
	for _, change := range []func(*cloud.Request){
		func(r *cloud.Request) { r.Launch = "../l1" },
		func(r *cloud.Request) { r.Launch = "" },
		func(r *cloud.Request) { r.Token = ".." },
		func(r *cloud.Request) { r.Token = "a/b" },
		func(r *cloud.Request) { r.Name = "-rf" },
		func(r *cloud.Request) { r.Image = "a\nb" },
		func(r *cloud.Request) { r.Networks = []string{"a\nb"} },
		func(r *cloud.Request) { r.PublicKeys = []string{"ssh-rsa A\nssh-rsa B"} },
	} {
		r := request("head-0")
		change(&r)
		if i, err := d.Launch(t.Context(), []cloud.Request{r}); err == nil || len(i) > 0 {
			t.Errorf("%+v was launched", r)
		}
	}
	for _, id := range []string{"", "-f", "a b", "../x", "a\x00"} {
		if err := d.Terminate(t.Context(), []cloud.Instance{{ID: id, Launch: "l1"}}); err == nil {
			t.Errorf("terminate %q was passed on", id)
		}
	}
	if _, err := d.List(t.Context(), "--help"); err == nil {
		t.Error("list --help was passed on")
	}
}

func TestOptions(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		o    Options
		says string
	}{
		{Options{Dir: dir}, "no program is given"},
		{Options{Program: "no-such-program-here", Dir: dir}, "there is no program"},
		{Options{Program: "command_test.go", Dir: dir}, "command_test.go"},
		{Options{Program: "sh", Dir: "here"}, `directory "here": want an absolute path`},
	} {
		if _, err := New(c.o); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v", c.o, err)
		}
	}
}

func TestCheck(t *testing.T) {
	if f := open(t, "").Check(t.Context()); len(f) != 1 || f[0].Level != cloud.Fine {
		t.Errorf("%+v", f)
	}
	if f := open(t, "foreign").Check(t.Context()); len(f) != 1 || f[0].Level != cloud.Fine {
		t.Errorf("%+v", f)
	}
	d := open(t, "")
	d.o.Program = "/bin/false"
	if f := d.Check(t.Context()); len(f) != 1 || f[0].Level != cloud.Fail || f[0].Advice == "" {
		t.Errorf("%+v", f)
	}
}

func TestLog(t *testing.T) {
	var mu sync.Mutex
	var logged []string
	said := &lines{log: func(line string) {
		mu.Lock()
		defer mu.Unlock()
		logged = append(logged, line)
	}}
	for _, part := range []string{"one\ntw", "o\r\n\n", "\x1b[31mred\n", strings.Repeat("x", 5000), "\nlast"} {
		if n, err := said.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	said.end()
	want := []string{"one", "two", "\uFFFD[31mred", strings.Repeat("x", longest), "last"}
	if !slices.Equal(logged, want) {
		t.Errorf("%q", logged)
	}
	if !strings.HasSuffix(said.last(), "; last") {
		t.Errorf("%q", said.last())
	}
}

// A program that cannot begin is found before anything is asked of it, and said
// with what to do.
func TestProgramsThatCannotBegin(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string, mode os.FileMode) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return file
	}
	good := put("good.sh", "#!/bin/sh\n", 0o755)
	for program, says := range map[string]string{
		put("plain.sh", "#!/bin/sh\n", 0o644):             "plain.sh is not executable; run: chmod +x " + dir + "/plain.sh",
		put("bare.sh", "echo a\n", 0o755):                 "bare.sh has no #! line; let it begin with #!/bin/sh",
		put("windows.sh", "#!/bin/sh\r\nexit\r\n", 0o755): "end as on Windows; run: sed -i 's/\\r$//' " + dir + "/windows.sh",
		put("empty", "", 0o755):                           "is empty",
		good + " --foo":                                   "called without arguments of yours: write a script that calls " + good + " with them",
		dir + "/none":                                     "there is no program \"" + dir + "/none\"",
		"no-such-cloud":                                   "there is no program \"no-such-cloud\" in PATH",
		dir:                                               "is a directory",
	} {
		if _, err := New(Options{Program: program, Dir: filepath.Join(dir, "vms")}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", program, err)
		}
	}
	// What only the kernel finds.
	for text, says := range map[string]string{
		"#!/no/such/shell\n":       "the program that its #! line names is not",
		"\x00\x00 is no program\n": "it is no program for this machine",
	} {
		d, err := New(Options{Program: put("odd", text, 0o755), Dir: filepath.Join(dir, "vms")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.List(t.Context(), ""); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestCheckCountsAndCompares(t *testing.T) {
	d := open(t, "")
	for _, c := range []struct{ machines, says, warns string }{
		{"l1 a vm1 running 192.0.2.1 10.0.2.15\n", "lists 1 instance", ""},
		{"l1 a vm1 running 192.0.2.1 10.0.2.15\nl1 b vm2 running 192.0.2.2 10.0.2.15\nl1 c vm3 ended 192.0.2.1\n", "lists 3 instances", ""},
		{"l1 a vm1 running 192.0.2.1\nl1 b vm2 starting 192.0.2.1\n", "lists 2 instances", "192.0.2.1 is the first address of vm1 and of vm2"},
	} {
		machines := filepath.Join(d.o.home(), "machines")
		if err := os.MkdirAll(machines, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(machines, "all"), []byte(c.machines), 0o600); err != nil {
			t.Fatal(err)
		}
		f := d.Check(t.Context())
		if !strings.HasSuffix(f[0].Text, c.says) || (len(f) > 1) != (c.warns != "") || len(f) > 1 && (f[1].Level != cloud.Warn || !strings.HasSuffix(f[1].Text, c.warns)) {
			t.Errorf("%q: %+v", c.machines, f)
		}
	}
}
