package phase

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"nimbus/broker/cluster"
)

// Self is the node that the plan is for.
type Self struct {
	Context    string
	Place      cluster.Place
	Identities []cluster.Identity
	DataDir    string // where the values of 3-data are written
}

// Plan says what a node has to do with a manifest, in the order of the phases:
// all of one phase comes before anything of the next.
func Plan(m *cluster.Manifest, self Self, scripts Scripts) []Step {
	p := planner{manifest: m, scripts: scripts}
	p.etcHosts()
	p.add(Step{Kind: Trust, Phase: SSHD})
	p.ipAndHost()
	p.ownHost(ThisHost, self)
	p.data(self)
	p.restarts()
	p.ownHost(Finalize, self)
	return p.steps
}

type planner struct {
	manifest *cluster.Manifest
	scripts  Scripts
	steps    []Step
}

func (p *planner) add(s Step) { p.steps = append(p.steps, s) }

// script adds a call of a script, or says that there is none.
func (p *planner) script(s Step) {
	s.Kind, s.Script = Script, path.Join(s.Phase, s.Name)
	if !p.scripts.Has(s.Phase, s.Name) {
		s = Step{Kind: Absent, Phase: s.Phase, Name: s.Name}
	}
	p.add(s)
}

func (p *planner) etcHosts() {
	var named []cluster.Provider
	for n, node := range p.manifest.Nodes {
		for i, identity := range node.Identities {
			if identity.Hostname != "" {
				named = append(named, cluster.Provider{Node: n, Identity: i})
			}
		}
	}
	if len(named) == 0 {
		return
	}
	if p.scripts.Has(".", EtcHosts+all) {
		p.add(Step{Kind: Script, Phase: EtcHosts, Script: EtcHosts + all, Stdin: p.set(named)})
		return
	}
	// Without any of its scripts the phase fails when it runs: a cluster whose
	// nodes do not know each other's names is no cluster.
	name := EtcHosts
	if !p.scripts.Has(".", name) && p.scripts.Has(".", name+".sh") {
		name += ".sh"
	}
	for _, provider := range named {
		p.add(Step{Kind: Script, Phase: EtcHosts, Script: name, Args: address(p.manifest.Identity(provider))})
	}
}

func (p *planner) ipAndHost() {
	for _, role := range p.manifest.Roles {
		if len(role.Providers) == 0 {
			continue
		}
		step := Step{Phase: IPAndHost, Name: role.Name, Role: role.Name, Count: len(role.Providers)}
		if p.scripts.Has(IPAndHost, role.Name+all) {
			step.Name, step.Stdin = role.Name+all, p.set(role.Providers)
			p.script(step)
			continue
		}
		if !p.scripts.Has(IPAndHost, role.Name) {
			p.script(step) // said once, not once for each provider
			continue
		}
		for _, provider := range role.Providers {
			step.Args = address(p.manifest.Identity(provider))
			p.script(step)
		}
	}
}

func (p *planner) ownHost(phase string, self Self) {
	for _, identity := range self.Identities {
		if identity.Interface != "" {
			p.script(Step{Phase: phase, Name: identity.Interface, Args: address(identity)})
		}
	}
}

func (p *planner) data(self Self) {
	seen := map[string]int{}
	for i, d := range p.manifest.Data {
		// A name may have several values; the number tells their files apart.
		file := path.Join(self.DataDir, fmt.Sprintf("%s-%d", d.Name, seen[d.Name]))
		seen[d.Name]++
		s := Step{Kind: Data, Phase: DataDir, Name: d.Name, Args: []string{file}, Value: i}
		if p.scripts.Has(DataDir, d.Name) {
			s.Script = path.Join(DataDir, d.Name)
		}
		p.add(s)
	}
}

func (p *planner) restarts() {
	seen := map[string]bool{}
	for _, role := range p.manifest.Roles {
		if len(role.Providers) > 0 && !seen[role.Name] {
			seen[role.Name] = true
			p.script(Step{Phase: Restarts, Name: role.Name, Role: role.Name, Count: len(role.Providers)})
		}
	}
}

// set is what a script called once for all reads: a line for each address,
// in the order of the definition.
func (p *planner) set(providers []cluster.Provider) string {
	sorted := slices.SortedFunc(slices.Values(providers), func(a, b cluster.Provider) int {
		return cmp.Or(a.Node-b.Node, a.Identity-b.Identity)
	})
	var b strings.Builder
	for _, provider := range sorted {
		node, i := p.manifest.Nodes[provider.Node], p.manifest.Identity(provider)
		fmt.Fprintf(&b, "%s\t%s\t%s\t%s\t%d\t%s\n", i.IP, cluster.Short(i.Hostname), i.Hostname, node.Workspace, node.Index, i.Pubkey)
	}
	return b.String()
}

// address is how scripts are told of one identity: its IP, its short name,
// its full name, the names only where it has one.
func address(i cluster.Identity) []string {
	if i.Hostname == "" {
		return []string{i.IP.String()}
	}
	return []string{i.IP.String(), cluster.Short(i.Hostname), i.Hostname}
}
