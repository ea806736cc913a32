package client

import (
	"fmt"
	"strings"

	"nimbus/client/history"
)

// A moment is what a run is at. An interrupt comes at any time, from another
// goroutine, and is answered with what it meets.
type moment struct {
	step      step
	asked     int // instances in the definition
	instances int // that the cloud has started, as far as is known
	context   bool
}

// step of a run.
type step int

const (
	preparing step = iota // no instance has been asked for
	launching             // some may have started
	waiting               // all have started
	finishing             // all is ok
	ending                // what was started is being ended
	keeping               // or left as it is
)

// reach notes what a run is at from now on.
func (r *run) reach(s step) {
	m := moment{step: s, instances: max(len(r.machines), len(r.record.Instances)), context: r.record.Context != nil}
	for _, w := range r.def.Workspaces {
		m.asked += w.Quantity
	}
	r.met.Store(&m)
}

// first is what a run is at when it begins: one that goes on with a launch has
// instances already.
func (r *run) first() step {
	if len(r.record.Instances) > 0 {
		return waiting
	}
	return preparing
}

func (r *run) moment() moment {
	if m := r.met.Load(); m != nil {
		return *m
	}
	return moment{}
}

// interrupted says what the first Ctrl-C has met, and what becomes of it.
func (m moment) interrupted(handle string, keep bool) string {
	with := ""
	if m.context {
		with = " and the context"
	}
	var b strings.Builder
	switch {
	case m.step == preparing && keep:
		fmt.Fprintf(&b, "Interrupted: no instance of %s has been launched.", handle)
	case m.step == preparing:
		fmt.Fprintf(&b, "Interrupted: no instance of %s has been launched. Undoing what was prepared.", handle)
	case m.step == launching && keep:
		fmt.Fprintf(&b, "Interrupted: %s being launched. Those that have started stay (--keep).", instancesOf(m.asked, handle))
	case m.step == launching:
		fmt.Fprintf(&b, "Interrupted: %s being launched. Ending those that have started%s.", instancesOf(m.asked, handle), with)
	case m.step == waiting && keep, m.step == keeping:
		fmt.Fprintf(&b, "Interrupted: %s running, and stay (--keep).", instancesOf(m.instances, handle))
	case m.step == waiting:
		fmt.Fprintf(&b, "Interrupted: %s running. Ending them%s.", instancesOf(m.instances, handle), with)
	case m.step == finishing:
		fmt.Fprintf(&b, "Interrupted: %s is complete and stays; its reports are being written.", handle)
	default:
		fmt.Fprintf(&b, "Interrupted: %s being ended already.", instancesOf(m.instances, handle))
	}
	return b.String() + " Press Ctrl-C again to leave at once, with everything as it is then."
}

// left says what a client leaves behind that goes at once.
func (m moment) left(handle string) string {
	switch m.step {
	case preparing:
		return fmt.Sprintf("no instance of %s was launched, but networks or a context of it may be there", handle)
	case launching:
		return fmt.Sprintf("up to %s of %s may be running", count(m.asked, "instance"), handle)
	case waiting, keeping:
		return fmt.Sprintf("%s running", instancesOf(m.instances, handle))
	case finishing:
		return fmt.Sprintf("%s is complete and running, but some of its reports and host keys may be missing", handle)
	}
	return fmt.Sprintf("some of %s of %s may be running", count(m.instances, "instance"), handle)
}

// state is what the record says at that step.
func (m moment) state() string {
	switch m.step {
	case preparing, launching:
		return history.Launching
	case waiting:
		return history.Waiting
	case finishing:
		return history.OK
	case keeping:
		return history.Kept
	}
	return history.Failed
}

// instancesOf is "1 instance of x is" or "2 instances of x are".
func instancesOf(n int, handle string) string {
	verb := "are"
	if n == 1 {
		verb = "is"
	}
	return fmt.Sprintf("%s of %s %s", count(n, "instance"), handle, verb)
}
