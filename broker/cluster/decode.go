package cluster

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Read parses a definition, puts what it left open into words (labels, names)
// and checks it. The problems are complete: everything that is wrong is in
// them, in the order of the file. With errors among them the definition holds
// what could be understood and must not be launched.
//
// The format is the cluster document of the Nimbus cloud client, read as
// leniently as there: namespaces are ignored, children come in any order,
// _interface is interface, a repeated single element counts by its last.
//
// It takes every text as it stands; ReadWith knows variables.
func Read(name string, r io.Reader) (*Definition, Problems) {
	root, broken := readDocument(name, r)
	if broken != nil {
		return &Definition{}, broken
	}
	var p decoder
	d := p.cluster(root)
	d.Normalize()
	return d, append(p.problems, d.Check()...).inFile(name)
}

// readDocument reads the elements of a file.
func readDocument(name string, r io.Reader) (*element, Problems) {
	document, err := io.ReadAll(io.LimitReader(r, MaxDocument+1))
	if err != nil {
		return nil, Problems{{File: name, Text: err.Error()}}
	}
	if len(document) > MaxDocument {
		return nil, Problems{{File: name, Text: fmt.Sprintf("the document is larger than %d MiB", MaxDocument>>20)}}
	}
	root, broken := readTree(document)
	if broken != nil {
		broken.File = name
		return nil, Problems{*broken}
	}
	return root, nil
}

// A decoder turns elements into values and collects what it could not.
type decoder struct{ problems Problems }

func (p *decoder) cluster(root *element) *Definition {
	p.attributes(root, "schemaLocation", "noNamespaceSchemaLocation", "type")
	d := &Definition{}
	for _, e := range root.children {
		if e.name != "workspace" {
			p.unknown(e, root, "workspace")
			continue
		}
		d.Workspaces = append(d.Workspaces, p.workspace(e))
		if len(d.Workspaces) > MaxWorkspaces {
			p.problems.errorf(e.line, "", "more than %d workspaces", MaxWorkspaces)
			break
		}
	}
	return d
}

func (p *decoder) workspace(e *element) Workspace {
	w := Workspace{Line: e.line}
	for _, a := range p.attributes(e, "scripts") {
		if w.Scripts = strings.TrimSpace(a.value); w.Scripts == "" {
			p.problems.errorf(e.line, `write scripts="DIRECTORY", or leave it out`, "the attribute scripts is empty")
		}
	}
	quantity := false
	for _, c := range e.children {
		switch c.name {
		case "name":
			w.Name = c.value()
			p.attributes(c)
		case "image":
			w.Image = c.value()
			p.attributes(c)
		case "quantity":
			w.Quantity, quantity = p.quantity(c), true
		case "nic":
			w.NICs = append(w.NICs, p.nic(c))
		case "ctx":
			w.Ctx = p.ctx(c)
		case "active":
			// Tools mark the reader's own workspace in the copy that a node
			// gets; in a person's file it means nothing.
			if p.boolean(c.line, "active", c.value()) {
				p.problems.warnf(c.line, "leave it out", "<active> is set by tools and is ignored here")
			}
		case "deploy":
			p.problems.warnf(c.line, "leave it out", "<deploy> is ignored: this launch goes to one cloud")
		default:
			p.unknown(c, e, "name", "image", "quantity", "nic", "ctx")
		}
	}
	if !quantity {
		p.problems.errorf(e.line, "add <quantity>1</quantity>", "the workspace has no <quantity>")
		w.Quantity = 1 // said once is enough
	}
	return w
}

func (p *decoder) quantity(e *element) int {
	p.attributes(e)
	text := e.value()
	n, err := strconv.Atoi(text)
	switch {
	case errors.Is(err, strconv.ErrRange) || err == nil && n > MaxQuantity:
		p.problems.errorf(e.line, fmt.Sprintf("write at most %d, or split it into several workspaces", MaxQuantity), "the quantity %s is too large", text)
	case err != nil:
		p.problems.errorf(e.line, "write a whole number, such as 2", "the quantity %q is not a number", text)
	case n < 1:
		p.problems.errorf(e.line, "write 1 or more, or remove the workspace", "the quantity is %d", n)
	default:
		return n
	}
	return 1
}

func (p *decoder) nic(e *element) NIC {
	n := NIC{Network: e.value(), Line: e.line}
	for _, a := range p.attributes(e, "interface", "_interface", "wantlogin") {
		switch a.name {
		case "interface", "_interface":
			n.Interface = strings.TrimSpace(a.value)
		case "wantlogin":
			n.WantLogin = p.boolean(e.line, a.name, a.value)
		}
	}
	return n
}

func (p *decoder) ctx(e *element) *Ctx {
	for _, a := range p.attributes(e, "nil") {
		if p.boolean(e.line, "xsi:nil", a.value) {
			return nil
		}
	}
	ctx := &Ctx{}
	for _, c := range e.children {
		switch c.name {
		case "provides":
			ctx.Provides, ctx.Identities = p.provides(c)
		case "requires":
			ctx.Requires = p.requires(c)
		default:
			p.unknown(c, e, "provides", "requires")
		}
	}
	return ctx
}

func (p *decoder) provides(e *element) (roles []ProvidedRole, labels []string) {
	p.attributes(e)
	for _, c := range e.children {
		switch c.name {
		case "identity":
			labels = append(labels, p.providedIdentity(c))
		case "role":
			role := ProvidedRole{Name: c.value(), Line: c.line}
			for _, a := range p.attributes(c, "interface", "_interface") {
				role.Interface = strings.TrimSpace(a.value)
			}
			if len(roles) > MaxNames {
				continue // Check says that there are too many
			}
			roles = append(roles, role)
		default:
			p.unknown(c, e, "identity", "role")
		}
	}
	return roles, labels
}

// providedIdentity reads the label; addresses and keys come from the machine,
// so what a file says about them is ignored, as in the original.
func (p *decoder) providedIdentity(e *element) string {
	p.attributes(e)
	label := ""
	for _, c := range e.children {
		switch c.name {
		case "interface", "_interface":
			label = c.value()
		case "ip", "hostname", "pubkey":
			p.problems.warnf(c.line, "leave it out", "<%s> is ignored: the machine reports its own", c.name)
		default:
			p.unknown(c, e, "interface")
		}
	}
	return label
}

func (p *decoder) requires(e *element) Requires {
	p.attributes(e)
	var r Requires
	for _, c := range e.children {
		switch c.name {
		case "identity":
			p.attributes(c)
			r.Identity = true
			for _, inner := range c.children {
				p.problems.errorf(inner.line, "write <identity/>", "<identity> under <requires> must be empty: it asks for all identities")
			}
		case "role":
			p.requiredRole(c, &r)
		case "data":
			data := Data{Value: c.value(), Line: c.line}
			for _, a := range p.attributes(c, "name") {
				data.Name = a.value
			}
			if len(r.Data) <= MaxNames {
				r.Data = append(r.Data, data)
			}
		default:
			p.unknown(c, e, "identity", "role", "data")
		}
	}
	return r
}

func (p *decoder) requiredRole(e *element, r *Requires) {
	if len(r.Roles) > MaxNames {
		return // Check says that there are too many
	}
	role := RequiredRole{Line: e.line}
	for _, a := range p.attributes(e, "name", "hostname", "pubkey", "ready") {
		switch a.name {
		case "name":
			role.Name = a.value
		case "hostname":
			role.Hostname = p.boolean(e.line, a.name, a.value)
		case "pubkey":
			role.Pubkey = p.boolean(e.line, a.name, a.value)
		case "ready":
			role.Ready = p.boolean(e.line, a.name, a.value)
		}
	}
	if role.Name == "" && e.value() != "" {
		p.problems.errorf(e.line, fmt.Sprintf("write <role name=%q/>", e.value()), "a required role is named by its name attribute, not by its text")
		return
	}
	r.Roles = append(r.Roles, role)
}

// boolean reads true, false, 1 and 0 in any case; empty is false.
func (p *decoder) boolean(line int, name, text string) bool {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "true", "1":
		return true
	case "false", "0", "":
		return false
	}
	p.problems.errorf(line, "write true or false", "%s is %q", name, text)
	return false
}

// attributes returns those that are known here and warns of the others: a
// misspelt one would be ignored without a word.
func (p *decoder) attributes(e *element, known ...string) []attr {
	var found []attr
	for _, a := range e.attrs {
		if slices.Contains(known, a.name) {
			found = append(found, a)
			continue
		}
		p.problems.warnf(e.line, suggestion(a.name, known), "<%s> has no attribute %q: it is ignored", e.name, a.name)
	}
	return found
}

func (p *decoder) unknown(e, parent *element, known ...string) {
	fix := suggestion(e.name, known)
	if fix == "" {
		fix = "what may stand there: " + strings.Join(known, ", ")
	}
	p.problems.errorf(e.line, fix, "there is no element <%s> in <%s>", e.name, parent.name)
}
