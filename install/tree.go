package install

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// A Tree is the file system of this machine, or of an image that is mounted
// somewhere.
type Tree struct {
	root *os.Root
	dir  string // "" for this machine
	// The scripts of a launch lie over the machine's own, which are beside.
	aside bool
}

// OpenTree opens the file system below a directory; "" and "/" are this
// machine's.
func OpenTree(dir string) (*Tree, error) {
	if dir != "" {
		dir = filepath.Clean(dir)
	}
	if dir == "/" {
		dir = ""
	}
	at := dir
	if at == "" {
		at = "/"
	}
	info, err := os.Stat(at)
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "open", Path: dir, Err: errors.New("it is no directory")}
	}
	if err != nil {
		return nil, &Problem{Text: "root " + dir, Fix: "mount the image first, and name the directory where", Err: err}
	}
	root, err := os.OpenRoot(at)
	if err != nil {
		return nil, &Problem{Text: "root " + dir, Err: err}
	}
	t := &Tree{root: root, dir: dir}
	t.aside = t.isDir(t.leads(scriptsDir + beside))
	return t, nil
}

// Close lets go of the directory.
func (t *Tree) Close() error { return t.root.Close() }

// Name is what a path in the tree is called outside of it.
func (t *Tree) Name(name string) string { return t.dir + "/" + name }

// mostLinks is how many symbolic links a path may lead through, as in Linux.
const mostLinks = 40

// real follows the symbolic links of a path as a system does that runs in the
// tree: an absolute one begins at the tree's root, and ".." stays in it. What
// is not there is taken as it is written. The last part is followed, too, if
// last says so.
func (t *Tree) real(name string, last bool) (string, error) {
	if rest, is := strings.CutPrefix(name, scriptsDir+"/"); is && t.aside {
		name = scriptsDir + beside + "/" + rest
	}
	done, links := ".", 0
	for rest := strings.Split(name, "/"); len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		if part == ".." {
			done = path.Dir(done)
			continue
		}
		next := path.Join(done, part)
		info, err := t.root.Lstat(next)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if err != nil || info.Mode()&fs.ModeSymlink == 0 || len(rest) == 0 && !last {
			done = next
			continue
		}
		if links++; links > mostLinks {
			return "", &fs.PathError{Op: "open", Path: t.Name(name), Err: errors.New("too many symbolic links")}
		}
		target, err := t.root.Readlink(next)
		if err != nil {
			return "", err
		}
		if path.IsAbs(target) {
			done = "."
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return done, nil
}

// Has says whether there is something at a path, symbolic links followed.
func (t *Tree) Has(name string) bool {
	real, err := t.real(name, true)
	if err != nil {
		return false
	}
	_, err = t.root.Lstat(real)
	return err == nil
}

// leads is where a path leads to in the end.
func (t *Tree) leads(name string) string {
	real, err := t.real(name, true)
	if err != nil {
		return name
	}
	return real
}

// maxText bounds a file of others that is read.
const maxText = 1 << 20

// Read returns a text file; one that does not exist is fs.ErrNotExist.
func (t *Tree) Read(name string) ([]byte, error) {
	real, err := t.real(name, true)
	if err != nil {
		return nil, err
	}
	info, err := t.root.Lstat(real)
	if err != nil {
		return nil, err
	}
	// A pipe would never end.
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", t.Name(name))
	}
	if info.Size() > maxText {
		return nil, fmt.Errorf("%s is larger than %d MiB", t.Name(name), maxText>>20)
	}
	f, err := t.root.Open(real)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxText))
}

// text is a file's content, or nothing.
func (t *Tree) text(name string) string {
	content, err := t.Read(name)
	if err != nil {
		return ""
	}
	return string(content)
}

// flush returns when the names in a directory are on the disk.
func (t *Tree) flush(dir string) error {
	f, err := t.root.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
