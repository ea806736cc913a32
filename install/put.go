package install

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// A draft is written beside its place, and takes it when all drafts are there.
type draft struct {
	temp, real string
	fresh      bool   // nothing is in its place
	old        string // a second name of what is in its place, while it is replaced
	placed     bool
}

// putting is one installation while it goes on.
type putting struct {
	*Tree
	looking bool // whether there is anything to do; nothing is written
	drafts  []draft
	dirs    []string // that were made
	report  Report
	note    record
}

// errWork ends a look that has found something to do.
var errWork = errors.New("something is to be done")

// Put makes the tree have all of a plan. Either it does, or nothing is changed:
// everything is written beside its place first. What an earlier plan put there,
// and this one has no more, goes.
func (t *Tree) Put(plan Plan) (Report, error) {
	p := &putting{Tree: t, looking: true}
	old, err := p.draft(plan)
	if errors.Is(err, errWork) {
		p = &putting{Tree: t}
		old, err = p.work(plan)
	}
	if err != nil {
		return Report{}, err
	}
	for _, dir := range p.touched() {
		if err := t.flush(dir); err != nil {
			return Report{}, &Problem{Text: t.Name(dir), Err: err}
		}
	}
	gone := record{Entries: slices.DeleteFunc(old.Entries, func(e entry) bool { _, still := p.note.find(e.Path); return still })}
	if err := t.take(gone, plan.Record, &p.report); err != nil {
		return Report{}, err
	}
	p.report.sort()
	return p.report, nil
}

// work does all of a plan, or nothing.
func (p *putting) work(plan Plan) (old record, err error) {
	unlock, err := p.lock(path.Dir(plan.Record))
	if err == nil {
		old, err = p.draft(plan) // anew: another installation may have been at work until now
		if err == nil {
			err = p.place()
		}
		p.undraft()
		unlock()
	}
	if err != nil {
		for _, dir := range slices.Backward(p.dirs) {
			_ = p.root.Remove(dir)
		}
	}
	return old, err
}

// draft writes everything that is not there yet beside its place. It returns the
// record from before.
func (p *putting) draft(plan Plan) (record, error) {
	old, _, err := p.readRecord(plan.Record)
	if err == nil {
		p.note.Dirs = slices.Clone(old.Dirs)
		err = p.draftAll(plan, old)
	}
	return old, err
}

func (p *putting) draftAll(plan Plan, old record) error {
	for _, item := range plan.Items {
		before, known := old.find(item.Path)
		e, err := p.draftItem(item, before, known)
		if err != nil {
			var problem *Problem
			if errors.As(err, &problem) {
				return err
			}
			return &Problem{Text: p.Name(item.Path), Err: err}
		}
		p.note.Entries = append(p.note.Entries, e)
	}
	// The directory of the record is in it, too.
	dir, err := p.real(path.Dir(plan.Record), true)
	if err == nil {
		err = p.makeDir(dir)
	}
	if err != nil {
		return &Problem{Text: p.Name(path.Dir(plan.Record)), Err: err}
	}
	p.note.Dirs = append(p.note.Dirs, p.dirs...)
	// Who goes last takes the directories that another has made.
	shared, err := p.others(plan.Record)
	if err != nil {
		return &Problem{Text: p.Name(path.Dir(plan.Record)), Err: err}
	}
	for _, item := range append(plan.Items[:len(plan.Items):len(plan.Items)], Item{Path: plan.Record}) {
		for dir := path.Dir(item.Path); dir != "."; dir = path.Dir(dir) {
			if shared[dir] {
				p.note.Dirs = append(p.note.Dirs, dir)
			}
		}
	}
	if err := p.file(Item{Path: plan.Record, Mode: 0o644, Text: p.note.encoded()}, ""); err != nil {
		return &Problem{Text: p.Name(plan.Record), Err: err}
	}
	return nil
}

// draftItem compares an item with what is in its place, and drafts it if that
// is not the same.
func (p *putting) draftItem(item Item, before entry, known bool) (entry, error) {
	if item.Lines != "" {
		text, err := p.Read(item.Path)
		if err != nil {
			return entry{}, err
		}
		item.Text = []byte(withLines(string(text), item.Lines))
		return entry{Path: item.Path, Lines: true}, p.file(item, "")
	}
	real, err := p.real(item.Path, false)
	if err != nil {
		return entry{}, err
	}
	info, err := p.root.Lstat(real)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		info = nil
	case err != nil:
		return entry{}, err
	case info.IsDir():
		return entry{}, &Problem{Text: p.Name(item.Path) + " is a directory", Fix: "remove it, or move it away"}
	}
	if item.Link != "" {
		if info != nil && info.Mode()&fs.ModeSymlink != 0 {
			if target, err := p.root.Readlink(real); err == nil && target == item.Link {
				p.report.Same = append(p.report.Same, item.Path)
				return entry{Path: item.Path, Link: item.Link}, nil
			}
		}
		return entry{Path: item.Path, Link: item.Link}, p.link(item, real, info == nil)
	}
	wanted, err := item.sum()
	if err != nil {
		return entry{}, err
	}
	e := entry{Path: item.Path, Sum: wanted, Yours: item.Yours}
	if info != nil && info.Mode().IsRegular() {
		is, err := p.sumOf(real)
		if err != nil {
			return entry{}, err
		}
		if is != wanted && item.Yours && (!known || is != before.Sum) {
			p.report.Kept = append(p.report.Kept, item.Path)
			if known {
				e.Sum = before.Sum
			}
			return e, nil
		}
		// A mode that was changed is theirs, too.
		if is == wanted && (item.Yours || info.Mode() == item.Mode && ours(info)) {
			p.report.Same = append(p.report.Same, item.Path)
			return e, nil
		}
	}
	return e, p.file(item, wanted)
}

// sum is the SHA-256 of what an item wants.
func (i Item) sum() (string, error) {
	if i.Program == nil {
		sum := sha256.Sum256(i.Text)
		return hex.EncodeToString(sum[:]), nil
	}
	h := sha256.New()
	n, err := io.Copy(h, i.Program.reader())
	if err == nil && n != i.Program.Size {
		err = io.ErrUnexpectedEOF
	}
	return hex.EncodeToString(h.Sum(nil)), err
}

// sumOf is the SHA-256 of a file; empty, which no file has, for what is none, or
// is larger than anything of ours: an image may hold pipes, and files without an
// end.
func (t *Tree) sumOf(real string) (string, error) {
	info, err := t.root.Lstat(real)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Size() > maxProgram {
		return "", nil
	}
	f, err := t.root.Open(real)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), err
}

// file drafts a regular file, unless the same is there. Mode and owner of one
// that belongs to another are kept.
func (p *putting) file(item Item, wanted string) error {
	real, err := p.real(item.Path, item.Lines != "")
	if err != nil {
		return err
	}
	info, err := p.root.Lstat(real)
	fresh := errors.Is(err, fs.ErrNotExist)
	if err != nil && !fresh {
		return err
	}
	if wanted == "" && !fresh && info.Mode().IsRegular() {
		if is, err := p.Read(item.Path); err == nil && bytes.Equal(is, item.Text) {
			p.report.Same = append(p.report.Same, item.Path)
			return nil
		}
	}
	if p.looking {
		return errWork
	}
	if err := p.makeDir(path.Dir(real)); err != nil {
		return err
	}
	d := p.begin(real, fresh)
	f, err := p.root.OpenFile(d.temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	var content io.Reader = bytes.NewReader(item.Text)
	if item.Program != nil {
		content = item.Program.reader()
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, h), content)
	if err == nil && wanted != "" && hex.EncodeToString(h.Sum(nil)) != wanted {
		err = errors.New("it changed while it was read")
	}
	mode := item.Mode
	if item.Lines != "" && !fresh {
		mode = info.Mode().Perm()
		if err == nil {
			err = keepOwner(f, info)
		}
	}
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		p.will(item.Path, fresh)
	}
	return err
}

func (p *putting) link(item Item, real string, fresh bool) error {
	if p.looking {
		return errWork
	}
	if err := p.makeDir(path.Dir(real)); err != nil {
		return err
	}
	d := p.begin(real, fresh)
	if err := p.root.Symlink(item.Link, d.temp); err != nil {
		return err
	}
	p.will(item.Path, fresh)
	return nil
}

// begin notes a draft; what an installation that was killed left in its place
// goes.
func (p *putting) begin(real string, fresh bool) draft {
	beside := path.Join(path.Dir(real), "."+path.Base(real)+".nimbus-")
	d := draft{temp: beside + "new", real: real, fresh: fresh}
	_ = p.root.Remove(d.temp)
	_ = p.root.Remove(beside + "old")
	p.drafts = append(p.drafts, d)
	return d
}

// place gives all drafts their places, or none. What is replaced has a second
// name until then, where the file system can do that.
func (p *putting) place() error {
	for i := range p.drafts {
		d := &p.drafts[i]
		if old := strings.TrimSuffix(d.temp, "new") + "old"; !d.fresh && p.root.Link(d.real, old) == nil {
			d.old = old
		}
	}
	for i := range p.drafts {
		d := &p.drafts[i]
		if err := p.root.Rename(d.temp, d.real); err != nil {
			p.putBack()
			return &Problem{Text: p.Name(d.real), Err: err, Fix: "is it mounted by itself, or made immutable (lsattr)? Nothing was changed"}
		}
		d.placed = true
	}
	return nil
}

// putBack gives what was in the places of drafts its place again.
func (p *putting) putBack() {
	for _, d := range p.drafts {
		switch {
		case d.placed && d.fresh:
			_ = p.root.Remove(d.real)
		case d.placed && d.old != "":
			_ = p.root.Rename(d.old, d.real)
		}
	}
}

func (p *putting) will(name string, fresh bool) {
	if fresh {
		p.report.Made = append(p.report.Made, name)
	} else {
		p.report.Replaced = append(p.report.Replaced, name)
	}
}

// makeDir makes a directory and those above it.
func (p *putting) makeDir(real string) error {
	info, err := p.root.Lstat(real)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return &Problem{Text: p.Name(real) + " is no directory", Fix: "remove it, or move it away"}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case p.looking:
		return errWork
	}
	if err := p.makeDir(path.Dir(real)); err != nil {
		return err
	}
	if err := p.root.Mkdir(real, 0o755); errors.Is(err, fs.ErrExist) {
		return p.makeDir(real) // another installation was faster
	} else if err != nil {
		return err
	}
	p.dirs = append(p.dirs, real)
	return p.root.Chmod(real, 0o755) // whatever the umask took away
}

// undraft removes what lies beside the places.
func (p *putting) undraft() {
	for _, d := range p.drafts {
		_ = p.root.Remove(d.temp)
		if d.old != "" {
			_ = p.root.Remove(d.old)
		}
	}
}

// touched are the directories that have new names in them, and those above
// that were made.
func (p *putting) touched() []string {
	var dirs []string
	for _, d := range p.drafts {
		dirs = append(dirs, path.Dir(d.real))
	}
	for _, dir := range p.dirs {
		dirs = append(dirs, path.Dir(dir))
	}
	slices.SortFunc(dirs, func(a, b string) int { return strings.Compare(b, a) })
	return slices.Compact(dirs)
}
