package cluster

import "fmt"

// Manifest is what nodes are told when a stage is complete for them. Nothing
// in it depends on who asks: nodes that require the same are told the same.
type Manifest struct {
	Stage int            `json:"stage"`
	Last  bool           `json:"last"`  // no stage follows: the phases run now
	Nodes []ManifestNode `json:"nodes"` // in the order of the definition
	Roles []ManifestRole `json:"roles"` // in the order they are required
	Data  []Data         `json:"data"`  // in the order of the definition, then injected ones
}

// ManifestNode is a node and those of its identities that the reader may know.
type ManifestNode struct {
	Place
	Identities []Identity `json:"identities"`
}

// ManifestRole is a required role and who provides it.
type ManifestRole struct {
	Name      string     `json:"name"`
	Providers []Provider `json:"providers"`
}

// Provider points into the Nodes of the same manifest.
type Provider struct {
	Node     int `json:"node"`
	Identity int `json:"identity"`
}

// Identity returns what a provider of this manifest points at.
func (m *Manifest) Identity(p Provider) Identity { return m.Nodes[p.Node].Identities[p.Identity] }

// Check tells whether a manifest from the network is safe to act on: names
// checked, every provider pointing at something that is there.
func (m *Manifest) Check() error {
	for _, n := range m.Nodes {
		if err := CheckName(n.Workspace); err != nil {
			return err
		}
		for _, i := range n.Identities {
			if err := i.Check(); err != nil {
				return err
			}
		}
	}
	for _, r := range m.Roles {
		if err := CheckRole(r.Name); err != nil {
			return err
		}
		for _, p := range r.Providers {
			if p.Node < 0 || p.Node >= len(m.Nodes) || p.Identity < 0 || p.Identity >= len(m.Nodes[p.Node].Identities) {
				return fmt.Errorf("role %q names a provider that the manifest does not hold", r.Name)
			}
		}
	}
	for _, d := range m.Data {
		if err := CheckName(d.Name); err != nil {
			return err
		}
	}
	return nil
}
