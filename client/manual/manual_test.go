package manual

import (
	"reflect"
	"strings"
	"testing"
)

const help = `Usage:
  nimbus fly [--high] FILE
  nimbus fly --all

Flies. It's "quick", and a line may begin
with what looks odd.

.dots are no requests.

Examples:
  nimbus fly --high a-b.xml
  'quoted' \ ~/x

Options:
  --high, -h          as high as it can, and
                      a little more
  --json[=stream]     print JSON
  --a-very-long-option-that-needs-its-own-line FILE
                      explained below

Exit codes: 0 it flew; 1 it did
not.
`

func TestParse(t *testing.T) {
	p, err := Parse(help)
	if err != nil {
		t.Fatal(err)
	}
	want := Page{
		Usage: []string{"nimbus fly [--high] FILE", "nimbus fly --all"},
		Sections: []Section{
			{"", []Block{{Text: `Flies. It's "quick", and a line may begin with what looks odd.`}, {Text: ".dots are no requests."}}},
			{"Examples", []Block{{Lines: []string{"nimbus fly --high a-b.xml", `'quoted' \ ~/x`}}}},
			{"Options", []Block{{Terms: []Term{
				{"--high, -h", "as high as it can, and a little more"},
				{"--json[=stream]", "print JSON"},
				{"--a-very-long-option-that-needs-its-own-line FILE", "explained below"},
			}}}},
			{"Exit codes", []Block{{Text: "0 it flew; 1 it did not."}}},
		},
	}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("got  %+v\nwant %+v", p, want)
	}
	options := map[string]string{"high": "as high as it can, and a little more", "h": "as high as it can, and a little more", "json": "print JSON",
		"a-very-long-option-that-needs-its-own-line": "explained below"}
	if got := p.Options(); !reflect.DeepEqual(got, options) {
		t.Errorf("%v", got)
	}
	if !p.Has("Example") || p.Has("Bugs") {
		t.Error("which sections are there?")
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{"", "nimbus fly: flies\n", "Usage:\n\nnothing\n", "Usage:\nnimbus fly\n"} {
		if p, err := Parse(text); err == nil {
			t.Errorf("%q: %+v", text, p)
		}
	}
}

func TestRoff(t *testing.T) {
	p, err := Parse(help)
	if err != nil {
		t.Fatal(err)
	}
	got := p.Roff(Title{Name: "nimbus-fly", Summary: "fly", SeeAlso: []string{"nimbus", "nimbus-run"}})
	for _, want := range []string{
		".TH \"NIMBUS\\-FLY\" 1 \"\" \"Nimbus\"\n.SH NAME\nnimbus\\-fly \\- fly\n.SH SYNOPSIS\n.nf\nnimbus fly [\\-\\-high] FILE\nnimbus fly \\-\\-all\n.fi\n.SH \"DESCRIPTION\"\n",
		"\n\\&.dots are no requests.\n",
		"\n.SH \"EXAMPLES\"\n.nf\nnimbus fly \\-\\-high a\\-b.xml\n\\(aqquoted\\(aq \\e \\(ti/x\n.fi\n",
		"\n.TP\n.B \"\\-\\-high, \\-h\"\nas high as it can, and a little more\n",
		"\n.SH \"EXIT CODES\"\n0 it flew",
		"\n.SH SEE ALSO\n.BR nimbus (1),\n.BR nimbus\\-run (1)\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing from\n%s", want, got)
		}
	}
}

// Whatever the help says, each line of the page is text or a request of ours.
func FuzzRoff(f *testing.F) {
	f.Add(help)
	f.Add("Usage:\n  a\n\n.so /etc/passwd\n'so x\n  .so y\n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		for line := range strings.SplitSeq(p.Roff(Title{Name: "x"}), "\n") {
			request, _, _ := strings.Cut(line, " ")
			if (strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'")) && !strings.Contains(" .TH .SH .nf .fi .TP .B .PP .BR ", " "+request+" ") {
				t.Fatalf("%q became the request %q", text, line)
			}
		}
	})
}
