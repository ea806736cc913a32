package local

import (
	"errors"
	"fmt"
	"os"
)

// The names under which this binary starts itself. None has a slash, so no
// path that a user calls it by can be one of them by accident.
const (
	keeperName = "nimbus-keeper"
	builder    = "nimbus-sandbox" // a sandbox's first process, while it builds
	firstName  = "nimbus-init"    // the same process, with fewer capabilities

	attemptName = "nimbus-attempt" // what Problems tries
)

// Main runs the part of a keeper or of a sandbox's first process when this
// process was started as one; ok says so. A program that uses this package
// calls it first thing, with os.Args.
func Main(args []string) (code int, ok bool) {
	if len(args) == 0 {
		return 0, false
	}
	var part func() error
	switch args[0] {
	case keeperName:
		part = keeperMain
	case builder:
		part = buildMain
	case firstName:
		part = firstMain
	case attemptName:
		part = attemptMain
	default:
		return 0, false
	}
	if err := part(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		var p *problemError
		if errors.As(err, &p) {
			fmt.Fprintf(os.Stderr, "%s%s\n", saysHint, p.Advice)
		}
		return 1, true
	}
	return 0, true
}
