package match

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"nimbus/broker/cluster"
)

// State is everything that is known of one context: the fold of its events.
// It is not safe for use by several goroutines.
type State struct {
	seq     uint64
	created Created
	at      time.Time
	expires time.Time

	locked, cancelled, expired bool
	added                      []cluster.Data

	workspaces []workspace    // those that take part, in the order of the definition
	position   map[string]int // by name
	claims     map[string]cluster.Place
	released   map[string]bool // claims that are good for nothing any more
	ips        map[netip.Addr]cluster.Place
	hosts      map[string]cluster.Place // full and short names, lower case
	reserved   map[string]cluster.Place // workspaces, lower case

	conditions   []condition
	requirements []requirement
	expected     int
	joined       int
	ok           int
	failed       []cluster.Place // in the order of their reports
	latest       *cluster.Place  // of which something was heard last
}

// A workspace's nodes, and what their progress brings nearer.
type workspace struct {
	*cluster.Workspace
	nodes       []node
	requirement int   // what its nodes are told, by index
	byJoin      []int // conditions that each join of its nodes serves
	byOK        []int // conditions that each ok report serves
	keyed       []keyedRole
	joined, ok  int
	failed      int
}

// A keyedRole of a workspace is required with SSH host keys by someone.
// (Host names need no such care: every node has one.)
type keyedRole struct{ name, requirer string }

// A node and its story.
type node struct {
	claim      string
	identities []cluster.Identity // nil: has not joined
	counted    bool               // its join served the conditions
	joined     time.Time
	reported   time.Time
	report     *Report
	retries    int
}

// New is a context of which nothing is known yet; its first event must be
// Created.
func New() *State { return &State{} }

// Replay folds a log. An event that the state refuses means that the log was
// not written by this code.
func Replay(events []Event) (*State, error) {
	s := New()
	for i, e := range events {
		if err := s.Apply(e); err != nil {
			return nil, fmt.Errorf("event %d: %w", i, err)
		}
	}
	return s, nil
}

// Apply checks an event against everything that is known and, when nothing
// speaks against it, changes the state. A refused event changes nothing.
func (s *State) Apply(e Event) error {
	if (s.seq == 0) != (e.Created != nil) {
		return fmt.Errorf("%w: a context begins by being created, once", ErrInvalid)
	}
	if s.Ended() {
		return ErrEnded
	}
	var err error
	switch {
	case e.Created != nil:
		err = s.create(e.At, *e.Created)
	case e.Joined != nil:
		err = s.join(e.At, *e.Joined)
	case e.DataAdded != nil:
		err = s.addData(*e.DataAdded)
	case e.Locked != nil:
		err = s.lock()
	case e.Reported != nil:
		err = s.report(e.At, *e.Reported)
	case e.Retried != nil:
		err = s.retry(*e.Retried)
	case e.Released != nil:
		err = s.release(e.Released.Place)
	case e.Extended != nil:
		err = s.extend(e.At, e.Extended.Expires)
	case e.Cancelled != nil:
		s.cancelled = true
	case e.Expired != nil:
		s.expired = true
	default:
		err = fmt.Errorf("%w: an event of no kind", ErrInvalid)
	}
	if err == nil {
		s.seq++
	}
	return err
}

func (s *State) create(at time.Time, c Created) error {
	if problems := c.Definition.Check(); problems.Errors() > 0 {
		return fmt.Errorf("%w: %w", ErrInvalid, problems.Err())
	}
	if c.Definition.Nodes() == 0 {
		return fmt.Errorf("%w: no workspace of the definition has a <ctx>", ErrInvalid)
	}
	if err := cluster.CheckName(c.ID); err != nil {
		return fmt.Errorf("%w: context id: %w", ErrInvalid, err)
	}
	s.created, s.at, s.expires, s.locked = c, at, c.Expires, !c.Open
	s.position = map[string]int{}
	s.claims = map[string]cluster.Place{}
	s.ips = map[netip.Addr]cluster.Place{}
	s.hosts = map[string]cluster.Place{}
	s.released = map[string]bool{}
	s.reserved = map[string]cluster.Place{}
	for i := range c.Definition.Workspaces {
		w := &c.Definition.Workspaces[i]
		if w.Ctx != nil {
			s.position[w.Name] = len(s.workspaces)
			s.reserved[strings.ToLower(w.Name)] = cluster.Place{Workspace: w.Name, Index: w.Quantity}
			s.workspaces = append(s.workspaces, workspace{Workspace: w, nodes: make([]node, w.Quantity)})
			s.expected += w.Quantity
		}
	}
	s.connect()
	return nil
}

func (s *State) join(at time.Time, j Joined) error {
	w, place, err := s.place(j.Claimant)
	if err != nil {
		return err
	}
	n := &w.nodes[place.Index]
	identities, err := w.identities(place, j.Identities)
	if err != nil {
		return err
	}
	switch {
	case n.identities != nil && slices.Equal(n.identities, identities):
		return ErrRepeated
	case n.identities != nil:
		return fmt.Errorf("%w: node %s joined before with other addresses or keys; \"nimbus release\" frees the place if its machine was replaced", ErrPlaceTaken, place)
	case n.report != nil:
		return fmt.Errorf("%w: node %s has reported an error before it joined", ErrReported, place)
	}
	for _, i := range identities {
		if other, taken := s.ips[i.IP]; taken {
			return fmt.Errorf("%w: node %s reports the address %s, which is that of %s", ErrAddressTaken, place, i.IP, other)
		}
		if other, taken := s.owner(i.Hostname); taken && other != place {
			return fmt.Errorf("%w: node %s reports the host name %q, which is that of %s", ErrAddressTaken, place, i.Hostname, other)
		}
	}

	s.claims[j.Claim] = place
	for _, i := range identities {
		s.ips[i.IP] = place
		for _, name := range names(i.Hostname) {
			s.hosts[name] = place
		}
	}
	n.claim, n.identities, n.joined = j.Claim, identities, at
	w.joined++
	s.joined++
	if role := w.keyless(n); role != nil {
		// Nothing would ever complete the answer: better an error now.
		s.fail(w, place, at, Report{Step: "join", Code: 4,
			Log: fmt.Sprintf("workspace %q requires the role %q with its SSH host key, but %s reported none: have sshd, or at least its host keys, before the agent runs\n", role.requirer, role.name, place)})
		return nil
	}
	n.counted = true
	s.serve(w.byJoin)
	s.latest = &place
	return nil
}

// names are what other machines will call a host: in full, and in short.
func names(hostname string) []string {
	full := strings.ToLower(hostname)
	return []string{full, cluster.Short(full)}
}

// owner tells whose a host name is: the node's that has joined with it, in
// full or in short, or the one's that would be called so if it had no name of
// its own.
func (s *State) owner(hostname string) (cluster.Place, bool) {
	for _, name := range names(hostname) {
		if place, taken := s.hosts[name]; taken {
			return place, true
		}
		if p, err := cluster.ParsePlace(name); err == nil {
			if w, known := s.reserved[p.Workspace]; known && p.Index < w.Index {
				return cluster.Place{Workspace: w.Workspace, Index: p.Index}, true
			}
		}
	}
	return cluster.Place{}, false
}

// place finds the place that a machine may speak for, and its workspace.
func (s *State) place(c Claimant) (*workspace, cluster.Place, error) {
	i, known := s.position[c.Workspace]
	if !known {
		return nil, cluster.Place{}, fmt.Errorf("%w: no workspace %q takes part in this context", ErrNoPlace, c.Workspace)
	}
	if c.Claim == "" || len(c.Claim) > 128 {
		return nil, cluster.Place{}, fmt.Errorf("%w: a machine must make a claim", ErrInvalid)
	}
	if s.released[c.Claim] {
		return nil, cluster.Place{}, fmt.Errorf("%w: the place of this machine was released for another one", ErrPlaceTaken)
	}
	w := &s.workspaces[i]
	place := cluster.Place{Workspace: c.Workspace, Index: c.Index}
	held, holds := s.claims[c.Claim]
	if c.Index == AnyIndex {
		if holds && held.Workspace == c.Workspace {
			return w, held, nil
		}
		place.Index = slices.IndexFunc(w.nodes, func(n node) bool { return n.claim == "" })
		if place.Index < 0 {
			return nil, cluster.Place{}, fmt.Errorf("%w: all %d places of workspace %q are held by other machines", ErrPlaceTaken, len(w.nodes), c.Workspace)
		}
	}
	if place.Index < 0 || place.Index >= len(w.nodes) {
		return nil, cluster.Place{}, fmt.Errorf("%w: workspace %q has no node %d", ErrNoPlace, c.Workspace, c.Index)
	}
	if holds && held != place {
		return nil, cluster.Place{}, fmt.Errorf("%w: this machine is %s already", ErrPlaceTaken, held)
	}
	if n := &w.nodes[place.Index]; n.claim != "" && n.claim != c.Claim {
		return nil, cluster.Place{}, fmt.Errorf("%w: another machine holds the place of node %s; \"nimbus release\" frees it if that machine is gone", ErrPlaceTaken, place)
	}
	return w, place, nil
}

// identities checks what a node says of itself, and completes it: a machine
// that has no name of its own is called after its place.
func (w *workspace) identities(place cluster.Place, reported []cluster.Identity) ([]cluster.Identity, error) {
	if len(reported) == 0 || len(reported) > cluster.MaxIdentities {
		return nil, fmt.Errorf("%w: node %s reports %d identities; 1 to %d are allowed", ErrInvalid, place, len(reported), cluster.MaxIdentities)
	}
	identities := slices.Clone(reported)
	for k := range identities {
		i := &identities[k]
		i.IP = i.IP.Unmap()
		if i.Hostname == "" {
			i.Hostname = place.String()
		}
		if err := i.Check(); err != nil {
			return nil, fmt.Errorf("%w: node %s: %w", ErrInvalid, place, err)
		}
		for _, before := range identities[:k] {
			if before.IP == i.IP {
				return nil, fmt.Errorf("%w: node %s reports the address %s twice", ErrInvalid, place, i.IP)
			}
			if before.Interface == i.Interface {
				return nil, fmt.Errorf("%w: node %s reports two identities labelled %q", ErrInvalid, place, i.Interface)
			}
		}
	}
	for _, r := range w.Ctx.Provides {
		labelled := func(i cluster.Identity) bool { return i.Interface == r.Interface }
		if r.Interface != "" && len(identities) > 1 && !slices.ContainsFunc(identities, labelled) {
			return nil, fmt.Errorf("%w: node %s provides the role %q by its %q, but reports no identity of that label", ErrInvalid, place, r.Name, r.Interface)
		}
	}
	return identities, nil
}

// keyless finds a role that is required with the host key of a node that has
// none; nil is the usual answer.
func (w *workspace) keyless(n *node) *keyedRole {
	for i, role := range w.keyed {
		for k, identity := range n.identities {
			if identity.Pubkey == "" && w.provides(role.name, n.identities, k) {
				return &w.keyed[i]
			}
		}
	}
	return nil
}

func (s *State) addData(d DataAdded) error {
	if err := cluster.CheckName(d.Name); err != nil {
		return fmt.Errorf("%w: data: %w", ErrInvalid, err)
	}
	if len(d.Value) > cluster.MaxData || len(s.added) >= cluster.MaxNames {
		return fmt.Errorf("%w: data %q: at most %d values of %d KiB can be added", ErrInvalid, d.Name, cluster.MaxNames, cluster.MaxData>>10)
	}
	if s.locked {
		return ErrLocked
	}
	s.added = append(s.added, cluster.Data{Name: d.Name, Value: d.Value})
	return nil
}

func (s *State) lock() error {
	if s.locked {
		return ErrRepeated
	}
	s.locked = true
	s.serve([]int{lockedCondition})
	return nil
}

func (s *State) extend(at, expires time.Time) error {
	if expires.Equal(s.expires) {
		return ErrRepeated
	}
	if !expires.After(at) {
		return fmt.Errorf("%w: the new end, %s, is over already", ErrInvalid, expires.Format(time.RFC3339))
	}
	s.expires = expires
	return nil
}
