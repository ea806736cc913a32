package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"nimbus/broker/wire"
	"nimbus/client/history"
)

var statusHelp = helpText{"show what was launched and what of it runs", `Usage:
  nimbus status [--handle HANDLE] [OPTIONS]

Lists all launches with their state, how far those that run have come, age and
time left; with a handle, the nodes of that one and what its context waits for.

States: launching, waiting (for the context), ok, failed (and ended), kept
(failed, and left running), terminated; expired: the hours are over; gone: ended
by other means; damaged: the record cannot be read; empty: the client was
stopped before it launched anything.

When the hours of one are nearly over it says how to extend them.

Phases: launching, booting and joining N/M, configuring N/M (ok), ok, failed N;
of a node also waiting (for others).

Examples:
  nimbus status
  nimbus status --handle cluster-001

Options:
  --handle HANDLE     one launch` + commonHelp + `
Exit codes: 0 this is all; 1 wrong parameters; 2 a record is damaged, or a cloud
or broker could not be asked: what is known is printed all the same.
`}

func (env *Env) statusCommand() *cli.Command {
	return &cli.Command{
		Name:  "status",
		Flags: append(commonFlags(), stringFlags("handle")...),
		Action: env.inSession(func(c *cli.Context, s *session) error {
			if c.IsSet("handle") {
				return s.statusOf(c.Context, c.String("handle"))
			}
			return s.statusOfAll(c.Context)
		}),
	}
}

// LaunchStatus is what --json prints of each launch.
type LaunchStatus struct {
	Handle   string        `json:"handle"`
	State    string        `json:"state"`             // as in the history, or expired, gone, damaged, empty
	Outcome  string        `json:"outcome,omitempty"` // the state before it was terminated, or expired
	Phase    string        `json:"phase,omitempty"`   // how far it has come; missing when it does not run
	Source   string        `json:"source,omitempty"`
	Cloud    string        `json:"cloud,omitempty"`
	Created  time.Time     `json:"created,omitzero"`
	Expires  time.Time     `json:"expires,omitzero"`
	Ended    time.Time     `json:"ended,omitzero"` // when a command had ended it
	Expected int           `json:"expected"`       // instances in the definition
	Running  int           `json:"running"`        // instances
	Context  *wire.Summary `json:"context,omitempty"`
	Notes    []string      `json:"notes,omitempty"` // what could not be read or asked, or should be done soon

	unasked bool // the cloud did not say what runs
}

// statusOfAll lists all launches.
func (s *session) statusOfAll(ctx context.Context) error {
	h, err := s.history()
	if err != nil {
		return err
	}
	s.forgetExpired(h)
	launches, err := h.List()
	if err != nil {
		return &Failure{Code: exitFailed, Text: err.Error(), Advice: s.doctorAdvice()}
	}
	list, unread := make([]LaunchStatus, len(launches)), 0
	records := make([]*history.Record, len(launches))
	for i, l := range launches {
		record, err := l.Record()
		switch {
		case errors.Is(err, fs.ErrNotExist):
			list[i] = LaunchStatus{Handle: l.Handle, State: stateEmpty}
		case err != nil:
			unread++
			list[i] = LaunchStatus{Handle: l.Handle, State: stateDamaged, Notes: []string{err.Error()}}
		default:
			records[i] = &record
		}
	}
	unasked := s.judge(ctx, list, records)
	if !s.out.document(list) {
		if len(list) == 0 {
			s.out.print("Nothing was launched yet (history: %s).\n", h.Dir())
		} else {
			s.out.print("%s", s.launchTable(list))
		}
		s.warnOf(list)
	}
	return incomplete(unread, unasked)
}

// judge fills in the rows whose record could be read, and returns how many
// clouds and brokers could not be asked.
func (s *session) judge(ctx context.Context, list []LaunchStatus, records []*history.Record) (unasked int) {
	var asked []history.Record
	var urls []string
	for _, r := range records {
		if r != nil && mayRun(*r) {
			asked = append(asked, *r)
		}
	}
	view := survey{clouds: s.askClouds(ctx, asked, "")}
	for _, r := range records {
		if r != nil && mayRun(*r) && contextMatters(*r) && len(view.clouds[s.place(*r)].of(r.Launch)) > 0 {
			urls = append(urls, r.Context.Broker)
		}
	}
	view.brokers = s.askBrokers(ctx, urls)
	for i, r := range records {
		if r != nil {
			list[i] = s.row(*r, view)
		}
	}
	for _, c := range view.clouds {
		if c.err != nil {
			unasked++
		}
	}
	for _, b := range view.brokers {
		if b.err != nil {
			unasked++
		}
	}
	return unasked
}

// mayRun tells whether the cloud has to be asked about a launch.
func mayRun(record history.Record) bool {
	return record.State != history.Terminated && (record.State != history.Failed || record.Ended.IsZero())
}

// contextMatters tells whether the broker knows more of how far a launch is
// than its record.
func contextMatters(record history.Record) bool {
	return record.Context != nil && record.State != history.OK
}

// row is what holds of one launch now.
func (s *session) row(record history.Record, view survey) LaunchStatus {
	now := s.env.Now()
	status := LaunchStatus{Handle: record.Handle, State: record.State, Outcome: record.Outcome, Source: record.Source, Cloud: record.Cloud,
		Created: record.Created, Expires: record.Expires, Ended: record.Ended}
	if d := record.Definition; d != nil && len(d.Workspaces) > 0 {
		status.Expected = d.Instances()
		if status.Source == "" {
			status.Source = "image " + d.Workspaces[0].Image
		}
	}
	if !mayRun(record) {
		return status
	}
	answer := view.clouds[s.place(record)]
	if answer.err != nil {
		status.unasked, status.Phase, status.Notes = true, unknown, []string{answer.err.Error()}
		return status
	}
	instances := answer.of(record.Launch)
	status.Running = countRunning(instances)
	status.State = stateNow(record, instances, now)
	if status.Running > 0 && endsSoon(now, record.Created, record.Expires) {
		status.Notes = append(status.Notes, strings.TrimSpace(s.extendAdvice(record.Handle, record.Expires)))
	}
	if record.Context != nil {
		broker := view.brokers[record.Context.Broker]
		if broker.err != nil && contextMatters(record) && len(instances) > 0 {
			status.Notes = append(status.Notes, broker.err.Error())
		}
		if summary, ok := broker.byID[record.Context.ID]; ok {
			status.Context = &summary
		}
	}
	if status.State == record.State {
		status.Phase = phaseOf(record, instances, status.Context)
	}
	return status
}

// launchTable prints launches for people.
func (s *session) launchTable(list []LaunchStatus) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HANDLE\tSTATE\tPHASE\tAGE\tTIME LEFT\tRUNNING\tSOURCE")
	for _, l := range list {
		age, running := "-", fmt.Sprint(l.Running)
		if !l.Created.IsZero() {
			age = spanText(s.env.Now().Sub(l.Created))
		}
		switch {
		case l.unasked:
			running = unknown
		case l.State == stateDamaged || l.State == stateEmpty:
			running = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.Handle, stateWords(l.State, l.Outcome), orDash(l.Phase), age, s.left(l), running, orDash(l.Source))
	}
	_ = w.Flush() // a builder takes everything
	return printable(b.String())
}

// warnOf prints each note once.
func (s *session) warnOf(list []LaunchStatus) {
	var said []string
	for _, l := range list {
		for _, note := range l.Notes {
			if !slices.Contains(said, note) {
				said = append(said, note)
				s.out.warn("%s\n", printable(note))
			}
		}
	}
}

// incomplete is the failure of a status that does not show everything.
func incomplete(unread, unasked int) error {
	var parts []string
	if unread > 0 {
		parts = append(parts, count(unread, "record")+" cannot be read")
	}
	if unasked > 0 {
		parts = append(parts, count(unasked, "cloud or broker")+" could not be asked")
	}
	if parts == nil {
		return nil
	}
	f := &Failure{Code: exitFailed, Text: "the status is not complete: " + strings.Join(parts, ", ")}
	if unread > 0 {
		f.Advice = "the note above names the file, and what to do with it"
	}
	return f
}

// noEnd is the time left of what runs until somebody ends it.
const noEnd = "no end"

// left is how long a launch will last, if anything of it does.
func (s *session) left(l LaunchStatus) string {
	left := l.Expires.Sub(s.env.Now())
	switch {
	case l.Running == 0:
	case l.Expires.IsZero():
		return noEnd
	case left > 0:
		return spanText(left)
	}
	return "-"
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
