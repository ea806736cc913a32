package agent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ctx.conf")
	load := func(content string) (Config, string, error) {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return Load(path)
	}
	cfg, warning, err := load("# mine\nscript_time_limit = \"90s\"\nhost_based_trust = true\n")
	if err != nil || warning != "" || cfg.ScriptTimeLimit != 90*time.Second || !cfg.HostBasedTrust || cfg.StateDir != Default().StateDir {
		t.Errorf("got %+v, %q, %v", cfg, warning, err)
	}
	if _, _, err := load(""); err != nil {
		t.Errorf("empty: %v", err)
	}

	// An image of the original agent keeps working.
	for _, old := range []string{
		"[sshd]\ngeneratedkey: /etc/ssh/ssh_host_rsa_key.pub\n\n[reginst]\nnicnames: eth0, eth1\n",
		"# comment\r\n[systempaths]\r\nhostname=/bin/hostname\r\n",
	} {
		cfg, warning, err := load(old)
		if err != nil || !strings.Contains(warning, "original context agent") || cfg.LogFile != Default().LogFile {
			t.Errorf("%q: got %q, %v", old, warning, err)
		}
	}

	for content, want := range map[string]string{
		"log_level = \"info\"\n\nscript_timelimit = \"5m\"\n": `:3: unknown setting "script_timelimit"`,
		"[paths]\nx = 1\n":                      `:1: unknown setting "paths"`,
		"state_dir = /var\n":                    ":1: ",
		"\nscript_time_limit = \"soon\"\n":      ":2: ",
		"script_time_limit = \"0s\"\n":          "script_time_limit = 0s must be more than nothing",
		"network_wait = \"-1s\"\n":              "must not be negative",
		"state_dir = \"nimbus\"\n":              `state_dir = "nimbus" must be an absolute path`,
		"problem_script = \"problem.sh\"\n":     `problem_script = "problem.sh" must be an absolute path, or empty`,
		"log_level = \"chatty\"\n":              `log_level = "chatty" must be`,
		"metadata_url = \"169.254.169.254\"\n":  "must be an http URL",
		"host_based_trust = \"yes\"\n":          "host_based_trust",
		strings.Repeat("# much\n", maxConfig/6): "larger than",
	} {
		_, _, err := load(content)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%.60q: got %v, want %q", content, err, want)
		}
	}
	if _, _, err := Load(path + ".missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

func TestDefaultIsValid(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
}
