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

// Install fills a scripts directory that is empty or missing; in any other
// one it touches nothing. The scripts appear all at once: a directory that a
// crash left half full would stay so for ever.
func Install(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(entries) > 0 {
		return nil
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	draft, err := os.MkdirTemp(parent, filepath.Base(dir)+".*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(draft)
	if err := write(draft); err != nil {
		return err
	}
	if os.Rename(draft, dir) == nil {
		return nil
	}
	return write(dir) // a mount point, say, cannot be replaced
}

func write(dir string) error {
	scripts := FS()
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	return fs.WalkDir(scripts, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		target := filepath.Join(dir, path)
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
}
