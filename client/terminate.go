package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"nimbus/broker/wire"
	"nimbus/client/deploy"
	"nimbus/client/history"
	"nimbus/cloud"
)

var terminateHelp = helpText{"end a launch", `Usage:
  nimbus terminate --handle HANDLE [--handle HANDLE ...] [OPTIONS]
  nimbus terminate --all

Ends the instances and the context of a launch and takes its host keys out of
known_hosts. The history directory stays, until "nimbus forget" removes it. It
can be repeated. One launch that cannot be ended, or whose record cannot be read,
does not keep the others running. Ctrl-C sees the one through that is being
ended, and begins no other.

Of hosts that run already, one that cannot be logged in to keeps its launch from
being ended: it may be back tomorrow, and the same command ends the rest then.
For one that is gone for good, or was made anew and has another host key, say
--forget-unreachable. Should it come back all the same, as it was, "nimbus
terminate --handle HANDLE" takes away what the launch left there.

Examples:
  nimbus terminate --handle cluster-001
  nimbus terminate --handle vm-001 --handle vm-002
  nimbus terminate --handle cluster-001 --forget-unreachable

Options:
  --handle HANDLE     which launch; may be given several times
  --all               all launches of the history
  --forget-unreachable
                      end a launch without those of its hosts that cannot be
                      logged in to now` + commonHelp + `
Exit codes: 0 all of it has ended; 1 wrong parameters; 2 something could not be
ended, or its record could not be read; 130 interrupted.
`}

func (env *Env) terminateCommand() *cli.Command {
	return &cli.Command{
		Name:  "terminate",
		Flags: append(commonFlags(), &cli.StringSliceFlag{Name: "handle"}, &cli.BoolFlag{Name: "all"}, &cli.BoolFlag{Name: "forget-unreachable"}),
		Action: env.inSession(func(c *cli.Context, s *session) error {
			handles, all, without := c.StringSlice("handle"), c.Bool("all"), c.Bool("forget-unreachable")
			return s.env.leavable(func() error { return s.terminate(c.Context, handles, all, without) },
				func() error { return s.terminateLater(handles) }, nil)
		}),
	}
}

// Termination is what --json prints of one launch that was to be ended.
type Termination struct {
	Handle    string `json:"handle"`
	State     string `json:"state"`
	Outcome   string `json:"outcome,omitempty"` // its state before, or expired
	Already   bool   `json:"already,omitempty"` // it had ended before
	Instances int    `json:"instances"`         // that were still there
	// Unreachable are nodes whose hosts were given up, and not heard of since.
	Unreachable []string `json:"unreachable,omitempty"`
	Error       string   `json:"error,omitempty"`
}

// terminate ends launches; without is whether hosts that are not reached are
// given up. One that fails does not keep the others running.
func (s *session) terminate(ctx context.Context, handles []string, all, without bool) error {
	if all == (len(handles) > 0) {
		return &Failure{Code: exitUsage, Text: "terminate: give either --handle HANDLE or --all",
			Advice: fmt.Sprintf("%q lists all handles", s.command("status"))}
	}
	if all {
		var err error
		if handles, err = s.unfinished(); err != nil {
			return err
		}
		if len(handles) == 0 {
			s.out.say("Nothing to terminate.\n")
		}
	}
	list := []Termination{}
	var first error
	failed, code := 0, 0
	for i, handle := range handles {
		if ctx.Err() != nil {
			failed, code = failed+len(handles)-i, exitInterrupted
			first = &Failure{Code: code, Text: fmt.Sprintf("interrupted: %s not terminated", strings.Join(handles[i:], ", ")),
				Advice: "to go on: " + s.terminateCommand(handles[i:])}
			break
		}
		t, err := s.terminateOne(ctx, handle, without)
		if err != nil {
			t.Error = err.Error()
			if len(handles) > 1 {
				s.out.warn("  - %s: %v\n", handle, err)
			}
			if failed++; first == nil {
				first = err
			}
			code = max(code, codeOf(err))
		}
		list = append(list, t)
	}
	s.out.document(list)
	if failed > 1 && code != exitInterrupted {
		return &Failure{Code: code, Text: fmt.Sprintf("%d of %d launches were not terminated", failed, len(handles)), Advice: "the reasons are above; the command can be repeated"}
	}
	return first
}

// terminateLater answers a second interrupt.
func (s *session) terminateLater(handles []string) error {
	s.out.warn("\nLeaving at once.\n")
	return &Failure{Code: exitInterrupted, Text: "interrupted twice: not everything has ended", Advice: "to go on: " + s.terminateCommand(handles)}
}

// terminateCommand is the command that ends launches; none means all.
func (s *session) terminateCommand(handles []string) string {
	if len(handles) == 0 {
		return s.command("terminate", "--all")
	}
	var args []string
	for _, handle := range handles {
		args = append(args, "--handle", handle)
	}
	return s.command("terminate", args...)
}

// unfinished lists the launches of which something may run: those, too, of which
// it cannot be read.
func (s *session) unfinished() ([]string, error) {
	h, err := s.history()
	if err != nil {
		return nil, err
	}
	launches, err := h.List()
	if err != nil {
		return nil, &Failure{Code: exitFailed, Text: err.Error(), Advice: s.doctorAdvice()}
	}
	var handles []string
	for _, l := range launches {
		record, err := l.Record()
		if errors.Is(err, fs.ErrNotExist) {
			continue // its client was stopped before it launched anything
		}
		if err != nil || mayRun(record) {
			handles = append(handles, l.Handle)
		}
	}
	return handles, nil
}

func (s *session) terminateOne(ctx context.Context, handle string, without bool) (Termination, error) {
	t := Termination{Handle: handle}
	l, record, err := s.launch(handle)
	if err != nil {
		return t, err
	}
	unlock, err := l.Lock()
	if err != nil {
		return t, &Failure{Code: exitFailed, Text: err.Error()}
	}
	defer unlock()
	if record, err = l.Record(); err != nil { // as it is now that it is ours
		return t, &Failure{Code: exitFailed, Text: err.Error(), Advice: s.doctorAdvice()}
	}
	t.State, t.Outcome = record.State, record.Outcome
	s.env.listener.Store(&listener{
		log:  func(string, string) {},
		note: func(who, line string) { s.out.warn("  - %s: %s\n", printable(who), printable(line)) },
	})
	defer s.env.listener.Store(nil)
	if !mayRun(record) {
		t.Already = true
		if record.State == history.Terminated {
			s.out.say("%s was terminated already.\n", handle)
			return t, s.terminateRest(ctx, l, &record, &t, without)
		} else {
			s.out.say("%s failed, and was ended already.\n", handle)
		}
		return t, nil
	}
	driver, err := s.cloudOf(record)
	if err != nil {
		return t, err
	}
	s.out.say("Terminating %s.\n", handle)
	// What has begun to end is not left half way: it takes seconds.
	what := instancesOf(len(record.Instances), handle)
	defer context.AfterFunc(ctx, func() {
		s.out.warn("\nInterrupted: %s being ended, and that is seen through; nothing else is begun. Press Ctrl-C again to leave at once.\n", what)
	})()
	if without {
		if err := s.abandon(context.WithoutCancel(ctx), l, driver, &record); err != nil {
			return t, err
		}
	}
	if t.Instances, err = s.undo(context.WithoutCancel(ctx), driver, &record); err != nil {
		advice := "what could be ended is; the same command tries the rest again"
		if s.overSSH(record.Cloud) {
			advice += ", and --forget-unreachable does without hosts that are gone for good"
		}
		return t, &Failure{Code: exitFailed, Text: fmt.Sprintf("terminate %s: %v", handle, err), Advice: advice}
	}
	t.Unreachable = nodesOf(record.Unreachable)
	record.Outcome, record.Ended = outcome(record, s.env.Now()), s.env.Now()
	record.State = history.Terminated
	t.State, t.Outcome = record.State, record.Outcome
	if err := l.Save(record); err != nil {
		return t, &Failure{Code: exitFailed, Text: err.Error(), Advice: s.doctorAdvice()}
	}
	if s.overSSH(record.Cloud) {
		s.sayLeft(record)
	}
	s.out.say("  - ended %s\nTerminated '%s'\n", count(t.Instances, "instance"), handle)
	return t, nil
}

// undo ends everything of a launch but its history: instances, what was
// prepared for them, the context, the lines in known_hosts. It can be repeated,
// and does not mind when half of it is gone already.
func (s *session) undo(ctx context.Context, driver cloud.Driver, record *history.Record) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	hint := make([]cloud.Instance, 0, len(record.Instances))
	for _, i := range record.Instances {
		hint = append(hint, i.Instance)
	}
	n, err := deploy.Undo(ctx, driver, record.Launch, hint)
	if record.Context != nil {
		s.forget(ctx, record.Context)
	}
	return n, errors.Join(err, s.distrust(record))
}

// forget deletes a context. When its broker cannot be asked, the context ends
// by itself: that is worth a word, but no failure.
func (s *session) forget(ctx context.Context, c *history.Context) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	broker, err := s.findBroker(ctx, c.Broker)
	if err == nil {
		err = broker.Delete(ctx, c.ID)
	}
	if err == nil || errors.Is(err, ErrNoBroker) || wire.CodeOf(err) == wire.NotFound || wire.CodeOf(err) == wire.ContextGone {
		return
	}
	s.out.warn("  - the broker still has the context, until it expires there: %v\n", err)
}
