package client

import (
	"os"
	"strings"
	"testing"
	"testing/synctest"
)

const templated = `<cluster>
  <workspace>
    <name>front</name><image>demo-${release}</image><quantity>${n:-1}</quantity><nic>public</nic>
    <ctx><provides><role>head</role></provides><requires><data name="motd">old</data><data name="gridmap"/></requires></ctx>
  </workspace>
</cluster>`

// What the command line changes is launched, sent to the broker and recorded.
func TestRunWithChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot(allOK)
		w.write("t.xml", templated)
		w.write("map.txt", "one\ntwo\n")
		w.expect(0, []string{"run", "--cluster", w.path("t.xml"), "--set", "release=12, really", "--quantity", "front=3", "--data", "gridmap=@" + w.path("map.txt"), "--data", "motd=a=b"},
			"front: image 'demo-12, really', 3 instances")
		sent := w.broker.contexts["ctx1"].create
		if data := sent.Definition.Workspaces[0].Ctx.Requires.Data; sent.Open || len(data) != 2 || data[0].Value != "a=b" || data[1].Value != "one\ntwo" {
			t.Errorf("%+v", sent)
		}
		record := w.read("state/history/cluster-001/launch.json")
		if !strings.Contains(record, `"image": "demo-12, really"`) || !strings.Contains(record, `"quantity": 3`) {
			t.Errorf("%s", record)
		}
	})
}

func TestChangesThatAreRefused(t *testing.T) {
	w := newWorld(t)
	w.write("t.xml", templated)
	w.write("binary", "\xff\xfe")
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "t.xml:3: error: the variable ${release} has no value; give it with --set release=VALUE"},
		{[]string{"--set", "release"}, `--set "release": there must be a name and =`},
		{[]string{"--set", "=12"}, `--set "=12": there must be a name and =`},
		{[]string{"--set", "release=1", "--set", "release=2"}, "--set release is given twice"},
		{[]string{"--quantity", "front=1", "--quantity", "front=2"}, "--quantity front is given twice"},
		{[]string{"--set", "release=1", "--quantity", "frnot=2"}, `--quantity frnot=2: there is no workspace "frnot"; did you mean "front"?`},
		{[]string{"--set", "release=1", "--data", "mtod=x"}, `--data mtod: nobody requires data "mtod"; did you mean "motd"?`},
		{[]string{"--set", "release=1", "--data", "motd=@" + w.path("none")}, "--data motd: open " + w.path("none") + ": no such file"},
		{[]string{"--set", "release=1", "--data", "motd=@" + w.path("binary")}, "--data motd: the value is no UTF-8 text"},
		{[]string{"--set", "release=1", "--data", "motd=@/dev/zero"}, "--data motd: the value is larger than 1024 KiB"},
		{[]string{"--set", "release=1", "--set", "n=x"}, `t.xml:3: error: the quantity "x" is not a number (with --set release, n)`},
	} {
		file := []string{w.path("t.xml")}
		w.expect(1, append(append([]string{"validate"}, c.args...), file...), c.want)
		w.expect(1, append(append([]string{"graph"}, c.args...), file...), c.want)
		w.expect(1, append([]string{"run", "--cluster", w.path("t.xml")}, c.args...), c.want)
		w.expect(1, append([]string{"run", "--dry-run", "--cluster", w.path("t.xml")}, c.args...), c.want)
	}
	if _, err := os.Stat(w.path("state")); err == nil {
		t.Error("something was begun")
	}
	w.expect(0, []string{"validate", "--set", "release=1", "--quantity", "front=5", w.path("t.xml")}, "1 workspace, 5 instances")
	w.expect(1, []string{"run", "--name", "i", "--set", "a=b"}, "--set means nothing for one machine")
	w.expect(1, []string{"run", "--name", "i", "--no-ctx-lock"}, "--no-ctx-lock means nothing for one machine")
}

func TestGraph(t *testing.T) {
	w := newWorld(t)
	w.expect(0, []string{"graph", w.path("hello.xml")}, "flowchart LR\n  n0[\"front<br/>demo-image\"]\n  n1[\"back × 2<br/>demo-image\"]\n  n1 -->|\"worker\"| n0\n")
	w.expect(0, []string{"graph", "--format", "dot", "--quantity", "back=7", w.path("hello.xml")}, "digraph cluster {", `label="back × 7\ndemo-image"`)
	w.expect(0, []string{"graph", "--json", w.path("hello.xml")}, `"kind": "joined"`)
	w.expect(1, []string{"graph", "--format", "png", w.path("hello.xml")}, `there is no format "png"`, "hint: the formats: mermaid, dot")
	w.expect(1, []string{"graph"}, "graph: give one cluster definition")
	w.expect(1, []string{"graph", w.path("hello.xml"), "--odd"}, "there is no option --odd")
}
