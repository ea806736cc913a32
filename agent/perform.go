package agent

import (
	"context"
	"fmt"
	"os"

	"nimbus/agent/phase"
	"nimbus/broker/cluster"
)

// perform does the steps that a manifest asks for, from the first that is not
// done yet.
func (s *session) perform(ctx context.Context, m *cluster.Manifest) error {
	told, err := s.state.saveManifest(m)
	if err != nil {
		return err
	}
	scripts, err := phase.List(os.DirFS(s.cfg.ScriptsDir))
	if err != nil {
		return fmt.Errorf("scripts directory: %w", err)
	}
	runner := s.runner()
	runner.Manifest = m
	steps := phase.Plan(m, runner.Self, scripts)
	p := &s.progress
	if plan := planHash(steps); p.Manifest != told || p.Plan != plan {
		*p = progress{Manifest: told, Plan: plan, Steps: len(steps), Done: phase.Before(steps, s.cfg.From)}
		if p.Done > 0 {
			s.log.Info("leaving out what comes before the phase that was asked for", "from", s.cfg.From, "done", p.Done, "steps", p.Steps)
		}
	} else if p.Done > 0 || p.Begun > 0 {
		s.log.Info("going on where the run before ended", "done", p.Done, "steps", p.Steps)
	}
	runner.Started = func(g phase.Group) {
		p.Group = &g
		if err := s.state.saveProgress(*p); err != nil {
			s.log.Warn(err.Error()) // the script ends with this agent in any case
		}
	}
	s.watched(ctx)
	for p.Done < len(steps) {
		step, retry := steps[p.Done], p.Begun
		if step.Kind != phase.Absent {
			// Written before the step, it also says that the one before is done.
			p.Step, p.Begun = step.String(), retry+1
			if err := s.state.saveProgress(*p); err != nil {
				return err
			}
		}
		err := runner.Run(ctx, step, retry)
		p.Group = nil
		if err != nil {
			return err
		}
		p.Done, p.Begun, p.Step = p.Done+1, 0, ""
	}
	s.log.Info("all steps are done", "steps", len(steps))
	return nil
}

func (s *session) runner() *phase.Runner {
	return &phase.Runner{
		Dir: s.cfg.ScriptsDir, Limit: s.cfg.ScriptTimeLimit, Log: s.log, Redact: s.sink.Redact, Environ: os.Environ(),
		Trust: phase.TrustFiles{KnownHosts: s.cfg.KnownHosts, HostsEquiv: s.cfg.HostsEquiv, HostBased: s.cfg.HostBasedTrust},
		Self:  phase.Self{Context: s.found.Context, Place: s.place, Identities: s.identities, DataDir: s.state.dataDir()},
	}
}
