package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"nimbus/client/history"
)

var forgetHelp = helpText{"remove launches that have ended from the history", `Usage:
  nimbus forget --handle HANDLE [--handle HANDLE ...] [OPTIONS]
  nimbus forget --all-ended

Removes the history directories of launches: records, logs and reports. It asks
nothing, but refuses a launch of which something runs, or may run. The handles of
the last ones are used again.

Examples:
  nimbus forget --handle cluster-001
  nimbus forget --all-ended

Options:
  --handle HANDLE     which launch; may be given several times
  --all-ended         all that were terminated, failed or expired, or are gone` + commonHelp + `
Exit codes: 0 they are forgotten; 1 wrong parameters, or a launch runs; 2
something could not be asked or removed.
`}

func (env *Env) forgetCommand() *cli.Command {
	return &cli.Command{
		Name:  "forget",
		Flags: append(commonFlags(), &cli.StringSliceFlag{Name: "handle"}, &cli.BoolFlag{Name: "all-ended"}),
		Action: env.inSession(func(c *cli.Context, s *session) error {
			return s.forgetLaunches(c.Context, c.StringSlice("handle"), c.Bool("all-ended"))
		}),
	}
}

// Forgotten is what --json prints of each launch that was to be forgotten.
type Forgotten struct {
	Handle    string `json:"handle"`
	Directory string `json:"directory"` // that was removed
	Error     string `json:"error,omitempty"`
}

// emptyAge is how old a launch without a record must be before nobody can be
// about to write one.
const emptyAge = time.Minute

// forgetLaunches removes launches from the history. One that is refused does
// not keep the others.
func (s *session) forgetLaunches(ctx context.Context, handles []string, all bool) error {
	if all == (len(handles) > 0) {
		return &Failure{Code: exitUsage, Text: "forget: give either --handle HANDLE or --all-ended",
			Advice: fmt.Sprintf("%q lists all handles", s.command("status"))}
	}
	h, err := s.history()
	if err != nil {
		return err
	}
	if all {
		launches, err := h.List()
		if err != nil {
			return &Failure{Code: exitFailed, Text: err.Error()}
		}
		for _, l := range launches {
			handles = append(handles, l.Handle)
		}
	}
	ask := s.askOnce(ctx)
	list := []Forgotten{}
	var first error
	failed, code := 0, 0
	for _, handle := range handles {
		runs := false
		l, err := h.Get(handle)
		if err != nil {
			err = &Failure{Code: exitUsage, Text: err.Error()}
		} else {
			runs, err = s.forgetLaunch(ctx, l, ask, all)
		}
		switch {
		case runs && all:
			continue // it is none that was meant
		case err != nil:
			if len(handles) > 1 {
				s.out.warn("  - %s: %s\n", handle, printable(err.Error()))
			}
			if failed++; first == nil {
				first = err
			}
			code = max(code, codeOf(err))
			list = append(list, Forgotten{Handle: handle, Error: err.Error()})
		default:
			s.out.say("Forgot %s.\n", handle)
			list = append(list, Forgotten{Handle: handle, Directory: l.Dir})
		}
	}
	if len(list) == 0 {
		s.out.say("Nothing to forget.\n")
	}
	s.out.document(list)
	if failed > 1 {
		return &Failure{Code: code, Text: fmt.Sprintf("%d of %d launches were not forgotten", failed, len(list)), Advice: "the reasons are above"}
	}
	return first
}

// forgetLaunch removes one launch. That it runs, or that somebody is at work on
// it, is told apart from other refusals.
func (s *session) forgetLaunch(ctx context.Context, l *history.Launch, ask func(history.Record) listing, all bool) (runs bool, err error) {
	unlock, err := l.Lock()
	if err != nil {
		return true, &Failure{Code: exitFailed, Text: err.Error()}
	}
	defer unlock()
	record, err := l.Record()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// A run that makes this directory now has not locked it yet.
		info, err := os.Stat(l.Dir)
		if err != nil || all && time.Since(info.ModTime()) < emptyAge {
			return true, &Failure{Code: exitFailed, Text: fmt.Sprintf("%s may have begun just now", l.Handle)}
		}
	case err != nil:
		return false, &Failure{Code: exitFailed, Text: err.Error()}
	case mayRun(record):
		if runs, err := s.settle(ctx, &record, ask); err != nil {
			return runs, err
		}
	}
	if err := l.Remove(); err != nil {
		return false, &Failure{Code: exitFailed, Text: err.Error()}
	}
	return false, nil
}

// settle makes sure that nothing of a launch is anywhere but in the history,
// when no command has ended it.
func (s *session) settle(ctx context.Context, record *history.Record, ask func(history.Record) listing) (runs bool, err error) {
	end := s.command("terminate", "--handle", record.Handle)
	answer := ask(*record)
	if answer.err != nil {
		return false, &Failure{Code: exitFailed, Text: fmt.Sprintf("%s may run: %v", record.Handle, answer.err), Advice: "to end it: " + end}
	}
	n := len(answer.of(record.Launch))
	state := stateNow(*record, answer.of(record.Launch), s.env.Now())
	if n > 0 || state == history.Launching {
		return true, &Failure{Code: exitUsage, Text: fmt.Sprintf("%s is %s, and has %s: it is not forgotten", record.Handle, state, count(n, "instance")),
			Advice: "to end it: " + end}
	}
	driver, err := s.cloudOf(*record)
	if err != nil {
		return false, err
	}
	if _, err := s.undo(ctx, driver, record); err != nil {
		return false, &Failure{Code: exitFailed, Text: fmt.Sprintf("%s: %v", record.Handle, err), Advice: "to end what is left of it: " + end}
	}
	return false, nil
}

// askOnce asks a cloud for all that runs there when it is first wanted.
func (s *session) askOnce(ctx context.Context) func(history.Record) listing {
	answers := map[string]listing{}
	return func(record history.Record) listing {
		place := s.place(record)
		if _, asked := answers[place]; !asked {
			answers[place] = s.askClouds(ctx, []history.Record{record}, "")[place]
		}
		return answers[place]
	}
}
