// Package pack packs a tree of role scripts so that it can travel with a
// launch, and unpacks it on a machine. The same tree gives the same pack: its
// sum is its name.
package pack

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a pack. Scripts are small; what is larger is data, or an attack.
const (
	MaxFiles    = 10_000   // and directories and links
	MaxUnpacked = 64 << 20 // bytes of all files
	MaxSize     = 16 << 20 // bytes of the pack itself
	maxPath     = 1 << 10  // bytes of a path, and of what a link leads to
	maxLinks    = 40       // links that one path may lead through, as in the kernel
)

// An entry is one thing of a tree.
type entry struct {
	name string      // slash-separated, below the tree
	mode fs.FileMode // type and permissions
	size int64       // of a file
	link string      // where a link leads
}

// A tree is what a pack holds: parents come before what is in them.
type tree []entry

// A Refusal says what is wrong with a tree, or an archive.
type Refusal struct {
	Path string // of the entry; empty: the tree as a whole
	Text string
}

func (r *Refusal) Error() string {
	if r.Path == "" {
		return r.Text
	}
	return fmt.Sprintf("%q: %s", r.Path, r.Text)
}

func refuse(path, format string, args ...any) error {
	return &Refusal{path, fmt.Sprintf(format, args...)}
}

// check tells whether a tree may be unpacked, wherever it comes from: nothing
// in it stands twice, has a name that leads out or cannot be printed, or is
// anything but a directory, a file, or a link to a part of the same tree.
func (t tree) check() error {
	if len(t) > MaxFiles {
		return refuse("", "there are more than %d files", MaxFiles)
	}
	seen := make(map[string]entry, len(t))
	var total int64
	for _, e := range t {
		if err := checkName(e.name); err != nil {
			return err
		}
		if _, twice := seen[e.name]; twice {
			return refuse(e.name, "it is there twice")
		}
		if dir := path.Dir(e.name); dir != "." && !seen[dir].mode.IsDir() {
			return refuse(e.name, "%q is no directory before it", dir)
		}
		switch e.mode.Type() {
		case 0:
			if e.size < 0 || e.size > MaxUnpacked {
				return refuse(e.name, "it is larger than %d MiB", MaxUnpacked>>20)
			}
			if total += e.size; total > MaxUnpacked {
				return refuse("", "the files are larger than %d MiB in all", MaxUnpacked>>20)
			}
		case fs.ModeDir, fs.ModeSymlink:
		default:
			return refuse(e.name, "it is neither a file nor a directory nor a link")
		}
		seen[e.name] = e
	}
	for _, e := range t {
		if e.mode.Type() == fs.ModeSymlink {
			if err := lead(seen, e); err != nil {
				return refuse(e.name, "%v", err)
			}
		}
	}
	return nil
}

// checkName refuses names that lead out of the tree or would do something to
// the terminal of who lists them.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || !fs.ValidPath(name) || strings.Contains(name, `\`):
		return refuse(name, "this is no path inside the tree")
	case len(name) > maxPath:
		return refuse(name[:60]+"…", "the path is longer than %d bytes", maxPath)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return refuse(name, "the name holds characters that cannot be printed")
	}
	return nil
}

// lead follows a link inside the tree to its end, through other links.
func lead(seen map[string]entry, e entry) error {
	at, rest := path.Dir(e.name), []string{}
	links := 0
	follow := func(l entry) error {
		links++
		switch {
		case links > maxLinks:
			return errors.New("it leads in a circle, or through too many links")
		case l.link == "" || len(l.link) > maxPath:
			return errors.New("it leads nowhere")
		case !utf8.ValidString(l.link) || strings.ContainsFunc(l.link, func(r rune) bool { return !unicode.IsPrint(r) }):
			return errors.New("it leads to a name that cannot be printed")
		case path.IsAbs(l.link):
			return fmt.Errorf("the link to %q leads out of the tree: make it relative", l.link)
		}
		rest = slices.Concat(strings.Split(l.link, "/"), rest)
		return nil
	}
	if err := follow(e); err != nil {
		return err
	}
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if at == "." {
				return fmt.Errorf("the link to %q leads out of the tree", e.link)
			}
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, part)
		l, there := seen[next]
		switch {
		case !there:
			return fmt.Errorf("the link to %q leads to nothing in the tree", e.link)
		case l.mode.Type() == fs.ModeSymlink:
			if err := follow(l); err != nil {
				return err
			}
		case l.mode.IsDir():
			at = next
		case len(rest) > 0:
			return fmt.Errorf("the link to %q leads through a file", e.link)
		}
	}
	return nil
}
