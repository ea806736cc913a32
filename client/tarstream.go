package client

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// What cp sends is below data/, and behind it an empty file says that it was
// all: a stream that breaks off looks like one that ended.
const (
	dataDir      = "data"
	completeFile = "complete"
)

// packer writes local files as a tar stream.
type packer struct {
	files int
	bytes int64
}

// pack writes each path, which a link may lead to, and what is below it.
func (p *packer) pack(w io.Writer, paths []string) error {
	t := tar.NewWriter(w)
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dataDir + "/", Mode: 0o755, Format: tar.FormatGNU}); err != nil {
		return err
	}
	for _, file := range paths {
		name, err := nameOf(file)
		if err != nil {
			return err
		}
		real, err := filepath.EvalSymlinks(file)
		if err != nil {
			return err
		}
		err = filepath.WalkDir(real, func(at string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			below, err := filepath.Rel(real, at)
			if err != nil {
				return err
			}
			return p.add(t, at, path.Join(dataDir, name, filepath.ToSlash(below)))
		})
		if err != nil {
			return err
		}
	}
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: completeFile, Mode: 0o600, Format: tar.FormatGNU}); err != nil {
		return err
	}
	return t.Close()
}

// add writes one file, directory or link. What is none of these is not copied.
func (p *packer) add(t *tar.Writer, at, name string) error {
	info, err := os.Lstat(at)
	if err != nil {
		return err
	}
	h := &tar.Header{Name: name, Mode: int64(info.Mode().Perm()), ModTime: info.ModTime(), Format: tar.FormatGNU}
	switch info.Mode().Type() {
	case fs.ModeDir:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case fs.ModeSymlink:
		h.Typeflag = tar.TypeSymlink
		if h.Linkname, err = os.Readlink(at); err != nil {
			return err
		}
	case 0:
		return p.addFile(t, at, h)
	default:
		return fmt.Errorf("%s is neither file, directory nor link", at)
	}
	p.files++
	return t.WriteHeader(h)
}

func (p *packer) addFile(t *tar.Writer, at string, h *tar.Header) error {
	f, err := os.Open(at)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h.Typeflag, h.Size = tar.TypeReg, info.Size()
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.CopyN(t, f, h.Size)
	p.bytes += n
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s is shorter than its size says", at)
	}
	if err != nil {
		return err
	}
	p.files++
	return checkEnd(f, h.Size)
}

// checkEnd refuses a file with more in it than its size says, as most have
// below /proc. One that grows is copied as it was.
func checkEnd(f *os.File, size int64) error {
	if n, err := f.Read(make([]byte, 1)); n == 0 && (err == nil || errors.Is(err, io.EOF)) {
		return nil
	} else if n == 0 {
		return err
	}
	if info, err := f.Stat(); err != nil || info.Size() > size {
		return err
	}
	return fmt.Errorf("%s has more in it than its size says (%s): copy what cat prints of it", f.Name(), count(int(size), "byte"))
}

// unpacker gives a tar stream its place. The stream comes from a machine that
// may say anything: all happens in a new directory that nothing leads out of,
// and what is complete is moved from there.
type unpacker struct {
	files int
	bytes int64
	dirs  map[string]fs.FileMode // of new directories, set last: they may not be writable
}

// receive reads a stream with one file, or a directory and what is in it, that
// is to become the path to.
func (u *unpacker) receive(r io.Reader, to string) error {
	to, err := filepath.Abs(to)
	if err != nil {
		return err
	}
	parent, name := filepath.Split(to)
	if fi, err := os.Lstat(to); err == nil && fi.IsDir() {
		parent, name = to, "."
	}
	root, err := os.OpenRoot(parent)
	if err != nil {
		return err
	}
	defer root.Close()
	temp, err := os.MkdirTemp(parent, ".nimbus-cp-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	inside, err := root.OpenRoot(filepath.Base(temp))
	if err != nil {
		return err
	}
	defer inside.Close()
	u.dirs = map[string]fs.FileMode{}
	if err := u.unpack(r, inside); err != nil {
		return err
	}
	if err := u.settle(root, path.Join(filepath.Base(temp), dataDir), name, "."); err != nil {
		return err
	}
	for _, dir := range slices.Backward(slices.Sorted(maps.Keys(u.dirs))) {
		at := path.Join(name, dir)
		// Chmod follows links, and the root may be the user's home.
		if fi, err := root.Lstat(at); err != nil {
			return err
		} else if !fi.IsDir() {
			return fmt.Errorf("%s is no directory", filepath.Join(root.Name(), at))
		}
		if err := root.Chmod(at, u.dirs[dir]); err != nil {
			return err
		}
	}
	return nil
}

// unpack writes a stream below data, or as data when it is a single file. It
// reads to the end of everything: whoever failed to send says so there.
func (u *unpacker) unpack(r io.Reader, inside *os.Root) error {
	t := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := t.Next()
		if errors.Is(err, io.EOF) && n > 0 {
			break
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		name, err := entryName(h.Name)
		if err != nil {
			return err
		}
		switch {
		case n == 0 && h.Typeflag == tar.TypeReg:
			name = "." // a single file, whatever it is called there
		case n == 0 && (name != "." || h.Typeflag != tar.TypeDir):
			return fmt.Errorf("the machine sent %q, which is neither file nor directory", h.Name)
		case n > 0 && len(u.dirs) == 0:
			return fmt.Errorf("the machine sent %q as well", h.Name)
		case n > 0 && !u.within(name):
			return fmt.Errorf("the machine sent %q, which is in no directory that it sent", h.Name)
		}
		if err := u.entry(inside, h, t, name); err != nil {
			return err
		}
	}
	_, err := io.Copy(io.Discard, r)
	return err
}

// entryName is the name of an entry below the one that was asked for.
func entryName(name string) (string, error) {
	clean := path.Clean(name)
	if !filepath.IsLocal(clean) || path.IsAbs(name) || strings.ContainsRune(name, 0) {
		return "", fmt.Errorf("the machine sent %q, which leads elsewhere", name)
	}
	return clean, nil
}

// within tells whether an entry is in a directory that came before: nothing is
// written through links, not even through those that stay inside.
func (u *unpacker) within(name string) bool {
	_, ok := u.dirs[path.Dir(name)]
	return ok
}

// entry writes one file, directory or link.
func (u *unpacker) entry(inside *os.Root, h *tar.Header, data io.Reader, name string) error {
	at := path.Join(dataDir, name)
	mode := fs.FileMode(h.Mode).Perm()
	switch h.Typeflag {
	case tar.TypeDir:
		if err := inside.Mkdir(at, 0o700); err != nil {
			// It may come twice, but not as something else before.
			if fi, missing := inside.Lstat(at); missing != nil || !fi.IsDir() {
				return err
			}
		}
		u.dirs[name] = mode
		return nil
	case tar.TypeReg:
		f, err := inside.OpenFile(at, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		n, err := io.Copy(f, data)
		u.bytes += n
		if err == nil {
			err = f.Chmod(mode)
		}
		if closed := f.Close(); err == nil {
			err = closed
		}
		if err != nil {
			return err
		}
	case tar.TypeSymlink:
		if err := inside.Symlink(h.Linkname, at); err != nil {
			return err
		}
	case tar.TypeLink: // to one that came before
		first, err := entryName(h.Linkname)
		if err != nil {
			return err
		}
		if !u.within(first) {
			return fmt.Errorf("the machine sent %q as a link to %q, which is in no directory that it sent", h.Name, h.Linkname)
		}
		if err := inside.Link(path.Join(dataDir, first), at); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%q is neither file, directory nor link", h.Name)
	}
	u.files++
	return nil
}

// settle moves what is at from to its place. Directories that exist stay and
// take it in; other things are replaced, by what is not a directory. Links are
// not followed: a machine may have sent them earlier.
func (u *unpacker) settle(root *os.Root, from, to, name string) error {
	new, err := root.Lstat(from)
	if err != nil {
		return err
	}
	old, err := root.Lstat(to)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && !old.IsDir() && !new.IsDir():
		return root.Rename(from, to)
	case err != nil:
		return err
	case !old.IsDir():
		return fmt.Errorf("%s is no directory", filepath.Join(root.Name(), to))
	case !new.IsDir():
		return fmt.Errorf("%s is a directory", filepath.Join(root.Name(), to))
	}
	delete(u.dirs, name) // it keeps its permissions
	dir, err := root.Open(from)
	if err != nil {
		return err
	}
	names, err := dir.Readdirnames(-1)
	dir.Close()
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := u.settle(root, path.Join(from, n), path.Join(to, n), path.Join(name, n)); err != nil {
			return err
		}
	}
	return nil
}
