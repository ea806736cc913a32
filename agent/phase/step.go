// Package phase turns what a node is told into steps, and runs them. Plan is
// a pure function: the same manifest, node and scripts always give the same
// list, which is what --dry-run prints, what progress is counted in, and what
// the tests compare. Runner is the thin part that touches the machine.
package phase

import (
	"fmt"
	"slices"
	"strings"

	"nimbus/broker/cluster"
)

// The phases, in their order.
const (
	EtcHosts  = "0-etchosts"
	SSHD      = "sshd"
	IPAndHost = "1-ipandhost"
	ThisHost  = "2-thishost"
	DataDir   = "3-data"
	Restarts  = "4-restarts"
	Finalize  = "5-thishost-finalize"
)

// order is that of the phases.
var order = []string{EtcHosts, SSHD, IPAndHost, ThisHost, DataDir, Restarts, Finalize}

// Find returns the phase that a person means: its name, or the number that
// this begins with.
func Find(text string) (phase string, err error) {
	for _, phase := range order {
		if number, _, _ := strings.Cut(phase, "-"); text == phase || text == number {
			return phase, nil
		}
	}
	return "", fmt.Errorf("there is no phase %q: give a number from 0 to 5, or one of %s", text, strings.Join(order, ", "))
}

// Before counts the steps of all phases before the given one; none without it.
func Before(steps []Step, phase string) int {
	first := slices.Index(order, phase)
	for i, s := range steps {
		if slices.Index(order, s.Phase) >= first {
			return i
		}
	}
	return len(steps)
}

// all marks a script that is called once for a whole set.
const all = ".all"

// Kind says what is to be done in a step.
type Kind string

// The kinds of steps.
const (
	Script Kind = "script" // run a script
	Trust  Kind = "trust"  // write the SSH host keys of the others
	Data   Kind = "data"   // write a value into a file, then run its script
	Absent Kind = "absent" // nothing: there is no script of that name
)

// Step is one thing to do.
type Step struct {
	Kind   Kind
	Phase  string
	Script string   // path below the scripts directory; of a Data step without a script: empty
	Args   []string // of a Data step: the file
	Stdin  string   // the set that a script called once for all reads
	Name   string   // of the role, label or data it is about
	Role   string   // the role the script is for, where there is one
	Count  int      // how many addresses provide that role
	Value  int      // of a Data step: its position in Manifest.Data
}

// String is the step as people read it, in a dry run, a log and a report.
func (s Step) String() string {
	switch s.Kind {
	case Trust:
		return SSHD + " host keys"
	case Absent:
		return s.Phase + "/" + s.Name + " (no such script)"
	case Data:
		if s.Script == "" {
			return fmt.Sprintf("%s/%s %s (no such script)", s.Phase, s.Name, s.Args[0])
		}
	}
	text := s.Script
	if len(s.Args) > 0 {
		text += " " + strings.Join(s.Args, " ")
	}
	if s.Stdin != "" {
		text += fmt.Sprintf(" (%d on stdin)", strings.Count(s.Stdin, "\n"))
	}
	return text
}

// check refuses a script outside of the scripts directory: every part of its
// path must be a plain name, wherever the step came from.
func (s Step) check() error {
	for part := range strings.SplitSeq(s.Script, "/") {
		if err := cluster.CheckName(part); err != nil {
			return fmt.Errorf("script %q: %w", s.Script, err)
		}
	}
	return nil
}
