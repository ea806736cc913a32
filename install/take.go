package install

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// Remove takes back what Put has put there, by its record. What people have
// changed stays, and so does what another record beside it names.
func (t *Tree) Remove(name string) (Report, error) {
	var report Report
	r, found, err := t.readRecord(name)
	if err != nil || !found {
		return report, err
	}
	unlock, err := (&putting{Tree: t}).lock(path.Dir(name))
	if err != nil {
		return report, err
	}
	defer unlock()
	shared, err := t.others(name)
	if err != nil {
		return report, &Problem{Text: t.Name(path.Dir(name)), Err: err}
	}
	r.Entries = slices.DeleteFunc(r.Entries, func(e entry) bool { return shared[e.Path] })
	if err := t.take(r, name, &report); err != nil {
		return report, err
	}
	if err := t.drop(name, &report); err != nil {
		return report, err
	}
	unlock() // or its directory would not go
	// The deepest first; what is in use stays.
	slices.SortFunc(r.Dirs, func(a, b string) int { return strings.Compare(b, a) })
	for _, dir := range slices.Compact(r.Dirs) {
		if real, err := t.real(dir, false); err == nil && !shared[dir] && t.isDir(real) {
			_ = t.root.Remove(real)
		}
	}
	report.sort()
	return report, nil
}

func (t *Tree) isDir(real string) bool {
	info, err := t.root.Lstat(real)
	return err == nil && info.IsDir()
}

// take removes what the entries of a record name.
func (t *Tree) take(r record, name string, report *Report) error {
	for _, e := range r.Entries {
		if e.Lines {
			if err := t.unline(e.Path, report); err != nil {
				return err
			}
			continue
		}
		if e.Yours {
			real, err := t.real(e.Path, false)
			if err != nil {
				return &Problem{Text: t.Name(e.Path), Err: err}
			}
			if is, err := t.sumOf(real); err == nil && is != e.Sum {
				report.Kept = append(report.Kept, e.Path)
				continue
			}
		}
		if err := t.drop(e.Path, report); err != nil {
			return err
		}
	}
	return nil
}

// drop removes a file or link, if it is there.
func (t *Tree) drop(name string, report *Report) error {
	err := t.remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &Problem{Text: "remove " + t.Name(name), Err: err}
	}
	report.Removed = append(report.Removed, name)
	return nil
}

// remove removes a file or link. It looks first: where nothing can be written,
// not even what is missing can be removed.
func (t *Tree) remove(name string) error {
	real, err := t.real(name, false)
	if err != nil {
		return err
	}
	info, err := t.root.Lstat(real)
	if err == nil && info.IsDir() {
		err = errors.New("it is a directory")
	}
	if err != nil {
		return err
	}
	return t.root.Remove(real)
}

// unline takes our lines out of a file of another owner.
func (t *Tree) unline(name string, report *Report) error {
	text, err := t.Read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &Problem{Text: t.Name(name), Err: err}
	}
	without := withoutLines(string(text))
	if without == string(text) {
		return nil
	}
	if err := t.rewrite(name, without); err != nil {
		return &Problem{Text: t.Name(name), Err: err}
	}
	report.Removed = append(report.Removed, name+" (our lines in it)")
	return nil
}

// rewrite gives a file of another owner new content. Where it cannot be
// replaced as a whole, as a container's /etc/hosts, it is written to.
func (t *Tree) rewrite(name, text string) error {
	real, err := t.real(name, true)
	if err != nil {
		return err
	}
	info, err := t.root.Lstat(real)
	if err != nil {
		return err
	}
	p := &putting{Tree: t}
	d := p.begin(real, false)
	defer p.undraft()
	f, err := t.root.OpenFile(d.temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err == nil {
		err = keepOwner(f, info)
	}
	if err == nil {
		err = f.Chmod(info.Mode().Perm())
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	if t.root.Rename(d.temp, real) == nil {
		return nil
	}
	if err := t.root.WriteFile(real, []byte(text), info.Mode().Perm()); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
