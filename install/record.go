package install

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// A record says what was put into a tree. It may come out of a foreign image:
// paths in it are only ever followed inside that.
type record struct {
	Entries []entry  `json:"files"`
	Dirs    []string `json:"directories,omitempty"` // that were made for them
}

type entry struct {
	Path  string `json:"path"`
	Sum   string `json:"sha256,omitempty"` // of a file, as it was written
	Link  string `json:"link,omitempty"`
	Yours bool   `json:"yours,omitempty"` // changed, it stays
	Lines bool   `json:"lines,omitempty"` // only the lines between the marks are ours
}

func (r record) find(name string) (entry, bool) {
	n := slices.IndexFunc(r.Entries, func(e entry) bool { return e.Path == name })
	if n < 0 {
		return entry{}, false
	}
	return r.Entries[n], true
}

// encoded is the record as it is written: always the same for the same.
func (r record) encoded() []byte {
	slices.SortFunc(r.Entries, func(a, b entry) int { return strings.Compare(a.Path, b.Path) })
	slices.Sort(r.Dirs)
	r.Dirs = slices.Compact(r.Dirs)
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		panic(err) // strings only
	}
	return append(text, '\n')
}

// readRecord reads the record of an earlier installation, if there is one.
func (t *Tree) readRecord(name string) (record, bool, error) {
	text, err := t.Read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, false, nil
	}
	var r record
	if err == nil {
		r, err = parseRecord(text)
	}
	if err != nil {
		return record{}, false, &Problem{Text: "the record " + t.Name(name), Err: err,
			Fix: "it says what was installed; remove it if it cannot be mended: then everything is taken for new, and scripts that differ for changed"}
	}
	return r, true, nil
}

func parseRecord(text []byte) (record, error) {
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return record{}, err
	}
	for _, e := range r.Entries {
		if !fs.ValidPath(e.Path) || e.Path == "." {
			return record{}, fmt.Errorf("%q is no path in a tree", e.Path)
		}
	}
	for _, dir := range r.Dirs {
		if !fs.ValidPath(dir) || dir == "." {
			return record{}, fmt.Errorf("%q is no path in a tree", dir)
		}
	}
	return r, nil
}

// others are the paths that the records beside one name: a broker and a client
// may have the same program.
func (t *Tree) others(name string) (map[string]bool, error) {
	shared := map[string]bool{}
	real, err := t.real(path.Dir(name), true)
	if err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(t.root.FS(), real)
	if errors.Is(err, fs.ErrNotExist) {
		return shared, nil
	}
	if err != nil {
		return nil, err
	}
	for _, d := range entries {
		if d.Name() == path.Base(name) || path.Ext(d.Name()) != ".json" {
			continue
		}
		beside, _, err := t.readRecord(path.Join(path.Dir(name), d.Name()))
		if err != nil {
			return nil, err
		}
		for _, e := range beside.Entries {
			shared[e.Path] = true
		}
		for _, dir := range beside.Dirs {
			shared[dir] = true
		}
	}
	return shared, nil
}
