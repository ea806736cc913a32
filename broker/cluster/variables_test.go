package cluster

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

const templated = `<cluster>
  <workspace>
    <name>${who:-head}</name><image>debian-${release}</image>
    <quantity>${n:-1}</quantity>
    <nic wantlogin="${login:-false}">${network:-public}</nic>
    <ctx><provides><role>db</role></provides>
      <requires><data name="script">cd $${HOME} $$ $x ${release}</data></requires></ctx>
  </workspace>
</cluster>`

func with(set ...string) Changes {
	c := Changes{Set: map[string]string{}}
	for i := 0; i+1 < len(set); i += 2 {
		c.Set[set[i]] = set[i+1]
	}
	return c
}

func TestVariables(t *testing.T) {
	d, problems := ReadWith("c.xml", strings.NewReader(templated), with("release", "12", "n", " 3 ", "login", "1", "network", "lab & co"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	w := d.Workspaces[0]
	if w.Name != "head" || w.Image != "debian-12" || w.Quantity != 3 || !w.NICs[0].WantLogin || w.NICs[0].Network != "lab & co" ||
		w.Ctx.Requires.Data[0].Value != "cd ${HOME} $$ $x 12" {
		t.Errorf("%+v %+v", w, w.Ctx)
	}
	// What a program wrote is taken as it stands.
	if d, _ := Read("c.xml", strings.NewReader(templated)); d.Workspaces[0].Image != "debian-${release}" {
		t.Errorf("%+v", d.Workspaces[0])
	}
}

// A value is a value, whatever it looks like.
func TestValuesAreNoMarkup(t *testing.T) {
	evil := "x</image><quantity>9</quantity><image>${release} ${no} $${"
	d, problems := ReadWith("c.xml", strings.NewReader(templated), with("release", evil))
	if problems.Errors() > 0 || d.Workspaces[0].Image != "debian-"+evil || d.Workspaces[0].Quantity != 1 {
		t.Errorf("%v\n%+v", problems, d.Workspaces[0])
	}
}

func TestVariableProblems(t *testing.T) {
	for _, c := range []struct {
		text string
		set  []string
		want string
	}{
		{templated, nil, "c.xml:3: error: the variable ${release} has no value; give it with --set release=VALUE, or write ${release:-default}; $${ is a plain ${"},
		{templated, []string{"relaese", "12"}, `c.xml: error: --set relaese: the definition does not use ${relaese}; did you mean "release"?`},
		{templated, []string{"relaese", "12"}, `c.xml:3: error: the variable ${release} has no value; --set gives others: did you mean "relaese"?`},
		{templated, []string{"release", "12", "n", "many"}, `c.xml:4: error: the quantity "many" is not a number (with --set n); write a whole number, such as 2`},
		{templated, []string{"release", "12", "colour", "red"}, "--set colour: the definition does not use ${colour}; it has login, n, network, release, who"},
		{templated, []string{"release", "a\x01b"}, "--set release: the value holds the character U+0001"},
		{templated, []string{"release", "a\xffb"}, "--set release: the value is no UTF-8 text"},
		{templated, []string{"release", "12", "who", "../../bin"}, `c.xml:2: error: workspace: the name "../../bin" may hold only letters`},
		{one("<nic>${a</nic>"), nil, "a variable is not closed: \"${a\"; write $${ where a plain ${ is meant"},
		{one("<nic>${a:-${b}}</nic>"), nil, "a variable is not closed"},
		{one("<nic>${a b}</nic>"), nil, "the name of a variable: the name \"a b\" may hold only"},
		{one("<nic>${}</nic>"), nil, "the name of a variable: the name is empty"},
	} {
		_, problems := ReadWith("c.xml", strings.NewReader(c.text), with(c.set...))
		if !strings.Contains(lines(problems), c.want) {
			t.Errorf("%v: got\n%swant %s", c.set, lines(problems), c.want)
		}
	}
}

// A short document cannot grow without bounds.
func TestVariablesAreBounded(t *testing.T) {
	text := one("<nic>n</nic><ctx><requires>" + strings.Repeat(`<data name="d">${v}</data>`, 900) + "</requires></ctx>")
	d, problems := ReadWith("", strings.NewReader(text), with("v", strings.Repeat("x", MaxData)))
	if n := strings.Count(lines(problems), "larger than 8 MiB"); n != 1 {
		t.Errorf("said %d times: %.1000s", n, lines(problems))
	}
	size := 0
	for _, data := range d.Workspaces[0].Ctx.Requires.Data {
		size += len(data.Value)
	}
	if size > MaxDocument {
		t.Errorf("%d bytes", size)
	}
}

const twoGroups = `<cluster>
  <workspace><name>a</name><image>i</image><quantity>1</quantity><nic>n</nic><ctx><requires>
    <data name="one">1</data><data name="map">x</data><data name="map">y</data><data name="two">2</data></requires></ctx></workspace>
  <workspace><name>b</name><image>i</image><quantity>1</quantity><nic>n</nic><ctx><requires><data name="map">z</data></requires></ctx></workspace>
  <workspace><image>i</image><quantity>1</quantity><nic>n</nic></workspace>
</cluster>`

func TestChanges(t *testing.T) {
	d, problems := ReadWith("c.xml", strings.NewReader(twoGroups), Changes{
		Quantity: []Quantity{{"b", "8"}, {"member-03", "2"}},
		Data:     []Data{{Name: "map", Value: " new\n"}, {Name: "map", Value: "more"}},
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if d.Workspaces[1].Quantity != 8 || d.Workspaces[2].Quantity != 2 {
		t.Errorf("%+v", d)
	}
	var got []string
	for _, w := range d.Workspaces[:2] {
		for _, data := range w.Ctx.Requires.Data {
			got = append(got, data.Name+"="+data.Value)
		}
	}
	if want := "one=1 map=new map=more two=2 map="; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %s", got, want)
	}
}

func TestChangeProblems(t *testing.T) {
	for _, c := range []struct {
		changes Changes
		want    string
	}{
		{Changes{Quantity: []Quantity{{"c", "2"}}}, `c.xml: error: --quantity c=2: there is no workspace "c"; the workspaces: a, b, member-03`},
		{Changes{Quantity: []Quantity{{"member-3", "2"}}}, `did you mean "member-03"?`},
		{Changes{Quantity: []Quantity{{"a", "0"}}}, `--quantity a=0: "0" is no number of instances; give a whole number from 1 to 32767`},
		{Changes{Quantity: []Quantity{{"a", "99999999999"}}}, "is no number of instances"},
		{Changes{Data: []Data{{Name: "mpa", Value: "x"}}}, `--data mpa: nobody requires data "mpa"; did you mean "map"?`},
		{Changes{Data: []Data{{Name: "zzzzzzz", Value: "x"}}}, `--data zzzzzzz: nobody requires data "zzzzzzz"; the data: one, map, two`},
		{Changes{Data: []Data{{Name: "map", Value: "\x00"}}}, "--data map: the value holds the character U+0000"},
		{Changes{Data: slices.Repeat([]Data{{Name: "map", Value: strings.Repeat("x", MaxData)}}, 9)}, "--data: the values together are larger than 8 MiB"},
		{Changes{Data: []Data{{Name: "map", Value: strings.Repeat("x", MaxData+1)}}}, "--data map: the value is larger than 1024 KiB"},
	} {
		if _, problems := ReadWith("c.xml", strings.NewReader(twoGroups), c.changes); problems.Errors() != 1 || !strings.Contains(lines(problems), c.want) {
			t.Errorf("got %s, want %s", lines(problems), c.want)
		}
	}
}

func lines(ps Problems) string {
	var b strings.Builder
	for _, p := range ps {
		b.WriteString(p.String() + "\n")
	}
	return b.String()
}

// Whatever the value, it stays in its place: the definition has the same shape
// with another one. And what is accepted survives being written and read.
func FuzzReadWith(f *testing.F) {
	f.Add([]byte(templated), "release", "12")
	f.Add([]byte(templated), "release", "</image><workspace>")
	f.Add([]byte(twoGroups), "map", "${map}")
	f.Add([]byte(one("<nic>${a:-b}$${c}</nic>")), "a", "${a}")
	f.Fuzz(func(t *testing.T, document []byte, name, value string) {
		d, problems := ReadWith("", bytes.NewReader(document), with(name, value))
		if _, again := ReadWith("", bytes.NewReader(document), with(name, value)); lines(again) != lines(problems) {
			t.Fatalf("once %s, once %s", lines(problems), lines(again))
		}
		if problems.Errors() > 0 {
			return
		}
		tame, _ := ReadWith("", bytes.NewReader(document), with(name, "1"))
		if shape(d) != shape(tame) {
			t.Fatalf("%q changes the shape:\n%s\n%s", value, shape(d), shape(tame))
		}
		var b bytes.Buffer
		if err := Encode(&b, d); err != nil {
			t.Fatal(err)
		}
		again, problems := Read("", bytes.NewReader(b.Bytes()))
		if err := problems.Err(); err != nil {
			t.Fatalf("what was written is refused: %v\n%s", err, b.String())
		}
		if len(again.Workspaces) != len(d.Workspaces) || !slices.Equal(again.DataNames(), d.DataNames()) {
			t.Fatalf("changed on the way: %s", b.String())
		}
	})
}

// shape is what of a definition no value can change: how many elements there
// are. (Equal roles and names are merged, so those are only counted once.)
func shape(d *Definition) string {
	var b strings.Builder
	for _, w := range d.Workspaces {
		b.WriteString("w" + strings.Repeat("n", len(w.NICs)))
		if w.Ctx != nil {
			b.WriteString("c" + strings.Repeat("d", len(w.Ctx.Requires.Data)) + strings.Repeat("i", len(w.Ctx.Identities)))
		}
	}
	return b.String()
}
