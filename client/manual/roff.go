package manual

import (
	"fmt"
	"strings"
)

// Title is what a manual page says of itself.
type Title struct {
	Name    string // "nimbus-run"
	Summary string
	SeeAlso []string // other pages of section 1
}

// Roff writes the page for man(1). There is no date in it: the same help gives
// the same page.
func (p Page) Roff(t Title) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1 \"\" \"Nimbus\"\n", quote(strings.ToUpper(t.Name)))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", escape(t.Name), escape(t.Summary))
	b.WriteString(".SH SYNOPSIS\n")
	literal(&b, p.Usage)
	for _, s := range p.Sections {
		title := s.Title
		if title == "" {
			title = "Description"
		}
		if len(s.Blocks) == 0 {
			continue
		}
		fmt.Fprintf(&b, ".SH %s\n", quote(strings.ToUpper(title)))
		for i, block := range s.Blocks {
			block.roff(&b, i == 0)
		}
	}
	if len(t.SeeAlso) > 0 {
		b.WriteString(".SH SEE ALSO\n")
		for i, name := range t.SeeAlso {
			end := ","
			if i == len(t.SeeAlso)-1 {
				end = ""
			}
			fmt.Fprintf(&b, ".BR %s (1)%s\n", escape(name), end)
		}
	}
	return b.String()
}

func (block Block) roff(b *strings.Builder, first bool) {
	switch {
	case block.Terms != nil:
		for _, t := range block.Terms {
			fmt.Fprintf(b, ".TP\n.B %s\n", quote(t.Name))
			if t.Text != "" {
				fmt.Fprintln(b, line(t.Text))
			}
		}
	case block.Lines != nil:
		if !first {
			b.WriteString(".PP\n")
		}
		literal(b, block.Lines)
	default:
		if !first {
			b.WriteString(".PP\n")
		}
		fmt.Fprintln(b, line(block.Text))
	}
}

// literal writes lines that stay as they are.
func literal(b *strings.Builder, lines []string) {
	b.WriteString(".nf\n")
	for _, l := range lines {
		fmt.Fprintln(b, line(l))
	}
	b.WriteString(".fi\n")
}

// line keeps text from being taken for a request.
func line(text string) string {
	text = escape(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		return `\&` + text
	}
	return text
}

// escape keeps what roff would read as its own, and the hyphens that people
// copy.
func escape(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(text)
}

// quote makes one argument of a request.
func quote(text string) string {
	return `"` + strings.ReplaceAll(escape(text), `"`, `\(dq`) + `"`
}
