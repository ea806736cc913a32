package cluster

import (
	"encoding/xml"
	"io"
	"strconv"
)

// Namespace of the cluster document (ctxdescription), as the original's agent
// and broker want every element and attribute qualified.
const Namespace = "http://www.globus.org/2008/12/nimbus/ctxdescription"

// Encode writes a definition in the canonical form of the original's schema.
// Extensions that old parsers know nothing of (ready, scripts) are attributes, which
// they ignore; Read gives the same definition back.
func Encode(w io.Writer, d *Definition) error {
	e := &encoder{Encoder: xml.NewEncoder(w)}
	e.Indent("", "  ")
	e.open("cluster")
	for i := range d.Workspaces {
		e.workspace(&d.Workspaces[i])
	}
	e.shut("cluster")
	if e.err == nil {
		e.err = e.Close()
	}
	return e.err
}

// An encoder remembers the first error, so that the document can be written
// down as it reads.
type encoder struct {
	*xml.Encoder
	depth int
	err   error
}

func (e *encoder) token(t xml.Token) {
	if e.err == nil {
		e.err = e.EncodeToken(t)
	}
}

// open starts an element; attributes come in pairs, empty values are left out.
func (e *encoder) open(name string, attributes ...string) {
	start := xml.StartElement{Name: xml.Name{Local: "d:" + name}}
	if e.depth == 0 {
		start.Attr = append(start.Attr, xml.Attr{Name: xml.Name{Local: "xmlns:d"}, Value: Namespace})
	}
	for i := 0; i+1 < len(attributes); i += 2 {
		if attributes[i+1] != "" {
			start.Attr = append(start.Attr, xml.Attr{Name: xml.Name{Local: "d:" + attributes[i]}, Value: attributes[i+1]})
		}
	}
	e.depth++
	e.token(start)
}

func (e *encoder) shut(name string) {
	e.depth--
	e.token(xml.EndElement{Name: xml.Name{Local: "d:" + name}})
}

func (e *encoder) text(name, text string, attributes ...string) {
	e.open(name, attributes...)
	if text != "" {
		e.token(xml.CharData(text))
	}
	e.shut(name)
}

func (e *encoder) workspace(w *Workspace) {
	e.open("workspace", "scripts", w.Scripts)
	if !w.Unnamed {
		e.text("name", w.Name)
	}
	e.text("image", w.Image)
	e.text("quantity", strconv.Itoa(w.Quantity))
	for _, n := range w.NICs {
		e.text("nic", n.Network, "interface", n.Interface, "wantlogin", flag(n.WantLogin))
	}
	if w.Ctx != nil {
		e.ctx(w.Ctx)
	}
	e.shut("workspace")
}

func (e *encoder) ctx(c *Ctx) {
	e.open("ctx")
	if len(c.Identities) > 0 || len(c.Provides) > 0 {
		e.open("provides")
		for _, label := range c.Identities {
			e.open("identity")
			if label != "" {
				e.text("interface", label)
			}
			e.shut("identity")
		}
		for _, r := range c.Provides {
			e.text("role", r.Name, "interface", r.Interface)
		}
		e.shut("provides")
	}
	r := c.Requires
	if r.Identity || len(r.Roles) > 0 || len(r.Data) > 0 {
		e.open("requires")
		if r.Identity {
			e.text("identity", "")
		}
		for _, role := range r.Roles {
			e.text("role", "", "name", role.Name, "hostname", flag(role.Hostname), "pubkey", flag(role.Pubkey), "ready", flag(role.Ready))
		}
		for _, data := range r.Data {
			e.text("data", data.Value, "name", data.Name)
		}
		e.shut("requires")
	}
	e.shut("ctx")
}

func flag(b bool) string {
	if b {
		return "true"
	}
	return ""
}
