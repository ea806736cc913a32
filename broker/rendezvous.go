package broker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"nimbus/broker/httpd"
	"nimbus/broker/match"
	"nimbus/broker/store"
	"nimbus/broker/wire"
)

// A rendezvous is one context being served: a loop that owns its state, takes
// in what callers propose, stores it, and only then answers and wakes.
type rendezvous struct {
	id      string
	owner   string
	service *Service
	inbox   chan proposal
	gone    chan struct{} // closed when the loop has ended

	// All below belongs to the loop.
	state   *match.State
	expires time.Time
	latches []chan struct{} // one for each requirement, closed when its answer is complete
	closed  []bool
	answers []*answer     // one for each requirement, made when first asked for
	broken  chan struct{} // closed while there is nothing left to wait for
	changed chan struct{} // closed and made anew at every change
	refused []wire.Refusal
	// version grows with every change that an owner can see, also over
	// restarts: it begins with the time.
	version uint64
}

// A proposal is an event to apply, or only a question; then runs in the loop
// when the event is stored.
type proposal struct {
	event *match.Event
	then  func(*match.State) error
	err   error
	done  chan error
}

func newRendezvous(s *Service, id string) *rendezvous {
	return &rendezvous{id: id, service: s, inbox: make(chan proposal), gone: make(chan struct{}),
		state: match.New(), broken: make(chan struct{}), changed: make(chan struct{}), version: uint64(time.Now().UnixMilli())}
}

// load folds the stored log.
func (r *rendezvous) load(ctx context.Context) error {
	log, err := r.service.Store.Read(ctx, r.id, 0)
	if err != nil {
		return err
	}
	state, err := match.Replay(log)
	if err != nil {
		return err
	}
	r.state = state
	if r.latches == nil {
		r.begin()
	}
	return nil
}

// begin makes the latches; the state knows its definition by now.
func (r *rendezvous) begin() {
	created, _ := r.state.Created()
	r.owner, r.expires = created.Owner, r.state.Expires()
	n := r.state.Requirements()
	r.closed, r.answers = make([]bool, n), make([]*answer, n)
	r.latches = make([]chan struct{}, n)
	for i := range r.latches {
		r.latches[i] = make(chan struct{})
	}
	r.wake()
}

// propose applies an event and runs then on the state when it is stored.
func (r *rendezvous) propose(e match.Event, then func(*match.State) error) error {
	return r.send(proposal{event: &e, then: then})
}

// ask runs a question in the loop.
func (r *rendezvous) ask(question func(*match.State) error) error {
	return r.send(proposal{then: question})
}

func (r *rendezvous) send(p proposal) error {
	p.done = make(chan error, 1)
	select {
	case r.inbox <- p:
		return <-p.done
	case <-r.gone:
		if r.ended() {
			return wire.Errorf(wire.ContextGone, "context %s has ended", r.id)
		}
		return wire.Errorf(wire.Unavailable, "the broker is stopping")
	}
}

// batch is the most that is stored at once.
const batch = 1024

// loop serves until the context or the service ends.
func (r *rendezvous) loop() {
	defer close(r.gone)
	expiry := time.NewTimer(time.Until(r.expires))
	defer expiry.Stop()
	for !r.ended() {
		select {
		case p := <-r.inbox:
			r.handle(r.gather(p))
			if r.state != nil && !r.state.Expires().Equal(r.expires) {
				r.expires = r.state.Expires()
				expiry.Reset(time.Until(r.expires))
			}
		case <-expiry.C:
			r.service.Log.Info("context expired", "context", r.id)
			r.handle([]proposal{{event: &match.Event{Expired: &match.Expired{}}, done: make(chan error, 1)}})
			expiry.Reset(time.Minute) // in case that could not be stored
		case <-r.service.stop:
			return
		}
	}
	if err := r.service.Store.Drop(context.Background(), r.id); err != nil {
		r.service.Log.Error("context ended, but its log stays", "context", r.id, "error", err)
	}
	if err := r.service.dropPacks(r.id); err != nil {
		r.service.Log.Error("context ended, but its scripts stay", "context", r.id, "error", err)
	}
}

func (r *rendezvous) ended() bool { return r.state != nil && r.state.Ended() }

// gather takes what else has arrived by now.
func (r *rendezvous) gather(first proposal) []proposal {
	all := []proposal{first}
	for len(all) < batch {
		select {
		case p := <-r.inbox:
			all = append(all, p)
		default:
			return all
		}
	}
	return all
}

// handle applies a batch, stores it, and answers. A caller that is told of
// something can be sure that it is on disk.
func (r *rendezvous) handle(all []proposal) {
	before := r.state
	stored, err := r.store(all)
	if err != nil {
		r.service.Log.Error("cannot store", "context", r.id, "error", err)
	}
	for i := range all {
		p := &all[i]
		switch {
		case err != nil:
			p.err = cannotStore(err)
		case errors.Is(p.err, match.ErrRepeated):
			p.err = nil
		}
		if p.err == nil && p.then != nil {
			p.err = p.then(r.state)
		}
	}
	// A state that was read anew may hold what others have stored.
	if stored || r.state != nil && r.state != before {
		r.wake()
	}
	for _, p := range all {
		p.done <- refusal(p.err)
	}
}

// cannotStore is what callers are told of a store that fails. What only its
// owner can mend is named: his own broker's log is not where he looks.
func cannotStore(err error) error {
	why := "; its log says why"
	switch {
	case errors.Is(err, syscall.ENOSPC):
		why = ": its disk is full"
	case errors.Is(err, syscall.EDQUOT):
		why = ": its disk quota is used up"
	case errors.Is(err, syscall.EROFS):
		why = ": its disk is read-only"
	}
	return wire.Errorf(wire.Unavailable, "the broker cannot store anything at the moment%s", why)
}

// store applies the events of a batch and appends them to the log. When
// another writer was faster, or the store fails, the state is read anew: what
// is not stored has not happened.
func (r *rendezvous) store(all []proposal) (stored bool, err error) {
	ctx := context.Background()
	for range 5 {
		if r.state == nil {
			if err := r.load(ctx); err != nil {
				return false, err
			}
		}
		seq := r.state.Seq()
		var events []match.Event
		for i := range all {
			p := &all[i]
			if p.event == nil {
				continue
			}
			p.event.At = time.Now().UTC()
			if p.err = r.state.Apply(*p.event); p.err == nil {
				events = append(events, *p.event)
			}
		}
		if len(events) == 0 {
			return false, nil
		}
		if err = r.service.Store.Append(ctx, r.id, seq, events); err == nil {
			return true, nil
		}
		r.state = nil
		if !errors.Is(err, store.ErrConflict) {
			break
		}
	}
	return false, fmt.Errorf("append: %w", err)
}

// wake lets go everyone whose wait is over. Where a node begins again, those
// who need it ready begin to wait again.
func (r *rendezvous) wake() {
	for i := range r.latches {
		switch complete := r.state.Complete(i); {
		case complete && !r.closed[i]:
			r.closed[i] = true
			close(r.latches[i])
		case !complete && r.closed[i]:
			r.closed[i] = false
			r.latches[i] = make(chan struct{})
		}
	}
	over := r.state.Failing() || r.state.Ended()
	select {
	case <-r.broken:
		if !over {
			r.broken = make(chan struct{})
		}
	default:
		if over {
			close(r.broken)
		}
	}
	r.news()
}

func (r *rendezvous) news() {
	r.version++
	close(r.changed)
	r.changed = make(chan struct{})
}

// hopeless tells a waiter why there is nothing left to wait for.
func (r *rendezvous) hopeless() error {
	switch {
	case r.state.Cancelled():
		return wire.Errorf(wire.ContextGone, "context %s was cancelled", r.id)
	case r.state.Ended():
		return wire.Errorf(wire.ContextGone, "context %s has expired", r.id)
	case r.state.Failing():
		first := r.state.Failures(1)[0]
		return wire.Errorf(wire.ContextFailing, "node %s failed in step %q", first.Place, first.Report.Step)
	}
	return nil
}

// answer returns the answer to a requirement; nil while it is not complete.
// It is the same whenever it is given.
func (r *rendezvous) answer(requirement int) *answer {
	if !r.state.Complete(requirement) {
		return nil
	}
	if r.answers[requirement] == nil {
		r.answers[requirement] = &answer{manifest: r.state.Manifest(requirement)}
	}
	return r.answers[requirement]
}

// noteRefusal shows the owner that a machine with a good token was turned
// away: a second machine in one place, say. It is not stored.
func (r *rendezvous) noteRefusal(n httpd.Node, err error) {
	const kept = 20
	if code := wire.CodeOf(err); code == wire.ContextGone || code == wire.Unavailable {
		return
	}
	place := n.Token.Workspace + "-any"
	if n.Token.Index != wire.AnyIndex {
		place = fmt.Sprintf("%s-%d", n.Token.Workspace, n.Token.Index)
	}
	r.service.Log.Warn("refused", "context", r.id, "node", place, "from", n.From, "reason", err)
	_ = r.ask(func(*match.State) error {
		r.refused = append(r.refused, wire.Refusal{Time: time.Now().UTC(), Node: place, From: n.From, Reason: err.Error()})
		r.refused = r.refused[max(0, len(r.refused)-kept):]
		r.news()
		return nil
	})
}

// hold is how long a request may be held, jittered so that ten thousand
// waiters do not come back at the same moment.
func (s *Service) hold() time.Duration {
	longest := s.Hold
	if longest == 0 {
		longest = wire.MaxHold
	}
	return longest - time.Duration(rand.Int64N(int64(longest)/5+1))
}
