package history

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"nimbus/broker/cluster"
	"nimbus/cloud"
)

const hostKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGa9Q3dC0c0wqN3T6F5y5K5v3J1h7n1mKZkq3y5Vq0fT head"

func definition(t testing.TB) *cluster.Definition {
	t.Helper()
	d, problems := cluster.Read("hello.xml", strings.NewReader(`<cluster><workspace><name>head</name>
		<image>demo</image><quantity>2</quantity><nic wantlogin="true">public</nic>
		<ctx><provides><identity/><role>web</role></provides><requires><role name="web"/><data name="motd"><![CDATA[a < b]]></data></requires></ctx>
		</workspace></cluster>`))
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	return d
}

func someInstance(index int) Instance {
	place := cluster.Place{Workspace: "head", Index: index}
	return Instance{Node: place.String(), Workspace: "head", Index: index, Instance: cloud.Instance{
		ID: fmt.Sprintf("i-%d", index), Launch: "l4f2", Token: "t" + place.String(), Name: place.String() + ".cluster-001",
		Image: "demo", State: cloud.Running, Login: "root", HostKey: hostKey,
		Addresses: []cloud.Address{{Network: "public", IP: netip.AddrFrom4([4]byte{10, 78, 0, byte(index + 2)})}},
		Created:   time.Date(2026, 3, 1, 12, 0, 1, 0, time.UTC), Expires: time.Date(2026, 3, 1, 13, 0, 0, 0, time.UTC),
	}}
}

func someRecord(t testing.TB) Record {
	return Record{
		Handle: "cluster-001", Launch: "l4f2", Cloud: "local", Source: "/home/u/hello.xml", State: Waiting,
		Created: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Expires: time.Date(2026, 3, 1, 13, 0, 0, 0, time.UTC),
		Definition: definition(t),
		Context:    &Context{ID: "c0ffee", BrokerID: "broker-1"},
		Instances:  []Instance{someInstance(0), someInstance(1)},
		KnownHosts: &KnownHosts{File: "/home/u/.ssh/known_hosts", Lines: []string{"head-0.cluster-001,10.78.0.2 " + hostKey}},
		Run:        &Run{Timeout: Span(20 * time.Minute), Keep: true, KnownHosts: "/home/u/.ssh/known_hosts", SSHKey: "/home/u/.ssh/work"},
	}
}

// withoutLines makes a definition as one that never saw a file.
func withoutLines(r Record) Record {
	d := *r.Definition
	d.Workspaces = append([]cluster.Workspace(nil), d.Workspaces...)
	for i := range d.Workspaces {
		w := &d.Workspaces[i]
		w.Line = 0
		for j := range w.NICs {
			w.NICs[j].Line = 0
		}
		for j := range w.Ctx.Provides {
			w.Ctx.Provides[j].Line = 0
		}
		for j := range w.Ctx.Requires.Roles {
			w.Ctx.Requires.Roles[j].Line = 0
		}
		for j := range w.Ctx.Requires.Data {
			w.Ctx.Requires.Data[j].Line = 0
		}
	}
	r.Definition = &d
	return r
}

func TestARecordComesBackAsItWas(t *testing.T) {
	l := launch(t, open(t), "cluster")
	if _, err := l.Record(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), l.Dir) {
		t.Errorf("before the first save: %v", err)
	}
	want := someRecord(t)
	for _, state := range []string{Launching, Waiting, OK, Failed, Terminated, Kept} {
		want.State = state
		if err := l.Save(want); err != nil {
			t.Fatal(err)
		}
		got, err := l.Record()
		if err != nil {
			t.Fatal(err)
		}
		if want := withoutLines(want); !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
	if m := mode(t, filepath.Join(l.Dir, "launch.json")); m != 0o600 {
		t.Errorf("launch.json has mode %o", m)
	}
	files, err := os.ReadDir(l.Dir)
	if err != nil || len(files) != 1 {
		t.Errorf("saving left files behind: %v, %v", files, err)
	}
}

func TestALaunchOfOneMachineNeedsLittle(t *testing.T) {
	l := launch(t, open(t), "vm")
	if err := l.Save(Record{Launch: "l1", State: Launching}); err != nil {
		t.Fatal(err)
	}
	if r, err := l.Record(); err != nil || r.Handle != "vm-001" {
		t.Errorf("%+v, %v", r, err)
	}
}

// Whatever is in launch.json, the error names the file and what to do.
func TestABrokenRecordIsAnErrorThatHelps(t *testing.T) {
	l := launch(t, open(t), "cluster")
	if err := l.Save(someRecord(t)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(l.Dir, "launch.json")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, old, new, want string }{
		{"cut off", string(good[len(good)/2:]), "", "no record of a launch"},
		{"empty", string(good), "", "no record of a launch"},
		{"two records", string(good), string(good) + string(good), "something follows"},
		{"another launch's", `"handle": "cluster-001"`, `"handle": "cluster-002"`, `the record of "cluster-002"`},
		{"path as handle", `"handle": "cluster-001"`, `"handle": "../../etc"`, "handle:"},
		{"no launch id", `"launch": "l4f2",`, ``, "launch: the name is empty"},
		{"state", `"state": "waiting"`, `"state": "happy"`, `state: "happy" is none of launching, waiting`},
		{"context id", `"id": "c0ffee"`, `"id": "../x"`, "context: id:"},
		{"broker", `"broker_id": "broker-1"`, `"broker_id": "b", "broker": "http://x"`, "context: broker URL"},
		{"place", `"index": 1`, `"index": -1`, `instances[1]: node: "head-1" is not place "head--1"`},
		{"huge index", `"index": 1`, `"index": 99999999999999999999`, "no record of a launch"},
		{"node", `"node": "head-1"`, `"node": "head-7"`, "instances[1]: node"},
		{"workspace", `"workspace": "head"`, `"workspace": "../head"`, "instances[0]: workspace"},
		{"no id", `"id": "i-1"`, `"id": ""`, "instances[1]: id"},
		{"escape codes", `"id": "i-1"`, `"id": "i\u001b[2J"`, "instances[1]: id"},
		{"option as login", `"login": "root"`, `"login": "-oProxyCommand=x"`, "login"},
		{"address", `"ip": "10.78.0.3"`, `"ip": "10.78.0"`, "no record of a launch"},
		{"zone", `"ip": "10.78.0.3"`, `"ip": "fe80::1%eth0"`, "one machine only"},
		{"foreign instance", `"launch": "l4f2",` + "\n      \"token\": \"thead-1\"", `"launch": "other", "token": "x"`, "instances[1]: launch"},
		{"instance state", `"state": "running"`, `"state": "dancing"`, "instances[0]: state"},
		{"definition", `"quantity": 2`, `"quantity": -2`, "definition:"},
		{"known_hosts file", `"file": "/home`, `"file": "home`, "absolute"},
		{"known_hosts line", `10.78.0.2 ssh`, `10.78.0.2\nevil ssh`, "known_hosts: lines[0]"},
		{"outcome", `"state": "waiting"`, `"state": "terminated", "outcome": "happy"`, `outcome: "happy" is none of`},
		{"no timeout", `"timeout": "20m0s"`, `"timeout": "-1s"`, "run: timeout: -1s is no time to wait"},
		{"odd timeout", `"timeout": "20m0s"`, `"timeout": "soon"`, "no record of a launch"},
		{"key as option", `"ssh_key": "/home`, `"ssh_key": "-oProxyCommand=x /home`, "run: ssh_key"},
		{"type", `"instances": [`, `"instances": "none", "x": [`, "no record of a launch"},
		{"depth", string(good), strings.Repeat(`{"definition":`, 20_000), "no record of a launch"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad := strings.Replace(string(good), c.old, c.new, 1)
			if bad == string(good) {
				t.Fatalf("the case changes nothing in\n%s", good)
			}
			if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := l.Record()
			if err == nil {
				t.Fatal("it was accepted")
			}
			for _, want := range []string{path, c.want, "correct the file, or remove " + l.Dir} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

func TestAnEndlessRecordIsNotRead(t *testing.T) {
	l := launch(t, open(t), "cluster")
	path := filepath.Join(l.Dir, "launch.json")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Record(); err == nil || !strings.Contains(err.Error(), "is not a file") {
		t.Errorf("a pipe: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readBounded(path, 1); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("a file over the limit: %v", err)
	}
}

func TestSaveRefusesWhatCouldNotBeReadBack(t *testing.T) {
	l := launch(t, open(t), "cluster")
	good := someRecord(t)
	if err := l.Save(good); err != nil {
		t.Fatal(err)
	}
	for _, spoil := range []func(*Record){
		func(r *Record) { r.Handle = "cluster-002" },
		func(r *Record) { r.Launch = "" },
		func(r *Record) { r.State = "" },
		func(r *Record) { r.KnownHosts = &KnownHosts{File: "known_hosts"} },
		func(r *Record) { r.Source = strings.Repeat("x", 5000) },
		func(r *Record) { r.Cloud = "a\nb" },
	} {
		bad := good
		spoil(&bad)
		if err := l.Save(bad); err == nil {
			t.Errorf("saved: %+v", bad)
		}
	}
	if got, err := l.Record(); err != nil || !reflect.DeepEqual(got, withoutLines(good)) {
		t.Errorf("a refused record harmed the old one: %+v, %v", got, err)
	}
}

func TestOneCommandAtATime(t *testing.T) {
	l := launch(t, open(t), "cluster")
	unlock, err := l.Lock()
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.Lock()
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("cluster-001 is in use by process %d", os.Getpid())) {
		t.Errorf("second lock: %v", err)
	}
	unlock()
	unlock() // once is enough, twice does no harm
	again, err := l.Lock()
	if err != nil {
		t.Fatal(err)
	}
	again()
}

// A lock holds against other processes, and ends with a killed one.
func TestALockEndsWithItsProcess(t *testing.T) {
	l := launch(t, open(t), "cluster")
	other := exec.Command(os.Args[0], "-test.run=^TestHoldLock$")
	other.Env = append(os.Environ(), "HISTORY_TEST_LOCK="+l.Dir)
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
		t.Fatalf("the other process said %q, %v", line, err)
	}
	_, err = l.Lock()
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d", other.Process.Pid)) {
		t.Errorf("while process %d holds it: %v", other.Process.Pid, err)
	}
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait() // says that it was killed
	unlock, err := l.Lock()
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

// TestHoldLock is the other process of the test above; on its own it has
// nothing to do.
func TestHoldLock(t *testing.T) {
	dir := os.Getenv("HISTORY_TEST_LOCK")
	if dir == "" {
		return
	}
	unlock, err := (&Launch{Handle: filepath.Base(dir), Dir: dir}).Lock()
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	fmt.Println("locked")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // until killed
}

// FuzzRecord: no file makes the reader panic, and what it accepts it can write
// and read back as the same.
func FuzzRecord(f *testing.F) {
	good, err := encode(someRecord(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"handle":"vm-001","launch":"l","state":"ok","instances":[{"node":"a-0","workspace":"a","index":0,"id":"x","addresses":null}]}`))
	f.Add([]byte(`{"handle":"vm-001","launch":"l","state":"kept","created":"2026-03-01T12:00:00.5+23:59","definition":{"workspaces":[{}]}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		record, err := decode(data)
		if err != nil {
			return
		}
		once, err := encode(record)
		if err != nil {
			t.Fatalf("accepted, but cannot be written: %v", err)
		}
		record, err = decode(once)
		if err != nil {
			t.Fatalf("written, but cannot be read: %v\n%s", err, once)
		}
		if twice, err := encode(record); err != nil || string(twice) != string(once) {
			t.Fatalf("changed on the way (%v):\n%s\n%s", err, once, twice)
		}
	})
}

// Extend moves the end of a launch that somebody else is at work on, and what
// that one saves does not take it back.
func TestExtendIsKept(t *testing.T) {
	h, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l, err := h.New("cluster")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Extend(time.Now()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a launch without a record was extended: %v", err)
	}
	record := someRecord(t)
	if err := l.Save(record); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	end := record.Expires
	all.Go(func() {
		for range 20 {
			record.State = OK
			if err := l.Save(record); err != nil {
				t.Error(err)
			}
		}
	})
	all.Go(func() {
		for range 20 {
			end = end.Add(time.Hour)
			if err := l.Extend(end); err != nil {
				t.Error(err)
			}
		}
	})
	all.Wait()
	if got, err := l.Record(); err != nil || !got.Expires.Equal(end) || got.State != OK {
		t.Errorf("%v: %s, ends at %v, want %v", err, got.State, got.Expires, end)
	}
}
