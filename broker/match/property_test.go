package match

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"nimbus/broker/cluster"
)

// What must hold whatever happens to a context, over bytes read as events:
//   - a refused event changes nothing;
//   - replaying the log gives the same state;
//   - an answer is complete exactly when all that it needs is there, and then
//     names every provider once, with its key where keys are required;
//   - an answer, once complete, never changes;
//   - who was answered, and only who was, may report that all is well, whoever
//     else has begun again since;
//   - only the machine that claimed a place speaks for it;
//   - all is ok only when every expected node said so, and stays so until one
//     of them begins again;
//   - the order of joins cannot be seen in any answer.

// FuzzContext lets the fuzzer search for a story that breaks a promise.
func FuzzContext(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(story(seed))
	}
	f.Fuzz(live)
}

// TestPromises tells a fixed number of random stories, in every test run.
func TestPromises(t *testing.T) {
	for seed := range uint64(1500) {
		live(t, story(seed))
		if t.Failed() {
			t.Fatalf("story %d", seed)
		}
	}
}

func story(seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, 20+r.IntN(1600))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// A source of small choices: the bytes of a story, then zeros.
type choices struct{ bytes []byte }

func (c *choices) more() bool { return len(c.bytes) > 0 }

func (c *choices) of(n int) int {
	if len(c.bytes) == 0 {
		return 0
	}
	b := c.bytes[0]
	c.bytes = c.bytes[1:]
	return int(b) % n
}

func (c *choices) often() bool { return c.of(8) != 0 }

var roleNames = []string{"r0", "r1", "r2"}

// definition makes a small valid definition; nil when the bytes made none.
func (c *choices) definition() *cluster.Definition {
	d := &cluster.Definition{}
	for i := range 1 + c.of(3) {
		w := cluster.Workspace{Name: fmt.Sprint("w", i), Image: "i", Quantity: 1 + c.of(3),
			NICs: []cluster.NIC{{Network: "n", Interface: "a"}}}
		if c.of(3) == 0 {
			w.NICs = append(w.NICs, cluster.NIC{Network: "n", Interface: "b"})
		}
		if c.often() {
			w.Ctx = &cluster.Ctx{Requires: cluster.Requires{Identity: c.of(2) == 0}}
			for _, role := range roleNames {
				if c.of(2) == 0 {
					w.Ctx.Provides = append(w.Ctx.Provides, cluster.ProvidedRole{Name: role, Interface: []string{"", "a"}[c.of(2)]})
				}
				if c.of(3) == 0 {
					w.Ctx.Requires.Roles = append(w.Ctx.Requires.Roles, cluster.RequiredRole{Name: role, Pubkey: c.of(2) == 0, Ready: c.of(2) == 0})
				}
			}
			for range c.of(3) {
				w.Ctx.Requires.Data = append(w.Ctx.Requires.Data, cluster.Data{Name: fmt.Sprint("d", c.of(2)), Value: []string{"", "1", "2"}[c.of(3)]})
			}
		}
		d.Workspaces = append(d.Workspaces, w)
	}
	if d.Check().Errors() > 0 || d.Nodes() == 0 {
		return nil
	}
	return d
}

// event makes something that a node, an owner or an attacker might do.
func (c *choices) event(d *cluster.Definition, at time.Time) Event {
	w := &d.Workspaces[c.of(len(d.Workspaces))]
	index := c.of(w.Quantity + 1) // one too many
	claimant := Claimant{w.Name, index, fmt.Sprint(w.Name, index)}
	if c.of(16) == 0 {
		claimant.Claim = "thief"
	}
	if c.of(16) == 0 {
		claimant.Index = AnyIndex
	}
	switch c.of(16) {
	case 13, 14, 15:
		return Event{At: at, Retried: &Retried{claimant}}
	case 12:
		return Event{At: at, Extended: &Extended{time.Unix(int64(c.of(256)), 0).UTC()}}
	case 0:
		return Event{At: at, DataAdded: &DataAdded{fmt.Sprint("d", c.of(2)), "added"}}
	case 1:
		return Event{At: at, Locked: &Locked{}}
	case 2:
		if c.of(32) == 0 {
			return Event{At: at, Cancelled: &Cancelled{}}
		}
		return Event{At: at, Released: &Released{cluster.Place{Workspace: w.Name, Index: index}}}
	case 3:
		return Event{At: at, Reported: &Reported{claimant, Report{Step: "s", Code: 1, Log: fmt.Sprint(c.of(2))}}}
	case 4, 5, 6:
		return Event{At: at, Reported: &Reported{claimant, Report{OK: true}}}
	}
	joined := &Joined{Claimant: claimant}
	for k, nic := range w.NICs {
		i := cluster.Identity{Interface: nic.Interface, Pubkey: "t AAAA", IP: netip.AddrFrom4([4]byte{10, byte(len(w.Name) + int(w.Name[1])), byte(index), byte(k)})}
		if c.of(4) == 0 {
			i.Hostname = []string{"x", "x.a", "x.b", "W0-0", "w1-1.c"}[c.of(5)] // may clash
		}
		if !c.often() {
			i.IP = netip.AddrFrom4([4]byte{10, 9, 9, byte(c.of(3))}) // may clash
		}
		if c.of(32) == 0 {
			i.Pubkey = ""
		}
		joined.Identities = append(joined.Identities, i)
	}
	return Event{At: at, Joined: joined}
}

// live plays a story and checks the promises after every event.
func live(t *testing.T, bytes []byte) {
	c := &choices{bytes}
	d := c.definition()
	if d == nil {
		return
	}
	log := []Event{{Created: &Created{ID: "c", Definition: *d, Open: c.of(2) == 0}}}
	s, err := Replay(log)
	if err != nil {
		t.Fatal(err)
	}
	told := map[int]cluster.Manifest{}
	for n := 1; c.more() && n < 200; n++ {
		e := c.event(d, time.Unix(int64(n), 0).UTC())
		before := s.AllOK()
		err := s.Apply(e)
		checkAnswered(t, s, told, e, err)
		if err == nil {
			checkHolder(t, count(log), e)
			log = append(log, e)
		} else if again, _ := Replay(log); !reflect.DeepEqual(s, again) {
			t.Fatalf("the refusal of %s (%v) changed something", what(e), err)
		}
		if before && !s.AllOK() && e.Retried == nil {
			t.Fatalf("%s took all-ok back", what(e))
		}
		checkNow(t, s, log, told)
	}
	again, err := Replay(stored(t, log))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(s, again) {
		t.Fatal("stored and replayed, it is another state")
	}
	checkOrder(t, s, log, c)
}

// checkAnswered wants a good report to be taken from whom an answer was
// complete for, then or before, and from nobody else.
func checkAnswered(t *testing.T, s *State, told map[int]cluster.Manifest, e Event, err error) {
	t.Helper()
	if e.Reported == nil || !e.Reported.OK || err != nil && !errors.Is(err, ErrInvalid) {
		return
	}
	i, known := s.position[e.Reported.Workspace]
	if !known {
		return
	}
	if _, answered := told[s.workspaces[i].requirement]; answered != (err == nil) {
		t.Fatalf("answered is %v, but %s: %v", answered, what(e), err)
	}
}

// checkHolder wants an accepted event to come from whoever claimed the place.
func checkHolder(t *testing.T, tr truth, e Event) {
	t.Helper()
	var c Claimant
	switch {
	case e.Joined != nil:
		c = e.Joined.Claimant
	case e.Reported != nil:
		c = e.Reported.Claimant
	case e.Retried != nil:
		c = e.Retried.Claimant
		if _, holds := tr.holder[c.Claim]; !holds {
			t.Fatalf("%s was accepted, but %q holds no place", what(e), c.Claim)
		}
	}
	for claim, p := range tr.holder {
		if c.Claim != claim && p == (cluster.Place{Workspace: c.Workspace, Index: c.Index}) {
			t.Fatalf("%s was accepted, but %q holds the place", what(e), claim)
		}
	}
}

// stored is a log as a store gives it back.
func stored(t *testing.T, log []Event) []Event {
	t.Helper()
	text, err := json.Marshal(log)
	if err != nil {
		t.Fatal(err)
	}
	var back []Event
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	return back
}

func what(e Event) string {
	switch {
	case e.Joined != nil:
		return fmt.Sprintf("joined %+v", *e.Joined)
	case e.Reported != nil:
		return fmt.Sprintf("reported %+v", *e.Reported)
	case e.Retried != nil:
		return fmt.Sprintf("retried %+v", *e.Retried)
	case e.Extended != nil:
		return fmt.Sprintf("extended to %v", e.Extended.Expires)
	case e.Released != nil:
		return fmt.Sprintf("released %v", e.Released.Place)
	}
	return fmt.Sprintf("%+v", e)
}

// checkNow compares the state with what the log says, counted the slow way.
func checkNow(t *testing.T, s *State, log []Event, told map[int]cluster.Manifest) {
	t.Helper()
	truth := count(log)
	if truth.ended != s.Ended() {
		t.Fatalf("ended is %v, want %v", s.Ended(), truth.ended)
	}
	if !truth.expires.Equal(s.Expires()) {
		t.Fatalf("expires at %v, want %v", s.Expires(), truth.expires)
	}
	if failing := len(truth.failed) > 0; failing != s.Failing() {
		t.Fatalf("%d nodes failed, but failing is %v", len(truth.failed), s.Failing())
	}
	if _, _, ok, failed := s.Counts(); ok != len(truth.ok) || failed != len(truth.failed) {
		t.Fatalf("%d are ok and %d failed, want %d and %d", ok, failed, len(truth.ok), len(truth.failed))
	}
	expected := truth.definition.Nodes()
	if all := len(truth.ok) == expected; all != s.AllOK() {
		t.Fatalf("%d of %d nodes are ok, but all-ok is %v", len(truth.ok), expected, s.AllOK())
	}
	for i := range s.workspaces {
		w := &s.workspaces[i]
		complete := truth.complete(w.Ctx.Requires)
		if s.Complete(w.requirement) != complete {
			t.Fatalf("workspace %s: complete is %v, want %v; missing %q", w.Name, s.Complete(w.requirement), complete, s.Missing(w.requirement))
		}
		if complete != (len(s.Missing(w.requirement)) == 0) {
			t.Fatalf("workspace %s: complete is %v, missing %q", w.Name, complete, s.Missing(w.requirement))
		}
		if !complete {
			continue
		}
		m := s.Manifest(w.requirement)
		checkManifest(t, truth, w.Ctx.Requires, m)
		if earlier, known := told[w.requirement]; known && !reflect.DeepEqual(earlier, m) {
			t.Fatalf("workspace %s: the answer changed after it was given:\n%+v\n%+v", w.Name, earlier, m)
		}
		told[w.requirement] = m
	}
}

// truth is what a log says, without any of the state's bookkeeping.
type truth struct {
	definition *cluster.Definition
	locked     bool
	ended      bool
	joined     map[cluster.Place][]cluster.Identity
	ok         map[cluster.Place]bool
	failed     map[cluster.Place]bool
	expires    time.Time
	holder     map[string]cluster.Place
	added      []cluster.Data
}

func count(log []Event) truth {
	tr := truth{definition: &log[0].Created.Definition, locked: !log[0].Created.Open,
		joined: map[cluster.Place][]cluster.Identity{}, ok: map[cluster.Place]bool{}, failed: map[cluster.Place]bool{},
		expires: log[0].Created.Expires, holder: map[string]cluster.Place{}}
	where := func(c Claimant) cluster.Place {
		if c.Index != AnyIndex {
			return cluster.Place{Workspace: c.Workspace, Index: c.Index}
		}
		if p, ok := tr.holder[c.Claim]; ok {
			return p
		}
		for index := 0; ; index++ {
			p := cluster.Place{Workspace: c.Workspace, Index: index}
			held := false
			for _, h := range tr.holder {
				held = held || h == p
			}
			if !held {
				return p
			}
		}
	}
	for _, e := range log {
		switch {
		case e.Joined != nil:
			p := where(e.Joined.Claimant)
			tr.holder[e.Joined.Claim] = p
			if tr.keyless(p, e.Joined.Identities) {
				tr.failed[p] = true
			} else {
				tr.joined[p] = e.Joined.Identities
			}
		case e.Reported != nil:
			p := where(e.Reported.Claimant)
			tr.holder[e.Reported.Claim] = p
			if e.Reported.OK {
				tr.ok[p] = true
			} else {
				tr.failed[p] = true
			}
		case e.Retried != nil:
			p := where(e.Retried.Claimant)
			delete(tr.ok, p)
			delete(tr.failed, p)
		case e.Extended != nil:
			tr.expires = e.Extended.Expires
		case e.Released != nil:
			delete(tr.failed, e.Released.Place)
			delete(tr.joined, e.Released.Place)
			for claim, p := range tr.holder {
				if p == e.Released.Place {
					delete(tr.holder, claim)
				}
			}
		case e.Locked != nil:
			tr.locked = true
		case e.DataAdded != nil:
			tr.added = append(tr.added, cluster.Data{Name: e.DataAdded.Name, Value: e.DataAdded.Value})
		case e.Cancelled != nil, e.Expired != nil:
			tr.ended = true
		}
	}
	return tr
}

// keyless tells whether somebody requires a key of the node that it has not:
// such a node fails, and completes nobody's answer.
func (tr truth) keyless(p cluster.Place, identities []cluster.Identity) bool {
	provider, _ := tr.definition.Find(p.Workspace)
	for i := range tr.definition.Workspaces {
		ctx := tr.definition.Workspaces[i].Ctx
		if ctx == nil {
			continue
		}
		for _, role := range ctx.Requires.Roles {
			for _, provided := range provider.Ctx.Provides {
				for _, identity := range identities {
					if role.Pubkey && provided.Name == role.Name && identity.Pubkey == "" &&
						(provided.Interface == "" || provided.Interface == identity.Interface || len(identities) == 1) {
						return true
					}
				}
			}
		}
	}
	return false
}

// each calls f for every expected node.
func (tr truth) each(f func(w *cluster.Workspace, p cluster.Place)) {
	for i := range tr.definition.Workspaces {
		w := &tr.definition.Workspaces[i]
		for index := range w.Quantity {
			if w.Ctx != nil {
				f(w, cluster.Place{Workspace: w.Name, Index: index})
			}
		}
	}
}

func (tr truth) complete(r cluster.Requires) bool {
	complete := tr.locked
	tr.each(func(w *cluster.Workspace, p cluster.Place) {
		if r.Identity && tr.joined[p] == nil {
			complete = false
		}
		for _, role := range r.Roles {
			if w.Provides(role.Name) && (tr.joined[p] == nil || role.Ready && !tr.ok[p]) {
				complete = false
			}
		}
	})
	return complete
}

// checkManifest wants every provider in it exactly once, every node if all
// identities are required, no more than that, and the right data.
func checkManifest(t *testing.T, tr truth, r cluster.Requires, m cluster.Manifest) {
	t.Helper()
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
	nodes := map[cluster.Place]bool{}
	named := map[string]cluster.Place{}
	for _, n := range m.Nodes {
		if nodes[n.Place] {
			t.Fatalf("node %s is told twice", n.Place)
		}
		nodes[n.Place] = true
		for _, i := range n.Identities {
			if other, taken := named[cluster.Short(i.Hostname)]; taken && other != n.Place {
				t.Fatalf("%s and %s are both called %q", other, n.Place, i.Hostname)
			}
			named[cluster.Short(i.Hostname)] = n.Place
		}
	}
	for j, role := range r.Roles {
		for _, provider := range m.Roles[j].Providers {
			if i := m.Identity(provider); role.Pubkey && i.Pubkey == "" || i.Hostname == "" {
				t.Fatalf("role %s: %s is told without its key or name", role.Name, i.IP)
			}
		}
	}
	tr.each(func(w *cluster.Workspace, p cluster.Place) {
		needed := r.Identity
		for j, role := range r.Roles {
			times := 0
			for _, provider := range m.Roles[j].Providers {
				if m.Nodes[provider.Node].Place == p {
					times++
				}
			}
			want := 0
			if w.Provides(role.Name) {
				needed = true
				want = len(tr.joined[p])
				for _, provided := range w.Ctx.Provides {
					if provided.Name == role.Name && provided.Interface != "" {
						want = 1
					}
				}
			}
			if times != want {
				t.Fatalf("role %s: node %s is told %d times, want %d", role.Name, p, times, want)
			}
		}
		if nodes[p] != needed {
			t.Fatalf("node %s: told is %v, want %v", p, nodes[p], needed)
		}
	})
	var every, want []cluster.Data
	for _, w := range tr.definition.Workspaces {
		if w.Ctx != nil {
			every = append(every, w.Ctx.Requires.Data...)
		}
	}
	every = append(every, tr.added...)
	valued := func(name string, all []cluster.Data) bool {
		return slices.ContainsFunc(all, func(d cluster.Data) bool { return d.Name == name && d.Value != "" })
	}
	for _, w := range tr.definition.Workspaces {
		if w.Ctx == nil {
			continue
		}
		for _, d := range w.Ctx.Requires.Data {
			// Who has only empty values leaves it to those who have others.
			if valued(d.Name, w.Ctx.Requires.Data) || !valued(d.Name, every) {
				want = append(want, d)
			}
		}
	}
	want = slices.DeleteFunc(append(want, tr.added...), func(d cluster.Data) bool {
		return !slices.ContainsFunc(r.Data, func(own cluster.Data) bool { return own.Name == d.Name })
	})
	if len(want)+len(m.Data) > 0 && !reflect.DeepEqual(want, m.Data) {
		t.Fatalf("data %v, want %v", m.Data, want)
	}
}

// checkOrder lets the same nodes join in another order, and wants the same
// answers.
func checkOrder(t *testing.T, s *State, log []Event, c *choices) {
	t.Helper()
	joins := []Event{}
	for _, e := range log {
		if e.Joined != nil && e.Joined.Index != AnyIndex && s.claims[e.Joined.Claim] == (cluster.Place{Workspace: e.Joined.Workspace, Index: e.Joined.Index}) {
			joins = append(joins, e)
		}
	}
	forward, err := Replay(log[:1])
	if err != nil {
		t.Fatal(err)
	}
	backward, _ := Replay(log[:1])
	_, _ = forward.Apply(Event{Locked: &Locked{}}), backward.Apply(Event{Locked: &Locked{}})
	for i := range joins {
		_ = forward.Apply(joins[i])
		_ = backward.Apply(joins[len(joins)-1-i])
	}
	_, n, _, _ := forward.Counts()
	if _, m, _, _ := backward.Counts(); n != len(joins) || m != len(joins) {
		return // a place was left and taken again: not the same nodes
	}
	for r := range forward.Requirements() {
		if forward.Complete(r) != backward.Complete(r) {
			t.Fatalf("requirement %d: joined backwards, complete is %v", r, backward.Complete(r))
		}
		if forward.Complete(r) && !reflect.DeepEqual(forward.Manifest(r), backward.Manifest(r)) {
			t.Fatalf("requirement %d: joined backwards, the answer is another", r)
		}
	}
}
