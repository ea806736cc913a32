package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"nimbus/client"
	"nimbus/client/manual"
)

// commands are all that there are, of the client, broker and agent.
func commands(t *testing.T) []*cli.Command {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	env, err := client.System("nimbus", false, nil, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return application(env).Commands
}

// Help is read by programs, too: manual pages and completion come from it. So
// it has the shape of package manual, explains each option, and no other.
func TestHelpHasOneShape(t *testing.T) {
	for _, c := range commands(t) {
		if c.Hidden && c.CustomHelpTemplate == "" {
			continue
		}
		page, err := manual.Parse(c.CustomHelpTemplate)
		if err != nil {
			t.Errorf("help of %s: %v", c.Name, err)
			continue
		}
		if c.Usage == "" || !page.Has("Example") {
			t.Errorf("%s: no summary, or no example", c.Name)
		}
		for _, usage := range page.Usage {
			if usage != "nimbus "+c.Name && !strings.HasPrefix(usage, "nimbus "+c.Name+" ") {
				t.Errorf("%s: usage of another command: %s", c.Name, usage)
			}
		}
		explained := page.Options()
		var flags []string
		for _, f := range c.Flags {
			flags = append(flags, f.Names()...)
			v, ok := f.(cli.VisibleFlag)
			if name := f.Names()[0]; (!ok || v.IsVisible()) && name != "help" && explained[name] == "" {
				t.Errorf("%s: the help does not explain --%s", c.Name, name)
			}
		}
		for name := range explained {
			if !slices.Contains(flags, name) {
				t.Errorf("%s: the help explains --%s, which it does not have", c.Name, name)
			}
		}
		for line := range strings.Lines(c.CustomHelpTemplate) {
			if len([]rune(strings.TrimRight(line, "\n"))) > 88 {
				t.Errorf("%s: a line is longer than a terminal is wide: %s", c.Name, line)
			}
		}
	}
}

// The pages are written, and the programs that read such pages have nothing to
// say about them.
func TestManualPages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	if out, err := exec.Command("nimbus", "man", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil {
		t.Fatal(err)
	}
	want := 1
	for _, c := range commands(t) {
		if !c.Hidden {
			want++
		}
	}
	if len(pages) != want || !slices.Contains(pages, filepath.Join(dir, "nimbus-run.1")) || !slices.Contains(pages, filepath.Join(dir, "nimbus.1")) {
		t.Errorf("%d pages, want %d: %v", len(pages), want, pages)
	}
	if mandoc, err := exec.LookPath("mandoc"); err == nil {
		out, _ := exec.Command(mandoc, append([]string{"-T", "lint", "-W", "warning"}, pages...)...).CombinedOutput()
		for line := range strings.Lines(string(out)) {
			if !strings.Contains(line, "missing date") { // the same help gives the same page
				t.Error(line)
			}
		}
	} else {
		t.Log("mandoc is not here")
	}
	if man, err := exec.LookPath("man"); err == nil {
		for _, page := range pages {
			cmd := exec.Command(man, "--warnings", "-E", "UTF-8", "-l", page)
			cmd.Env = append(os.Environ(), "MANWIDTH=80", "LC_ALL=C.UTF-8", "MANROFFSEQ=", "MANPAGER=cat")
			var said strings.Builder
			cmd.Stderr = &said
			text, err := cmd.Output()
			if err != nil && strings.Contains(said.String(), "unrecognized option") {
				break // another man
			}
			if err != nil || said.Len() > 0 || !strings.Contains(string(text), "NAME") {
				t.Errorf("%s: %v\n%s", page, err, said.String())
			}
		}
	}
}
