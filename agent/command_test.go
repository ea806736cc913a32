package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// nimbus runs a command line as main does.
func nimbus(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	app := &cli.App{
		Name: "nimbus", Writer: &out, ErrWriter: &errs, Commands: []*cli.Command{Command()}, HideVersion: true,
		ExitErrHandler: func(*cli.Context, error) {},
	}
	err = app.RunContext(t.Context(), append([]string{"nimbus", "agent"}, args...))
	return out.String(), errs.String(), err
}

// configFile writes the settings of a machine under test.
func (m *testMachine) configFile(t *testing.T) string {
	t.Helper()
	m.put(t, "ctx.conf", fmt.Sprintf("scripts_dir = %q\nstate_dir = %q\nlog_file = %q\nbootstrap_file = %q\nmetadata_url_file = %q\nmetadata_url = %q\nssh_host_keys = %q\nknown_hosts = %q\n",
		m.cfg.ScriptsDir, m.cfg.StateDir, m.cfg.LogFile, m.cfg.BootstrapFile, m.cfg.MetadataURLFile, m.cfg.MetadataURL, m.cfg.SSHHostKeys, m.cfg.KnownHosts))
	return filepath.Join(m.root, "ctx.conf")
}

func TestUsage(t *testing.T) {
	m := newMachine(t, newBroker(t))
	conf := m.configFile(t)
	m.put(t, "wrong.conf", "colour = \"red\"\n")
	for name, c := range map[string]struct {
		args []string
		code int
		text string
	}{
		"unknown flag":          {[]string{"--colour"}, CodeUsage, "flag provided but not defined"},
		"an argument":           {[]string{"--config", conf, "extra"}, CodeUsage, `unexpected argument "extra"`},
		"manifest alone":        {[]string{"--manifest", "x"}, CodeUsage, "--manifest only goes with --dry-run"},
		"from alone":            {[]string{"--from", "1"}, CodeUsage, "--from only goes with --rerun"},
		"no such phase":         {[]string{"--config", conf, "--rerun", "--from", "../bin"}, CodeUsage, `there is no phase "../bin": give a number from 0 to 5, or one of 0-etchosts, sshd, 1-ipandhost`},
		"rerun without doing":   {[]string{"--rerun", "--dry-run"}, CodeUsage, "--rerun does not go with --dry-run"},
		"no such configuration": {[]string{"--config", m.root + "/none"}, CodeConfig, "no such file"},
		"wrong configuration":   {[]string{"-c", m.root + "/wrong.conf"}, CodeConfig, `wrong.conf:1: unknown setting "colour"`},
		"no such bootstrap":     {[]string{"-c", conf, "-b", m.root + "/none"}, CodeFailed, "bootstrap file: open " + m.root + "/none"},
		"no such manifest":      {[]string{"-c", conf, "--dry-run", "--manifest", m.root + "/none"}, CodeUsage, "manifest: open"},
	} {
		stdout, _, err := nimbus(t, c.args...)
		if code(err) != c.code || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: got %v, want code %d and %q", name, err, c.code, c.text)
		}
		if name != "no such manifest" && stdout != "" {
			t.Errorf("%s: stdout %q", name, stdout)
		}
	}
}

func TestHelp(t *testing.T) {
	stdout, _, err := nimbus(t, "--help")
	if err != nil || !strings.Contains(stdout, "nimbus agent --dry-run") || strings.Contains(stdout, "polltime") {
		t.Errorf("%v\n%s", err, stdout)
	}
}

// The command line of old images: launch.sh of the original ended in this.
func TestOldOptions(t *testing.T) {
	m := newMachine(t, nil)
	m.put(t, "userdata", "#!/bin/sh\n")
	m.put(t, "url", "") // present and useless: an error that proves that the agent ran
	m.cfg.MetadataURLFile = filepath.Join(m.root, "url")
	_, stderr, err := nimbus(t, "-c", m.configFile(t), "--polltime", "2", "-z", "-t")
	if code(err) != CodeFailed || !strings.Contains(stderr, "ignored, without a meaning today: --tryall --polltime") {
		t.Errorf("got %v\n%s", err, stderr)
	}
}

func TestDryRun(t *testing.T) {
	b := newBroker(t)
	m := newMachine(t, b)
	manifest, err := json.Marshal(helloManifest())
	if err != nil {
		t.Fatal(err)
	}
	m.put(t, "manifest.json", string(manifest))
	before := files(t, m.root)

	var out bytes.Buffer
	if err := DryRun(t.Context(), m.cfg, "", &out); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"context: ctx-1\n", "identity: publicnic 10.78.0.2 head-0\n", "broker: " + b.URL, "  1-ipandhost/worker\n"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("lacks %q:\n%s", part, out.String())
		}
	}
	if err := DryRun(t.Context(), m.cfg, filepath.Join(m.root, "manifest.json"), &out); err != nil {
		t.Fatal(err)
	}
	if want := "  4 1-ipandhost/worker 10.78.0.4 work-1 work-1\n"; !strings.Contains(out.String(), want) {
		t.Errorf("lacks %q:\n%s", want, out.String())
	}
	if _, mac, _ := strings.Cut(token, "0:"); strings.Contains(out.String(), mac) {
		t.Error("the token is printed")
	}
	if after := files(t, m.root); after != before || len(b.asked) != 0 {
		t.Errorf("files before:\n%s\nafter:\n%s\nasked: %v", before, after, b.asked)
	}
}

func TestDryRunRefusesAHostileManifest(t *testing.T) {
	m := newMachine(t, newBroker(t))
	manifest := helloManifest()
	manifest.Roles[0].Name = "../../bin/sh"
	content, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	m.put(t, "manifest.json", string(content))
	err = DryRun(t.Context(), m.cfg, filepath.Join(m.root, "manifest.json"), &bytes.Buffer{})
	if code(err) != CodeUsage || !strings.Contains(err.Error(), "may hold only letters") {
		t.Errorf("got %v", err)
	}
}

func files(t *testing.T, root string) string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		list = append(list, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(list, "\n")
}
