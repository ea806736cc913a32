package match

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"nimbus/broker/cluster"
)

// Seq counts the events of the context.
func (s *State) Seq() uint64 { return s.seq }

// Created returns the first event.
func (s *State) Created() (Created, time.Time) { return s.created, s.at }

// Expires is when the context ends by itself.
func (s *State) Expires() time.Time { return s.expires }

// Ended tells whether the context was cancelled or has expired.
func (s *State) Ended() bool { return s.cancelled || s.expired }

// Cancelled tells whether the owner ended the context.
func (s *State) Cancelled() bool { return s.cancelled }

// Locked tells whether no more data will be added.
func (s *State) Locked() bool { return s.locked }

// Counts sums up the nodes.
func (s *State) Counts() (expected, joined, ok, failed int) {
	return s.expected, s.joined, s.ok, len(s.failed)
}

// AllOK tells whether every node of the definition has reported ok.
func (s *State) AllOK() bool { return s.expected > 0 && s.ok == s.expected }

// Failing tells whether a node has reported an error.
func (s *State) Failing() bool { return len(s.failed) > 0 }

// Requirements counts the distinct requirements; each has one answer.
func (s *State) Requirements() int { return len(s.requirements) }

// Complete tells whether the answer to a requirement is complete.
func (s *State) Complete(requirement int) bool { return s.requirements[requirement].missing == 0 }

// Holder tells which place a machine holds, if it has joined or reported, and
// which requirement the place has.
func (s *State) Holder(c Claimant) (place cluster.Place, requirement int, err error) {
	w, place, err := s.place(c)
	if err != nil {
		return place, 0, err
	}
	if w.nodes[place.Index].claim == "" {
		return place, 0, fmt.Errorf("%w: node %s must join first", ErrNotJoined, place)
	}
	return place, w.requirement, nil
}

// Manifest is the answer to a requirement, which must be complete. All is told
// in the order of the definition: nothing of the order in which nodes came can
// be seen in it.
func (s *State) Manifest(requirement int) cluster.Manifest {
	r := s.requirements[requirement]
	m := cluster.Manifest{Last: true, Nodes: []cluster.ManifestNode{}, Roles: []cluster.ManifestRole{}, Data: []cluster.Data{}}
	for _, role := range r.Roles {
		m.Roles = append(m.Roles, cluster.ManifestRole{Name: role.Name, Providers: []cluster.Provider{}})
	}
	for i := range s.workspaces {
		w := &s.workspaces[i]
		for index := range w.nodes {
			identities := w.nodes[index].identities
			providing := make([][]int, len(r.Roles))
			var known []int // of the identities, those that the reader may know
			for k := range identities {
				tell := r.Identity
				for j, role := range r.Roles {
					if w.provides(role.Name, identities, k) {
						providing[j] = append(providing[j], len(known))
						tell = true
					}
				}
				if tell {
					known = append(known, k)
				}
			}
			if len(known) == 0 {
				continue
			}
			entry := cluster.ManifestNode{Place: cluster.Place{Workspace: w.Name, Index: index}}
			for _, k := range known {
				entry.Identities = append(entry.Identities, identities[k])
			}
			for j := range r.Roles {
				for _, k := range providing[j] {
					m.Roles[j].Providers = append(m.Roles[j].Providers, cluster.Provider{Node: len(m.Nodes), Identity: k})
				}
			}
			m.Nodes = append(m.Nodes, entry)
		}
	}
	m.Data = append(m.Data, s.data(dataNames(r.Requires))...)
	return m
}

// data lists the values of some names. A workspace that only asks for a name
// has the empty value, which counts when nobody brings another.
func (s *State) data(names []string) []cluster.Data {
	brought := map[string]bool{}
	for _, d := range s.added {
		brought[d.Name] = true
	}
	for i := range s.workspaces {
		for _, d := range s.workspaces[i].Ctx.Requires.Data {
			brought[d.Name] = brought[d.Name] || d.Value != ""
		}
	}
	var all []cluster.Data
	for i := range s.workspaces {
		requires := &s.workspaces[i].Ctx.Requires
		for _, d := range requires.Data {
			asks := d.Value == "" && brought[d.Name] && !requires.Brings(d.Name)
			if slices.Contains(names, d.Name) && !asks {
				all = append(all, cluster.Data{Name: d.Name, Value: d.Value})
			}
		}
	}
	for _, d := range s.added {
		if slices.Contains(names, d.Name) {
			all = append(all, d)
		}
	}
	return all
}

// provides tells whether a node provides a role by its k-th identity: roles
// without a label are provided by all, others by the identity that has it. A
// single identity is meant by any label.
func (w *workspace) provides(role string, identities []cluster.Identity, k int) bool {
	return slices.ContainsFunc(w.Ctx.Provides, func(r cluster.ProvidedRole) bool {
		return r.Name == role && (r.Interface == "" || r.Interface == identities[k].Interface || len(identities) == 1)
	})
}

// Missing says in words what the answer to a requirement still lacks.
func (s *State) Missing(requirement int) []string {
	var missing []string
	for _, c := range s.requirements[requirement].conditions {
		condition := &s.conditions[c]
		if condition.need == 0 {
			continue
		}
		switch condition.kind {
		case locked:
			missing = append(missing, "the context to be locked (data may still be added)")
		case allJoined:
			missing = append(missing, s.lacking("to join", func(w *workspace) bool { return true }, hasJoined))
		case roleJoined:
			missing = append(missing, fmt.Sprintf("role %q: %s", condition.role,
				s.lacking("to join", func(w *workspace) bool { return w.Provides(condition.role) }, hasJoined)))
		case roleReady:
			missing = append(missing, fmt.Sprintf("role %q: %s", condition.role,
				s.lacking("to be ready", func(w *workspace) bool { return w.Provides(condition.role) }, isOK)))
		}
	}
	return missing
}

func hasJoined(n *node) bool { return n.counted }
func isOK(n *node) bool      { return n.report != nil && n.report.OK }

// lacking names the first few nodes that are not there yet.
func (s *State) lacking(what string, which func(*workspace) bool, there func(*node) bool) string {
	const few = 5
	var names []string
	count := 0
	for i := range s.workspaces {
		w := &s.workspaces[i]
		if !which(w) {
			continue
		}
		for index := range w.nodes {
			if there(&w.nodes[index]) {
				continue
			}
			if count++; count <= few {
				names = append(names, cluster.Place{Workspace: w.Name, Index: index}.String())
			}
		}
	}
	text := strings.Join(names, ", ")
	if count > few {
		text += fmt.Sprintf(" and %d more", count-few)
	}
	return text + " " + what
}

// Progress of one workspace.
type Progress struct {
	Name                         string
	Expected, Joined, OK, Failed int
	Waiting                      []string // as Missing says; empty when the answer is complete
}

// Workspaces sums up every workspace that takes part.
func (s *State) Workspaces() []Progress {
	var list []Progress
	waiting := make([][]string, len(s.requirements))
	for r := range s.requirements {
		waiting[r] = s.Missing(r)
	}
	for i := range s.workspaces {
		w := &s.workspaces[i]
		list = append(list, Progress{w.Name, len(w.nodes), w.joined, w.ok, w.failed, waiting[w.requirement]})
	}
	return list
}

// Node is a frozen view of one node.
type Node struct {
	Place      cluster.Place
	Roles      []string // provided
	Identities []cluster.Identity
	Joined     time.Time
	Reported   time.Time
	Report     *Report
}

// Nodes lists every node of the definition, joined or not, in its order.
func (s *State) Nodes() []Node {
	list := make([]Node, 0, s.expected)
	for i := range s.workspaces {
		for index := range s.workspaces[i].nodes {
			list = append(list, s.node(i, index))
		}
	}
	return list
}

// Has tells whether the definition has a node of that place.
func (s *State) Has(place cluster.Place) bool {
	i, known := s.position[place.Workspace]
	return known && place.Index >= 0 && place.Index < len(s.workspaces[i].nodes)
}

// Node returns one node of the definition.
func (s *State) Node(place cluster.Place) Node {
	return s.node(s.position[place.Workspace], place.Index)
}

func (s *State) node(i, index int) Node {
	w := &s.workspaces[i]
	n := &w.nodes[index]
	v := Node{Place: cluster.Place{Workspace: w.Name, Index: index}, Identities: n.identities, Joined: n.joined, Reported: n.reported}
	for _, r := range w.Ctx.Provides {
		if !slices.Contains(v.Roles, r.Name) {
			v.Roles = append(v.Roles, r.Name)
		}
	}
	if n.report != nil {
		report := *n.report
		v.Report = &report
	}
	return v
}

// Latest is the node that joined or reported last, if any did.
func (s *State) Latest() (n Node, any bool) {
	if s.latest == nil {
		return Node{}, false
	}
	return s.Node(*s.latest), true
}

// Failures lists the first nodes that reported an error, at most so many.
func (s *State) Failures(most int) []Node {
	var list []Node
	for _, place := range s.failed[:min(most, len(s.failed))] {
		list = append(list, s.Node(place))
	}
	return list
}
