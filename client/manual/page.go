// Package manual reads the help text of a command and writes it as a manual
// page. Help is written by hand and for people; what it has in common is what
// Parse asks for:
//
//	Usage:
//	  nimbus run --cluster FILE [OPTIONS]
//
//	Paragraphs.
//
//	Examples:
//	  nimbus run --cluster hello.xml
//
//	Options:
//	  --cluster FILE      what it means, goes on
//	                      in the next line
//
//	Exit codes: 0 all is well; 1 it is not.
package manual

import (
	"errors"
	"fmt"
	"strings"
)

// Page is a help text in its parts.
type Page struct {
	Usage    []string // one for each way to call it
	Sections []Section
}

// Section has a title, which is empty for what follows the usage, and blocks.
type Section struct {
	Title  string
	Blocks []Block
}

// Block is one of: a paragraph, lines that stay as they are, or terms.
type Block struct {
	Text  string
	Lines []string
	Terms []Term
}

// Term is an option, say, and what it means.
type Term struct{ Name, Text string }

// Parse reads a help text.
func Parse(help string) (Page, error) {
	var p Page
	lines := strings.Split(strings.TrimRight(help, "\n"), "\n")
	if lines[0] != "Usage:" {
		return p, fmt.Errorf(`it begins with %q, not with "Usage:"`, lines[0])
	}
	for _, paragraph := range paragraphs(lines) {
		if err := p.add(paragraph); err != nil {
			return p, err
		}
	}
	if len(p.Usage) == 0 {
		return p, errors.New("the usage is empty")
	}
	return p, nil
}

// paragraphs splits at empty lines.
func paragraphs(lines []string) (all [][]string) {
	var current []string
	for _, line := range append(lines, "") {
		if strings.TrimSpace(line) != "" {
			current = append(current, line)
		} else if current != nil {
			all = append(all, current)
			current = nil
		}
	}
	return all
}

// add takes one paragraph into the page. It may begin with a title.
func (p *Page) add(lines []string) error {
	if title, rest, ok := titleOf(lines[0]); ok {
		if title == "Usage" {
			for _, line := range lines[1:] {
				if !indented(line) {
					return fmt.Errorf("usage: %q is not indented", line)
				}
				p.Usage = append(p.Usage, strings.TrimSpace(line))
			}
			p.Sections = append(p.Sections, Section{})
			return nil
		}
		p.Sections = append(p.Sections, Section{Title: title})
		if lines = lines[1:]; rest != "" {
			lines = append([]string{rest}, lines...)
		}
		if len(lines) == 0 {
			return nil
		}
	}
	s := &p.Sections[len(p.Sections)-1]
	if indented(lines[0]) {
		s.Blocks = append(s.Blocks, indentedBlock(s.Title, lines))
		return nil
	}
	for i, line := range lines {
		if !indented(line) {
			continue
		}
		// Text that leads to what is indented.
		s.Blocks = append(s.Blocks, Block{Text: strings.Join(lines[:i], " ")}, indentedBlock(s.Title, lines[i:]))
		return nil
	}
	s.Blocks = append(s.Blocks, Block{Text: strings.Join(lines, " ")})
	return nil
}

// titleOf reads "Options:", "Example: a testbed" and "Exit codes: 0 all is
// well".
func titleOf(line string) (title, rest string, ok bool) {
	title, rest, found := strings.Cut(line, ":")
	rest = strings.TrimSpace(rest)
	if !found || indented(line) || title == "" || strings.ToUpper(title[:1]) != title[:1] {
		return "", "", false
	}
	if rest == "" || title == "Exit codes" || title == "Example" {
		return title, rest, len(strings.Fields(title)) <= 4
	}
	return "", "", false
}

func indented(line string) bool { return strings.HasPrefix(line, "  ") }

// indentedBlock takes terms for terms: in a section that has them, and not
// commands to type.
func indentedBlock(title string, lines []string) Block {
	var terms []Term
	if strings.HasPrefix(title, "Example") {
		return Block{Lines: unindent(lines)}
	}
	for _, line := range lines {
		text := strings.TrimPrefix(line, "  ")
		if indented(text) && len(terms) > 0 { // the last one goes on
			last := &terms[len(terms)-1]
			last.Text = strings.TrimSpace(last.Text + " " + strings.TrimSpace(text))
			continue
		}
		name, meaning, found := strings.Cut(text, "  ")
		if !found && !strings.HasPrefix(name, "-") || indented(text) {
			return Block{Lines: unindent(lines)}
		}
		terms = append(terms, Term{name, strings.TrimSpace(meaning)})
	}
	return Block{Terms: terms}
}

func unindent(lines []string) []string {
	all := make([]string, len(lines))
	for i, line := range lines {
		all[i] = strings.TrimPrefix(line, "  ")
	}
	return all
}

// Options maps each option of the page, without dashes, to what it means.
func (p Page) Options() map[string]string {
	all := map[string]string{}
	for _, s := range p.Sections {
		for _, b := range s.Blocks {
			for _, t := range b.Terms {
				for name := range strings.SplitSeq(t.Name, ", ") {
					name, _, _ = strings.Cut(name, " ")
					name, _, _ = strings.Cut(name, "=")
					name, _, _ = strings.Cut(name, "[")
					if option := strings.TrimLeft(name, "-"); option != name && option != "" && all[option] == "" {
						all[option] = t.Text
					}
				}
			}
		}
	}
	return all
}

// Has tells whether there is a section whose title begins so.
func (p Page) Has(title string) bool {
	for _, s := range p.Sections {
		if strings.HasPrefix(s.Title, title) {
			return true
		}
	}
	return false
}
