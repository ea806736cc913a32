package pack

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// ErrSum says that a pack is not the one that was asked for.
var ErrSum = errors.New("the pack is not what was announced: its SHA-256 differs")

// Unpack puts the content of a pack over a directory, which must exist. The
// sum and every name in it are checked before anything is touched. What stands
// in the way of an entry is replaced; all else stays. Links that are there
// already are not followed. When it returns without error, all is on the disk.
func Unpack(r io.ReaderAt, size int64, sum, dir string) error {
	if size < 0 || size > MaxSize {
		return refuse("", "the pack is larger than %d MiB", MaxSize>>20)
	}
	h := sha256.New()
	if n, err := io.Copy(h, io.NewSectionReader(r, 0, size)); err != nil {
		return err
	} else if n != size || hex.EncodeToString(h.Sum(nil)) != sum {
		return ErrSum
	}
	var t tree
	var total int64
	err := read(io.NewSectionReader(r, 0, size), func(e entry, content io.Reader) error {
		if len(t) == MaxFiles {
			return refuse("", "there are more than %d files", MaxFiles)
		}
		if total += e.size; total > MaxUnpacked { // what is sparse costs an archive nothing
			return refuse("", "unpacked it is larger than %d MiB", MaxUnpacked>>20)
		}
		t = append(t, e)
		n, err := io.Copy(io.Discard, content)
		if err == nil && n != e.size {
			err = refuse(e.name, "its content is cut")
		}
		return err
	})
	if err == nil {
		err = t.check()
	}
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := read(io.NewSectionReader(r, 0, size), func(e entry, content io.Reader) error { return place(root, e, content) }); err != nil {
		return err
	}
	// The directories last: what is in them is on the disk by then.
	for i := len(t) - 1; i >= 0; i-- {
		if t[i].mode.IsDir() {
			if err := flush(root, t[i].name); err != nil {
				return err
			}
		}
	}
	return flush(root, ".")
}

// read goes through an archive of at most MaxUnpacked bytes of files.
func read(r io.Reader, each func(entry, io.Reader) error) error {
	z, err := gzip.NewReader(r)
	if err != nil {
		return refuse("", "this is no pack: %v", err)
	}
	// Headers and the padding of files need room, too.
	limited := &io.LimitedReader{R: z, N: MaxUnpacked + MaxFiles*(3*maxPath+4<<10)}
	a := tar.NewReader(limited)
	for {
		h, err := a.Next()
		if errors.Is(err, io.EOF) {
			if _, err := io.Copy(io.Discard, limited); err != nil { // the checksum comes last
				return broken(limited, err)
			}
			return nil
		}
		if err != nil {
			return broken(limited, err)
		}
		e := entry{name: h.Name, size: h.Size, link: h.Linkname}
		switch h.Typeflag {
		case tar.TypeReg:
			e.mode = 0o644
			if h.Mode&0o111 != 0 {
				e.mode = 0o755
			}
		case tar.TypeDir:
			e.mode, e.name, e.size = fs.ModeDir|0o755, strings.TrimSuffix(h.Name, "/"), 0
		case tar.TypeSymlink:
			e.mode, e.size = fs.ModeSymlink|0o777, 0
		default:
			return refuse(h.Name, "it is neither a file nor a directory nor a link")
		}
		if e.size > MaxUnpacked {
			return refuse(e.name, "it is larger than %d MiB", MaxUnpacked>>20)
		}
		content := io.Reader(strings.NewReader(""))
		if e.mode.IsRegular() {
			content = a
		}
		if err := each(e, content); err != nil {
			return broken(limited, err)
		}
	}
}

// broken tells a bomb from an archive that is only damaged.
func broken(limited *io.LimitedReader, err error) error {
	var r *Refusal
	switch {
	case errors.As(err, &r):
		return err
	case limited.N <= 0:
		return refuse("", "unpacked it is larger than %d MiB", MaxUnpacked>>20)
	case errors.Is(err, tar.ErrHeader), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, gzip.ErrChecksum), errors.Is(err, gzip.ErrHeader):
		return refuse("", "the pack is damaged: %v", err)
	}
	return err
}

// place puts one entry where it belongs. Its parents are directories by now:
// entries of the same pack, or the directory itself.
func place(root *os.Root, e entry, content io.Reader) error {
	there, err := root.Lstat(e.name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && !(e.mode.IsDir() && there.IsDir()) {
		if err := root.RemoveAll(e.name); err != nil {
			return err
		}
	}
	switch e.mode.Type() {
	case fs.ModeDir:
		if err := root.Mkdir(e.name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return root.Chmod(e.name, e.mode.Perm()) // whatever the umask took away
	case fs.ModeSymlink:
		return root.Symlink(e.link, e.name)
	}
	return WriteFile(root, e.name, e.mode.Perm(), content)
}

// WriteFile makes a new file in a directory, with its content on the disk.
func WriteFile(root *os.Root, name string, mode fs.FileMode, content io.Reader) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// flush returns when the names in a directory are on the disk.
func flush(root *os.Root, name string) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
