package main

import (
	"io"
	"maps"
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

// named are commands and their subcommands, by what one types.
func named(prefix string, commands []*cli.Command) map[string]*cli.Command {
	all := map[string]*cli.Command{}
	for _, c := range commands {
		all[prefix+c.Name] = c
		if !c.Hidden {
			maps.Copy(all, named(prefix+c.Name+" ", c.Subcommands))
		}
	}
	return all
}

// Help is read by programs, too: manual pages and completion come from it. So
// it has the shape of package manual, explains each option, and no other.
func TestHelpHasOneShape(t *testing.T) {
	for name, c := range named("", commands(t)) {
		if c.Hidden && c.CustomHelpTemplate == "" {
			continue
		}
		page, err := manual.Parse(c.CustomHelpTemplate)
		if err != nil {
			t.Errorf("help of %s: %v", name, err)
			continue
		}
		if c.Usage == "" || !page.Has("Example") {
			t.Errorf("%s: no summary, or no example", name)
		}
		for _, usage := range page.Usage {
			if usage != "nimbus "+name && !strings.HasPrefix(usage, "nimbus "+name+" ") {
				t.Errorf("%s: usage of another command: %s", name, usage)
			}
		}
		explained := page.Options()
		var flags []string
		for _, f := range c.Flags {
			flags = append(flags, f.Names()...)
			v, ok := f.(cli.VisibleFlag)
			if flag := f.Names()[0]; (!ok || v.IsVisible()) && flag != "help" && explained[flag] == "" {
				t.Errorf("%s: the help does not explain --%s", name, flag)
			}
		}
		for flag := range explained {
			if !slices.Contains(flags, flag) {
				t.Errorf("%s: the help explains --%s, which it does not have", name, flag)
			}
		}
		for line := range strings.Lines(c.CustomHelpTemplate) {
			if len([]rune(strings.TrimRight(line, "\n"))) > 88 {
				t.Errorf("%s: a line is longer than a terminal is wide: %s", name, line)
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
			want += 1 + len(c.Subcommands)
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
