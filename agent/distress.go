package agent

import (
	"context"
	"path/filepath"
	"time"

	"nimbus/broker/wire"
)

// distressLimit bounds the attempts to tell the broker of a failure that
// cannot be remembered for the next start.
const distressLimit = 10 * time.Second

// unable is the end of a run on a machine that does not let the agent work.
func (s *session) unable(ctx context.Context, err error) error {
	s.log.Error(err.Error())
	s.distress(ctx, CodeEnvironment)
	return &ExitError{CodeEnvironment, err}
}

// distress reports a failure outside of the ordinary way, which needs a disk
// and an agent without mistakes. Nobody would learn of it otherwise, and the
// whole cluster would wait. Before there is a bootstrap document there is
// nobody to tell; with a report on disk there is nothing new to say.
func (s *session) distress(ctx context.Context, code int) {
	if s.found == nil || s.progress.Report != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, distressLimit)
	defer cancel()
	if s.client == nil {
		// The broker takes an error from whoever has the token, as long as no
		// other machine holds the place: any claim is good enough for that.
		claim, err := readClaim(filepath.Join(s.cfg.StateDir, s.found.Context))
		if err != nil {
			claim = newClaim()
		}
		s.sink.Hide(claim)
		if s.client, err = wire.NewNodeClient(s.found.Bootstrap, claim); err != nil {
			s.log.Error("the broker cannot be told: " + err.Error())
			return
		}
	}
	report := wire.Report{Stage: s.stage, Step: "agent", Code: code, Log: s.sink.Tail()}
	err := persist(ctx, s.log, "report", func(ctx context.Context) error { return s.client.Report(ctx, report) })
	if err != nil {
		s.log.Error("the broker could not be told: " + err.Error())
		return
	}
	s.log.Info("reported: error", "step", report.Step, "code", report.Code)
}
