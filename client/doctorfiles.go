package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"nimbus/cloud"
)

// What a doctor looks at on the disk: settings, directories, keys.

func checkProgram(_ context.Context, p *patient) []cloud.Finding {
	return info("program: %s for %s/%s", p.env.Executable, runtime.GOOS, runtime.GOARCH)
}

func checkSettings(_ context.Context, p *patient) []cloud.Finding {
	if p.refusal != nil {
		return fail("correct it; all below holds for the defaults", "settings: %v", p.refusal)
	}
	if _, err := os.Stat(p.file); errors.Is(err, fs.ErrNotExist) {
		return info("settings: no file %s, all are the defaults", p.file)
	}
	return fine("settings: %s", p.file)
}

// Space that a launch needs for its records, logs and reports.
const (
	scarce  = 10 << 20
	healthy = 200 << 20
)

// checkDirectories: what Nimbus keeps must find room, and must not be changed
// by others.
func checkDirectories(_ context.Context, p *patient) []cloud.Finding {
	var all []cloud.Finding
	for _, d := range []struct{ what, dir, option string }{
		{"state", p.env.StateDir, "set XDG_STATE_HOME"},
		{"history", p.historyDir(), "give another with --history-dir"},
		{"settings", p.env.ConfigDir, "set XDG_CONFIG_HOME"},
	} {
		all = append(all, checkDirectory(p.machine, d.what, d.dir, d.option)...)
	}
	return all
}

func checkDirectory(m machine, what, dir, otherwise string) []cloud.Finding {
	there, err := nearestDir(dir)
	if err == nil {
		err = m.writable(there)
	}
	if err != nil {
		return fail(fmt.Sprintf("make it writable for you (after a call with sudo: chown), or %s", otherwise), "%s directory: %v", what, err)
	}
	if there == dir {
		if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o022 != 0 {
			return fail("chmod go-w "+dir, "%s directory: others may write to %s", what, dir)
		}
	}
	free, err := m.free(there)
	switch room := sizeText(free); {
	case err != nil:
		return warn("look at the file system", "%s directory: %v", what, err)
	case free < scarce:
		return fail(fmt.Sprintf("free some space, or %s", otherwise), "%s directory: %s has %s left", what, there, room)
	case free < healthy:
		return warn(fmt.Sprintf("free some space, or %s", otherwise), "%s directory: %s has %s left", what, there, room)
	default:
		return fine("%s directory: %s, %s free", what, dir, room)
	}
}

func sizeText(bytes uint64) string {
	if bytes < 10<<30 {
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
	return fmt.Sprintf("%d GiB", bytes>>30)
}

// checkSecrets: keys are for their owner only.
func checkSecrets(_ context.Context, p *patient) []cloud.Finding {
	var files, dirs []string
	logins, _ := filepath.Glob(filepath.Join(globQuote(p.env.ConfigDir), "logins", "*.json"))
	files = append(files, logins...)
	for _, name := range []string{"ca.key", "master.key", "owner.key"} {
		files = append(files, filepath.Join(p.env.brokerDir(), name))
	}
	if key := p.settings.BrokerKey; key != "" {
		files = append(files, p.env.expand(key))
	}
	for _, c := range p.settings.Clouds {
		if c.Key != "" {
			files = append(files, p.env.expand(c.Key))
		}
	}
	own, _ := filepath.Glob(filepath.Join(globQuote(p.env.StateDir), "ssh", "*"))
	for _, key := range append(own, p.env.expand(strings.TrimSuffix(p.settings.SSHKey, ".pub"))) {
		if key != "" && !strings.HasSuffix(key, ".pub") {
			files = append(files, key)
		}
	}
	dirs = append(dirs, p.env.brokerDir(), filepath.Join(p.env.StateDir, "ssh"), filepath.Join(p.env.ConfigDir, "logins"))

	var all []cloud.Finding
	seen := 0
	for _, path := range append(files, dirs...) {
		info, err := os.Stat(path)
		if err != nil {
			continue // whoever needs it says so
		}
		mode, want := info.Mode().Perm(), fs.FileMode(0o600)
		if info.IsDir() {
			want = 0o700
		}
		if seen++; mode&0o077 != 0 {
			all = append(all, fail(fmt.Sprintf("chmod %o %s", want, path), "keys: others may read %s (mode %04o)", path, mode)...)
		}
	}
	if key := p.settings.BrokerKey; key != "" {
		if _, err := os.Stat(p.env.expand(key)); err != nil {
			all = append(all, fail("correct broker_key in the settings, or log in with \"nimbus login URL\"", "keys: %v", err)...)
		}
	}
	if all == nil && seen > 0 {
		return fine("keys: for you only")
	}
	return all
}

// globQuote keeps a directory's name from being a pattern.
func globQuote(dir string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(dir)
}

func checkKnownHosts(_ context.Context, p *patient) []cloud.Finding {
	file, err := p.knownHostsFile()
	if err != nil {
		return fail("set known_hosts to a whole path", "%v", err)
	}
	if file == "" {
		return info("known_hosts: host keys are not stored (known_hosts is \"none\")")
	}
	const advice = `make it writable for you, or set known_hosts to another file or "none"`
	if info, err := os.Lstat(file); err == nil {
		if info.IsDir() {
			return fail(advice, "known_hosts: %s is a directory", file)
		}
		if err := p.machine.writable(file); err != nil {
			return fail(advice, "known_hosts: %v", err)
		}
	}
	// A new file takes the old one's place.
	dir, err := nearestDir(filepath.Dir(file))
	if err == nil {
		err = p.machine.writable(dir)
	}
	if err != nil {
		return fail(advice, "known_hosts: %v", err)
	}
	return fine("known_hosts: %s", file)
}

func checkSSH(_ context.Context, p *patient) []cloud.Finding {
	path, err := p.machine.program("ssh")
	if err != nil {
		return warn("install openssh-client to log in to what you launch", "ssh client: there is none on the PATH")
	}
	return fine("ssh client: %s", path)
}

// checkTerminal says what the words of this program will look like.
func checkTerminal(_ context.Context, p *patient) []cloud.Finding {
	locale := ""
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} { // the first one counts
		if locale = p.machine.variable(name); locale != "" {
			break
		}
	}
	text := fmt.Sprintf("terminal: %s", orNone(p.machine.variable("TERM")))
	if width, height, ok := p.env.Terminal(p.env.Stdout); ok {
		text += fmt.Sprintf(", %dx%d", width, height)
	} else {
		text += ", output is no terminal: plain lines"
	}
	if p.env.NoColor {
		text += ", without colour (NO_COLOR)"
	}
	utf8 := slices.ContainsFunc([]string{"utf-8", "utf8"}, func(s string) bool { return strings.Contains(strings.ToLower(locale), s) })
	if !utf8 {
		text += fmt.Sprintf("; the locale %s is not UTF-8: names beyond ASCII may look odd", orNone(locale))
	}
	return info("%s", text)
}

func orNone(text string) string {
	if text == "" {
		return "(none)"
	}
	return text
}
