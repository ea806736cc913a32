package pack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// An Overlay is a scripts directory that a pack may lie over. As long as one
// does, the machine's own scripts are beside it, in a directory of the same
// name with ".image" behind it, and in that a mark says which pack it is. The
// scripts directory itself is never replaced, only what is in it: it may be a
// mount point. Whatever is interrupted is done again by the next call.
type Overlay struct{ Dir string }

// A Mark says what lies over a machine's own scripts.
type Mark struct {
	Context string `json:"context"` // that brought it
	SHA256  string `json:"sha256"`
	Done    bool   `json:"done"` // all of it is in its place
}

// markName is no script's name: those do not begin with a dot.
const markName = ".pack"

func (o Overlay) aside() string { return filepath.Clean(o.Dir) + ".image" }

// draft is where own scripts are while they are copied, or removed.
func (o Overlay) draft() string {
	return filepath.Join(filepath.Dir(o.aside()), "."+filepath.Base(o.aside())+".draft")
}

// Over tells whether the scripts are not only the machine's own, and what lies
// over them, as far as that is known.
func (o Overlay) Over() (m Mark, over bool, err error) {
	if _, err := os.Lstat(o.aside()); errors.Is(err, fs.ErrNotExist) {
		return Mark{}, false, nil
	} else if err != nil {
		return Mark{}, false, err
	}
	content, err := os.ReadFile(filepath.Join(o.aside(), markName))
	if errors.Is(err, fs.ErrNotExist) {
		return Mark{}, true, nil // it was interrupted before
	}
	if err != nil {
		return Mark{}, true, err
	}
	if json.Unmarshal(content, &m) != nil {
		m = Mark{} // a damaged one says that nothing is sure
	}
	return m, true, nil
}

// Put makes the scripts the machine's own with a pack over them.
func (o Overlay) Put(context string, r io.ReaderAt, size int64, sum string) error {
	if err := o.keep(); err != nil {
		return fmt.Errorf("keep this machine's own scripts in %s: %w", o.aside(), err)
	}
	m := Mark{Context: context, SHA256: sum}
	if err := o.mark(m); err != nil {
		return err
	}
	if err := o.own(); err != nil {
		return err
	}
	if err := Unpack(r, size, sum, o.Dir); err != nil {
		return err
	}
	m.Done = true
	return o.mark(m)
}

// Restore brings the machine's own scripts back. Without a pack over them there
// is nothing to do.
func (o Overlay) Restore() error {
	_, over, err := o.Over()
	if err != nil {
		return err
	}
	if !over {
		if _, err := os.Lstat(o.draft()); err != nil {
			return nil // and the file system may be read-only
		}
		return os.RemoveAll(o.draft())
	}
	if err := o.mark(Mark{}); err != nil {
		return err
	}
	if err := o.own(); err != nil {
		return err
	}
	// A directory goes bit by bit, and half of one would be taken for all.
	if err := os.RemoveAll(o.draft()); err != nil {
		return err
	}
	if err := os.Rename(o.aside(), o.draft()); err != nil {
		return err
	}
	if err := flushDir(filepath.Dir(o.aside())); err != nil {
		return err
	}
	return os.RemoveAll(o.draft())
}

// keep copies the machine's own scripts aside, once.
func (o Overlay) keep() error {
	if _, err := os.Lstat(o.aside()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.RemoveAll(o.draft()); err != nil {
		return err
	}
	if err := os.Mkdir(o.draft(), 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(o.draft())
	if err := mirror(o.Dir, o.draft()); err != nil {
		return err
	}
	if err := os.Rename(o.draft(), o.aside()); err != nil {
		return err
	}
	return flushDir(filepath.Dir(o.aside()))
}

// own makes the scripts what was kept aside.
func (o Overlay) own() error { return mirror(o.aside(), o.Dir) }

func (o Overlay) mark(m Mark) error {
	content, err := json.Marshal(m)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(o.aside())
	if err != nil {
		return err
	}
	defer root.Close()
	next := markName + ".new"
	if err := root.RemoveAll(next); err != nil {
		return err
	}
	if err := WriteFile(root, next, 0o644, bytes.NewReader(append(content, '\n'))); err != nil {
		return err
	}
	if err := root.Rename(next, markName); err != nil {
		return err
	}
	return flush(root, ".")
}

// mirror makes a directory hold what another one holds, and puts it on the
// disk. What is the same is not touched. Links are taken as they are; what is
// neither file, directory nor link is left out on both sides.
func mirror(from, to string) error {
	source, err := os.OpenRoot(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer target.Close()
	known := map[string]bool{".": true}
	var dirs []string
	err = fs.WalkDir(source.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == "." || ours(name) || special(d.Type()):
			return nil
		case d.IsDir():
			dirs = append(dirs, name)
		}
		known[name] = true
		info, err := d.Info()
		if err != nil {
			return err
		}
		return like(source, target, name, info)
	})
	if err != nil {
		return err
	}
	err = fs.WalkDir(target.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || known[name] || special(d.Type()) {
			return err
		}
		if err := target.RemoveAll(name); err != nil {
			return err
		}
		if d.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, dir := range append(dirs, ".") {
		if err := flush(target, dir); err != nil {
			return err
		}
	}
	return nil
}

// ours tells whether a name beside own scripts is that of a mark.
func ours(name string) bool { return name == markName || name == markName+".new" }

func special(mode fs.FileMode) bool {
	return mode != 0 && mode != fs.ModeDir && mode != fs.ModeSymlink
}

// like makes one entry like that of another tree.
func like(source, target *os.Root, name string, info fs.FileInfo) error {
	there, err := target.Lstat(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil {
		if same, err := equal(source, target, name, info, there); err != nil || same {
			return err
		}
		if !(info.IsDir() && there.IsDir()) {
			if err := target.RemoveAll(name); err != nil {
				return err
			}
		}
	}
	switch info.Mode().Type() {
	case fs.ModeDir:
		if err := target.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := target.Chmod(name, info.Mode().Perm()); err != nil {
			return err
		}
	case fs.ModeSymlink:
		to, err := source.Readlink(name)
		if err != nil {
			return err
		}
		if err := target.Symlink(to, name); err != nil {
			return err
		}
	default:
		f, err := source.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := WriteFile(target, name, info.Mode().Perm(), f); err != nil {
			return err
		}
		if err := target.Chtimes(name, info.ModTime(), info.ModTime()); err != nil {
			return err
		}
	}
	// In a namespace that knows one user only, another one cannot be made the
	// owner; there it makes no difference.
	if s, ok := info.Sys().(*syscall.Stat_t); ok && (int(s.Uid) != os.Geteuid() || int(s.Gid) != os.Getegid()) {
		_ = target.Lchown(name, int(s.Uid), int(s.Gid))
	}
	return nil
}

// equal tells whether two entries need no copying.
func equal(source, target *os.Root, name string, a, b fs.FileInfo) (bool, error) {
	if a.Mode() != b.Mode() || a.Mode().IsRegular() && a.Size() != b.Size() {
		return false, nil
	}
	switch {
	case a.IsDir():
		return true, nil
	case a.Mode()&fs.ModeSymlink != 0:
		one, err := source.Readlink(name)
		if err != nil {
			return false, err
		}
		other, err := target.Readlink(name)
		return one == other, err
	}
	one, err := source.ReadFile(name)
	if err != nil {
		return false, err
	}
	other, err := target.ReadFile(name)
	return bytes.Equal(one, other), err
}

// flushDir returns when the names in a directory are on the disk.
func flushDir(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return flush(root, ".")
}
