package cluster

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Variables are written ${name} or ${name:-default} in the texts and attributes
// of a definition; $${ stands for ${. They are replaced after the file has been
// parsed as XML, value by value, so that no value can become markup; what a
// value holds is not looked at again.

// A substitution replaces the variables of one document.
type substitution struct {
	set      map[string]string
	named    map[string]bool  // all names in the document
	given    map[int][]string // line → names whose value was given
	left     int              // bytes that the values may still make it longer by
	problems Problems
}

// variables replaces the variables below an element.
func variables(root *element, set map[string]string) *substitution {
	s := &substitution{set: set, named: map[string]bool{}, given: map[int][]string{}, left: MaxDocument}
	s.element(root)
	known := slices.Sorted(maps.Keys(s.named))
	for _, name := range slices.Sorted(maps.Keys(set)) {
		value := set[name]
		switch {
		case checkVariable(name) != nil:
			s.problems.errorf(0, "", "--set: %v", checkVariable(name))
		case !s.named[name]:
			fix := suggestion(name, known)
			if fix == "" {
				fix = "it has no variables"
				if len(known) > 0 {
					fix = "it has " + strings.Join(known[:min(len(known), 20)], ", ")
				}
			}
			s.problems.errorf(0, fix, "--set %s: the definition does not use ${%s}", name, name)
		case CheckText(value) != nil:
			s.problems.errorf(0, "", "--set %s: %v", name, CheckText(value))
		}
	}
	return s
}

// Variables lists the names of the variables in a definition.
func Variables(r io.Reader) []string {
	root, broken := readDocument("", r)
	if broken != nil {
		return nil
	}
	return slices.Sorted(maps.Keys(variables(root, nil).named))
}

func (s *substitution) element(e *element) {
	for i := range e.attrs {
		e.attrs[i].value = s.text(e.line, e.attrs[i].value)
	}
	if text := e.text.String(); strings.Contains(text, "${") {
		e.text.Reset()
		e.text.WriteString(s.text(e.line, text))
	}
	for _, c := range e.children {
		s.element(c)
	}
}

// text replaces the variables of one value.
func (s *substitution) text(line int, text string) string {
	if !strings.Contains(text, "${") {
		return text
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "${")
		if !found {
			b.WriteString(text)
			return b.String()
		}
		if plain, escaped := strings.CutSuffix(before, "$"); escaped {
			b.WriteString(plain + "${")
			text = rest
			continue
		}
		b.WriteString(before)
		inside, after, closed := strings.Cut(rest, "}")
		if !closed || strings.Contains(inside, "${") {
			s.problems.errorf(line, "write $${ where a plain ${ is meant", "a variable is not closed: %q", clip("${"+rest))
			return b.String()
		}
		b.WriteString(s.value(line, inside))
		text = after
	}
}

// value is what stands for a variable: name or name:-default.
func (s *substitution) value(line int, inside string) string {
	name, otherwise, optional := strings.Cut(inside, ":-")
	if err := checkVariable(name); err != nil {
		s.problems.errorf(line, "write ${name} or ${name:-default}, and $${ where a plain ${ is meant", "%v", err)
		return ""
	}
	if len(s.named) <= MaxNames {
		s.named[name] = true
	}
	value, given := s.set[name]
	switch {
	case given:
		if !slices.Contains(s.given[line], name) {
			s.given[line] = append(s.given[line], name)
		}
	case optional:
		return otherwise
	default:
		fix := suggestion(name, slices.Sorted(maps.Keys(s.set)))
		if fix == "" {
			fix = fmt.Sprintf("give it with --set %s=VALUE, or write ${%s:-default}; $${ is a plain ${", name, name)
		} else {
			fix = "--set gives others: " + fix
		}
		s.problems.errorf(line, fix, "the variable ${%s} has no value", name)
		return ""
	}
	// A few letters in the file may stand for a megabyte each.
	if len(value) > s.left {
		if s.left >= 0 {
			s.problems.errorf(line, "", "with the values of its variables, the document is larger than %d MiB", MaxDocument>>20)
		}
		s.left = -1 // said once is enough
		return ""
	}
	s.left -= len(value)
	return value
}

// mark says of errors in lines with given values where these came from.
func (s *substitution) mark(ps Problems) {
	for i := range ps {
		if names := s.given[ps[i].Line]; len(names) > 0 && !ps[i].Warning {
			ps[i].Text += " (with --set " + strings.Join(names, ", ") + ")"
		}
	}
}

func checkVariable(name string) error {
	if err := CheckName(name); err != nil {
		return fmt.Errorf("the name of a variable: %w", err)
	}
	return nil
}

// CheckText tells whether a value from outside a definition could stand in one:
// a text of characters that XML has.
func CheckText(value string) error {
	if len(value) > MaxData {
		return fmt.Errorf("the value is larger than %d KiB", MaxData>>10)
	}
	if !utf8.ValidString(value) {
		return errors.New("the value is no UTF-8 text: encode it, with base64 for instance")
	}
	for _, c := range value {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0xFFFE || c == 0xFFFF {
			return fmt.Errorf("the value holds the character %U, which no text has: encode it, with base64 for instance", c)
		}
	}
	return nil
}

// clip keeps what is quoted short.
func clip(text string) string {
	if len(text) > 40 {
		text = strings.ToValidUTF8(text[:40], "") + "…"
	}
	return text
}
