package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"nimbus/broker/wire"
	"nimbus/client/history"
	"nimbus/cloud"
)

var statusHelp = helpText{"show what was launched and what of it runs", `Usage:
  nimbus status [--handle HANDLE] [OPTIONS]

Lists all launches with their state, age and time left; with a handle, the
instances of that one and how far its context is. When the hours of one are
nearly over it says how to extend them.

Examples:
  nimbus status
  nimbus status --handle cluster-001

Options:
  --handle HANDLE     one launch` + commonHelp}

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

// LaunchStatus is what --json prints of a launch.
type LaunchStatus struct {
	Handle    string             `json:"handle"`
	State     string             `json:"state"` // as in the history, or "expired", "gone"
	Source    string             `json:"source,omitempty"`
	Cloud     string             `json:"cloud"`
	Created   time.Time          `json:"created"`
	Expires   time.Time          `json:"expires"`
	Running   int                `json:"running"` // instances
	Instances []history.Instance `json:"instances,omitempty"`
	Context   *wire.Status       `json:"context,omitempty"`
	Notes     []string           `json:"notes,omitempty"` // what could not be asked, or should be done soon
}

// statusOfAll lists all launches. Each cloud is asked once.
func (s *session) statusOfAll(ctx context.Context) error {
	h, err := s.history()
	if err != nil {
		return err
	}
	s.forgetExpired(h)
	launches, err := h.List()
	if err != nil {
		return &Failure{Code: exitFailed, Text: err.Error()}
	}
	ask := s.asker(ctx, "")
	list := []LaunchStatus{}
	for _, l := range launches {
		record, err := l.Record()
		if errors.Is(err, fs.ErrNotExist) {
			continue // its client was stopped before it launched anything
		}
		if err != nil {
			s.out.warn("%s is left out: %v\n", l.Handle, err)
			continue
		}
		status := s.statusNow(ctx, record, ask)
		status.Instances, status.Context = nil, nil
		list = append(list, status)
	}
	if s.out.document(list) {
		return nil
	}
	if len(list) == 0 {
		s.out.print("Nothing was launched yet (history: %s).\n", h.Dir())
		return nil
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HANDLE\tSTATE\tAGE\tTIME LEFT\tRUNNING\tSOURCE")
	notes := map[string]bool{}
	for _, l := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", l.Handle, l.State, spanText(s.env.Now().Sub(l.Created)), s.left(l), l.Running, l.Source)
		for _, note := range l.Notes {
			notes[note] = true
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	s.out.print("%s", b.String())
	for note := range notes {
		s.out.warn("%s\n", note)
	}
	return nil
}

// left is how long a launch will last, if anything of it does.
func (s *session) left(l LaunchStatus) string {
	if left := l.Expires.Sub(s.env.Now()); left > 0 && l.Running > 0 {
		return spanText(left)
	}
	return "-"
}

// statusOf shows one launch with its instances.
func (s *session) statusOf(ctx context.Context, handle string) error {
	_, record, err := s.launch(handle)
	if err != nil {
		return err
	}
	status := s.statusNow(ctx, record, s.asker(ctx, record.Launch))
	if s.out.document(status) {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s, launched %s ago", handle, status.State, spanText(s.env.Now().Sub(record.Created)))
	if left := s.left(status); left != "-" {
		fmt.Fprintf(&b, ", ends in %s", left)
	}
	b.WriteString("\n")
	for _, i := range status.Instances {
		fmt.Fprintf(&b, "  - %s: %s, %s [ %s ]\n", i.Node, stateText(i.Instance), addressText(i.Addresses), i.Name)
	}
	if c := status.Context; c != nil {
		b.WriteString("\nContext:\n")
		for _, w := range c.Workspaces {
			fmt.Fprintf(&b, "  - %s: %d of %d joined, %d ok, %d failed\n", w.Name, w.Joined, w.Expected, w.OK, w.Failed)
			for _, waiting := range w.Waiting {
				fmt.Fprintf(&b, "      waits for %s\n", printable(waiting))
			}
		}
		for _, f := range c.Failures {
			fmt.Fprintf(&b, "  - %s: %s\n", printable(f.Node), stepText(f.Report))
		}
	}
	s.out.print("%s", b.String())
	for _, note := range status.Notes {
		s.out.warn("%s\n", note)
	}
	return nil
}

func stateText(i cloud.Instance) string {
	text := string(i.State)
	if i.Reason != "" {
		text += " (" + i.Reason + ")"
	}
	return text
}

// asker returns a function that lists what runs of a launch in a cloud. With
// an empty launch it asks each cloud only once, for everything.
func (s *session) asker(ctx context.Context, launch string) func(cloudName, launch string) ([]cloud.Instance, error) {
	answers := map[string]listing{}
	return func(cloudName, wanted string) ([]cloud.Instance, error) {
		answer, asked := answers[cloudName]
		if !asked {
			driver, err := s.cloud(cloudName)
			if err == nil {
				answer.instances, err = driver.List(ctx, launch)
			}
			answer.err = err
			answers[cloudName] = answer
		}
		var instances []cloud.Instance
		for _, i := range answer.instances {
			if i.Launch == wanted {
				instances = append(instances, i)
			}
		}
		return instances, answer.err
	}
}

// statusNow is what holds of a launch now: what the cloud runs, and what the
// broker knows of a context that its client did not see to the end.
func (s *session) statusNow(ctx context.Context, record history.Record, ask func(cloudName, launch string) ([]cloud.Instance, error)) LaunchStatus {
	status := LaunchStatus{Handle: record.Handle, State: record.State, Source: record.Source, Cloud: record.Cloud,
		Created: record.Created, Expires: record.Expires}
	if status.Source == "" && record.Definition != nil && len(record.Definition.Workspaces) > 0 {
		status.Source = "image " + record.Definition.Workspaces[0].Image
	}
	if record.State == history.Terminated {
		return status
	}
	instances, err := ask(record.Cloud, record.Launch)
	if err != nil {
		status.Notes = append(status.Notes, fmt.Sprintf("what runs in cloud %q could not be asked: %v", record.Cloud, err))
		status.Instances = record.Instances
		return status
	}
	status.Instances = []history.Instance{}
	for _, i := range instances {
		if i.State == cloud.Running {
			status.Running++
		}
		instance := history.Instance{Node: i.Token, Instance: i}
		for _, known := range record.Instances {
			if known.Token == i.Token {
				instance.Node, instance.Workspace, instance.Index = known.Node, known.Workspace, known.Index
			}
		}
		status.Instances = append(status.Instances, instance)
	}
	if status.Running > 0 && endsSoon(s.env.Now(), record.Created, record.Expires) {
		status.Notes = append(status.Notes, strings.TrimSpace(s.extendAdvice(record.Handle, record.Expires)))
	}
	switch {
	case len(instances) == 0 && !record.Expires.After(s.env.Now()):
		status.State = "expired"
		return status
	case len(instances) == 0 && record.State != history.Failed && record.State != history.Launching:
		status.State = "gone" // ended by other means
		return status
	}
	if record.Context == nil || len(instances) == 0 {
		return status
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	broker, err := s.findBroker(ctx, record.Context.Broker)
	if err == nil {
		var answer wire.Status
		if answer, err = broker.Status(ctx, record.Context.ID, 0); err == nil {
			status.Context = &answer
		}
	}
	switch {
	case err != nil && record.State == history.Waiting:
		status.Notes = append(status.Notes, fmt.Sprintf("%s: the broker could not be asked: %v", record.Handle, err))
	case err == nil && record.State == history.Waiting && answerIsFinal(status.Context.State):
		status.State = string(status.Context.State)
	}
	return status
}

func answerIsFinal(state wire.State) bool {
	return state == wire.OK || state == wire.Failing || state == wire.Cancelled || state == wire.Expired
}
