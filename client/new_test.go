package client

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nimbus/broker/cluster"
)

func TestNew(t *testing.T) {
	w := newWorld(t)
	dir := w.path(`my "odd" dir\`)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	shop := filepath.Join(dir, "shop")
	w.expect(0, []string{"new", shop, "--role", "web", "--role=data--base"}, "Made "+shop, "To launch it on this machine:\n  nimbus run --cluster '"+shop+"/shop.xml' --hours 1\n")
	text, err := os.ReadFile(filepath.Join(shop, "shop.xml"))
	if err != nil {
		t.Fatal(err)
	}
	def, problems := cluster.ReadWith("shop.xml", bytes.NewReader(text), cluster.Changes{})
	if len(problems) > 0 || len(def.Workspaces) != 2 || def.Workspaces[0].Scripts != "scripts" || def.Workspaces[0].Ctx.Requires.Roles[0].Name != "data--base" || def.Workspaces[1].Ctx.Requires.Roles[0].Name != "web" {
		t.Errorf("%v\n%s", problems, text)
	}
	for _, script := range []string{"0-etchosts.all", "1-ipandhost/web", "1-ipandhost/data--base"} {
		if info, err := os.Stat(filepath.Join(shop, "scripts", script)); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v, %v", script, info, err)
		}
	}
	w.expect(0, []string{"run", "--dry-run", "--cluster", filepath.Join(shop, "shop.xml")}, "Scripts: "+shop+"/scripts, 3 files", "role \"data--base\": data--base to join")

	// What is there stays.
	before := everything(t, shop)
	w.expect(1, []string{"new", shop, "--role", "other"}, "is there already, and is left as it is")
	if everything(t, shop) != before {
		t.Error("it was changed")
	}
	w.expect(0, []string{"new", "--json", "--role", "peer", w.path("solo")}, `"run": "nimbus run`, `"scripts/1-ipandhost/peer"`)
}

func TestNewRefuses(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"new"}, "give the name of a directory and at least one --role"},
		{[]string{"new", w.path("x")}, "at least one --role"},
		{[]string{"new", w.path("x"), "--role"}, "--role needs a value"},
		{[]string{"new", w.path("x"), "--role", "a", "b"}, `unexpected argument "b"`},
		{[]string{"new", w.path("x"), "--role", "a", "--json"}, "the option --json stands after the name"},
		{[]string{"new", w.path("x"), "--role", "../../etc"}, `the name "../../etc" may hold only`},
		{[]string{"new", w.path("x"), "--role", "a", "--role", "A"}, `the workspace name "A" is taken`},
		{[]string{"new", w.path("x"), "--role", "a.all"}, "must not end in"},
		{[]string{"new", w.path("x"), "--role", "a", "--role", "${n}"}, `--role: the name "${n}" may hold only`},
		{[]string{"new", w.path("x"), "--role", "a", "--role=a"}, `--role: "a" is given twice; a role is provided by as many machines as its <quantity> says`},
		{[]string{"new", w.path("a b"), "--role", "a"}, `the name "a b" may hold only`},
		{[]string{"new", w.path("no/such/x"), "--role", "a"}, "no such file"},
	} {
		w.expect(1, c.args, c.want)
		if _, err := os.Stat(w.path("x")); err == nil {
			t.Errorf("%v: something was made", c.args)
		}
	}
}

func TestNewArguments(t *testing.T) {
	name, roles, err := newArguments(strings.Fields("shop --role b --role=c"), []string{"a"})
	if err != nil || name != "shop" || !slices.Equal(roles, []string{"a", "b", "c"}) {
		t.Errorf("%q %q %v", name, roles, err)
	}
}

// What is odd about a name is said, and the cluster is made.
func TestNewWithANameThatIsNoneForHosts(t *testing.T) {
	w := newWorld(t)
	w.expect(0, []string{"new", w.path("shop"), "--role", strings.Repeat("w", 70), "--role", "localhost"},
		"Warning: workspace \"www", "hosts have names of at most 63 characters", "Warning: workspace \"localhost\": this name is every machine's own; choose another name", "Made ")
}
