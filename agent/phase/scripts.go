package phase

import (
	"errors"
	"io/fs"
	"slices"
)

// Scripts lists the script files that exist: names by directory, "." for the
// scripts directory itself.
type Scripts map[string][]string

// Has tells whether there is such a script.
func (s Scripts) Has(dir, name string) bool { return slices.Contains(s[dir], name) }

// List reads which scripts exist. Directories that are not there hold none.
func List(fsys fs.FS) (Scripts, error) {
	found := Scripts{}
	for _, dir := range []string{".", IPAndHost, ThisHost, DataDir, Restarts, Finalize} {
		entries, err := fs.ReadDir(fsys, dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if !e.IsDir() {
				found[dir] = append(found[dir], e.Name())
			}
		}
	}
	return found, nil
}
