// Package agent configures one machine of a cluster. It finds the bootstrap
// document, joins the context with this machine's identities, waits until the
// broker can tell it all that it must know, runs the role scripts phase by
// phase, and reports how that ended. A node is as the definition says, or it
// is reported as failed: nothing in between, and nothing in silence.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"time"

	"nimbus/agent/phase"
	"nimbus/agent/source"
	"nimbus/broker/cluster"
	"nimbus/broker/wire"
	"nimbus/ctxscripts"
)

// Run does the agent's work, once, with its log on the console, too. Without
// a bootstrap document there is nothing to do: it says where it looked and
// changes nothing. When the context ends, it stops so that the next Run goes
// on where this one was. Errors are *ExitError.
func Run(ctx context.Context, cfg Config, console io.Writer) (err error) {
	if err := cfg.Validate(); err != nil {
		return &ExitError{CodeConfig, err}
	}
	threshold, _ := level(cfg.LogLevel) // Validate knows it
	sink := NewLog(console, threshold)
	defer sink.Close()
	s := &session{cfg: cfg, sink: sink, log: slog.New(sink)}
	defer func() {
		if p := recover(); p != nil {
			s.log.Error(fmt.Sprintf("internal: %v\n%s", p, debug.Stack()))
			s.distress(ctx, CodeInternal)
			err = exitf(CodeInternal, "internal: %v", p)
		}
	}()
	s.found, err = cfg.places(s.log).Find(ctx)
	var none *source.NotFoundError
	if errors.As(err, &none) {
		s.log.Info(none.Error())
		return nil
	}
	if err != nil {
		return s.failed(err)
	}
	if s.token, err = wire.ParseToken(s.found.Token); err != nil {
		return s.failed(err)
	}
	s.place = cluster.Place{Workspace: s.token.Workspace, Index: max(0, s.token.Index)}
	sink.Hide(s.found.Token, s.token.MAC)
	s.state, err = openState(cfg.StateDir, s.found.Context)
	if errors.Is(err, errBusy) {
		return &ExitError{CodeBusy, err}
	}
	if err != nil {
		return s.unable(ctx, err)
	}
	defer s.state.close()
	if err := sink.Open(cfg.LogFile); err != nil {
		s.log.Warn(err.Error() + "; going on with the console only")
	}
	return s.run(ctx)
}

func (c Config) places(log *slog.Logger) source.Places {
	return source.Places{
		Given: c.Bootstrap, File: c.BootstrapFile, URLFile: c.MetadataURLFile,
		Drives: c.machine.drives, MetadataURL: c.MetadataURL, DMI: c.machine.dmi,
		CloudInit: c.machine.cloudInit, CloudInitRun: c.machine.cloudRun, Log: log,
	}
}

// A session is one run with a bootstrap document.
type session struct {
	cfg        Config
	sink       *Log
	log        *slog.Logger
	found      *source.Found
	token      wire.Token
	state      *state
	progress   progress
	client     *wire.NodeClient
	place      cluster.Place
	identities []cluster.Identity
	stage      int
	live       *liveLog  // nil until the scripts begin
	others     time.Time // until then others of a failing context are waited for
}

func (s *session) run(ctx context.Context) error {
	s.log.Info("found a bootstrap document", "where", s.found.Where, "context", s.found.Context)
	s.progress = s.state.progress()
	if p := s.progress; p.Reported && !p.Again && !s.cfg.Rerun {
		if p.Report.OK {
			s.log.Info("already contextualized", "context", s.found.Context)
			return nil
		}
		return s.failed(fmt.Errorf("this machine failed before, in step %q; mend its script, then: %s", p.Report.Step, howToRerun))
	}
	if g := s.progress.Group; g != nil && g.End(s.found.Context) {
		s.log.Warn("the agent before was killed; what it left running was ended", "step", s.progress.Step)
	}
	claim, err := s.state.claim()
	if err != nil {
		return s.unable(ctx, err)
	}
	s.sink.Hide(claim)
	if s.client, err = wire.NewNodeClient(s.found.Bootstrap, claim); err != nil {
		return s.failed(err)
	}
	if s.cfg.Rerun || s.progress.Again {
		if err := s.again(ctx); err != nil {
			return err
		}
	}
	if s.progress.Report != nil { // the run before could not deliver it
		return s.deliver(ctx)
	}
	defer s.unwatched()
	err = s.work(ctx)
	var refused *refusal
	var step *phase.Failure
	switch {
	case err == nil:
		s.progress.Report = &wire.Report{Stage: s.stage, OK: true}
		if err := s.state.saveProgress(s.progress); err != nil {
			s.log.Error(err.Error()) // the report can still be sent
		}
		return s.deliver(ctx)
	case ctx.Err() != nil:
		s.log.Warn("stopped; the next start goes on from here")
		return exitf(CodeFailed, "stopped before the end")
	case errors.As(err, &refused) && !refused.report:
		if refused.unknown {
			if err := s.state.forgetIdentities(); err != nil {
				s.log.Error(err.Error())
			}
		}
		return s.failed(err)
	case errors.As(err, &step):
		return s.problem(ctx, step)
	}
	return s.problem(ctx, &phase.Failure{Step: "agent", Code: CodeFailed, Text: err.Error()})
}

// failed is the end of a run that cannot or need not be reported.
func (s *session) failed(err error) error {
	s.log.Error(err.Error())
	return &ExitError{CodeFailed, err}
}

// work is everything up to the report.
func (s *session) work(ctx context.Context) error {
	if err := s.settle(ctx); err != nil {
		return err
	}
	if err := s.identify(ctx); err != nil {
		return err
	}
	scripts, err := s.join(ctx)
	if err != nil {
		return err
	}
	if err := s.bring(ctx, scripts); err != nil {
		return err
	}
	for ; ; s.stage++ {
		m, err := s.ask(ctx)
		if err != nil {
			return err
		}
		if m.Last {
			return s.perform(ctx, m)
		}
		if err := s.pass(ctx); err != nil {
			return err
		}
	}
}

// settle makes this machine ready for the context: an image may remember
// another one, and may have no scripts yet.
func (s *session) settle(ctx context.Context) error {
	if last := s.state.lastContext(); last != s.found.Context {
		if last != "" {
			s.log.Info("this machine was in another context before", "context", last)
			s.clean(ctx, last)
		}
		if err := s.state.setContext(s.found.Context); err != nil {
			return fmt.Errorf("context: %w", err)
		}
	}
	if err := s.ownScripts(); err != nil {
		return err
	}
	if err := ctxscripts.Install(s.cfg.ScriptsDir); err != nil {
		return fmt.Errorf("scripts directory: %w", err)
	}
	return nil
}
