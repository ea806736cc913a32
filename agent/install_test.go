package agent

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/urfave/cli/v2"

	"nimbus/install"
)

// installed calls "nimbus agent install" as main does.
func installed(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	app := &cli.App{Name: "nimbus", Commands: []*cli.Command{Command()}, Writer: &out, ErrWriter: &out, ExitErrHandler: func(*cli.Context, error) {}}
	err := app.Run(append([]string{"nimbus", "agent", "install"}, args...))
	return out.String(), err
}

// The settings of an image say where its agent left what; they are read in the
// image and nowhere else.
func TestInstallAsTheImageIsSet(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("opt/nimbus/ctx/ctx.conf", "state_dir = \"/srv/state\"\nlog_file = \"/srv/log\"\n")
	put("srv/state/lock", "")
	put("srv/state/c1/claim", "secret")
	put("srv/log", "x")
	put("srv/other", "x")
	out, err := installed(t, "--root", dir)
	if err != nil || !strings.Contains(out, "cleaned of an earlier cluster: /srv/state\n") || !strings.Contains(out, "cleaned of an earlier cluster: /srv/log\n") {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "srv/state")); !os.IsNotExist(err) {
		t.Error("the claim is still there")
	}
	if _, err := os.Stat(filepath.Join(dir, "srv/other")); err != nil {
		t.Error(err)
	}
	put("opt/nimbus/ctx/ctx.conf", "state_dir = 7\n")
	if _, err := installed(t, "--root", dir); code(err) != CodeConfig || !strings.Contains(err.Error(), filepath.Join(dir, "opt/nimbus/ctx/ctx.conf")) {
		t.Errorf("%v", err)
	}
}

// While an agent is at work, nobody takes its memory away.
func TestInstallWaitsForNoAgent(t *testing.T) {
	dir := t.TempDir()
	free, err := alone(dir) // no agent was ever here
	if err != nil {
		t.Fatal(err)
	}
	free()
	s, err := openState(dir, "c1")
	if err != nil {
		t.Fatal(err)
	}
	_, err = alone(dir)
	var problem *install.Problem
	if !errors.As(err, &problem) || !strings.Contains(err.Error(), "another agent is at work here") || problem.Hint() == "" {
		t.Errorf("%v", err)
	}
	s.close()
	free, err = alone(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer free()
	if _, err := openState(dir, "c1"); !errors.Is(err, errBusy) {
		t.Errorf("an agent begins in the middle: %v", err)
	}
}

func TestInstallRefuses(t *testing.T) {
	for want, args := range map[string][]string{
		"--root is empty":                    {"--root", ""},
		"--binary is empty":                  {"--binary="},
		"unexpected argument":                {"image"},
		"only --root goes with --uninstall":  {"--uninstall", "--keep-state"},
		"flag provided but not defined: -no": {"--no"},
	} {
		if _, err := installed(t, args...); code(err) != CodeUsage || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", args, err)
		}
	}
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, binary := range map[string]string{"no such file": dir + "/none", "it is no regular file": pipe, "this is no program for Linux": "install.go"} {
		if _, err := installed(t, "--root", dir, "--binary", binary); code(err) != CodeEnvironment || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", binary, err)
		}
	}
	// An image for another processor.
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/sh"), []byte("\x7fELF\x02\x01\x01"+strings.Repeat("\x00", 9)+"\x02\x00\xf3\x00"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := installed(t, "--root", dir); code(err) != CodeEnvironment || !strings.Contains(err.Error(), "bin/sh for riscv64") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "opt")); !os.IsNotExist(err) {
		t.Error("something was installed")
	}
}
