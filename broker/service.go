// Package broker wires the context broker together: its service over the core
// and the store, its configuration, its command, and the broker that a client
// starts for its own user.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"nimbus/broker/cluster"
	"nimbus/broker/httpd"
	"nimbus/broker/match"
	"nimbus/broker/pki"
	"nimbus/broker/software"
	"nimbus/broker/store"
	"nimbus/broker/wire"
)

// Limits of what one broker holds.
const (
	maxContexts = 10_000
	maxLife     = 366 * 24 * time.Hour
)

// Service answers calls from the contexts it holds. It implements
// httpd.Service.
type Service struct {
	Store     store.Store
	Secrets   *pki.Secrets
	Authority *pki.Authority
	Software  *software.Shelf // what is handed out; nil: nothing
	Brokers   func() []string // URLs by which nodes reach this broker
	Version   string
	Log       *slog.Logger
	Hold      time.Duration // longest a request is held; wire.MaxHold
	Packs     string        // directory of the scripts that contexts bring

	mu         sync.Mutex
	contexts   map[string]*rendezvous
	unread     map[string]bool // contexts whose log could not be read
	logs       nodeLogs
	complaints complaints
	running    sync.WaitGroup
	stop       chan struct{}
}

var _ httpd.Service = (*Service)(nil)

// Start takes up the contexts that the store holds.
func (s *Service) Start(ctx context.Context) error {
	s.contexts, s.unread = map[string]*rendezvous{}, map[string]bool{}
	s.stop = make(chan struct{})
	ids, err := s.Store.List(ctx)
	if err != nil {
		return fmt.Errorf("read the contexts: %w", err)
	}
	if err := s.sweepPacks(ids); err != nil {
		s.Log.Error("what contexts left of their scripts stays", "error", err)
	}
	for _, id := range ids {
		r := newRendezvous(s, id)
		if err := r.load(ctx); err != nil {
			// One damaged log must not keep the others from being served.
			s.Log.Error("context is left out", "context", id, "error", err)
			s.unread[id] = true
			continue
		}
		if err := r.makePacks(); err != nil {
			s.Log.Error("context cannot take in scripts", "context", id, "error", err)
		}
		s.run(r)
	}
	return nil
}

// Stop ends all waiting and returns when nothing is being stored any more.
func (s *Service) Stop() {
	close(s.stop)
	s.running.Wait()
}

// Contexts counts those that are alive.
func (s *Service) Alive() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.contexts)
}

func (s *Service) run(r *rendezvous) {
	s.mu.Lock()
	s.contexts[r.id] = r
	s.mu.Unlock()
	s.running.Go(func() {
		r.loop()
		s.mu.Lock()
		delete(s.contexts, r.id)
		s.mu.Unlock()
		s.logs.forget(r.id)
	})
}

// find returns a context of the owner; what belongs to someone else does not
// exist for the caller.
func (s *Service) find(id string) (*rendezvous, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.contexts[id]; ok {
		return r, nil
	}
	if s.unread[id] {
		return nil, wire.Errorf(wire.Unavailable, "the broker cannot read what it stored of context %s; its log says why", id)
	}
	return nil, wire.Errorf(wire.NotFound, "there is no context %.64q at this broker: it has ended, or never was", id)
}

func (s *Service) owned(owner, id string) (*rendezvous, error) {
	r, err := s.find(id)
	if err == nil && r.owner != owner {
		return nil, wire.Errorf(wire.NotFound, "there is no context %.64q at this broker: it has ended, or never was", id)
	}
	return r, err
}

// Create makes a context and the tokens of its nodes.
func (s *Service) Create(ctx context.Context, owner string, c wire.Create) (wire.Created, error) {
	now := time.Now()
	if err := checkExpiry(c.Expires, now); err != nil {
		return wire.Created{}, err
	}
	if len(c.Name) > 256 || strings.ContainsFunc(c.Name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return wire.Created{}, wire.Errorf(wire.BadRequest, "the name of a context is at most 256 printable characters")
	}
	if s.Alive() >= maxContexts {
		return wire.Created{}, wire.Errorf(wire.Unavailable, "this broker holds %d contexts already", maxContexts)
	}
	c.Definition.Normalize()
	if err := checkScripts(&c.Definition, c.Scripts); err != nil {
		return wire.Created{}, err
	}
	r := newRendezvous(s, pki.NewContextID())
	first := match.Event{At: now.UTC(), Created: &match.Created{
		ID: r.id, Owner: owner, Name: c.Name, Definition: c.Definition, Expires: c.Expires.UTC(), Open: c.Open, Scripts: inLog(c.Scripts)}}
	if err := r.state.Apply(first); err != nil {
		return wire.Created{}, refusal(err)
	}
	err := r.makePacks()
	if err == nil {
		err = s.Store.Create(ctx, r.id, first)
	}
	if err != nil {
		s.Log.Error("cannot store", "context", r.id, "error", err)
		_ = s.dropPacks(r.id) // the next start removes them, too
		return wire.Created{}, cannotStore(err)
	}
	r.begin()
	created := wire.Created{ID: r.id, BrokerID: s.Authority.BrokerID, CA: s.Authority.CA, Brokers: s.Brokers(),
		Tokens: map[string][]string{}, Expires: c.Expires, Now: now, Agents: s.agents()}
	for i := range c.Definition.Workspaces {
		w := &c.Definition.Workspaces[i]
		if w.Ctx == nil {
			continue
		}
		for index := range w.Quantity {
			created.Tokens[w.Name] = append(created.Tokens[w.Name], s.Secrets.Token(r.id, w.Name, index))
		}
	}
	s.run(r)
	s.Log.Info("context created", "context", r.id, "name", c.Name, "nodes", c.Definition.Nodes(), "expires", c.Expires)
	return created, nil
}

func checkExpiry(expires, now time.Time) error {
	if !expires.After(now) || expires.After(now.Add(maxLife)) {
		return wire.Errorf(wire.BadRequest, "a context must expire within a year from now; %s was asked for", expires.Format(time.RFC3339))
	}
	return nil
}

// Contexts lists the owner's contexts, the newest last.
func (s *Service) Contexts(_ context.Context, owner string) ([]wire.Summary, error) {
	s.mu.Lock()
	var mine []*rendezvous
	for _, r := range s.contexts {
		if r.owner == owner {
			mine = append(mine, r)
		}
	}
	s.mu.Unlock()
	var list []wire.Summary
	for _, r := range mine {
		var summary wire.Summary
		if r.ask(func(state *match.State) error { summary = summarize(state); return nil }) == nil {
			list = append(list, summary)
		}
	}
	slices.SortFunc(list, func(a, b wire.Summary) int { return a.Created.Compare(b.Created) })
	return list, nil
}

// settle is how long a status waits for more news before it is told: many
// nodes join at the same moment.
const settle = 50 * time.Millisecond

// Status tells how far a context is.
func (s *Service) Status(ctx context.Context, owner, id string, after uint64) (wire.Status, error) {
	r, err := s.owned(owner, id)
	if err != nil {
		return wire.Status{}, err
	}
	late := time.NewTimer(s.hold())
	defer late.Stop()
	for timeout := false; ; {
		var status wire.Status
		var news <-chan struct{}
		err := r.ask(func(state *match.State) error {
			status, news = r.status(state), r.changed
			return nil
		})
		if err != nil || status.Seq != after || timeout {
			return status, err
		}
		select {
		case <-news:
			select {
			case <-time.After(settle):
			case <-ctx.Done():
				return status, ctx.Err()
			}
		case <-late.C:
			timeout = true
		case <-ctx.Done():
			return status, ctx.Err()
		}
	}
}

// Nodes lists the expected nodes of a context.
func (s *Service) Nodes(_ context.Context, owner, id string) (nodes []wire.Node, err error) {
	r, err := s.owned(owner, id)
	if err != nil {
		return nil, err
	}
	err = r.ask(func(state *match.State) error {
		for _, n := range state.Nodes() {
			nodes = append(nodes, nodeDocument(n))
		}
		return nil
	})
	return nodes, err
}

// AddData adds a value.
func (s *Service) AddData(_ context.Context, owner, id string, d wire.AddData) error {
	return s.change(owner, id, match.Event{DataAdded: &match.DataAdded{Name: d.Name, Value: d.Value}})
}

// Lock ends the time in which data may be added.
func (s *Service) Lock(_ context.Context, owner, id string) error {
	return s.change(owner, id, match.Event{Locked: &match.Locked{}})
}

// Release frees a place.
func (s *Service) Release(_ context.Context, owner, id, node string) error {
	place, err := cluster.ParsePlace(node)
	if err != nil {
		return wire.Errorf(wire.BadRequest, "%v", err)
	}
	return s.change(owner, id, match.Event{Released: &match.Released{Place: place}})
}

// Extend moves the time at which a context expires.
func (s *Service) Extend(_ context.Context, owner, id string, expires time.Time) error {
	if err := checkExpiry(expires, time.Now()); err != nil {
		return err
	}
	return s.change(owner, id, match.Event{Extended: &match.Extended{Expires: expires.UTC()}})
}

// Delete cancels a context: agents are told to stop, then it is forgotten.
func (s *Service) Delete(_ context.Context, owner, id string) error {
	return s.change(owner, id, match.Event{Cancelled: &match.Cancelled{}})
}

func (s *Service) change(owner, id string, e match.Event) error {
	r, err := s.owned(owner, id)
	if err != nil {
		return err
	}
	return r.propose(e, nil)
}

// Info says who answers.
func (s *Service) Info(context.Context) wire.Info {
	return wire.Info{Version: s.Version, BrokerID: s.Authority.BrokerID, CA: s.Authority.CA, Brokers: s.Brokers(), Now: time.Now().UTC(), Agents: s.agents()}
}

// refusals is the one table of what the core says no with and what callers are
// told.
var refusals = []struct {
	err  error
	code wire.Code
}{
	{match.ErrInvalid, wire.BadRequest},
	{match.ErrNoPlace, wire.Forbidden},
	{match.ErrPlaceTaken, wire.PlaceTaken},
	{match.ErrAddressTaken, wire.AddressTaken},
	{match.ErrNotJoined, wire.NotJoined},
	{match.ErrReported, wire.Reported},
	{match.ErrTold, wire.PlaceTaken},
	{match.ErrLocked, wire.Locked},
	{match.ErrEnded, wire.ContextGone},
}

func refusal(err error) error {
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			return wire.Errorf(r.code, "%v", err)
		}
	}
	return err
}
