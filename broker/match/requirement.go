package match

import (
	"fmt"
	"strings"

	"nimbus/broker/cluster"
)

// A condition is something that must happen a number of times before the
// answers that depend on it are complete: "all three providers of role x have
// joined". An event costs one step for each condition it serves, however many
// nodes wait: ten thousand joins are ten thousand small steps.
type condition struct {
	need   int   // times that are left
	serves []int // requirements, by index
	kind   conditionKind
	role   string
}

type conditionKind int

const (
	locked conditionKind = iota
	allJoined
	roleJoined
	roleReady
)

// lockedCondition is the index of the condition that every context has.
const lockedCondition = 0

// A requirement is a distinct <requires>: all nodes whose workspaces say the
// same wait for the same conditions and are told the same.
type requirement struct {
	cluster.Requires
	key        string
	conditions []int
	missing    int  // conditions not met; 0: the answer is complete
	told       bool // it was complete before: somebody may know the answer
}

// connect builds the graph of conditions from the definition, once.
func (s *State) connect() {
	index := map[string]int{} // condition → index
	known := map[string]int{} // requirement → index
	need := func(kind conditionKind, role string, times int) int {
		key := fmt.Sprint(kind, role)
		i, ok := index[key]
		if !ok {
			i = len(s.conditions)
			index[key] = i
			s.conditions = append(s.conditions, condition{need: times, kind: kind, role: role})
		}
		return i
	}
	open := 1
	if s.locked {
		open = 0
	}
	need(locked, "", open)

	for i := range s.workspaces {
		w := &s.workspaces[i]
		requires := w.Ctx.Requires
		key := requirementKey(requires)
		r, ok := known[key]
		if !ok {
			r = len(s.requirements)
			known[key] = r
			conditions := []int{lockedCondition}
			if requires.Identity {
				conditions = append(conditions, need(allJoined, "", s.expected))
			}
			for _, role := range requires.Roles {
				providers := s.created.Definition.Providers(role.Name)
				conditions = append(conditions, need(roleJoined, role.Name, providers))
				if role.Ready {
					conditions = append(conditions, need(roleReady, role.Name, providers))
				}
			}
			s.requirements = append(s.requirements, requirement{Requires: requires, key: key, conditions: conditions})
			for _, c := range conditions {
				s.conditions[c].serves = append(s.conditions[c].serves, r)
				if s.conditions[c].need > 0 {
					s.requirements[r].missing++
				}
			}
			s.requirements[r].told = s.requirements[r].missing == 0
		}
		w.requirement = r
	}

	// Who serves what: a node's join serves "all joined" and every role it
	// provides, its ok the roles that someone wants ready.
	for i := range s.workspaces {
		w := &s.workspaces[i]
		for c := range s.conditions {
			switch condition := &s.conditions[c]; condition.kind {
			case allJoined:
				w.byJoin = append(w.byJoin, c)
			case roleJoined:
				if w.Provides(condition.role) {
					w.byJoin = append(w.byJoin, c)
				}
			case roleReady:
				if w.Provides(condition.role) {
					w.byOK = append(w.byOK, c)
				}
			}
		}
		w.keyed = s.keyedRoles(w)
	}
}

// requirementKey is equal for workspaces that are told the same. Values of
// data do not count: every node that requires a name gets all its values.
func requirementKey(r cluster.Requires) string {
	var b strings.Builder
	fmt.Fprint(&b, r.Identity)
	for _, role := range r.Roles {
		fmt.Fprint(&b, "|", role.Name, role.Ready)
	}
	b.WriteString("||")
	for _, name := range dataNames(r) {
		fmt.Fprint(&b, "|", name)
	}
	return b.String()
}

func dataNames(r cluster.Requires) []string {
	var names []string
	seen := map[string]bool{}
	for _, d := range r.Data {
		if !seen[d.Name] {
			seen[d.Name] = true
			names = append(names, d.Name)
		}
	}
	return names
}

func (s *State) keyedRoles(w *workspace) []keyedRole {
	var keyed []keyedRole
	for i := range s.workspaces {
		for _, role := range s.workspaces[i].Ctx.Requires.Roles {
			if role.Pubkey && w.Provides(role.Name) {
				keyed = append(keyed, keyedRole{role.Name, s.workspaces[i].Name})
			}
		}
	}
	return keyed
}

// serve counts an event for each of the conditions.
func (s *State) serve(conditions []int) {
	for _, c := range conditions {
		condition := &s.conditions[c]
		if condition.need--; condition.need == 0 {
			for _, r := range condition.serves {
				s.requirements[r].missing--
				if s.requirements[r].missing == 0 {
					s.requirements[r].told = true
				}
			}
		}
	}
}

// unserve takes an event back.
func (s *State) unserve(conditions []int) {
	for _, c := range conditions {
		condition := &s.conditions[c]
		if condition.need++; condition.need == 1 {
			for _, r := range condition.serves {
				s.requirements[r].missing++
			}
		}
	}
}

// told tells whether an answer that names nodes of w was complete, and so may
// be known to somebody.
func (s *State) told(w *workspace) bool {
	for _, c := range w.byJoin {
		for _, r := range s.conditions[c].serves {
			if s.requirements[r].told {
				return true
			}
		}
	}
	return false
}
