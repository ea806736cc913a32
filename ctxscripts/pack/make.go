package pack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
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

// Pack is a tree of scripts, packed.
type Pack struct {
	Content []byte   // a gzip-compressed tar archive
	SHA256  string   // of it, in hex
	Files   []string // and links, sorted; directories are not among them
	Bytes   int64    // of all files
	LeftOut []string // what editors and version control leave beside scripts
	Unfit   []Unfit  // in the order of their names
	scripts map[string]bool
}

// Unfit is a script that no machine could run, should it be called.
type Unfit struct {
	Name string
	Why  string
	Fix  string
}

// Has tells whether the agent finds a script of that name: 1-ipandhost/web.
func (p *Pack) Has(name string) bool { return p.scripts[name] }

// Scripts are the names that Has knows, sorted.
func (p *Pack) Scripts() []string { return slices.Sorted(maps.Keys(p.scripts)) }

// Make packs a directory. The error of a tree that cannot travel is a
// *Refusal.
func Make(dir string) (*Pack, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	// First what the directory is: of another one everything else that could be
	// said of it would be beside the point.
	p := &Pack{scripts: scripts(root.FS(), ".")}
	if len(p.scripts) == 0 {
		return nil, meant(root)
	}
	t, err := p.walk(root)
	if err != nil {
		return nil, err
	}
	if err := t.check(); err != nil {
		return nil, err
	}
	for _, e := range t {
		if !e.mode.IsDir() {
			p.Files = append(p.Files, e.name)
		}
	}
	slices.Sort(p.Files)
	for _, name := range p.Scripts() {
		u, err := unfit(root, name)
		if err != nil {
			return nil, err
		}
		if u.Why != "" {
			p.Unfit = append(p.Unfit, u)
		}
	}
	if err := p.write(root, t); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(p.Content)
	p.SHA256 = hex.EncodeToString(sum[:])
	return p, nil
}

// walk lists what travels, in the order of the names.
func (p *Pack) walk(root *os.Root) (t tree, err error) {
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == ".":
			return nil
		case leftover(d):
			p.LeftOut = append(p.LeftOut, name)
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if err := checkName(name); err != nil { // before anything is opened by it
			return err
		}
		if len(t) == MaxFiles {
			return refuse("", "there are more than %d files", MaxFiles)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		e := entry{name: name, mode: info.Mode().Type()}
		switch e.mode {
		case 0:
			if e.size = info.Size(); e.size > MaxUnpacked {
				return refuse(name, "it is larger than %d MiB", MaxUnpacked>>20)
			}
			executable, err := runs(root, name, info)
			if err != nil {
				return err
			}
			e.mode = 0o644
			if executable {
				e.mode = 0o755
			}
		case fs.ModeDir:
			e.mode |= 0o755
		case fs.ModeSymlink:
			e.mode |= 0o777
			if e.link, err = root.Readlink(name); err != nil {
				return err
			}
		}
		t = append(t, e)
		return nil
	})
	return t, err
}

// leftover tells what lies beside scripts and is none.
func leftover(d fs.DirEntry) bool {
	name := d.Name()
	switch name {
	case ".git", ".svn", ".hg", ".DS_Store":
		return true
	}
	return strings.HasSuffix(name, "~") || strings.HasPrefix(name, ".") && (strings.HasSuffix(name, ".swp") || strings.HasSuffix(name, ".swo")) ||
		strings.HasSuffix(name, ".swp") && !d.IsDir() || strings.HasPrefix(name, ".#") || strings.HasPrefix(name, "#") && strings.HasSuffix(name, "#")
}

// runs tells whether a file is to be executable: a script that was written on
// a system without such a mark, or was downloaded, says it by its first line.
func runs(root *os.Root, name string, info fs.FileInfo) (bool, error) {
	if info.Mode()&0o111 != 0 || info.Size() == 0 {
		return info.Mode()&0o111 != 0, nil
	}
	f, err := root.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var first [2]byte
	if _, err := io.ReadFull(f, first[:]); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, err
	}
	return string(first[:]) == "#!", nil
}

// unfit looks at how a script begins, with the eyes of the agent and of the
// kernel.
func unfit(root *os.Root, name string) (u Unfit, err error) {
	info, err := root.Stat(name)
	if err != nil || !info.Mode().IsRegular() { // a link to a directory, say
		return u, err
	}
	f, err := root.Open(name)
	if err != nil {
		return u, err
	}
	defer f.Close()
	first, err := io.ReadAll(io.LimitReader(f, 256)) // the kernel reads no more
	if err != nil {
		return u, err
	}
	line, _, _ := bytes.Cut(first, []byte("\n"))
	u = Unfit{Name: name}
	switch {
	case len(first) == 0:
		u.Why, u.Fix = "it is empty", "let it begin with #!/bin/sh"
	case bytes.HasPrefix(line, []byte("#!")) && bytes.HasSuffix(line, []byte("\r")):
		u.Why, u.Fix = "its lines end as on Windows, with a carriage return", `take that away: sed -i 's/\r$//' `+filepath.Join(root.Name(), name)
	case !bytes.HasPrefix(line, []byte("#!")) && !bytes.HasPrefix(first, []byte("\x7fELF")):
		u.Why, u.Fix = "it has no #! line", "let it begin with #!/bin/sh"
	case !bytes.HasPrefix(line, []byte("#!")) && info.Mode()&0o111 == 0:
		u.Why, u.Fix = "it is not executable", "chmod +x "+filepath.Join(root.Name(), name)
	}
	return u, nil
}

// phases are the directories that the agent looks for scripts in.
var phases = []string{"1-ipandhost", "2-thishost", "3-data", "4-restarts", "5-thishost-finalize"}

// scripts are the files below a directory that the agent might call by
// themselves, were it the scripts directory.
func scripts(fsys fs.FS, below string) map[string]bool {
	found := map[string]bool{}
	for _, dir := range append([]string{"."}, phases...) {
		entries, _ := fs.ReadDir(fsys, path.Join(below, dir)) // which may be a link to another one
		for _, e := range entries {
			if name := path.Join(dir, e.Name()); !e.IsDir() && !leftover(e) && called(name) {
				found[name] = true
			}
		}
	}
	return found
}

// called tells whether the agent calls scripts of that name.
func called(name string) bool {
	dir, base := path.Split(name)
	if dir == "" {
		return strings.HasPrefix(base, "0-etchosts") || base == "clean.sh" || base == "problem.sh"
	}
	return slices.Contains(phases, strings.TrimSuffix(dir, "/"))
}

// meant refuses a tree of which the agent would call nothing, and says what was
// probably meant.
func meant(root *os.Root) error {
	const text = "nothing in it is called by the agent: its scripts are 0-etchosts.all, 1-ipandhost/ROLE, 3-data/DATA and so on"
	for _, name := range phases {
		switch _, err := fs.ReadDir(root.FS(), name); {
		case err == nil:
			return refuse("", "%s; %s holds no script", text, name)
		case errors.Is(err, fs.ErrPermission):
			return err
		}
	}
	const most = 1000 // directories that are looked at; the nearest first
	dirs := []string{"."}
	for i := 0; i < min(len(dirs), most); i++ {
		if i > 0 && len(scripts(root.FS(), dirs[i])) > 0 {
			return refuse("", "%s; did you mean the directory %q in it?", text, dirs[i])
		}
		entries, _ := fs.ReadDir(root.FS(), dirs[i])
		for _, e := range entries {
			if e.IsDir() && !leftover(e) {
				dirs = append(dirs, path.Join(dirs[i], e.Name()))
			}
		}
	}
	if base := filepath.Base(root.Name()); slices.Contains(phases, base) {
		return refuse("", "%s; did you mean the directory that %s lies in?", text, base)
	}
	return refuse("", "%s", text)
}

// write makes the archive. Nothing but names, contents and whether a file can
// be executed gets into it.
func (p *Pack) write(root *os.Root, t tree) error {
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	w := tar.NewWriter(z)
	for _, e := range t {
		h := &tar.Header{Name: e.name, Mode: int64(e.mode.Perm()), Size: e.size, Format: tar.FormatPAX}
		switch e.mode.Type() {
		case fs.ModeDir:
			h.Typeflag, h.Name = tar.TypeDir, e.name+"/"
		case fs.ModeSymlink:
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		default:
			h.Typeflag = tar.TypeReg
			p.Bytes += e.size
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if h.Typeflag == tar.TypeReg {
			if err := copyFile(w, root, e); err != nil {
				return err
			}
		}
		if packed.Len() > MaxSize {
			break
		}
	}
	if packed.Len() <= MaxSize {
		if err := errors.Join(w.Close(), z.Close()); err != nil {
			return err
		}
	}
	if packed.Len() > MaxSize {
		return refuse("", "packed it is larger than %d MiB", MaxSize>>20)
	}
	p.Content = packed.Bytes()
	return nil
}

func copyFile(w io.Writer, root *os.Root, e entry) error {
	f, err := root.Open(e.name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() != e.size {
		return fmt.Errorf("%q was changed while it was read; try again", e.name)
	}
	if _, err := io.CopyN(w, f, e.size); err != nil {
		return fmt.Errorf("%q: %w", e.name, err)
	}
	return nil
}
