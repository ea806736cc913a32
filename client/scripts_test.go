package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"nimbus/broker/wire"
	"nimbus/client/history"
	"nimbus/cloud"
)

// dressed is hello with a directory for one of its workspaces.
var dressed = strings.Replace(hello, "<workspace>", `<workspace scripts="front-scripts">`, 1)

// Scripts are announced, sent once each before anything runs, and nobody is
// told where they were.
func TestRunWithScripts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot(allOK)
		w.tree("scripts/1-ipandhost/worker", "scripts/1-ipandhost/head", "scripts/1-ipandhost/head~", "defs/front-scripts/3-data/x")
		w.write("defs/dressed.xml", dressed)
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml"), "--scripts", w.path("scripts")},
			"\nScripts: "+w.path("scripts")+", 2 files, 1 KB\n  - left out: 1-ipandhost/head~\n")
		if w.stderr.Len() > 0 {
			t.Errorf("%s", w.stderr.String())
		}
		c := w.broker.contexts["ctx1"]
		pack := c.create.Scripts["front"]
		if len(c.create.Scripts) != 2 || c.create.Scripts["back"] != pack || len(c.packs) != 1 || c.packs[pack.SHA256] != 1 {
			t.Errorf("%+v, sent %v", c.create.Scripts, c.packs)
		}

		// What the definition says of a workspace counts before the option, and
		// is beside the definition wherever the command is given.
		w.expect(0, []string{"run", "--cluster", w.path("defs/dressed.xml"), "--scripts", w.path("scripts")},
			"\nScripts of front: "+w.path("defs/front-scripts")+", 1 file, 1 KB\nScripts of back: "+w.path("scripts")+", 2 files, 1 KB\n",
			`Warning: workspace "front" requires the role "worker", and `+w.path("defs/front-scripts")+` has no script for it: 1-ipandhost/worker is called only if image "demo-image" has one`)
		c = w.broker.contexts["ctx2"]
		if c.create.Scripts["back"] != pack || c.create.Scripts["front"] == pack || len(c.packs) != 2 {
			t.Errorf("%+v, sent %v", c.create.Scripts, c.packs)
		}
		if c.create.Definition.Workspaces[0].Scripts != "" {
			t.Error("the broker was told where they were")
		}
		h, err := history.Open(w.path("state/history"))
		if err != nil {
			t.Fatal(err)
		}
		launch, err := h.Get("cluster-002")
		if err != nil {
			t.Fatal(err)
		}
		if record, err := launch.Record(); err != nil || record.Definition.Workspaces[0].Scripts != "front-scripts" {
			t.Errorf("the record forgot them: %v", err)
		}

		// Only the workspace that has its own, and the same tree twice.
		w.tree("more/1-ipandhost/worker", "more/1-ipandhost/head")
		w.write("defs/twice.xml", strings.Replace(strings.ReplaceAll(dressed, "front-scripts", "../scripts"), "  <workspace>\n", `  <workspace scripts="../more">`, 1))
		w.expect(0, []string{"run", "--cluster", w.path("defs/twice.xml")})
		if c := w.broker.contexts["ctx3"]; len(c.create.Scripts) != 2 || len(c.packs) != 1 || c.packs[pack.SHA256] != 1 {
			t.Errorf("%+v, sent %v", c.create.Scripts, c.packs)
		}
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml")})
		if c := w.broker.contexts["ctx4"]; c.create.Scripts != nil || c.packs != nil || strings.Contains(w.stdout.String(), "\nScripts") {
			t.Errorf("%+v, sent %v", c.create.Scripts, c.packs)
		}
	})
}

func TestScriptsAreLookedAtBeforeALaunch(t *testing.T) {
	w := newWorld(t)
	w.tree("shop/scripts/1-ipandhost/web", "bad/3-data/x", "file")
	if err := os.Symlink("/etc/passwd", w.path("bad/3-data/y")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(w.path("empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	w.write("dressed.xml", dressed)
	w.write("bare.xml", plain)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--cluster", w.path("hello.xml"), "--scripts", w.path("none")}, "--scripts: " + w.path("none") + ": there is no such directory"},
		{[]string{"--cluster", w.path("hello.xml"), "--scripts", w.path("file")}, w.path("file") + ": not a directory"},
		{[]string{"--cluster", w.path("hello.xml"), "--scripts", w.path("empty")}, "nothing in it is called by the agent"},
		{[]string{"--cluster", w.path("hello.xml"), "--scripts", w.path("shop")}, `did you mean the directory "scripts" in it?`},
		{[]string{"--cluster", w.path("hello.xml"), "--scripts", w.path("bad")}, `"3-data/y": the link to "/etc/passwd" leads out of the tree`},
		{[]string{"--cluster", w.path("hello.xml"), "--scripts="}, "--scripts needs a directory"},
		{[]string{"--cluster", w.path("dressed.xml")}, `scripts of workspace "front": ` + w.path("front-scripts") + ": there is no such directory"},
		{[]string{"--cluster", w.path("bare.xml"), "--scripts", w.path("shop/scripts")}, "has no context: none of its workspaces has <ctx>"},
		{[]string{"--name", "debian", "--scripts", w.path("shop/scripts")}, "--scripts means nothing for one machine"},
	} {
		w.expect(1, append([]string{"run", "--dry-run"}, c.args...), c.want)
		w.expect(1, append([]string{"run"}, c.args...), c.want)
		if _, err := os.Stat(w.path("state/history/cluster-001")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v: a launch was begun", c.args)
		}
	}

	// validate warns, as the launch may be elsewhere.
	w.expect(0, []string{"validate", w.path("dressed.xml")}, w.path("dressed.xml")+`:2: warning: workspace "front": scripts from `+w.path("front-scripts")+": there is no such directory", "dressed.xml: ok")
	w.tree("front-scripts/1-ipandhost/worker")
	w.expect(0, []string{"validate", w.path("dressed.xml")})
	if strings.Contains(w.stdout.String(), "warning") {
		t.Errorf("%s", w.stdout.String())
	}
}

func TestDryRunWithScripts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.runs = false
		w.tree("scripts/1-ipandhost/worker", "scripts/.git/config")
		before := everything(t, w.home)
		w.expect(0, []string{"run", "--dry-run", "--cluster", w.path("hello.xml"), "--scripts", w.path("scripts")},
			"\nScripts: "+w.path("scripts")+", 1 file, 1 KB\n  - left out: .git\n",
			`Warning: workspace "back" requires the role "head", and `+w.path("scripts")+` has no script for it`)
		w.expect(0, []string{"run", "--dry-run", "--json", "--cluster", w.path("hello.xml"), "--scripts", w.path("scripts")})
		var d DryRun
		if err := json.Unmarshal(w.stdout.Bytes(), &d); err != nil || len(d.Scripts) != 1 || d.Scripts[0].Files != 1 || len(d.Scripts[0].SHA256) != 64 || !slices.Equal(d.Scripts[0].Workspaces, []string{"front", "back"}) {
			t.Errorf("%v: %s", err, w.stdout.String())
		}
		if after := everything(t, w.home); after != before {
			t.Errorf("before\n%safter\n%s", before, after)
		}
	})
}

// A script that would be called and could not run is found here, not in a
// machine; a text beside the scripts is nobody's mistake.
func TestScriptsThatCannotRun(t *testing.T) {
	w := newWorld(t)
	w.write("dressed.xml", dressed)
	for _, c := range []struct{ name, text, why, fix string }{
		{"1-ipandhost/worker", "echo hello\n", "it has no #! line", "let it begin with #!/bin/sh"},
		{"1-ipandhost/worker.all", "", "it is empty", "let it begin with #!/bin/sh"},
		{"4-restarts/worker", "#!/bin/sh\r\nexit 0\r\n", "its lines end as on Windows, with a carriage return", "take that away: sed -i 's/\\r$//' " + w.path("front-scripts/4-restarts/worker")},
		{"0-etchosts.all", "\x7fELF\x02", "it is not executable", "chmod +x " + w.path("front-scripts/0-etchosts.all")},
	} {
		if err := os.RemoveAll(w.path("front-scripts")); err != nil {
			t.Fatal(err)
		}
		w.tree("front-scripts/3-data/x", "front-scripts/"+c.name)
		w.write("front-scripts/"+c.name, c.text)
		want := fmt.Sprintf("front-scripts: %q, a script for workspace \"front\", cannot run: %s", c.name, c.why)
		for _, args := range [][]string{{"run", "--dry-run"}, {"run"}} {
			w.expect(1, append(args, "--cluster", w.path("dressed.xml")), want, "hint: "+c.fix+"; nothing was launched")
		}
		if _, err := os.Stat(w.path("state/history/cluster-001")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: a launch was begun", c.name)
		}
		w.expect(0, []string{"validate", w.path("dressed.xml")}, fmt.Sprintf(`warning: workspace "front": scripts from %s: %q cannot run: %s`, w.path("front-scripts"), c.name, c.why))
	}

	// validate looks at a directory that the run would be given.
	w.tree("scripts/1-ipandhost/head", "scripts/1-ipandhost/worker")
	w.write("scripts/1-ipandhost/README", "none of the roles\n")
	w.expect(0, []string{"validate", "--scripts", w.path("scripts"), w.path("hello.xml")}, "hello.xml: ok")
	w.write("scripts/1-ipandhost/head", "echo\n")
	w.expect(1, []string{"validate", "--scripts", w.path("scripts"), w.path("hello.xml")}, `error: workspace "back": scripts from `+w.path("scripts")+`: "1-ipandhost/head" cannot run: it has no #! line`)
	w.expect(1, []string{"validate", "--scripts", w.path("none"), w.path("hello.xml")}, "there is no such directory")
	w.expect(1, []string{"validate", "--scripts=", w.path("hello.xml")}, "--scripts needs a directory")

	// A name that was mistyped.
	w.tree("typo/1-ipandhost/haed", "typo/1-ipandhost/worker")
	w.expect(0, []string{"run", "--dry-run", "--cluster", w.path("hello.xml"), "--scripts", w.path("typo")}, `"haed" in it is for no role here: did you mean "head"?`)
}

// A broker that does not take them ends the run before any instance is started.
func TestScriptsThatTheBrokerDoesNotTake(t *testing.T) {
	w := newWorld(t)
	w.tree("scripts/1-ipandhost/worker", "scripts/1-ipandhost/head")
	for _, c := range []struct {
		err  error
		want string
	}{
		{wire.Errorf(wire.NotFound, "there is no /v1/contexts/ctx1/packs here"), "it does not take scripts along: there is no"},
		{wire.Errorf(wire.Unavailable, "the broker cannot store anything at the moment: its disk is full"), "scripts from " + w.path("scripts") + ": the broker cannot store anything at the moment: its disk is full"},
	} {
		w.broker.packErr = c.err
		started := false
		w.cloud.Started = func(cloud.Instance, cloud.Request) { started = true }
		w.expect(2, []string{"run", "--cluster", w.path("hello.xml"), "--scripts", w.path("scripts")}, c.want)
		w.nothingLeft()
		if started {
			t.Error("instances were started")
		}
	}
}

func TestScriptsBesideADefinition(t *testing.T) {
	env := &Env{Home: "/home/me"}
	for _, c := range []struct{ file, path, want string }{
		{"shop/shop.xml", "scripts", "shop/scripts"},
		{"shop.xml", "../scripts", "../scripts"},
		{"~/shop.xml", "scripts", "/home/me/scripts"},
		{"shop/shop.xml", "/srv/scripts", "/srv/scripts"},
		{"shop/shop.xml", "~/scripts", "/home/me/scripts"},
	} {
		if got := env.beside(c.file, c.path); got != filepath.FromSlash(c.want) {
			t.Errorf("%s beside %s: %s, want %s", c.path, c.file, got, c.want)
		}
	}
}
