package graph

import (
	"bytes"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"nimbus/broker/cluster"
)

func read(t *testing.T, text string) *cluster.Definition {
	t.Helper()
	d, problems := cluster.Read("c.xml", strings.NewReader(text))
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	return d
}

const shop = `<cluster>
  <workspace><name>db</name><image>my "db" &lt;1&gt; \n</image><quantity>1</quantity><nic>n</nic>
    <ctx><provides><role>sql</role></provides><requires><role name="web"/></requires></ctx></workspace>
  <workspace><name>web</name><image>w</image><quantity>3</quantity><nic>n</nic>
    <ctx><provides><role>web</role></provides>
      <requires><identity/><role name="sql" ready="true"/><data name="motd">hi</data><data name="key"/></requires></ctx></workspace>
  <workspace><name>probe</name><image>w</image><quantity>1</quantity><nic>n</nic>
    <ctx><requires><role name="web" ready="true"/><data name="motd"/></requires></ctx></workspace>
  <workspace><name>end</name><image>w</image><quantity>1</quantity><nic>n</nic></workspace>
</cluster>`

func TestMermaid(t *testing.T) {
	want := `flowchart LR
  n0["db<br/>my #34;db#34; #60;1#62; #92;n"]
  n1["web × 3<br/>w"]
  n2["probe<br/>w"]
  n3["end<br/>w"]
  n4(["all nodes"])
  n5[/"data motd"/]
  n6[/"data key"/]
  n1 -->|"web"| n0
  n4 -.->|"identities"| n1
  n0 ==>|"sql (ready)"| n1
  n5 -.-> n1
  n6 -.-> n1
  n1 ==>|"web (ready)"| n2
  n5 -.-> n2
`
	if got := Of(read(t, shop)).Mermaid(); got != want {
		t.Errorf("got\n%s", got)
	}
}

func TestDOT(t *testing.T) {
	got := Of(read(t, shop)).DOT()
	for _, line := range []string{
		`  n0 [label="db\nmy \"db\" <1> \\n", shape=box];`,
		`  n1 -> n0 [label="web", style=solid];`,
		`  n0 -> n1 [label="sql (ready)", style=bold];`,
		`  n5 -> n2 [label="", style=dotted];`,
	} {
		if !strings.Contains(got, line+"\n") {
			t.Errorf("%s is missing in\n%s", line, got)
		}
	}
}

// Who all know each other meet at the role.
func TestCrowd(t *testing.T) {
	var b strings.Builder
	for i := range 100 {
		b.WriteString("<workspace><name>w" + strconv.Itoa(i) + `</name><image>i</image><quantity>1</quantity><nic>n</nic>
			<ctx><provides><role>peer</role></provides><requires><role name="peer"/></requires></ctx></workspace>`)
	}
	g := Of(read(t, "<cluster>"+b.String()+"</cluster>"))
	if len(g.Nodes) != 101 || len(g.Edges) != 200 {
		t.Errorf("%d nodes, %d edges", len(g.Nodes), len(g.Edges))
	}
	check(t, g)
}

func TestWaits(t *testing.T) {
	waits := Waits(read(t, shop))
	rounds := map[string]int{}
	for _, w := range waits {
		rounds[w.Workspace] = w.Round
	}
	if len(waits) != 3 || rounds["db"] != 0 || rounds["web"] != 1 || rounds["probe"] != 2 {
		t.Errorf("%+v", waits)
	}
	web := waits[1]
	if !web.Identities || len(web.Roles) != 1 || web.Roles[0].Providers != 1 || !slices.Equal(web.Roles[0].Workspaces, []string{"db"}) ||
		!slices.Equal(web.Data, []DataWait{{"motd", 1}, {"key", 0}}) {
		t.Errorf("%+v", web)
	}
	if got := waits[2].Data; !slices.Equal(got, []DataWait{{"motd", 1}}) {
		t.Errorf("who only asks is told what others bring: %+v", got)
	}
}

// Grammars of what is written, as strict as the tools that read it.
var (
	mermaidNode = regexp.MustCompile(`^  (n[0-9]+)(?:\["([^"]*)"\]|\(\["([^"]*)"\]\)|\[/"([^"]*)"/\]|\{\{"([^"]*)"\}\})$`)
	mermaidEdge = regexp.MustCompile(`^  (n[0-9]+) (?:---|-->|==>|-\.->)(?:\|"([^"]*)"\|)? (n[0-9]+)$`)
	mermaidCode = regexp.MustCompile(`#([0-9]+);`)
	dotNode     = regexp.MustCompile(`^  (n[0-9]+) \[label="((?:[^"\\]|\\.)*)", shape=[a-z]+\];$`)
	dotEdge     = regexp.MustCompile(`^  (n[0-9]+) -> (n[0-9]+) \[label="((?:[^"\\]|\\.)*)", [a-z=, ]+\];$`)
)

// check reads both drawings back: nothing is lost, nothing means more than it
// says.
func check(t *testing.T, g Graph) {
	t.Helper()
	plain := func(text string) string {
		if i := strings.IndexAny(strings.ReplaceAll(text, "<br/>", ""), "<>&`*\"\\\n"); i >= 0 {
			t.Fatalf("%q means something to Mermaid", text)
		}
		var lines []string
		for line := range strings.SplitSeq(text, "<br/>") {
			if strings.Contains(mermaidCode.ReplaceAllString(line, ""), "#") {
				t.Fatalf("%q holds a stray #", line)
			}
			lines = append(lines, mermaidCode.ReplaceAllStringFunc(line, func(code string) string {
				n, _ := strconv.Atoi(strings.Trim(code, "#;"))
				return string(rune(n))
			}))
		}
		return strings.Join(lines, "\n")
	}
	undot := func(text string) string {
		return html.UnescapeString(strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, "\n").Replace(text))
	}
	mermaid := strings.Split(strings.TrimSuffix(g.Mermaid(), "\n"), "\n")
	dot := strings.Split(strings.TrimSuffix(g.DOT(), "\n"), "\n")
	if len(mermaid) != 1+len(g.Nodes)+len(g.Edges) || len(dot) != 5+len(g.Nodes)+len(g.Edges) {
		t.Fatalf("%d and %d lines for %d nodes and %d edges", len(mermaid), len(dot), len(g.Nodes), len(g.Edges))
	}
	mermaid, dot = mermaid[1:], dot[4:len(dot)-1]
	ids := map[string]bool{}
	for i, n := range g.Nodes {
		want := strings.Join(n.lines(), "\n")
		m, d := mermaidNode.FindStringSubmatch(mermaid[i]), dotNode.FindStringSubmatch(dot[i])
		if m == nil || d == nil || m[1] != n.ID || d[1] != n.ID {
			t.Fatalf("%+v is written as %q and %q", n, mermaid[i], dot[i])
		}
		if got := plain(strings.Join(m[2:], "")); got != want {
			t.Fatalf("Mermaid shows %q, want %q", got, want)
		}
		if got := undot(d[2]); got != want && !strings.Contains(want, "&") { // entities may be nested
			t.Fatalf("Graphviz shows %q, want %q", got, want)
		}
		ids[n.ID] = true
	}
	if len(ids) != len(g.Nodes) {
		t.Fatal("two nodes have one id")
	}
	for i, e := range g.Edges {
		m, d := mermaidEdge.FindStringSubmatch(mermaid[len(g.Nodes)+i]), dotEdge.FindStringSubmatch(dot[len(g.Nodes)+i])
		if m == nil || d == nil || m[1] != e.From || m[3] != e.To || d[1] != e.From || d[2] != e.To || !ids[e.From] || !ids[e.To] {
			t.Fatalf("%+v is written as %q and %q", e, mermaid[len(g.Nodes)+i], dot[len(g.Nodes)+i])
		}
		if plain(m[2]) != e.label() || undot(d[3]) != e.label() {
			t.Fatalf("%+v is labelled %q and %q", e, m[2], d[3])
		}
	}
}

func TestSamples(t *testing.T) {
	paths, err := filepath.Glob("../../samples/*.xml")
	if err != nil || len(paths) == 0 {
		t.Fatal("no samples", err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		check(t, Of(read(t, string(text))))
	}
}

// Every valid definition can be drawn, and is drawn the same each time.
func FuzzDraw(f *testing.F) {
	paths, _ := filepath.Glob("../../samples/*.xml")
	for _, path := range paths {
		if text, err := os.ReadFile(path); err == nil {
			f.Add(text)
		}
	}
	f.Add([]byte(shop))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, problems := cluster.Read("", bytes.NewReader(text))
		if problems.Errors() > 0 {
			return
		}
		g := Of(d)
		check(t, g)
		if again := Of(d); again.Mermaid() != g.Mermaid() || again.DOT() != g.DOT() {
			t.Fatal("drawn once this way, once that way")
		}
		for _, w := range Waits(d) {
			if w.Round < 0 || w.Round > len(d.Workspaces) {
				t.Fatalf("%+v", w)
			}
		}
	})
}
