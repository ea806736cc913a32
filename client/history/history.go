// Package history keeps what the client knows about its launches: a directory
// for each, whose name is the handle, with the record to act on it later, the
// logs of its run, and reports for people. The cloud and the broker are the
// truth about a launch; the history is where to ask, and what was.
package history

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// History is a directory of launches.
type History struct{ dir string }

// ErrUnknown marks a handle that the history does not have.
var ErrUnknown = errors.New("unknown handle")

// maxNumber is the largest number of a handle.
const maxNumber = 999_999_999

// Open opens a history directory. One that is missing has no launches; New
// makes it.
func Open(dir string) (*History, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("history directory %s: %v", dir, err)
	}
	info, err := os.Stat(abs)
	switch {
	case err == nil && !info.IsDir():
		return nil, fmt.Errorf("history directory: %s is none; give another with --history-dir", abs)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("history directory: %v; give another with --history-dir", err)
	}
	return &History{abs}, nil
}

// Dir is the history's directory, an absolute path.
func (h *History) Dir() string { return h.dir }

// New makes the directory of the next launch of a kind, "vm" or "cluster", and
// the history's for nobody but its owner. No two clients get the same one.
func (h *History) New(kind string) (*Launch, error) {
	if _, ok := parseHandle(kind + "-001"); !ok {
		return nil, fmt.Errorf("history: %q is no kind of launch: it must be small letters and digits", kind)
	}
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return nil, fmt.Errorf("history directory: %v; give another with --history-dir", err)
	}
	launches, err := h.entries()
	if err != nil {
		return nil, err
	}
	next := following(launches, kind)
	// Mkdir decides who gets a number: who comes second tries the one after.
	for ; next <= maxNumber; next++ {
		name := handle{kind, next}.String()
		dir := filepath.Join(h.dir, name)
		err := os.Mkdir(dir, 0o700)
		if err == nil {
			return &Launch{Handle: name, Dir: dir}, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("history: %v", err)
		}
	}
	return nil, fmt.Errorf("history: no number is left after %s in %s: move that directory away", handle{kind, maxNumber}, h.dir)
}

// Next is the handle that New would give to a launch. It makes nothing, not
// even the history directory.
func Next(dir, kind string) (string, error) {
	h := &History{dir}
	launches, err := h.entries()
	if err != nil {
		return "", err
	}
	return handle{kind, following(launches, kind)}.String(), nil
}

func following(launches []entry, kind string) int {
	next := 1
	for _, e := range launches {
		if e.kind == kind {
			next = max(next, e.number+1)
		}
	}
	return next
}

// Get finds a launch by its handle. The error for one that is not there wraps
// ErrUnknown and says which ones are.
func (h *History) Get(name string) (*Launch, error) {
	if _, ok := parseHandle(name); ok {
		dir := filepath.Join(h.dir, name)
		info, err := os.Lstat(dir)
		if err == nil && info.IsDir() {
			return &Launch{Handle: name, Dir: dir}, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("history: %v", err)
		}
	}
	if len(name) > 100 {
		name = strings.ToValidUTF8(name[:100], "") + "…"
	}
	launches, err := h.List()
	if err != nil {
		return nil, err
	}
	if len(launches) == 0 {
		return nil, fmt.Errorf("%w %q: there is no launch in %s", ErrUnknown, name, h.dir)
	}
	const shown = 20
	var known []string
	if left := len(launches) - shown; left > 0 {
		known = append(known, fmt.Sprintf("%d others", left))
		launches = launches[left:]
	}
	for _, l := range launches {
		known = append(known, l.Handle)
	}
	return nil, fmt.Errorf("%w %q: known in %s: %s", ErrUnknown, name, h.dir, strings.Join(known, ", "))
}

// List returns all launches in the order of their handles. What else is in
// the directory is none of our business.
func (h *History) List() ([]*Launch, error) {
	entries, err := h.entries()
	if err != nil {
		return nil, err
	}
	var launches []*Launch
	for _, e := range entries {
		if e.dir {
			launches = append(launches, &Launch{Handle: e.String(), Dir: filepath.Join(h.dir, e.String())})
		}
	}
	return launches, nil
}

// An entry is something in the history directory that is called as a launch.
type entry struct {
	handle
	dir bool // it is one: a file of that name only takes the number
}

func (h *History) entries() ([]entry, error) {
	all, err := os.ReadDir(h.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	var found []entry
	for _, e := range all {
		if name, ok := parseHandle(e.Name()); ok {
			found = append(found, entry{name, e.IsDir()})
		}
	}
	slices.SortFunc(found, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.number, b.number))
	})
	return found, nil
}

// A handle is a launch's name taken apart.
type handle struct {
	kind   string
	number int
}

func (h handle) String() string { return fmt.Sprintf("%s-%03d", h.kind, h.number) }

// parseHandle accepts exactly what New makes, so that a handle can never lead
// out of the history directory.
func parseHandle(name string) (handle, bool) {
	kind, digits, found := strings.Cut(name, "-")
	if !found || kind == "" || len(kind) > 32 || kind[0] < 'a' || strings.Trim(kind, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return handle{}, false
	}
	number, err := strconv.Atoi(digits)
	if err != nil || number < 1 || number > maxNumber {
		return handle{}, false
	}
	h := handle{kind, number}
	return h, h.String() == name
}
