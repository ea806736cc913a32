package cluster

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// read parses a text that must hold no error and gives the definition.
func read(t *testing.T, text string) *Definition {
	t.Helper()
	d, problems := Read("c.xml", strings.NewReader(text))
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	return d
}

// one wraps the inside of a single workspace.
func one(inside string) string {
	return "<cluster><workspace><image>i</image><quantity>1</quantity>" + inside + "</workspace></cluster>"
}

func TestReadIsAsLenientAsTheOriginal(t *testing.T) {
	const d = `xmlns:d="http://www.globus.org/2008/12/nimbus/ctxdescription"`
	for name, text := range map[string]string{
		"no namespace":        one(`<nic interface="localnic">n</nic>`),
		"_interface":          one(`<nic _interface="localnic">n</nic>`),
		"qualified":           `<d:cluster ` + d + `><d:workspace><d:nic d:interface="localnic">n</d:nic><d:image>i</d:image><d:quantity> 1 </d:quantity></d:workspace></d:cluster>`,
		"logistics namespace": strings.Replace(one(`<nic _interface="localnic">n</nic>`), "<cluster>", `<cluster xmlns="http://www.globus.org/2008/06/workspace/metadata/logistics">`, 1),
		"any root":            strings.ReplaceAll(one(`<nic _interface="localnic"> n </nic>`), "cluster>", "anything>"),
		"repeated, last wins": one(`<image>other</image><image>i</image><nic interface="localnic">n</nic>`),
		"nil ctx":             one(`<nic interface="localnic">n</nic><ctx xsi:nil="1" xmlns:xsi="x"/>`),
	} {
		w := read(t, text).Workspaces[0]
		if w.Image != "i" || w.Quantity != 1 || w.NICs[0].Network != "n" || w.NICs[0].Interface != "localnic" || w.Ctx != nil {
			t.Errorf("%s: got %+v", name, w)
		}
	}
}

func TestSingleNICIsPublic(t *testing.T) {
	for text, want := range map[string]string{
		`<nic>private</nic>`: PublicNIC,
		`<nic>x</nic><ctx><provides><identity/></provides></ctx>`:                                            PublicNIC,
		`<nic interface="data">x</nic>`:                                                                      "data",
		`<ctx><provides><identity><_interface>localnic</_interface></identity></provides></ctx><nic>x</nic>`: LocalNIC,
	} {
		if got := read(t, one(text)).Workspaces[0].NICs[0].Interface; got != want {
			t.Errorf("%s: label %q, want %q", text, got, want)
		}
	}
}

func TestDataKeepsEmptyAndRepeatedValues(t *testing.T) {
	ctx := read(t, one(`<nic>n</nic><ctx><requires>
		<data name="a"><![CDATA[ <one> & ]]>two </data>
		<data name="a"/>
		<data name="b">x</data></requires></ctx>`)).Workspaces[0].Ctx
	var got []string
	for _, data := range ctx.Requires.Data {
		got = append(got, data.Name+"="+data.Value)
	}
	if want := []string{"a=<one> & two", "a=", "b=x"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRequiredTwiceIsOneRole(t *testing.T) {
	ctx := read(t, one(`<nic>n</nic><ctx><provides><role>a</role><role>a</role></provides>
		<requires><role name="a" hostname="1"/><role name="a" pubkey="TRUE"/></requires></ctx>`)).Workspaces[0].Ctx
	if len(ctx.Provides) != 1 || len(ctx.Requires.Roles) != 1 || !ctx.Requires.Roles[0].Hostname || !ctx.Requires.Roles[0].Pubkey {
		t.Errorf("got %+v", ctx)
	}
}

// Every problem of a file is told, with its line, in one go.
func TestEveryProblemIsTold(t *testing.T) {
	paths, err := filepath.Glob("testdata/bad/*.xml")
	if err != nil || len(paths) == 0 {
		t.Fatal("no documents", err)
	}
	for _, path := range paths {
		document, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, problems := Read(filepath.Base(path), bytes.NewReader(document))
		var b strings.Builder
		for _, p := range problems {
			b.WriteString(p.String() + "\n")
		}
		golden := strings.TrimSuffix(path, ".xml") + ".txt"
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(golden, []byte(b.String()), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if b.String() != string(want) {
			t.Errorf("%s: got\n%swant\n%s(UPDATE=1 rewrites it)", path, b.String(), want)
		}
	}
}

func TestBounds(t *testing.T) {
	for name, text := range map[string]string{
		"100 MB":       "<cluster>" + strings.Repeat(" ", 100<<20),
		"nesting bomb": strings.Repeat("<a>", 1_000_000),
		"many":         "<cluster>" + strings.Repeat("<workspace/>", MaxElements+1),
		"not XML":      "hello",
		"empty":        "",
		"entities":     `<!DOCTYPE a [<!ENTITY x "y">]><cluster>&x;</cluster>`,
		"two roots":    one("<nic>n</nic>") + "<cluster/>",
	} {
		if d, problems := Read("c.xml", strings.NewReader(text)); problems.Errors() == 0 {
			t.Errorf("%s: accepted as %d workspaces", name, len(d.Workspaces))
		} else if len(problems) > 2*maxProblems {
			t.Errorf("%s: %d problems are told", name, len(problems))
		}
	}
}

// No error hides behind warnings, however many there are.
func TestWarningsHideNoError(t *testing.T) {
	warnings := strings.Repeat(`<workspace><image>i</image><quantity>1</quantity><nic wantlogin="true">n</nic></workspace>`, 2*maxProblems)
	for _, mistake := range []string{
		`<workspace><name>../x</name><image>i</image><quantity>1</quantity><nic>n</nic></workspace>`,
		`<workspace><image>i</image><quantity>-1</quantity><nic>n</nic></workspace>`,
		`<workspace><image>i</image><quantity>1</quantity><nic>n</nic><ctx><requires><role name="nobody"/></requires></ctx></workspace>`,
		`<bogus/>`,
	} {
		if _, problems := Read("", strings.NewReader("<cluster>"+warnings+mistake+"</cluster>")); problems.Errors() != 1 {
			t.Errorf("%s: %d errors", mistake, problems.Errors())
		}
	}
}

// Of a hostile file only so much is taken in that judging it cannot take long:
// the work is bounded by MaxNames, not by what the file holds.
func TestHostileFilesAreCutShort(t *testing.T) {
	for name, text := range map[string]string{
		"roles":       one("<nic>n</nic><ctx><provides>" + numbered("<role>r%d</role>", 150_000) + "</provides></ctx>"),
		"data":        one("<nic>n</nic><ctx><requires>" + numbered(`<data name="a%d"/>`, 150_000) + "</requires></ctx>"),
		"required":    one("<nic>n</nic><ctx><requires>" + numbered(`<role name="a%d"/>`, 150_000) + "</requires></ctx>"),
		"both":        one("<nic>n</nic><ctx><provides>" + numbered("<role>a-very-long-name-of-a-role-%d</role>", 20_000) + "</provides><requires>" + numbered(`<role name="another-very-long-name-%d"/>`, 20_000) + "</requires></ctx>"),
		"workspaces":  "<cluster>" + numbered("<workspace><name>w%d</name><image>i</image><quantity>1</quantity><nic>n</nic><ctx><provides><role>p%[1]d</role></provides><requires><role name=\"q%[1]d\"/></requires></ctx></workspace>", 9_000) + "</cluster>",
		"suggestions": one(numbered("<nicc%d/>", 100_000)),
	} {
		if len(text) > MaxDocument {
			t.Fatalf("%s is too large", name)
		}
		d, problems := Read("", strings.NewReader(text))
		if problems.Errors() == 0 || len(problems) > 2*maxProblems {
			t.Errorf("%s: %d problems, %d of them errors", name, len(problems), problems.Errors())
		}
		for _, w := range d.Workspaces {
			if w.Ctx != nil && max(len(w.Ctx.Provides), len(w.Ctx.Requires.Roles), len(w.Ctx.Requires.Data)) > MaxNames+1 {
				t.Errorf("%s: %d roles are provided, %d required, %d data", name, len(w.Ctx.Provides), len(w.Ctx.Requires.Roles), len(w.Ctx.Requires.Data))
			}
		}
	}
}

func numbered(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// Whatever the bytes: no panic, and what is accepted survives a round trip.
func FuzzRead(f *testing.F) {
	for _, pattern := range []string{"../../samples/*.xml", "testdata/bad/*.xml"} {
		paths, _ := filepath.Glob(pattern)
		for _, path := range paths {
			if document, err := os.ReadFile(path); err == nil {
				f.Add(document)
			}
		}
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		d, problems := Read("", bytes.NewReader(document))
		if problems.Errors() > 0 {
			return
		}
		var b bytes.Buffer
		if err := Encode(&b, d); err != nil {
			t.Fatal(err)
		}
		again, problems := Read("", bytes.NewReader(b.Bytes()))
		if err := problems.Err(); err != nil {
			t.Fatalf("what was written is refused: %v\n%s", err, b.String())
		}
		if !reflect.DeepEqual(withoutLines(d), withoutLines(again)) {
			t.Fatalf("changed on the way:\n%+v\n%+v\n%s", d, again, b.String())
		}
	})
}

func withoutLines(d *Definition) *Definition {
	for i := range d.Workspaces {
		w := &d.Workspaces[i]
		w.Line = 0
		for j := range w.NICs {
			w.NICs[j].Line = 0
		}
		if w.Ctx == nil {
			continue
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
	return d
}

// A name that no host can have is odd, and no error.
func TestNamesThatAreNoneForHosts(t *testing.T) {
	const most = maxLabel - len("-0")
	for name, want := range map[string]string{
		strings.Repeat("w", most):   "",
		strings.Repeat("w", most+1): "hosts have names of at most 63 characters",
		"LocalHost":                 "this name is every machine's own",
		"localhost2":                "",
	} {
		_, problems := Read("", strings.NewReader("<cluster><workspace><name>"+name+"</name><image>i</image><quantity>1</quantity><nic>n</nic></workspace></cluster>"))
		if problems.Errors() > 0 || len(problems) > 1 || (want == "") != (len(problems) == 0) {
			t.Errorf("%s: %v", name, problems)
		} else if want != "" && !strings.Contains(problems[0].Text, want) {
			t.Errorf("%s: %v, want %q", name, problems, want)
		}
	}
}

// The directory of scripts is an attribute that other parsers do not see.
func TestScriptsOfAWorkspace(t *testing.T) {
	document := func(attribute, inside string) string {
		return strings.Replace(one("<nic>n</nic>"+inside), "<workspace>", "<workspace "+attribute+">", 1)
	}
	if w := read(t, document(`scripts=" ../scripts/web "`, "<ctx/>")).Workspaces[0]; w.Scripts != "../scripts/web" {
		t.Errorf("got %+v", w)
	}
	d, problems := ReadWith("", strings.NewReader(document(`scripts="s-${v}"`, "<ctx/>")), Changes{Set: map[string]string{"v": "1"}})
	if len(problems) > 0 || d.Workspaces[0].Scripts != "s-1" {
		t.Errorf("%+v, %v", d, problems)
	}
	for text, want := range map[string]string{
		document(`scripts=""`, "<ctx/>"):                                      "the attribute scripts is empty",
		document(`scripts="a&#9;b"`, "<ctx/>"):                                "holds characters that cannot be printed",
		document(`scripts="`+strings.Repeat("x", maxScripts+1)+`"`, "<ctx/>"): "is too long",
		document(`scripts="x"`, ""):                                           "scripts has no effect without <ctx>",
		document(`script="x"`, "<ctx/>"):                                      `<workspace> has no attribute "script"`,
	} {
		if _, problems := Read("", strings.NewReader(text)); len(problems) != 1 || !strings.Contains(problems[0].Text, want) {
			t.Errorf("%.80s: %v, want %q", text, problems, want)
		}
	}
}
