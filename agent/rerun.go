package agent

import (
	"context"
	"time"

	"nimbus/broker/wire"
)

// howToRerun is the way out for a machine that failed.
const howToRerun = `"nimbus rerun NODE" where it was launched, or "/opt/nimbus/ctx/launch.sh --rerun" here`

// company is how long a node that begins again waits for others of a context
// that is failing: they may be about to begin again, too.
const company = 15 * time.Second

// again makes this machine begin once more: the broker takes its report back,
// and what it had done is forgotten. Its claim and its identities stay.
func (s *session) again(ctx context.Context) error {
	s.log.Info("beginning again")
	// A machine that stops between the broker's answer and ours on the disk
	// would take itself for one that has reported: it asks once more then.
	before := s.progress
	before.Again = false
	s.progress.Again = true
	if err := s.state.keepProgress(s.progress); err != nil {
		return s.unable(ctx, err)
	}
	err := persist(ctx, s.log, "retry", s.client.Retry)
	switch {
	case wire.CodeOf(err) == wire.NotJoined: // nothing was heard of it before
	case ctx.Err() != nil && !wire.Final(err) && err != nil:
		return exitf(CodeFailed, "stopped before the broker answered; the next start asks it again")
	case err != nil:
		if e := s.state.keepProgress(before); e != nil {
			s.log.Error(e.Error())
		}
		return s.failed(refused("the broker does not let this node begin again", err))
	}
	// Only now: a machine that forgot a report which the broker holds could
	// never report again.
	s.progress = progress{}
	if err := s.state.keepProgress(s.progress); err != nil {
		return s.unable(ctx, err)
	}
	s.others = time.Now().Add(company)
	return nil
}

// waitsForOthers tells whether a context that is failing may still be made
// whole by others, and pauses.
func (s *session) waitsForOthers(ctx context.Context, err error, pause *backoff) bool {
	if wire.CodeOf(err) != wire.ContextFailing || !time.Now().Before(s.others) {
		return false
	}
	pause.next = min(pause.next, time.Second)
	return pause.pause(ctx) == nil
}
