//go:build linux

package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"nimbus/cloud"
	"nimbus/cloud/cloudtest"
)

func TestLeavesNothing(t *testing.T) {
	before := mounts(t)
	d := open(t, Options{Dir: filepath.Join(t.TempDir(), "state")})
	id := cloudtest.Token()
	all := started(t, d, wanted(id, "a", "x", "y"), wanted(id, "b", "x"))
	ns := namespaces(t, d, all)
	if n := len(inside(t, ns)); n < 2 {
		t.Fatalf("%d processes are in the sandboxes, want two at least", n)
	}
	if got := mounts(t); got != before {
		t.Errorf("mounts of the host changed:\n%s", got)
	}
	keepers := keepersOf(t, id)
	if len(keepers) != 1 {
		t.Fatalf("keepers: %v", keepers)
	}
	other := open(t, Options{Dir: d.o.Dir}) // as another process would
	if listed, err := other.List(t.Context(), ""); err != nil || len(listed) != 2 {
		t.Fatalf("list: %v, %v", listed, err)
	}
	if err := other.Terminate(t.Context(), []cloud.Instance{{ID: all[0].ID}, {ID: all[1].ID}}); err != nil {
		t.Fatal(err)
	}
	// All of it is gone when Terminate returns; processes are then zombies at
	// most, until this one, which started the keeper, has waited for it.
	if p := inside(t, ns); len(p) > 0 {
		t.Errorf("processes left in the sandboxes: %v", p)
	}
	if l := linksOf(t, id); len(l) > 0 {
		t.Errorf("links left: %v", l)
	}
	if entries, _ := os.ReadDir(d.o.Dir); len(entries) > 0 {
		t.Errorf("files left: %v", entries)
	}
	if got := mounts(t); got != before {
		t.Errorf("mounts of the host changed:\n%s", got)
	}
	eventually(t, "the keeper is waited for", func() bool { return len(keepersOf(t, id)) == 0 })
}

func TestKilledKeeper(t *testing.T) {
	d := open(t, Options{})
	id := cloudtest.Token()
	all := started(t, d, wanted(id, "a", "x"), wanted(id, "b", "x"))
	ns := namespaces(t, d, all)
	kill(t, keepersOf(t, id)[0])
	eventually(t, "sandboxes end with their keeper", func() bool { return len(inside(t, ns)) == 0 })
	// The last of its threads may still be on the way out, with the lock.
	eventually(t, "the rest is swept", func() bool {
		listed, err := d.List(t.Context(), id)
		entries, _ := os.ReadDir(d.o.Dir)
		return err == nil && len(listed) == 0 && len(entries) == 0 && len(linksOf(t, id)) == 0
	})
	if err := d.Terminate(t.Context(), all); err != nil {
		t.Errorf("terminate: %v", err)
	}
	// The launch can go on.
	started(t, d, wanted(id, "a", "x"))
}

// A keeper that was killed and whose directory is gone as well.
func TestOrphanedBridge(t *testing.T) {
	ofTheMachine(t)
	d := open(t, Options{SSHD: "none"})
	id := cloudtest.Token()
	started(t, d, wanted(id, "a", "x"))
	kill(t, keepersOf(t, id)[0])
	eventually(t, "the lock is free", func() bool {
		lock, err := lockDir(filepath.Join(d.o.Dir, id))
		if err == nil {
			lock.Close()
		}
		return err == nil
	})
	os.RemoveAll(filepath.Join(d.o.Dir, id))
	other := open(t, Options{})
	eventually(t, "the bridge is swept", func() bool {
		other.List(t.Context(), "")
		return len(linksOf(t, id)) == 0
	})
}

func TestDeadline(t *testing.T) {
	d := open(t, Options{SSHD: "none"})
	id := cloudtest.Token()
	if _, err := d.Prepare(t.Context(), cloud.Preparation{
		Launch: id, Networks: map[string]int{"x": 2}, Expires: time.Now().Add(4 * time.Second), // on a busy machine it takes some to begin
	}); err != nil {
		t.Fatal(err)
	}
	ns := namespaces(t, d, started(t, d, wanted(id, "a", "x"), wanted(id, "b", "x")))
	eventually(t, "the launch ends by itself", func() bool { return len(keepersOf(t, id)) == 0 })
	if p := inside(t, ns); len(p) > 0 {
		t.Errorf("processes left in the sandboxes: %v", p)
	}
	if l := linksOf(t, id); len(l) > 0 {
		t.Errorf("links left: %v", l)
	}
	if entries, _ := os.ReadDir(d.o.Dir); len(entries) > 0 {
		t.Errorf("files left: %v", entries)
	}
	if _, err := d.Prepare(t.Context(), cloud.Preparation{Launch: id, Expires: time.Now()}); err == nil {
		t.Errorf("a launch that is over was prepared")
	}
}

// One instance's time ends before the others'.
func TestInstanceDeadline(t *testing.T) {
	d := open(t, Options{SSHD: "none"})
	id := cloudtest.Token()
	rs := []cloud.Request{wanted(id, "a", "x"), wanted(id, "b", "x")}
	rs[0].Expires = time.Now().Add(500 * time.Millisecond)
	all := started(t, d, rs...)
	eventually(t, "the first instance ends", func() bool {
		left, err := d.List(t.Context(), id)
		return err == nil && len(left) == 1 && left[0].ID == all[1].ID
	})
}

// Another end, earlier or later, is the end of everything of the launch.
func TestExtend(t *testing.T) {
	d := open(t, Options{SSHD: "none"})
	id := cloudtest.Token()
	soon := time.Now().Add(2 * time.Second)
	if _, err := d.Prepare(t.Context(), cloud.Preparation{Launch: id, Networks: map[string]int{"x": 2}, Expires: soon}); err != nil {
		t.Fatal(err)
	}
	r := wanted(id, "a", "x")
	r.Expires = soon
	started(t, d, r)
	if err := d.Extend(t.Context(), id, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the old end passes", func() bool { return time.Now().After(soon.Add(100 * time.Millisecond)) })
	if all, err := d.List(t.Context(), id); err != nil || len(all) != 1 || !all[0].Expires.After(soon) {
		t.Fatalf("after its old end: %+v, %v", all, err)
	}
	if err := d.Extend(t.Context(), id, time.Now().Add(200*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the launch ends by itself", func() bool { return len(keepersOf(t, id)) == 0 })
	if err := d.Extend(t.Context(), id, time.Now().Add(time.Hour)); !errors.Is(err, errNoKeeper) {
		t.Errorf("extend what has ended: %v", err)
	}
}

func TestDeadInstance(t *testing.T) {
	d := open(t, Options{SSHD: "none"})
	id := cloudtest.Token()
	all := started(t, d, wanted(id, "a", "x"), wanted(id, "b", "x"))
	for n, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		pid, err := d.Pid(t.Context(), all[n])
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, signal); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "both are seen to have ended", func() bool {
		now, err := d.List(t.Context(), id)
		return err == nil && len(now) == 2 &&
			now[0].State == cloud.Failed && strings.Contains(now[0].Reason, "killed") &&
			now[1].State == cloud.Ended
	})
	if err := d.Release(t.Context(), id); err != nil {
		t.Errorf("release: %v", err)
	}
}

// A keeper that hangs is named, with what to do about it; the others go on.
func TestHangingKeeper(t *testing.T) {
	d := open(t, Options{SSHD: "none"})
	id := cloudtest.Token()
	started(t, d, wanted(id, "a", "x"))
	pid := keepersOf(t, id)[0]
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(pid, syscall.SIGCONT)
	eventually(t, "all threads of the keeper have stopped", func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		for _, thread := range threads {
			if stat, err := os.ReadFile(thread); err != nil || !strings.Contains(string(stat), ") T ") {
				return false
			}
		}
		return err == nil && len(threads) > 0
	})
	impatient := *d
	impatient.quick = 200 * time.Millisecond
	_, err := impatient.List(t.Context(), id)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d, does not answer: \"kill -KILL %d\" ends it", pid, pid)) {
		t.Errorf("list: %v", err)
	}
	// The launch of another keeper.
	started(t, d, wanted(cloudtest.Token(), "b", "x"))

	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil { // as advised
		t.Fatal(err)
	}
	eventually(t, "what it had is swept", func() bool {
		left, err := d.List(t.Context(), id)
		return err == nil && len(left) == 0 && len(linksOf(t, id)) == 0
	})
}

// Several launches at once, each from several callers.
func TestAtOnce(t *testing.T) {
	d := open(t, Options{SSHD: "none"})
	var wait sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]string{} // address → instance
	for range 3 {
		id := cloudtest.Token()
		r := wanted(id, "same", "x")
		for n := range 2 {
			wait.Go(func() {
				if _, err := d.Prepare(t.Context(), cloud.Preparation{Launch: id, Networks: map[string]int{"x": 3, "y": 2}}); err != nil {
					t.Errorf("prepare: %v", err)
				}
				got, err := d.Launch(t.Context(), []cloud.Request{r, wanted(id, fmt.Sprint("own-", n), "x", "y")})
				if err != nil {
					t.Errorf("launch: %v", err)
				}
				mu.Lock()
				defer mu.Unlock()
				for _, i := range got {
					for _, a := range i.Addresses {
						ip := a.IP.String()
						if apart() {
							ip += " in " + id // each launch has networks of its own
						}
						if was, ok := seen[ip]; ok && was != i.ID {
							t.Errorf("%v is of %s and of %s", ip, was, i.ID)
						}
						seen[ip] = i.ID
					}
				}
			})
		}
	}
	wait.Wait()
	all, err := d.List(t.Context(), "")
	if err != nil || len(all) != 9 {
		t.Errorf("%d instances, %v, want 9", len(all), err)
	}
}

func TestCanceledLaunch(t *testing.T) {
	d := open(t, Options{SSHD: "none"})
	id := cloudtest.Token()
	var rs []cloud.Request
	for n := range 12 {
		rs = append(rs, wanted(id, fmt.Sprint("n", n), "x"))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			if now, _ := d.List(context.Background(), id); len(now) > 0 && now[0].State == cloud.Running {
				cancel()
			}
		}
	}()
	got, err := d.Launch(ctx, rs)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	if len(got) == 0 || len(got) == len(rs) {
		t.Errorf("%d of %d were started, want some", len(got), len(rs))
	}
	all, err := d.List(t.Context(), id)
	if err != nil || len(all) != len(got) {
		t.Errorf("list has %d, %v, but launch returned %d", len(all), err, len(got))
	}
}

// A client that dies in the middle of a launch has not given it up.
func TestDeadClient(t *testing.T) {
	d := open(t, Options{SSHD: "none"})
	id := cloudtest.Token()
	if _, err := d.Prepare(t.Context(), cloud.Preparation{Launch: id}); err != nil {
		t.Fatal(err)
	}
	conn, err := dial(filepath.Join(d.o.Dir, id))
	if err != nil {
		t.Fatal(err)
	}
	q := question{Op: opLaunch, Requests: []request{d.resolve(wanted(id, "a", "x")), d.resolve(wanted(id, "b", "x"))}}
	q.Common.SSHD = "none"
	if err := json.NewEncoder(conn).Encode(q); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	eventually(t, "both instances run", func() bool {
		all, err := d.List(t.Context(), id)
		return err == nil && len(all) == 2 && all[0].State == cloud.Running && all[1].State == cloud.Running
	})
	// As when the machine shuts down.
	if err := syscall.Kill(keepersOf(t, id)[0], syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the keeper cleans up when told to end", func() bool {
		entries, _ := os.ReadDir(d.o.Dir)
		return len(entries) == 0 && len(linksOf(t, id)) == 0
	})
}

func TestLongDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long, and:odd ", 10), strings.Repeat("x", 200))
	d := open(t, Options{Dir: dir, Boot: []string{"echo", "hello from boot"}})
	i := started(t, d, wanted(cloudtest.Token(), "a", "x"))[0]
	eventually(t, "the console has the boot command's output", func() bool {
		text, err := d.Console(t.Context(), i)
		return err == nil && bytes.Contains(text, []byte("hello from boot\n")) &&
			bytes.Contains(text, []byte("boot command ended: exit code 0"))
	})
}

func TestConsoleKeepsTheLast(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	c, err := newConsole(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	line := strings.Repeat("x", 999) + "\n"
	for n := range 3000 {
		fmt.Fprintf(c, "%d%s", n, line)
	}
	text, err := os.ReadFile(path)
	if err != nil || len(text) > consoleSize || len(text) < consoleSize/2 {
		t.Errorf("%d bytes are kept, %v", len(text), err)
	}
	if !bytes.HasSuffix(text, []byte("\n2999"+line)) {
		t.Errorf("the last line is missing")
	}
}

func TestBadOptions(t *testing.T) {
	d := open(t, Options{})
	if _, err := d.Launch(t.Context(), []cloud.Request{wanted("../x", "a")}); err == nil {
		t.Errorf("a launch id with slashes was taken")
	}
	if _, err := New(Options{Files: []File{{Source: "x", Target: "/x"}}}); err == nil {
		t.Errorf("a relative file was taken")
	}
	broken := open(t, Options{Executable: "/bin/true"})
	if _, err := broken.Launch(t.Context(), []cloud.Request{wanted("id", "a")}); err == nil || !strings.Contains(err.Error(), "local.Main") {
		t.Errorf("an executable that is no keeper: %v", err)
	}
}

func BenchmarkLaunch1(b *testing.B)  { benchmarkLaunch(b, 1) }
func BenchmarkLaunch10(b *testing.B) { benchmarkLaunch(b, 10) }
func BenchmarkLaunch50(b *testing.B) { benchmarkLaunch(b, 50) }

func benchmarkLaunch(b *testing.B, n int) {
	for b.Loop() {
		d := open(b, Options{})
		id := cloudtest.Token()
		var rs []cloud.Request
		for k := range n {
			rs = append(rs, wanted(id, fmt.Sprint("node-", k), "public"))
		}
		began := time.Now()
		all := started(b, d, rs...)
		b.ReportMetric(float64(time.Since(began).Milliseconds())/float64(n), "ms/sandbox")
		b.StopTimer()
		if err := d.Terminate(context.Background(), all); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
