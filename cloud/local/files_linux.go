package local

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// scriptsDir is where an image's scripts go.
const scriptsDir = "/opt/nimbus/ctx-scripts"

// bringFiles brings what comes from the host, while its root is still there.
func bringFiles(s setup) error {
	if s.Scripts != "" {
		from := filepath.Join(oldRoot, s.Scripts)
		if err := os.RemoveAll(scriptsDir); err != nil { // the image's own
			return err
		}
		if err := os.CopyFS(scriptsDir, os.DirFS(from)); err != nil {
			return fmt.Errorf("copy scripts from %s: %w", s.Scripts, err)
		}
	}
	for _, f := range s.Files {
		if s.has(f.Target) {
			continue
		}
		source := filepath.Join(oldRoot, f.Source)
		if err := mountPoint(source, f.Target); err != nil {
			return fmt.Errorf("bring %s: %w", f.Source, err)
		}
		if err := bind(source, f.Target, f.ReadOnly); err != nil {
			return fmt.Errorf("bring %s: %w", f.Source, err)
		}
	}
	return nil
}

// has says whether the image has something of its own at a path, which is not
// hidden in this sandbox.
func (s setup) has(path string) bool {
	if !slices.ContainsFunc(s.Own, func(own string) bool { return strings.HasPrefix(path, own+"/") }) {
		return false
	}
	_, err := os.Lstat(path)
	return err == nil
}

// mountPoint makes a place to mount a source on.
func mountPoint(source, target string) error {
	fi, err := os.Stat(source)
	if err != nil {
		return err
	}
	if fi.IsDir() {
		return makeDir(target)
	}
	if err := makeDir(filepath.Dir(target)); err != nil {
		return err
	}
	f, err := os.OpenFile(target, os.O_CREATE|os.O_RDONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// writeFiles writes what the instance is to have of its own.
func writeFiles(s setup) error {
	for _, f := range []struct {
		path string
		mode os.FileMode
		text string
	}{
		{"/etc/hostname", 0o644, s.Name + "\n"},
		{"/etc/hosts", 0o644, hostsFile(s.Name, s.NICs)},
		{hostKeyFile, 0o600, s.HostKey.Private},
		{hostKeyFile + ".pub", 0o644, s.HostKey.Public + "\n"},
		{sshdConfigFile, 0o644, sshdConfig},
		{rootHome + "/.ssh/authorized_keys", 0o600, lines(s.Keys)},
	} {
		if err := replace(f.path, f.mode, f.text); err != nil {
			return err
		}
	}
	if err := os.Chmod(rootHome+"/.ssh", 0o700); err != nil {
		return err
	}
	if err := unlockRoot("/etc/shadow"); err != nil {
		return err
	}
	for _, l := range s.Links {
		if s.has(l.Name) {
			continue
		}
		if err := makeDir(filepath.Dir(l.Name)); err != nil {
			return err
		}
		if err := os.Remove(l.Name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.Symlink(l.Target, l.Name); err != nil {
			return err
		}
	}
	return nil
}

// replace puts a new regular file in the place of whatever was there: writing
// to the old one would copy it up first, or follow a link.
func replace(path string, mode os.FileMode, text string) error {
	if err := makeDir(filepath.Dir(path)); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, []byte(text), mode)
}

// hostsFile names this instance only: the others come with the context.
func hostsFile(name string, nics []nic) string {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	var own netip.Addr
	if len(nics) > 0 {
		own = nics[0].Prefix.Addr()
	} else {
		own = netip.AddrFrom4([4]byte{127, 0, 1, 1})
	}
	fmt.Fprintf(&b, "%v\t%s", own, name)
	if short := shortName(name); short != name {
		fmt.Fprintf(&b, " %s", short)
	}
	b.WriteString("\n")
	return b.String()
}

func lines(all []string) string {
	var b strings.Builder
	for _, l := range all {
		b.WriteString(strings.TrimSpace(l) + "\n")
	}
	return b.String()
}

// unlockRoot lets root log in by key where the host has root's password locked:
// sshd without PAM takes "!" for a locked account, and "*" for no password.
func unlockRoot(shadow string) error {
	text, err := os.ReadFile(shadow)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	all := strings.SplitAfter(string(text), "\n")
	for n, l := range all {
		name, rest, _ := strings.Cut(l, ":")
		if name != "root" || !strings.HasPrefix(rest, "!") {
			continue
		}
		_, rest, _ = strings.Cut(rest, ":")
		all[n] = "root:*:" + rest
		var st unix.Stat_t
		if err := unix.Stat(shadow, &st); err != nil {
			return err
		}
		if err := replace(shadow, os.FileMode(st.Mode&0o777), strings.Join(all, "")); err != nil {
			return err
		}
		return os.Chown(shadow, int(st.Uid), int(st.Gid))
	}
	return nil
}
