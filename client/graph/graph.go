package graph

import (
	"fmt"

	"nimbus/broker/cluster"
)

// Graph is a drawing of a definition: what flows to whom. Everything is in the
// order of the definition.
type Graph struct {
	Nodes []Node `json:"nodes"`
	Edges []Edge `json:"edges"`
}

// NodeKind is what a node of the drawing stands for.
type NodeKind string

// The kinds of nodes.
const (
	Workspace NodeKind = "workspace"
	Everybody NodeKind = "all"  // all nodes of the context
	Value     NodeKind = "data" // data, by its name
	Role      NodeKind = "role" // of many providers and many who require it
)

// Node is a node of the drawing.
type Node struct {
	ID       string   `json:"id"` // of letters and digits
	Kind     NodeKind `json:"kind"`
	Name     string   `json:"name"`
	Quantity int      `json:"quantity,omitempty"` // of a workspace
	Image    string   `json:"image,omitempty"`
	Apart    bool     `json:"apart,omitempty"` // the workspace takes no part in the context
}

// EdgeKind is what the end of an edge requires of its beginning.
type EdgeKind string

// The kinds of edges.
const (
	Provides   EdgeKind = "provides" // to a node that stands for a role
	Joined     EdgeKind = "joined"
	Ready      EdgeKind = "ready"
	Identities EdgeKind = "identities"
	Given      EdgeKind = "data"
)

// Edge leads from who is needed to who needs it.
type Edge struct {
	From string   `json:"from"`
	To   string   `json:"to"`
	Kind EdgeKind `json:"kind"`
	Role string   `json:"role,omitempty"`
}

// crowd is how many edges one role may have before it gets a node of its own:
// a hundred workspaces that know each other are ten thousand edges.
const crowd = 25

// Of makes the drawing of a definition.
func Of(def *cluster.Definition) Graph {
	g := Graph{Nodes: []Node{}, Edges: []Edge{}}
	id := func() string { return fmt.Sprintf("n%d", len(g.Nodes)) }
	for _, w := range def.Workspaces {
		g.Nodes = append(g.Nodes, Node{ID: id(), Kind: Workspace, Name: w.Name, Quantity: w.Quantity, Image: w.Image, Apart: w.Ctx == nil})
	}
	everybody := ""
	by := providers(def)
	required := map[string]int{}
	for _, w := range def.Workspaces {
		if w.Ctx == nil {
			continue
		}
		for _, r := range w.Ctx.Requires.Roles {
			required[r.Name]++
		}
	}
	hubs, values := map[string]string{}, map[string]string{}
	for i, w := range def.Workspaces {
		if w.Ctx == nil {
			continue
		}
		to := g.Nodes[i].ID
		if w.Ctx.Requires.Identity {
			if everybody == "" {
				everybody = id()
				g.Nodes = append(g.Nodes, Node{ID: everybody, Kind: Everybody, Name: "all nodes"})
			}
			g.Edges = append(g.Edges, Edge{everybody, to, Identities, ""})
		}
		for _, r := range w.Ctx.Requires.Roles {
			kind := Joined
			if r.Ready {
				kind = Ready
			}
			if len(by[r.Name])*required[r.Name] <= crowd {
				for _, p := range by[r.Name] {
					g.Edges = append(g.Edges, Edge{g.Nodes[p].ID, to, kind, r.Name})
				}
				continue
			}
			if hubs[r.Name] == "" {
				hubs[r.Name] = id()
				g.Nodes = append(g.Nodes, Node{ID: hubs[r.Name], Kind: Role, Name: r.Name})
				for _, p := range by[r.Name] {
					g.Edges = append(g.Edges, Edge{g.Nodes[p].ID, hubs[r.Name], Provides, r.Name})
				}
			}
			g.Edges = append(g.Edges, Edge{hubs[r.Name], to, kind, r.Name})
		}
		for _, name := range dataNames(w.Ctx.Requires) {
			if values[name] == "" {
				values[name] = id()
				g.Nodes = append(g.Nodes, Node{ID: values[name], Kind: Value, Name: name})
			}
			g.Edges = append(g.Edges, Edge{values[name], to, Given, ""})
		}
	}
	return g
}

// label is what is written on an edge.
func (e Edge) label() string {
	switch e.Kind {
	case Ready:
		return e.Role + " (ready)"
	case Joined, Provides:
		return e.Role
	case Identities:
		return "identities"
	}
	return ""
}

// lines are what is written on a node.
func (n Node) lines() []string {
	switch n.Kind {
	case Workspace:
		name := n.Name
		if n.Quantity > 1 {
			name = fmt.Sprintf("%s × %d", n.Name, n.Quantity)
		}
		return []string{name, n.Image}
	case Value:
		return []string{"data " + n.Name}
	case Role:
		return []string{"role " + n.Name}
	}
	return []string{n.Name}
}
