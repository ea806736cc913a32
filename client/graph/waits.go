// Package graph says what the nodes of a cluster definition need of each
// other: who waits for whom, and the same as a drawing. It only decides what
// to say; nothing here touches a file, a clock or the network.
package graph

import "nimbus/broker/cluster"

// Wait is what the nodes of a workspace need before their scripts run.
type Wait struct {
	Workspace  string     `json:"workspace"`
	Identities bool       `json:"identities,omitempty"` // of all nodes: all must have joined
	Roles      []RoleWait `json:"roles,omitempty"`
	Data       []DataWait `json:"data,omitempty"`
	// Round is when its scripts run, counting from 0. Nodes only wait for
	// others to join in the first round, and all join by themselves; in a later
	// one for scripts of the round before to end.
	Round int `json:"round"`
}

// RoleWait is a required role.
type RoleWait struct {
	Name       string   `json:"name"`
	Ready      bool     `json:"ready,omitempty"` // its providers must be ok, not only have joined
	Providers  int      `json:"providers"`       // nodes
	Workspaces []string `json:"-"`               // of the providers
}

// DataWait is a required name of data.
type DataWait struct {
	Name   string `json:"name"`
	Values int    `json:"values"` // in the definition; 0: nobody brings one
}

// Waits tells of each workspace that takes part in the context what its nodes
// wait for. The definition must be free of errors: in a circle of workspaces
// that wait for each other to be ready there would be no first.
func Waits(def *cluster.Definition) []Wait {
	w := waits{def: def, providers: providers(def), rounds: make([]int, len(def.Workspaces)), known: make([]bool, len(def.Workspaces))}
	values := valuesOf(def)
	nodes := map[string]int{}
	names := map[string][]string{}
	for role, all := range w.providers {
		for _, i := range all {
			nodes[role] += def.Workspaces[i].Quantity
			names[role] = append(names[role], def.Workspaces[i].Name)
		}
	}
	list := []Wait{}
	for i := range def.Workspaces {
		workspace := &def.Workspaces[i]
		if workspace.Ctx == nil {
			continue
		}
		requires := workspace.Ctx.Requires
		wait := Wait{Workspace: workspace.Name, Identities: requires.Identity, Round: w.round(i)}
		for _, r := range requires.Roles {
			wait.Roles = append(wait.Roles, RoleWait{r.Name, r.Ready, nodes[r.Name], names[r.Name]})
		}
		for _, name := range dataNames(requires) {
			wait.Data = append(wait.Data, DataWait{name, values[name]})
		}
		list = append(list, wait)
	}
	return list
}

type waits struct {
	def       *cluster.Definition
	providers map[string][]int
	rounds    []int
	known     []bool
}

// round is one after the last of those that must be ready before.
func (w *waits) round(i int) int {
	if w.known[i] {
		return w.rounds[i]
	}
	w.known[i] = true // also ends a circle
	round := 0
	for _, r := range w.def.Workspaces[i].Ctx.Requires.Roles {
		if !r.Ready {
			continue
		}
		for _, p := range w.providers[r.Name] {
			round = max(round, w.round(p)+1)
		}
	}
	w.rounds[i] = round
	return round
}

// providers are the workspaces that provide each role, by index.
func providers(def *cluster.Definition) map[string][]int {
	found := map[string][]int{}
	for i := range def.Workspaces {
		if def.Workspaces[i].Ctx == nil {
			continue
		}
		seen := map[string]bool{} // a role may be provided by several NICs
		for _, r := range def.Workspaces[i].Ctx.Provides {
			if !seen[r.Name] {
				seen[r.Name] = true
				found[r.Name] = append(found[r.Name], i)
			}
		}
	}
	return found
}

// valuesOf counts the values that the definition has for each name.
func valuesOf(def *cluster.Definition) map[string]int {
	count := map[string]int{}
	for i := range def.Workspaces {
		if def.Workspaces[i].Ctx == nil {
			continue
		}
		own, brings := map[string]int{}, map[string]bool{}
		for _, d := range def.Workspaces[i].Ctx.Requires.Data {
			own[d.Name]++
			brings[d.Name] = brings[d.Name] || d.Value != ""
		}
		for name, n := range own {
			if brings[name] {
				count[name] += n
			}
		}
	}
	return count
}

// dataNames are the names that are required, each once.
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
