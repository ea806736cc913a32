// Package ctxscripts carries the scripts that live in images: the ones every
// cluster needs, and samples to start from. Their README.md is the contract
// between the agent and whoever writes one.
package ctxscripts

import (
	"embed"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

//go:embed ctx-scripts
var embedded embed.FS

// FS holds the scripts as they lie in the scripts directory.
func FS() fs.FS {
	sub, err := fs.Sub(embedded, "ctx-scripts")
	if err != nil {
		panic(err) // the name above is wrong
	}
	return sub
}

// unfinished marks a directory that could not be replaced as a whole, while it
// is being filled. No script begins with a dot.
const unfinished = ".unfinished"

// Install fills a scripts directory that is empty or missing; in any other
// one it touches nothing. The scripts are there all at once, and on the disk:
// a directory that a crash or a power failure left half full, or full of empty
// files, would stay so for ever.
func Install(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(entries) > 0 && !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == unfinished }) {
		return nil
	}
	if len(entries) == 0 {
		replaced, err := replace(dir)
		if replaced || err != nil {
			return err
		}
	}
	return fill(dir)
}

// replace puts a full directory into the place of an empty or missing one. A
// mount point, say, cannot be replaced; that is no error.
func replace(dir string) (bool, error) {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return false, err
	}
	// Its name is fixed: the draft that a crash left goes now.
	draft := filepath.Join(parent, "."+filepath.Base(dir)+".draft")
	if err := os.RemoveAll(draft); err != nil {
		return false, err
	}
	defer os.RemoveAll(draft)
	if err := os.Mkdir(draft, 0o755); err != nil {
		return false, err
	}
	if err := write(draft); err != nil {
		return false, err
	}
	if os.Rename(draft, dir) != nil {
		return false, nil
	}
	return true, flush(parent)
}

// fill writes into a directory in its place; the mark lets the next start do
// it again if this one does not come to the end.
func fill(dir string) error {
	mark := filepath.Join(dir, unfinished)
	if err := os.WriteFile(mark, nil, 0o644); err != nil {
		return err
	}
	if err := flush(dir); err != nil {
		return err
	}
	if err := write(dir); err != nil {
		return err
	}
	if err := os.Remove(mark); err != nil {
		return err
	}
	return flush(dir)
}

// write puts all scripts into a directory, and onto the disk.
func write(dir string) error {
	scripts := FS()
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	var written []string
	err := fs.WalkDir(scripts, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(dir, path)
		written = append(written, target)
		if d.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		content, err := fs.ReadFile(scripts, path)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o755)
		if filepath.Ext(path) == ".md" {
			mode = 0o644
		}
		if err := os.WriteFile(target, content, mode); err != nil {
			return err
		}
		return os.Chmod(target, mode) // whatever the umask took away
	})
	// All are written before the first is waited for: the disk takes them
	// together. What is in a directory comes before the directory itself.
	for _, path := range slices.Backward(written) {
		if err != nil {
			return err
		}
		err = flush(path)
	}
	return err
}

// flush returns when a file, or the names in a directory, are on the disk.
func flush(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
