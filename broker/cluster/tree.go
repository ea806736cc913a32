package cluster

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// An element is one XML element with its lines, before anybody asks what it
// means. Namespaces are dropped, as the original's parser did.
type element struct {
	name     string
	attrs    []attr
	text     strings.Builder
	children []*element
	line     int
}

type attr struct{ name, value string }

// readTree parses a document with all bounds held; the error names the line.
func readTree(document []byte) (*element, *Problem) {
	d := xml.NewDecoder(bytes.NewReader(document))
	var root *element
	var open []*element
	count := 0
	fail := func(line int, fix, format string, args ...any) (*element, *Problem) {
		return nil, &Problem{Line: line, Text: fmt.Sprintf(format, args...), Fix: fix}
	}
	for {
		line, _ := d.InputPos()
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			var syntax *xml.SyntaxError
			if errors.As(err, &syntax) {
				return fail(syntax.Line, "", "this is not well-formed XML: %s", syntax.Msg)
			}
			return fail(line, "save the file as UTF-8", "cannot read this document: %v", err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			if count++; count > MaxElements {
				return fail(line, "", "more than %d elements", MaxElements)
			}
			if len(open) >= MaxDepth {
				return fail(line, "", "elements nested deeper than %d", MaxDepth)
			}
			e := &element{name: t.Name.Local, line: line}
			for _, a := range t.Attr {
				if a.Name.Space == "xmlns" || a.Name.Local == "xmlns" {
					continue
				}
				e.attrs = append(e.attrs, attr{a.Name.Local, a.Value})
			}
			if len(open) > 0 {
				parent := open[len(open)-1]
				parent.children = append(parent.children, e)
			} else if root == nil {
				root = e
			} else {
				return fail(line, "", "a second document begins after the first")
			}
			open = append(open, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 {
				open[len(open)-1].text.Write(t)
			}
		}
	}
	if root == nil {
		return fail(1, "a definition begins with <cluster>", "there is no XML element in this document")
	}
	return root, nil
}

// value is the text of a simple element, trimmed as the original trimmed it.
func (e *element) value() string { return strings.TrimSpace(e.text.String()) }
