package graph

import (
	"fmt"
	"strings"
)

// Mermaid writes the drawing for Mermaid, which GitHub and others show.
func (g Graph) Mermaid() string {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	for _, n := range g.Nodes {
		var lines []string
		for _, line := range n.lines() {
			lines = append(lines, mermaidText(line))
		}
		shape := map[NodeKind][2]string{Workspace: {"[", "]"}, Everybody: {"([", "])"}, Value: {"[/", "/]"}, Role: {"{{", "}}"}}[n.Kind]
		fmt.Fprintf(&b, "  %s%s\"%s\"%s\n", n.ID, shape[0], strings.Join(lines, "<br/>"), shape[1])
	}
	for _, e := range g.Edges {
		arrow := map[EdgeKind]string{Provides: "---", Joined: "-->", Ready: "==>", Identities: "-.->", Given: "-.->"}[e.Kind]
		label := ""
		if text := e.label(); text != "" {
			label = `|"` + mermaidText(text) + `"|`
		}
		fmt.Fprintf(&b, "  %s %s%s %s\n", e.From, arrow, label, e.To)
	}
	return b.String()
}

// mermaidText writes what may mean something to Mermaid, or to the HTML that
// it makes, by its number.
func mermaidText(text string) string {
	var b strings.Builder
	for _, c := range text {
		plain := c >= 0x80 || c == ' ' || c == '.' || c == '-' || c == '_' || c == '(' || c == ')' ||
			'0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if plain {
			b.WriteRune(c)
		} else {
			fmt.Fprintf(&b, "#%d;", c)
		}
	}
	return b.String()
}

// DOT writes the drawing for Graphviz.
func (g Graph) DOT() string {
	var b strings.Builder
	b.WriteString("digraph cluster {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n  edge [fontname=\"sans-serif\", fontsize=10];\n")
	for _, n := range g.Nodes {
		shape := map[NodeKind]string{Workspace: "box", Everybody: "oval", Value: "note", Role: "hexagon"}[n.Kind]
		fmt.Fprintf(&b, "  %s [label=%s, shape=%s];\n", n.ID, dotText(n.lines()...), shape)
	}
	for _, e := range g.Edges {
		style := map[EdgeKind]string{Provides: "style=solid, dir=none", Joined: "style=solid", Ready: "style=bold", Identities: "style=dashed", Given: "style=dotted"}[e.Kind]
		fmt.Fprintf(&b, "  %s -> %s [label=%s, %s];\n", e.From, e.To, dotText(e.label()), style)
	}
	b.WriteString("}\n")
	return b.String()
}

// dotText quotes lines as one label. (Graphviz reads HTML entities in it.)
func dotText(lines ...string) string {
	for i, line := range lines {
		lines[i] = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `&`, `&amp;`).Replace(line)
	}
	return `"` + strings.Join(lines, `\n`) + `"`
}
