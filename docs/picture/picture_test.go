package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestReadTakesColoursAndText(t *testing.T) {
	got := read("a\x1b[32mgreen\x1b[1mbold\x1b[0m \x1b[94mb\x1b[39mlue\r\n\x1b[?25l\x1b[31;1mred\nstill\x1b[m<&\n\n  \n")
	want := [][]run{
		{{usual, "a"}, {style{2, false}, "green"}, {style{2, true}, "bold"}, {usual, " "}, {style{12, false}, "b"}, {usual, "lue"}},
		{{style{1, true}, "red"}},
		{{style{1, true}, "still"}, {usual, "<&"}},
	}
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i := range want {
		if len(got[i]) != len(want[i]) {
			t.Fatalf("line %d: %+v", i, got[i])
		}
		for k := range want[i] {
			if got[i][k] != want[i][k] {
				t.Errorf("line %d: %+v, want %+v", i, got[i][k], want[i][k])
			}
		}
	}
}

func TestDrawKeepsTextAndColumns(t *testing.T) {
	var b bytes.Buffer
	draw(&b, "a <b>", read("  ab\x1b[32m  ██\x1b[0m <&>\n"))
	for _, want := range []string{
		"<title>a &lt;b&gt;</title>",
		`<text x="32.8" y="30" textLength="16.8" lengthAdjust="spacingAndGlyphs" xml:space="preserve">ab</text>`,
		`<text x="66.4" y="30" textLength="16.8" lengthAdjust="spacingAndGlyphs" xml:space="preserve" fill="#3fb950">██</text>`,
		`>&lt;&amp;&gt;</text>`,
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s is missing from\n%s", want, b.String())
		}
	}
}

func wellFormed(t *testing.T, svg []byte) {
	t.Helper()
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%v\n%s", err, svg)
		}
	}
}

// Whatever is captured, the picture is XML.
func FuzzPicture(f *testing.F) {
	f.Add("\x1b[32mok\x1b[0m\n\x1b[")
	f.Add("<\x00\xff\x1b[;;m&\x1b[38;5;1m")
	f.Fuzz(func(t *testing.T, capture string) {
		var b bytes.Buffer
		draw(&b, capture, read(capture))
		wellFormed(t, b.Bytes())
	})
}

// The picture in the repository shows a launch half way, is small, and says
// nothing of the machine on which it was made.
func TestThePictureOfALaunch(t *testing.T) {
	svg, err := os.ReadFile("../live.svg")
	if err != nil {
		t.Fatal(err)
	}
	wellFormed(t, svg)
	if len(svg) > 60<<10 || !utf8.Valid(svg) {
		t.Errorf("%d bytes", len(svg))
	}
	for _, want := range []string{"nimbus run", "configuring", "slowest: ", "elapsed"} {
		if !bytes.Contains(svg, []byte(want)) {
			t.Errorf("it does not show %q", want)
		}
	}
	for _, not := range []string{"/tmp", "/root", "/home", "<script", "10.78."} {
		if bytes.Contains(svg, []byte(not)) {
			t.Errorf("it shows %q", not)
		}
	}
}
