package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"nimbus/broker/cluster"
	"nimbus/broker/wire"
)

// A refusal is the broker's no. Report tells whether it would take a report
// about it: not from a machine that is none of its nodes, not for a context
// that has failed or is gone. Unknown means that the broker has no node with
// these identities: the next start may describe the machine anew.
type refusal struct {
	text    string
	report  bool
	unknown bool
}

func (r *refusal) Error() string { return r.text }

// refused says what was refused; other errors (the agent was stopped) pass.
func refused(what string, err error) error {
	var e *wire.Error
	if !errors.As(err, &e) {
		return err
	}
	r := &refusal{text: fmt.Sprintf("%s: %s", what, e.Message), report: true}
	if e.Hint != "" {
		r.text += "; " + e.Hint
	}
	switch e.Code {
	case wire.NotJoined:
		// An error of this machine would take the place away from the next one.
		r.text = fmt.Sprintf("this machine is no longer a node of the context, its place was released: %s", e.Message)
		r.report, r.unknown = false, true
	case wire.PlaceTaken:
		r.report, r.unknown = false, true
	case wire.Unauthorized, wire.Forbidden, wire.NotFound, wire.ContextGone, wire.ContextFailing:
		r.report = false
	}
	return r
}

// join makes this node known and learns its place, and which scripts came with
// the launch.
func (s *session) join(ctx context.Context) (*wire.Pack, error) {
	var joined wire.Joined
	err := persist(ctx, s.log, "join", func(ctx context.Context) (err error) {
		joined, err = s.client.Join(ctx, wire.Join{Identities: s.identities})
		return err
	})
	if err != nil {
		return nil, refused("join", err)
	}
	s.place = joined.Place
	for i := range s.identities {
		if s.identities[i].Hostname == "" { // only the broker could know it
			s.identities[i].Hostname = s.place.String()
		}
	}
	log := s.log.With("node", s.place.String())
	if len(joined.Roles) > 0 {
		log = log.With("roles", strings.Join(joined.Roles, ","))
	}
	log.Info("joined")
	return joined.Scripts, nil
}

// ask waits for the answer of the current stage. The broker holds each request
// until there is one, or it has been long enough.
func (s *session) ask(ctx context.Context) (*cluster.Manifest, error) {
	var said string
	var hurry, failing backoff
	for {
		var m *cluster.Manifest
		var waiting []string
		asked := time.Now()
		err := persist(ctx, s.log, "manifest", func(ctx context.Context) (err error) {
			m, waiting, err = s.client.Manifest(ctx, s.stage)
			return err
		})
		if s.waitsForOthers(ctx, err, &failing) {
			continue
		}
		if err != nil {
			return nil, refused("the cluster cannot be completed", err)
		}
		if m != nil {
			for _, d := range m.Data { // a script that shows what it does must not show these
				s.sink.Hide(d.Value)
			}
			if m.Stage != s.stage {
				return nil, fmt.Errorf("broker: asked for stage %d, it answered stage %d", s.stage, m.Stage)
			}
			return m, nil
		}
		if text := strings.Join(waiting, ", "); text != said {
			s.log.Info("waiting for " + text)
			said = text
		}
		if time.Since(asked) > time.Second {
			hurry = backoff{}
		} else if err := hurry.pause(ctx); err != nil { // a broker that does not hold requests
			return nil, err
		}
	}
}

// pass reports a stage before the last as done.
func (s *session) pass(ctx context.Context) error {
	s.log.Info("stage done", "stage", s.stage)
	err := persist(ctx, s.log, "report", func(ctx context.Context) error {
		return s.client.Report(ctx, wire.Report{Stage: s.stage, OK: true})
	})
	return refused("report", err)
}

// deliver brings the report to the broker, however often that takes, and ends
// the run. The report is on disk: the next run goes on with it.
func (s *session) deliver(ctx context.Context) error {
	report := s.progress.Report
	err := persist(ctx, s.log, "report", func(ctx context.Context) error {
		s.live.rest(ctx) // who watches sees the end
		return s.client.Report(ctx, *report)
	})
	if ctx.Err() != nil && !wire.Final(err) && err != nil {
		return exitf(CodeFailed, "stopped before the report could be delivered; the next start tries again")
	}
	// No answer that the broker can give makes it worth sending once more.
	s.progress.Reported = true
	if e := s.state.saveProgress(s.progress); e != nil {
		return s.failed(e)
	}
	switch {
	case wire.CodeOf(err) == wire.Reported:
		s.log.Warn("the broker has another report of this node already: " + err.Error())
	case err != nil:
		return s.failed(refused("report", err))
	case report.OK:
		s.log.Info("reported: ok")
	default:
		s.log.Info("reported: error", "step", report.Step, "code", report.Code)
	}
	if !report.OK {
		return exitf(CodeFailed, "step %q failed", report.Step)
	}
	return nil
}
