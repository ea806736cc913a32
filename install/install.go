// Package install puts Nimbus into a machine, or into an image that is mounted
// somewhere, and takes it out again.
//
// A Plan says what is to be there; a Tree brings it about, below a root that no
// symbolic link leads out of, all of it or nothing. A record in the tree says
// what was put there: what people have changed since is theirs and stays, and
// the rest can be taken back. Which program is fetched from where is install.sh's
// business (see Script).
package install

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"syscall"
)

// A Plan is what is to be in a tree. Paths are relative to its root, with
// slashes.
type Plan struct {
	Record string // where it is noted what was put there
	Items  []Item
}

// An Item is one file or symbolic link, or some lines in a file of another
// owner.
type Item struct {
	Path string
	Mode fs.FileMode
	// Text is the content, unless Program has it or Link says where a symbolic
	// link leads to.
	Text    []byte
	Program *Program
	Link    string
	// Yours is for what people change: then it stays.
	Yours bool
	// Lines are put into the file that is there, between two marks, before a
	// last "exit".
	Lines string
}

// A Report is what was done, in paths.
type Report struct {
	Made, Replaced, Same, Removed []string
	Kept                          []string // changed by somebody, and left so
}

// Changed says whether anything is other than before.
func (r Report) Changed() bool { return len(r.Made)+len(r.Replaced)+len(r.Removed) > 0 }

// Print says what was done, for people.
func (r Report) Print(w io.Writer) {
	switch {
	case len(r.Made)+len(r.Replaced) > 0:
		fmt.Fprintf(w, "  - %d files are new, %d replaced, %d the same as before\n", len(r.Made), len(r.Replaced), len(r.Same))
	case len(r.Same) > 0:
		fmt.Fprintln(w, "  - everything was there already")
	}
	if n := len(r.Removed); n > 0 {
		fmt.Fprintf(w, "  - %d removed\n", n)
	}
	for _, name := range r.Kept {
		fmt.Fprintf(w, "  - %s was changed and is left as it is\n", shown("/"+name))
	}
}

// shown is a path as a terminal may get it: those in an image are foreign.
func shown(name string) string {
	if quoted := strconv.Quote(name); quoted != `"`+name+`"` {
		return quoted
	}
	return name
}

func (r *Report) sort() {
	for _, list := range []*[]string{&r.Made, &r.Replaced, &r.Same, &r.Removed, &r.Kept} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
}

// A Problem is why something could not be installed, and what to do.
type Problem struct {
	Text string
	Fix  string
	Err  error
}

func (p *Problem) Error() string {
	if p.Err == nil {
		return p.Text
	}
	return fmt.Sprintf("%s: %v", p.Text, cause(p.Err))
}

func (p *Problem) Unwrap() error { return p.Err }

// Hint says what to do.
func (p *Problem) Hint() string {
	switch {
	case p.Fix != "":
		return p.Fix
	case errors.Is(p.Err, syscall.EROFS):
		return "it is mounted read-only: mount it for writing (mount -o remount,rw); nothing was changed"
	case errors.Is(p.Err, syscall.ENOSPC), errors.Is(p.Err, syscall.EDQUOT):
		return "free some space there: the program takes some 20 MB, twice while it is replaced; nothing was changed"
	case errors.Is(p.Err, fs.ErrPermission):
		return "run this as root"
	}
	return ""
}

// cause leaves out the path that was named already.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
