package install

import (
	"errors"
	"io/fs"
	"path"
	"strings"
)

// Left is where an agent leaves what belongs to one context, as absolute paths:
// its settings may say otherwise.
type Left struct {
	State      string // the claim, keys, data; a directory
	Bootstrap  string
	Log        string
	Scripts    string
	Hosts      string
	KnownHosts string
	HostsEquiv string
}

// Wipe takes back what contexts have left in a tree: an image with a claim in
// it would give all its machines the same secret. It does what clean.sh --image
// does, which a test compares. What it removed or changed is returned.
func (t *Tree) Wipe(l Left) ([]string, error) {
	var done []string
	did := func(name string, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return &Problem{Text: "clean " + t.Name(within(name)), Err: err}
		}
		done = append(done, within(name))
		return nil
	}
	for _, name := range []string{l.Hosts, l.KnownHosts} {
		if t.special(within(name)) {
			continue
		}
		changed, err := t.strip(name)
		if err != nil || changed {
			if err := did(name, err); err != nil {
				return done, err
			}
		}
	}
	if text, err := t.Read(within(l.KnownHosts)); err == nil && len(text) == 0 { // it was made for our lines
		if err := did(l.KnownHosts, t.remove(within(l.KnownHosts))); err != nil {
			return done, err
		}
	}
	if before := l.HostsEquiv + ".before-nimbus"; l.HostsEquiv != "" && t.Has(within(before)) {
		if err := did(l.HostsEquiv, t.rename(before, l.HostsEquiv)); err != nil {
			return done, err
		}
	}
	if err := did(l.Scripts, t.ownScripts(within(l.Scripts))); err != nil {
		return done, err
	}
	for _, name := range []string{l.State, testDir, runDir} {
		// Settings may be wrong: no agent has ever worked in that directory.
		if name == l.State && name != stateDir && !t.Has(within(name)+"/lock") {
			continue
		}
		if err := did(name, t.empty(within(name))); err != nil {
			return done, err
		}
	}
	for _, name := range []string{l.Log, l.Log + ".1", l.Bootstrap} {
		if t.special(within(name)) { // settings may say /dev/null
			continue
		}
		if err := did(name, t.remove(within(name))); err != nil {
			return done, err
		}
	}
	return done, nil
}

const (
	stateDir = "/var/lib/nimbus"      // unless the settings say otherwise
	testDir  = "/opt/nimbus/ctx-test" // where the sample scripts write
	runDir   = "/run/nimbus"          // what user data brought
)

// beside is where a machine's own scripts are while those of a launch lie over
// them.
const beside = ".image"

// ownScripts brings a machine's own scripts back.
func (t *Tree) ownScripts(dir string) error {
	real, err := t.real(dir, true)
	if err != nil {
		return err
	}
	if !t.isDir(real + beside) {
		return fs.ErrNotExist
	}
	if err := t.empty(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := t.root.Rename(real+beside, real); err != nil {
		return err
	}
	t.aside = false
	return t.root.RemoveAll(path.Join(real, ".pack"))
}

// special tells whether a name leads to what is neither a file nor a directory:
// nothing was ever left in that.
func (t *Tree) special(name string) bool {
	info, err := t.root.Lstat(t.leads(name))
	return err == nil && !info.Mode().IsRegular() && !info.IsDir()
}

// within makes an absolute path one of the tree.
func within(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

// strip takes our lines out of a file.
func (t *Tree) strip(name string) (changed bool, err error) {
	text, err := t.Read(within(name))
	if err != nil {
		return false, err
	}
	without := withoutLines(string(text))
	if without == string(text) {
		return false, nil
	}
	return true, t.rewrite(within(name), without)
}

func (t *Tree) rename(from, to string) error {
	from, err := t.real(within(from), false)
	if err != nil {
		return err
	}
	if to, err = t.real(within(to), false); err != nil {
		return err
	}
	return t.root.Rename(from, to)
}

// empty removes a directory with all that is in it; a mount point cannot go.
func (t *Tree) empty(name string) error {
	real, err := t.real(name, true)
	if err != nil {
		return err
	}
	entries, err := fs.ReadDir(t.root.FS(), real)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := t.root.RemoveAll(path.Join(real, e.Name())); err != nil {
			return err
		}
	}
	_ = t.root.Remove(real)
	return nil
}
