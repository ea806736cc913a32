package agent

import (
	"context"
	"os"
	"path/filepath"
	"strconv"

	"nimbus/agent/phase"
	"nimbus/broker/wire"
)

// problem ends a run that failed: log, report, problem script.
func (s *session) problem(ctx context.Context, failure *phase.Failure) error {
	s.log.Error(failure.Error(), "step", failure.Step, "code", failure.Code)
	step := printable(s.sink.Redact(failure.Step))
	s.progress.Report = &wire.Report{
		Stage: s.stage,
		Step:  step[:min(len(step), wire.MaxStep)],
		Code:  failure.Code,
		Log:   s.sink.Tail(),
	}
	if err := s.state.saveProgress(s.progress); err != nil {
		s.log.Error(err.Error()) // the report can still be sent
	}
	if err := s.deliver(ctx); err != nil && ctx.Err() != nil {
		return err
	}
	s.problemScript(ctx, failure)
	return &ExitError{CodeFailed, failure}
}

// problemScript runs what the image's author wants to happen on a failure; it
// is told the step and its code.
func (s *session) problemScript(ctx context.Context, failure *phase.Failure) {
	if s.cfg.ProblemScript == "" {
		return
	}
	var environment []string
	if s.cfg.PowerOff {
		environment = append(environment, "NIMBUS_POWEROFF=yes")
	}
	args := []string{failure.Step, strconv.Itoa(failure.Code)}
	if err := s.runner().Outside(ctx, s.cfg.ProblemScript, args, environment); err != nil {
		s.log.Error("problem script: " + err.Error())
	}
}

// clean removes what another context left on this machine: its scripts know
// what they did, and the agent's own memory of it holds secrets.
func (s *session) clean(ctx context.Context, last string) {
	script := filepath.Join(s.cfg.ScriptsDir, "clean.sh")
	if _, err := os.Stat(script); err == nil {
		if err := s.runner().Outside(ctx, script, nil, []string{"NIMBUS_OLD_CONTEXT=" + last}); err != nil {
			s.log.Warn("cleaning up: " + err.Error())
		}
	}
	if err := os.RemoveAll(filepath.Join(s.cfg.StateDir, last)); err != nil {
		s.log.Warn("cleaning up: " + err.Error())
	}
}
