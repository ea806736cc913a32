package cluster

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Normalize puts into words what a definition leaves open: a workspace without
// a name is member-NN, a single NIC without a label of its own takes that of
// its one identity, else publicnic, whatever its network is called. What is
// said twice is said once: a role that is required twice asks for all that
// either asks for.
func (d *Definition) Normalize() {
	for i := range d.Workspaces {
		w := &d.Workspaces[i]
		if w.Name == "" {
			w.Name, w.Unnamed = fmt.Sprintf("member-%02d", i+1), true
		}
		if w.Ctx != nil {
			w.Ctx.Provides = mergeProvided(w.Ctx.Provides)
			w.Ctx.Requires.Roles = mergeRequired(w.Ctx.Requires.Roles)
		}
		if len(w.NICs) != 1 || w.NICs[0].Interface != "" {
			continue
		}
		w.NICs[0].Interface = PublicNIC
		if w.Ctx != nil && len(w.Ctx.Identities) == 1 && w.Ctx.Identities[0] != "" {
			w.NICs[0].Interface = w.Ctx.Identities[0]
		}
	}
}

func mergeProvided(roles []ProvidedRole) []ProvidedRole {
	seen := map[[2]string]bool{}
	return slices.DeleteFunc(roles, func(r ProvidedRole) bool {
		key := [2]string{r.Name, r.Interface}
		again := seen[key]
		seen[key] = true
		return again
	})
}

func mergeRequired(roles []RequiredRole) []RequiredRole {
	first := map[string]int{}
	var merged []RequiredRole
	for _, r := range roles {
		i, again := first[r.Name]
		if !again {
			first[r.Name] = len(merged)
			merged = append(merged, r)
			continue
		}
		m := &merged[i]
		m.Hostname, m.Pubkey, m.Ready = m.Hostname || r.Hostname, m.Pubkey || r.Pubkey, m.Ready || r.Ready
	}
	return merged
}

// Check finds everything that is wrong with a normalized definition, wherever
// it comes from.
func (d *Definition) Check() Problems {
	var ps Problems
	if len(d.Workspaces) == 0 {
		ps.errorf(0, "a cluster needs at least one <workspace>", "there is no workspace")
	}
	if len(d.Workspaces) > MaxWorkspaces {
		ps.errorf(0, "", "more than %d workspaces", MaxWorkspaces)
		return ps
	}
	names := map[string]*Workspace{}
	provided := map[string]bool{}
	total := 0
	for i := range d.Workspaces {
		w := &d.Workspaces[i]
		w.check(&ps)
		// Node names become host names, and those know no case.
		key := strings.ToLower(w.Name)
		if first, taken := names[key]; taken {
			ps.errorf(w.Line, "give each workspace a name of its own", "the workspace name %q is taken%s", w.Name, atLine(first.Line))
		} else {
			names[key] = w
		}
		total += max(0, w.Quantity)
		if w.Ctx != nil {
			for _, r := range w.Ctx.Provides {
				provided[r.Name] = true
			}
		}
	}
	if total > MaxNodes {
		ps.errorf(0, "", "the cluster has %d instances; %d is the limit", total, MaxNodes)
	}
	d.checkRequired(&ps, provided)
	d.checkData(&ps)
	d.checkReady(&ps)
	return ps
}

// maxLabel is the longest part of a host name between two dots.
const maxLabel = 63

// checkHostNames warns of names that are none for hosts: each node is called by
// its workspace.
func (w *Workspace) checkHostNames(ps *Problems) {
	longest := Place{Workspace: w.Name, Index: max(0, w.Quantity-1)}.String()
	switch {
	case len(longest) > maxLabel:
		ps.warnf(w.Line, "give it a shorter name", "workspace %q: its nodes are called %s and the like; hosts have names of at most %d characters, and may be called by a part of this one", w.Name, longest, maxLabel)
	case strings.EqualFold(w.Name, "localhost"):
		ps.warnf(w.Line, "choose another name", "workspace %q: this name is every machine's own", w.Name)
	}
}

func (w *Workspace) check(ps *Problems) {
	if err := CheckName(w.Name); err != nil {
		ps.errorf(w.Line, "", "workspace: %v", err)
	} else {
		w.checkHostNames(ps)
	}
	if w.Image == "" {
		ps.errorf(w.Line, "add <image>name</image>", "workspace %q has no <image>", w.Name)
	} else if !plain(w.Image) {
		ps.errorf(w.Line, "", "workspace %q: the image name %.80q is too long, or holds characters that cannot be printed", w.Name, w.Image)
	}
	if w.Quantity < 1 || w.Quantity > MaxQuantity {
		ps.errorf(w.Line, fmt.Sprintf("1 to %d is allowed", MaxQuantity), "workspace %q: the quantity is %d", w.Name, w.Quantity)
	}
	w.checkNICs(ps)
	w.checkScripts(ps)
	if w.Ctx == nil {
		return
	}
	if len(w.Ctx.Provides) > MaxNames || len(w.Ctx.Requires.Roles) > MaxNames || len(w.Ctx.Requires.Data) > MaxNames {
		ps.errorf(w.Line, "", "workspace %q: more than %d roles or data", w.Name, MaxNames)
	}
	for _, label := range w.Ctx.Identities {
		w.checkLabel(ps, w.Line, "identity", label)
	}
	for _, r := range w.Ctx.Provides {
		if err := CheckRole(r.Name); err != nil {
			ps.errorf(r.Line, "", "provided role: %v", err)
		}
		w.checkLabel(ps, r.Line, fmt.Sprintf("role %q", r.Name), r.Interface)
	}
	for _, r := range w.Ctx.Requires.Roles {
		if err := CheckRole(r.Name); err != nil {
			ps.errorf(r.Line, "", "required role: %v", err)
		}
	}
	for _, data := range w.Ctx.Requires.Data {
		if err := CheckName(data.Name); err != nil {
			ps.errorf(data.Line, "", "data: %v", err)
		}
		if len(data.Value) > MaxData {
			ps.errorf(data.Line, "", "data %q is larger than %d KiB", data.Name, MaxData>>10)
		}
	}
}

// maxScripts is the longest path that a definition may name, in bytes.
const maxScripts = 4 << 10

func (w *Workspace) checkScripts(ps *Problems) {
	switch {
	case w.Scripts == "":
	case len(w.Scripts) > maxScripts || !utf8.ValidString(w.Scripts) || strings.ContainsFunc(w.Scripts, func(r rune) bool { return !unicode.IsPrint(r) }):
		ps.errorf(w.Line, "", "workspace %q: the path of its scripts is too long, or holds characters that cannot be printed", w.Name)
	case w.Ctx == nil:
		ps.warnf(w.Line, "add a <ctx>, or leave scripts out", "workspace %q: scripts has no effect without <ctx>: nobody runs them", w.Name)
	}
}

func (w *Workspace) checkNICs(ps *Problems) {
	if len(w.NICs) == 0 {
		ps.errorf(w.Line, "add <nic>public</nic>", "workspace %q has no <nic>", w.Name)
	}
	if len(w.NICs) > MaxNICs {
		ps.errorf(w.Line, "", "workspace %q has more than %d NICs", w.Name, MaxNICs)
		return
	}
	for i, n := range w.NICs {
		if n.Network == "" {
			ps.errorf(n.Line, "write a network name, such as <nic>public</nic>", "the NIC names no network")
		} else if !plain(n.Network) {
			ps.errorf(n.Line, "", "the network name %.80q is too long, or holds characters that cannot be printed", n.Network)
		}
		if n.WantLogin && w.Ctx == nil {
			ps.warnf(n.Line, "add a <ctx>, or leave wantlogin out", "wantlogin has no effect without <ctx>: nobody reports the host key")
		}
		if n.Interface == "" {
			ps.errorf(n.Line, `write <nic interface="publicnic"> and <nic interface="localnic">`, "with several NICs, each needs an interface label")
			continue
		}
		if err := CheckName(n.Interface); err != nil {
			ps.errorf(n.Line, "", "interface label: %v", err)
		}
		if slices.ContainsFunc(w.NICs[:i], func(o NIC) bool { return o.Interface == n.Interface }) {
			ps.errorf(n.Line, "give each NIC a label of its own", "two NICs are labelled %q", n.Interface)
		}
	}
}

// plain tells whether a cloud's name for something can be shown to a person:
// it may hold blanks and any letters, but nothing that steers a terminal.
func plain(name string) bool {
	return len(name) <= 255 && utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) })
}

// checkLabel refuses a label that no NIC bears. With a single NIC there is no
// choice to make, so any label means that NIC.
func (w *Workspace) checkLabel(ps *Problems, line int, what, label string) {
	if label == "" || len(w.NICs) < 2 {
		return
	}
	var labels []string
	for _, n := range w.NICs {
		if n.Interface == label {
			return
		}
		if n.Interface != "" {
			labels = append(labels, n.Interface)
		}
	}
	if labels == nil {
		return // that the NICs have none is said already
	}
	ps.errorf(line, "the labels are: "+strings.Join(labels, ", "), "%s is bound to %q, but no NIC of workspace %q has that label", what, label, w.Name)
}

// checkRequired refuses a role that nobody provides: the nodes would wait for
// ever.
func (d *Definition) checkRequired(ps *Problems, provided map[string]bool) {
	var known []string
	for role := range provided {
		known = append(known, role)
	}
	slices.Sort(known)
	for i := range d.Workspaces {
		w := &d.Workspaces[i]
		if w.Ctx == nil {
			continue
		}
		for _, r := range w.Ctx.Requires.Roles {
			if provided[r.Name] || CheckRole(r.Name) != nil {
				continue
			}
			if ps.full() {
				return
			}
			fix := suggestion(r.Name, known)
			if fix == "" {
				fix = fmt.Sprintf("add <role>%s</role> to the <provides> of a workspace", r.Name)
			}
			ps.errorf(r.Line, fix, "workspace %q requires the role %q, which nobody provides", w.Name, r.Name)
		}
	}
}

// checkData warns when workspaces disagree on a value: everyone who requires
// the name gets all values.
func (d *Definition) checkData(ps *Problems) {
	type source struct {
		workspace *Workspace
		values    []string
		line      int
	}
	first := map[string]source{}
	for i := range d.Workspaces {
		w := &d.Workspaces[i]
		if w.Ctx == nil {
			continue
		}
		own := map[string]source{}
		for _, data := range w.Ctx.Requires.Data {
			s := own[data.Name]
			own[data.Name] = source{w, append(s.values, data.Value), data.Line}
		}
		for _, data := range w.Ctx.Requires.Data {
			s, here := own[data.Name]
			if !here {
				continue // a second value of that name: looked at already
			}
			delete(own, data.Name)
			if !slices.ContainsFunc(s.values, func(v string) bool { return v != "" }) {
				continue // it only asks for the name
			}
			other, seen := first[data.Name]
			if !seen {
				first[data.Name] = s
			} else if !slices.Equal(other.values, s.values) {
				ps.warnf(s.line, "use two names if they are two things", "data %q has other values in workspace %q than in %q: every node that requires it gets all of them", data.Name, w.Name, other.workspace.Name)
			}
		}
	}
}

// checkReady refuses workspaces that wait for each other to be ready.
func (d *Definition) checkReady(ps *Problems) {
	providers := map[string][]int{}
	for i := range d.Workspaces {
		if ctx := d.Workspaces[i].Ctx; ctx != nil {
			for _, r := range ctx.Provides {
				providers[r.Name] = append(providers[r.Name], i)
			}
		}
	}
	const (
		unseen = iota
		open
		done
	)
	state := make([]int, len(d.Workspaces))
	var path []int
	var visit func(i int)
	visit = func(i int) {
		state[i] = open
		path = append(path, i)
		for _, r := range d.Workspaces[i].readyRoles() {
			for _, next := range providers[r.Name] {
				switch state[next] {
				case unseen:
					visit(next)
				case open:
					ps.errorf(r.Line, `remove one ready="true"`, "%s: these would wait for each other for ever", d.circle(path, next))
				}
			}
		}
		path = path[:len(path)-1]
		state[i] = done
	}
	for i := range d.Workspaces {
		if state[i] == unseen {
			visit(i)
		}
	}
}

func (w *Workspace) readyRoles() []RequiredRole {
	var ready []RequiredRole
	if w.Ctx != nil {
		for _, r := range w.Ctx.Requires.Roles {
			if r.Ready {
				ready = append(ready, r)
			}
		}
	}
	return ready
}

// circle spells the part of the path that leads from a workspace to itself.
func (d *Definition) circle(path []int, to int) string {
	var b strings.Builder
	for _, i := range path[slices.Index(path, to):] {
		fmt.Fprintf(&b, "%q waits for ", d.Workspaces[i].Name)
	}
	return b.String() + fmt.Sprintf("%q to be ready", d.Workspaces[to].Name)
}

func atLine(line int) string {
	if line == 0 {
		return " already"
	}
	return fmt.Sprintf(" by the one in line %d", line)
}
