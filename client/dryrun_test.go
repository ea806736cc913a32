package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nimbus/broker/wire"
	"nimbus/cloud"
)

// everything lists what is below a directory, to see that nothing came.
func everything(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		fmt.Fprintln(&b, path, info.Size(), info.ModTime())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestDryRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.runs = false
		w.cloud.OnLimits = func(d cloud.Demand) ([]cloud.Limit, error) {
			return []cloud.Limit{{What: "NICs", Asked: d.Networks["public"], Most: 10}}, nil
		}
		w.write("ready.xml", strings.Replace(hello, `<role name="head"/>`, `<role name="head" ready="true"/><data name="motd">x</data><data name="key"/>`, 1))
		if err := os.Remove(w.path(".ssh/id_ed25519")); err != nil {
			t.Fatal(err)
		}
		before := everything(t, w.home)
		w.expect(0, []string{"run", "--dry-run", "--cluster", w.path("ready.xml"), "--hours", "2"},
			"Dry run: nothing is launched. cluster-001 would be, in cloud \"local\" (driver local):",
			"back: 2 instances, image 'demo-image'\n  - back-0.cluster-001 to back-1.cluster-001\n  - publicnic in network \"public\", its host key will be trusted\n  - user data: about ",
			"Room:\n  - NICs: 3 of 10\n",
			"Context broker: your own, started when it is needed ("+w.path("state/broker")+")",
			"Ends: "+time.Now().Add(2*time.Hour).Local().Format("2006-01-02 15:04:05"),
			"SSH key: "+w.path("state/ssh/id_ed25519.pub")+" (it would be made)",
			"known_hosts: "+w.path(".ssh/known_hosts"),
			"  - front: role \"worker\": back to join (2 nodes)\n  - back: role \"head\": front to be ready (1 node)\n      data \"motd\": 1 value\n      data \"key\": no value yet: it would be empty\n",
			"  Scripts run first on: front\n  then, when these are ready, on: back\n")
		w.expect(0, []string{"run", "--dry-run", "--json", "--cluster", w.path("hello.xml")})
		var d DryRun
		if err := json.Unmarshal(w.stdout.Bytes(), &d); err != nil || d.Handle != "cluster-001" || len(d.Workspaces) != 2 || len(d.Waits) != 2 || !d.MakesKey {
			t.Errorf("%v: %s", err, w.stdout.String())
		}
		w.expect(0, []string{"run", "--dry-run", "--name", "debian"}, "vm-001 would be", "Context broker: none is needed", "no user data: it takes no part")
		w.expect(0, []string{"run", "--dry-run", "--no-ctx-lock", "--cluster", w.path("ready.xml"), "--known-hosts", "none"},
			"front: the context to be locked; role", `data "key": to be injected`, "known_hosts: none")
		if after := everything(t, w.home); after != before {
			t.Errorf("before\n%safter\n%s", before, after)
		}
		if w.runs || len(w.broker.contexts) > 0 || len(w.instances()) > 0 {
			t.Error("something was made")
		}
	})
}

// A dry run fails where the run would.
func TestDryRunFindsWhatTheRunWould(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.cloud.OnLimits = func(d cloud.Demand) ([]cloud.Limit, error) {
			if d.Networks["public"] > 3 {
				return nil, fmt.Errorf("network %q is too small: %w", "public", cloud.ErrNoCapacity)
			}
			return nil, nil
		}
		w.write("images.toml", "[clouds.local.images.demo-image]\nscripts = \"/nonexistent\"\n")
		for _, c := range []struct {
			code int
			args []string
			want string
		}{
			{1, []string{"--cluster", w.path("none.xml")}, "no such file"},
			{1, []string{"--cluster", w.path("hello.xml"), "--hours", "x"}, "--hours"},
			{2, []string{"--cluster", w.path("hello.xml"), "--quantity", "back=3"}, `cloud "local": network "public" is too small: no capacity: nothing was launched`},
			{1, []string{"--cluster", w.path("hello.xml"), "--ssh-key", w.path("none.pub")}, "there is no such file"},
			{1, []string{"--cluster", w.path("plain.xml"), "--no-ctx-lock"}, "none of its workspaces has <ctx>"},
			{1, []string{"--cluster", w.path("hello.xml"), "--cloud", "moon"}, `there is no cloud "moon"`},
			{1, []string{"--cluster", w.path("hello.xml"), "--conf", w.path("images.toml")}, `is "/nonexistent": there is no such directory`},
		} {
			w.expect(c.code, append([]string{"run", "--dry-run"}, c.args...), c.want)
			w.expect(c.code, append([]string{"run"}, c.args...), c.want)
			if _, err := os.Stat(w.path("state/history/cluster-001")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%v: a launch was begun", c.args)
			}
		}
		w.expect(1, []string{"run", "--dry-run", "--json", "--cluster", w.path("none.xml")}, `"error": "cannot read the cluster definition`)
	})
}

// A broker elsewhere is asked whether it knows the user.
func TestDryRunAsksTheBrokerElsewhere(t *testing.T) {
	w := newWorld(t)
	w.write("conf", "broker = \"https://b.example.org\"\n")
	args := []string{"run", "--dry-run", "--conf", w.path("conf"), "--cluster", w.path("hello.xml")}
	w.expect(0, args, "Context broker: https://b.example.org, which knows you")
	w.broker.createErr = wire.Errorf(wire.Unauthorized, "who are you?")
	w.expect(2, args, "broker (https://b.example.org): who are you?", "hint: log in with")
}

// What cannot be kept is found before anything is made, and named: not the key
// that would be the first file. Who only reads needs no directory.
func TestNowhereToWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		locked, elsewhere := "", t.TempDir()
		w.change = func(env *Env) { env.machine = &fakeMachine{locked: locked} }
		before := everything(t, w.home)
		for _, dry := range []string{"--dry-run", "--keep"} {
			run := []string{"run", dry, "--cluster", w.path("hello.xml")}
			locked = w.home
			w.expect(2, run, "the state directory "+w.path("state")+" cannot be written: write "+w.home+": permission denied", `"nimbus doctor" looks into it`)
			locked = elsewhere
			w.expect(2, append(run, "--history-dir", elsewhere+"/h"), "the history directory "+elsewhere+"/h cannot be written: write "+elsewhere)
		}
		w.expect(0, []string{"status"}, "Nothing was launched yet")
		if after := everything(t, w.home); after != before {
			t.Errorf("before\n%safter\n%s", before, after)
		}
	})
}
