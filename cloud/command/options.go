package command

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Options of a Driver.
type Options struct {
	// Program starts and ends machines; see the package's description for how
	// it is called. A path, or a name to be looked up in PATH.
	Program string
	// Dir belongs to this cloud: what was asked for in each launch, the
	// requests while the program works on them, and the directory that the
	// program runs in and may keep files in. It is made with mode 0700.
	Dir string
	// User is whom the instances' keys let in by SSH. Empty means root.
	User string
	// Log gets each line that the program writes to its stderr, as it comes;
	// it may be called by several goroutines at once. Nil throws them away:
	// the last lines of a call that failed are in its error all the same.
	Log func(line string)
}

// complete fills in what zero values mean and checks the rest.
func (o *Options) complete() error {
	if o.Program == "" {
		return errors.New("no program is given")
	}
	program, err := find(o.Program)
	if err != nil {
		return err
	}
	o.Program = program
	if !filepath.IsAbs(o.Dir) {
		return fmt.Errorf("directory %q: want an absolute path", o.Dir)
	}
	if o.User == "" {
		o.User = "root"
	}
	if o.Log == nil {
		o.Log = func(string) {}
	}
	for _, dir := range []string{o.Dir, o.launches(), o.requests(), o.home()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	return nil
}

// The parts of Dir.
func (o *Options) launches() string { return filepath.Join(o.Dir, "launches") }
func (o *Options) requests() string { return filepath.Join(o.Dir, "requests") }
func (o *Options) home() string     { return filepath.Join(o.Dir, "program") }
