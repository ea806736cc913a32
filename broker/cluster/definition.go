// Package cluster holds the nouns that every part of Nimbus shares: the
// cluster definition a person writes, the nodes that come of it, and the
// manifest a node is told. It is a leaf: no network, no clock, no disk.
package cluster

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Bounds on a definition. What the original could read fits in with room to
// spare; anything beyond is a mistake or an attack.
const (
	MaxDocument   = 8 << 20 // bytes of one definition file
	MaxDepth      = 16      // nested elements
	MaxElements   = 200_000 // elements in one file
	MaxWorkspaces = 10_000
	MaxQuantity   = 32_767 // instances in one workspace, as in the original
	MaxNodes      = 100_000
	MaxNICs       = 32      // in one workspace
	MaxNames      = 1_000   // roles or data of one workspace, each way
	MaxData       = 1 << 20 // bytes of one data value
)

// Labels by which NICs are usually told apart.
const (
	PublicNIC = "publicnic"
	LocalNIC  = "localnic"
)

// Definition is a cluster as a person wrote it: groups of equal instances and
// what each of them provides and requires.
type Definition struct {
	Workspaces []Workspace `json:"workspaces"`
}

// Workspace is a group of identical instances.
type Workspace struct {
	Name     string `json:"name"`              // unique; member-NN when the file gives none
	Unnamed  bool   `json:"unnamed,omitempty"` // Name was made up
	Image    string `json:"image"`
	Quantity int    `json:"quantity"`
	NICs     []NIC  `json:"nics"`
	Ctx      *Ctx   `json:"ctx,omitempty"` // nil: its instances take no part in the context
	// Scripts is a directory beside the file whose scripts travel with the
	// launch. It means something to the client alone, who clears it before the
	// definition is sent.
	Scripts string `json:"scripts,omitempty"`
	Line    int    `json:"-"` // where the file says it; 0 when there is no file
}

// NIC is one network interface of each instance of a workspace.
type NIC struct {
	Network   string `json:"network"`   // the cloud's name for a network
	Interface string `json:"interface"` // label, unique in the workspace
	WantLogin bool   `json:"want_login,omitempty"`
	Line      int    `json:"-"`
}

// Ctx says how the nodes of a workspace take part in the context.
type Ctx struct {
	Provides []ProvidedRole `json:"provides,omitempty"`
	Requires Requires       `json:"requires"`
	// Identities are the labels that <provides> names, in its order; an empty
	// string stands for an identity without a label.
	Identities []string `json:"identities,omitempty"`
}

// ProvidedRole is a role that every node of a workspace plays.
type ProvidedRole struct {
	Name      string `json:"name"`
	Interface string `json:"interface,omitempty"` // only the identity with this label provides it; empty: all do
	Line      int    `json:"-"`
}

// Requires is what a node must be told before it can configure itself.
type Requires struct {
	Identity bool           `json:"identity,omitempty"` // the identities of all nodes
	Roles    []RequiredRole `json:"roles,omitempty"`
	Data     []Data         `json:"data,omitempty"`
}

// RequiredRole asks for every node that provides a role.
type RequiredRole struct {
	Name     string `json:"name"`
	Hostname bool   `json:"hostname,omitempty"` // each provider must have a host name
	Pubkey   bool   `json:"pubkey,omitempty"`   // each provider must have an SSH host key
	Ready    bool   `json:"ready,omitempty"`    // each provider must have reported ok
	Line     int    `json:"-"`
}

// Data is a named value.
type Data struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Line  int    `json:"-"`
}

// Place is where a node stands in a definition; it names the node.
type Place struct {
	Workspace string `json:"workspace"`
	Index     int    `json:"index"` // 0-based
}

// String is the node's name: workspace-index.
func (p Place) String() string { return p.Workspace + "-" + strconv.Itoa(p.Index) }

// ParsePlace reads a node name back: the index is what follows the last dash.
func ParsePlace(node string) (Place, error) {
	i := strings.LastIndexByte(node, '-')
	if i > 0 {
		index, err := strconv.Atoi(node[i+1:])
		place := Place{node[:i], index}
		if err == nil && index >= 0 && place.String() == node && CheckName(place.Workspace) == nil {
			return place, nil
		}
	}
	return Place{}, fmt.Errorf("%q is not a node name: it must be a workspace, a dash and an index, such as \"head-0\"", node)
}

// Brings tells whether a value of data comes with this requirement. Where all
// that it says of a name is empty it only asks for it: whatever others bring
// or is added later is the value, and if nothing is, the empty one.
func (r *Requires) Brings(name string) bool {
	return slices.ContainsFunc(r.Data, func(d Data) bool { return d.Name == name && d.Value != "" })
}

// Find returns the workspace of that name and its position, or nil and -1.
func (d *Definition) Find(name string) (*Workspace, int) {
	for i := range d.Workspaces {
		if d.Workspaces[i].Name == name {
			return &d.Workspaces[i], i
		}
	}
	return nil, -1
}

// Nodes counts the instances that take part in the context.
func (d *Definition) Nodes() int {
	n := 0
	for i := range d.Workspaces {
		if d.Workspaces[i].Ctx != nil {
			n += d.Workspaces[i].Quantity
		}
	}
	return n
}

// Instances counts all instances, with and without a part in the context.
func (d *Definition) Instances() int {
	n := 0
	for i := range d.Workspaces {
		n += d.Workspaces[i].Quantity
	}
	return n
}

// Provides tells whether every node of the workspace plays the role.
func (w *Workspace) Provides(role string) bool {
	if w.Ctx == nil {
		return false
	}
	for _, r := range w.Ctx.Provides {
		if r.Name == role {
			return true
		}
	}
	return false
}

// Providers counts the nodes that play the role.
func (d *Definition) Providers(role string) int {
	n := 0
	for i := range d.Workspaces {
		if d.Workspaces[i].Provides(role) {
			n += d.Workspaces[i].Quantity
		}
	}
	return n
}
