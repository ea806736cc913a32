package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"nimbus/broker/wire"
	"nimbus/client/history"
	"nimbus/cloud"
)

var extendHelp = helpText{"give a launch more time, or less", `Usage:
  nimbus extend --hours H [--handle HANDLE] [OPTIONS]

The launch ends H hours from now, whatever its end was before: its instances,
and a day later its context at the broker. It may be used as often as one
likes, also while a run still waits for its nodes.

A cloud that never ends instances by itself (hosts that run already) has no use
for hours: then it is the context alone that lives for at least H hours more.

Examples:
  nimbus extend --hours 2
  nimbus extend --handle cluster-001 --hours 0.5

Options:
  --hours H           how long it lives from now on, such as 1, 0.5, 90m or 2d
  --handle HANDLE     which launch (default: the only one that runs)` + commonHelp + `
Exit codes: 0 it ends then; 1 wrong parameters, or nothing of it runs; 2 the
cloud or the broker refused.
`}

func (env *Env) extendCommand() *cli.Command {
	return &cli.Command{
		Name:  "extend",
		Flags: append(commonFlags(), stringFlags("handle", "hours")...),
		Action: env.inSession(func(c *cli.Context, s *session) error {
			if !c.IsSet("hours") {
				return &Failure{Code: exitUsage, Text: "extend: give the hours that it shall live from now on", Advice: "for example: nimbus extend --hours 2"}
			}
			hours, err := parseSpan("--hours", c.String("hours"), time.Hour)
			if err != nil {
				return err
			}
			return s.extend(c.Context, c.String("handle"), hours)
		}),
	}
}

// Extension is what --json prints of a launch with a new end.
type Extension struct {
	Handle  string    `json:"handle"`
	Before  time.Time `json:"before,omitzero"`
	Expires time.Time `json:"expires,omitzero"`         // zero: it does not end by itself
	Context time.Time `json:"context_expires,omitzero"` // told where the context is all that ends
	Notes   []string  `json:"notes,omitempty"`          // what did not work, and does no harm
}

// extend moves the end of a launch. The broker is asked first: a context that
// outlives its machines harms nobody, machines without one may.
func (s *session) extend(ctx context.Context, handle string, hours time.Duration) error {
	l, record, err := s.current(handle)
	if err != nil {
		return err
	}
	unlock, err := l.Lock()
	if err == nil {
		defer unlock()
	} else if record.State == history.Launching {
		// Machines that are still to be started would have the old end.
		return &Failure{Code: exitFailed, Text: fmt.Sprintf("%s is being launched", record.Handle), Advice: "try again when its machines run; a run that waits for its nodes is not in the way"}
	}
	if err := s.extendable(record); err != nil {
		return err
	}
	driver, err := s.cloudOf(record)
	if err != nil {
		return err
	}
	instances, err := driver.List(ctx, record.Launch)
	if err != nil {
		return &Failure{Code: exitFailed, Text: fmt.Sprintf("cloud %q: %v", record.Cloud, err)}
	}
	if len(instances) == 0 {
		return &Failure{Code: exitUsage, Text: fmt.Sprintf("nothing of %s runs any more", record.Handle), Advice: fmt.Sprintf("%q lists what runs", s.command("status"))}
	}
	extender, ends := driver.(cloud.Extender)
	if !ends {
		return s.extendContextOf(ctx, l, record, s.env.Now().Add(hours))
	}
	e := Extension{Handle: record.Handle, Before: record.Expires, Expires: s.env.Now().Add(hours)}
	note := func(format string, args ...any) {
		e.Notes = append(e.Notes, fmt.Sprintf(format, args...))
		s.out.warn("%s\n", e.Notes[len(e.Notes)-1])
	}
	if record.Context != nil {
		_, gone, err := s.extendContext(ctx, record.Context, e.Expires.Add(graceOfContext))
		if err != nil {
			return &Failure{Code: exitFailed, Text: fmt.Sprintf("broker: %s", brokerText(err)), Advice: "nothing has changed: " + record.Handle + " ends when it was to end"}
		}
		if gone != nil {
			note("The broker could not be told, so its context may end before the machines do: %v", gone)
		}
	}
	if err := extender.Extend(ctx, record.Launch, e.Expires); err != nil {
		return &Failure{Code: exitFailed, Text: fmt.Sprintf("cloud %q: %v", record.Cloud, err), Advice: record.Handle + " ends when it was to end"}
	}
	if err := l.Extend(e.Expires); err != nil {
		return &Failure{Code: exitFailed, Text: fmt.Sprintf("%s ends at %s, but that could not be written down: %v", record.Handle, clock(e.Expires), err)}
	}
	if s.out.document(e) {
		return nil
	}
	s.out.print("%s ends by itself at %s, in %s. To end it now:\n  %s\n", e.Handle, clock(e.Expires), spanText(hours), s.command("terminate", "--handle", e.Handle))
	return nil
}

// extendContextOf gives more time to the context of a launch whose machines
// never end by themselves.
func (s *session) extendContextOf(ctx context.Context, l *history.Launch, record history.Record, until time.Time) error {
	e := Extension{Handle: record.Handle, Before: record.Expires}
	goesOn := fmt.Sprintf("cloud %q never ends instances by itself: %s goes on until you end it", record.Cloud, record.Handle)
	end := "to end it: " + s.command("terminate", "--handle", record.Handle)
	if record.Context == nil {
		return &Failure{Code: exitUsage, Text: "there is nothing to extend: " + goesOn, Advice: end}
	}
	until, gone, err := s.extendContext(ctx, record.Context, until)
	if err = cmp.Or(err, gone); err != nil {
		return &Failure{Code: exitFailed, Text: fmt.Sprintf("broker: %s; %s, but its context was not extended", brokerText(err), goesOn), Advice: end}
	}
	e.Context = until
	if !record.Expires.IsZero() { // it was launched when the cloud still ended instances
		if err := l.Extend(time.Time{}); err != nil {
			return &Failure{Code: exitFailed, Text: fmt.Sprintf("%s goes on until you end it, but that could not be written down: %v", record.Handle, err)}
		}
	}
	if s.out.document(e) {
		return nil
	}
	s.out.print("C%s.\nIts context at the broker lives until %s, in %s.\n", goesOn[1:], clock(until), spanText(until.Sub(s.env.Now())))
	return nil
}

// extendable refuses a launch whose time cannot be given back.
func (s *session) extendable(record history.Record) error {
	switch {
	case record.State == history.Terminated:
		return &Failure{Code: exitUsage, Text: fmt.Sprintf("%s was terminated: there is nothing left to extend", record.Handle)}
	case record.State == history.Failed:
		return &Failure{Code: exitUsage, Text: fmt.Sprintf("%s failed, and what it had started was ended: there is nothing left to extend", record.Handle),
			Advice: "a run with --keep leaves its machines running when something fails"}
	case record.Over(s.env.Now()):
		return &Failure{Code: exitUsage, Text: fmt.Sprintf("%s ended by itself at %s", record.Handle, clock(record.Expires)), Advice: "launch it again, with more --hours"}
	}
	return nil
}

// extendContext lets a context live until some time, if it does not live
// longer already, and returns its end. Gone is why the broker could not be
// asked; err is its no.
func (s *session) extendContext(ctx context.Context, c *history.Context, until time.Time) (end time.Time, gone, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	broker, err := s.findBroker(ctx, c.Broker)
	var status wire.Status
	if err == nil {
		status, err = broker.Status(ctx, c.ID, 0)
	}
	if end = status.Expires; err == nil && end.Before(until) {
		end, err = until, broker.Extend(ctx, c.ID, until)
	}
	switch code := wire.CodeOf(err); {
	case err == nil:
		return end, nil, nil
	case errors.Is(err, ErrNoBroker) || !wire.Final(err) || code == wire.NotFound || code == wire.ContextGone:
		return end, err, nil
	}
	return end, nil, err
}

func clock(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }
