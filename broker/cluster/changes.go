package cluster

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Changes are what a command line says about a definition: the options --set,
// --quantity and --data. Its errors name these.
type Changes struct {
	Set      map[string]string // variable → value
	Quantity []Quantity
	Data     []Data // values that replace all those of the same name
}

// Quantity is another number of instances for a workspace.
type Quantity struct{ Workspace, Number string }

// ReadWith is Read for what a person wrote: with variables, and with changes
// that are checked as if the file had said so.
func ReadWith(name string, r io.Reader, changes Changes) (*Definition, Problems) {
	root, broken := readDocument(name, r)
	if broken != nil {
		return &Definition{}, broken
	}
	s := variables(root, changes.Set)
	var p decoder
	d := p.cluster(root)
	d.Normalize()
	said := d.change(changes)
	problems := append(p.problems, d.Check()...)
	s.mark(problems)
	return d, slices.Concat(s.problems, said, problems).inFile(name)
}

// change makes the changes, but for the variables, and says which it could not.
func (d *Definition) change(c Changes) Problems {
	var ps Problems
	for _, q := range c.Quantity {
		d.changeQuantity(q, &ps)
	}
	replaced := map[string]bool{}
	size := 0
	for _, data := range c.Data {
		if size += len(data.Value); size > MaxDocument {
			ps.errorf(0, "", "--data: the values together are larger than %d MiB", MaxDocument>>20)
			break
		}
		d.changeData(data, replaced[data.Name], &ps)
		replaced[data.Name] = true
	}
	return ps
}

func (d *Definition) changeQuantity(q Quantity, ps *Problems) {
	option := "--quantity " + q.Workspace + "=" + q.Number
	w, _ := d.Find(q.Workspace)
	if w == nil {
		var known []string
		for i := range d.Workspaces {
			known = append(known, d.Workspaces[i].Name)
		}
		ps.errorf(0, fixAmong(q.Workspace, known, "workspaces"), "%s: there is no workspace %q", option, q.Workspace)
		return
	}
	n, err := strconv.Atoi(q.Number)
	if err != nil || n < 1 || n > MaxQuantity {
		ps.errorf(0, fmt.Sprintf("give a whole number from 1 to %d", MaxQuantity), "%s: %q is no number of instances", option, q.Number)
		return
	}
	w.Quantity = n
}

// changeData gives a value to everyone who requires the name: the first one
// brings it, the others only ask for it.
func (d *Definition) changeData(data Data, again bool, ps *Problems) {
	option := "--data " + data.Name
	if err := CheckText(data.Value); err != nil {
		ps.errorf(0, "", "%s: %v", option, err)
		return
	}
	value := strings.TrimSpace(data.Value)
	first := true
	for i := range d.Workspaces {
		w := &d.Workspaces[i]
		if w.Ctx == nil {
			continue
		}
		all := w.Ctx.Requires.Data
		at := slices.IndexFunc(all, func(o Data) bool { return o.Name == data.Name })
		switch {
		case at < 0:
			continue
		case again && first: // one more value
			after := at
			for after < len(all) && all[after].Name == data.Name {
				after++
			}
			w.Ctx.Requires.Data = slices.Insert(all, after, Data{data.Name, value, all[at].Line})
		case !again:
			line := all[at].Line
			all = slices.DeleteFunc(all, func(o Data) bool { return o.Name == data.Name })
			own := Data{Name: data.Name, Line: line}
			if first {
				own.Value = value
			}
			w.Ctx.Requires.Data = slices.Insert(all, at, own)
		}
		first = false
	}
	if first {
		ps.errorf(0, fixAmong(data.Name, d.DataNames(), "data"), "%s: nobody requires data %q", option, data.Name)
	}
}

// DataNames lists the names of data that nodes require, in the order of the
// definition.
func (d *Definition) DataNames() []string {
	var names []string
	seen := map[string]bool{}
	for i := range d.Workspaces {
		if d.Workspaces[i].Ctx == nil {
			continue
		}
		for _, data := range d.Workspaces[i].Ctx.Requires.Data {
			if !seen[data.Name] {
				seen[data.Name] = true
				names = append(names, data.Name)
			}
		}
	}
	return names
}

// fixAmong proposes the name that was meant, or says which there are.
func fixAmong(name string, known []string, what string) string {
	if fix := suggestion(name, known); fix != "" {
		return fix
	}
	if len(known) == 0 {
		return "there are no " + what + " with a name"
	}
	list := strings.Join(known[:min(len(known), 20)], ", ")
	if len(known) > 20 {
		list += ", …"
	}
	return "the " + what + ": " + list
}
