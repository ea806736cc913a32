package client

import (
	"encoding"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"nimbus/broker/cluster"
	"nimbus/broker/wire"
	"nimbus/client/graph"
	"nimbus/client/history"
	"nimbus/cloud"
)

// documents are what the commands print with --json. A command that is not
// here fails the test: add it, and its types to titles and docs/json.md.
var documents = map[string]reflect.Type{
	"run":              reflect.TypeFor[Result](),
	"run --dry-run":    reflect.TypeFor[DryRun](),
	"resume":           reflect.TypeFor[Result](),
	"status":           reflect.TypeFor[LaunchStatus](),
	"status --handle":  reflect.TypeFor[LaunchDetail](),
	"nodes":            reflect.TypeFor[wire.Node](),
	"print-ctx-status": reflect.TypeFor[AddressStatus](),
	"exec":             reflect.TypeFor[Execution](),
	"cp":               reflect.TypeFor[Copy](),
	"logs":             reflect.TypeFor[NodeLog](),
	"rerun":            reflect.TypeFor[Rerun](),
	"extend":           reflect.TypeFor[Extension](),
	"release":          reflect.TypeFor[Released](),
	"terminate":        reflect.TypeFor[Termination](),
	"forget":           reflect.TypeFor[Forgotten](),
	"new":              reflect.TypeFor[NewCluster](),
	"validate":         reflect.TypeFor[Validation](),
	"graph":            reflect.TypeFor[graph.Graph](),
	"inject":           reflect.TypeFor[Injected](),
	"lock":             reflect.TypeFor[Locked](),
	"networks":         reflect.TypeFor[cloud.Network](),
	"list":             reflect.TypeFor[cloud.Image](),
	"contexts":         reflect.TypeFor[wire.Summary](),
	"login":            reflect.TypeFor[LoginResult](),
	"version":          reflect.TypeFor[Version](),
	"install":          reflect.TypeFor[Installed](),
	"doctor":           reflect.TypeFor[Diagnosis](),
}

// titles are the sections of docs/json.md.
var titles = map[reflect.Type]string{
	reflect.TypeFor[ErrorResult]():          "Error",
	reflect.TypeFor[Result]():               "Result",
	reflect.TypeFor[Event]():                "Event",
	reflect.TypeFor[Login]():                "Way in",
	reflect.TypeFor[DryRun]():               "Dry run",
	reflect.TypeFor[DryWorkspace]():         "Workspace of a dry run",
	reflect.TypeFor[Scripts]():              "Scripts of a launch",
	reflect.TypeFor[cluster.NIC]():          "NIC",
	reflect.TypeFor[cloud.Limit]():          "Limit",
	reflect.TypeFor[graph.Wait]():           "Wait",
	reflect.TypeFor[graph.RoleWait]():       "Required role",
	reflect.TypeFor[graph.DataWait]():       "Required data",
	reflect.TypeFor[history.Context]():      "Place of a context",
	reflect.TypeFor[history.Instance]():     "Instance of a launch",
	reflect.TypeFor[cloud.Instance]():       "Instance",
	reflect.TypeFor[cloud.Address]():        "Address",
	reflect.TypeFor[LaunchStatus]():         "Launch",
	reflect.TypeFor[LaunchDetail]():         "Launch in detail",
	reflect.TypeFor[NodeStatus]():           "Node of a launch",
	reflect.TypeFor[wire.Status]():          "Context in detail",
	reflect.TypeFor[wire.WorkspaceStatus](): "Workspace",
	reflect.TypeFor[wire.Failure]():         "Failure",
	reflect.TypeFor[wire.Refusal]():         "Refusal",
	reflect.TypeFor[wire.Latest]():          "Latest",
	reflect.TypeFor[wire.Summary]():         "Context",
	reflect.TypeFor[wire.Node]():            "Node",
	reflect.TypeFor[cluster.Identity]():     "Identity",
	reflect.TypeFor[wire.Report]():          "Report",
	reflect.TypeFor[AddressStatus]():        "Address of a node",
	reflect.TypeFor[Execution]():            "Execution",
	reflect.TypeFor[Copy]():                 "Copy",
	reflect.TypeFor[NodeLog]():              "Log of a node",
	reflect.TypeFor[Rerun]():                "Rerun",
	reflect.TypeFor[Extension]():            "Extension",
	reflect.TypeFor[Released]():             "Released",
	reflect.TypeFor[Termination]():          "Termination",
	reflect.TypeFor[Forgotten]():            "Forgotten",
	reflect.TypeFor[NewCluster]():           "New cluster",
	reflect.TypeFor[Validation]():           "Validation",
	reflect.TypeFor[cluster.Problem]():      "Problem",
	reflect.TypeFor[graph.Graph]():          "Drawing",
	reflect.TypeFor[graph.Node]():           "Node of a drawing",
	reflect.TypeFor[graph.Edge]():           "Edge",
	reflect.TypeFor[Injected]():             "Injected",
	reflect.TypeFor[Locked]():               "Locked",
	reflect.TypeFor[cloud.Network]():        "Network",
	reflect.TypeFor[cloud.Image]():          "Image",
	reflect.TypeFor[LoginResult]():          "Stored login",
	reflect.TypeFor[Version]():              "Version",
	reflect.TypeFor[Installed]():            "Installed",
	reflect.TypeFor[Diagnosis]():            "Diagnosis",
	reflect.TypeFor[cloud.Finding]():        "Finding",
}

// docs/json.md has each command that knows --json, each document, and each
// field of it, and nothing else.
func TestJSONIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	commands, sections := jsonPage(string(page))
	for _, c := range Commands(&Env{}) {
		for _, f := range c.Flags {
			if f.Names()[0] != "json" {
				continue
			}
			if _, known := documents[c.Name]; !known {
				t.Errorf("%s has --json: add its document to documents in this file", c.Name)
			}
		}
	}
	for command := range documents {
		if !commands[command] {
			t.Errorf("docs/json.md: the table of commands has no `%s`", command)
		}
		delete(commands, command)
	}
	for command := range commands {
		t.Errorf("docs/json.md: there is no document of `%s`", command)
	}
	types := map[reflect.Type]bool{}
	collect(reflect.TypeFor[ErrorResult](), types)
	collect(reflect.TypeFor[Event](), types)
	for _, document := range documents {
		collect(document, types)
	}
	for of := range types {
		title, known := titles[of]
		if !known {
			t.Errorf("%v: add a title for it to titles in this file, and a section of that name to docs/json.md", of)
			continue
		}
		rows, there := sections[title]
		var missing strings.Builder
		for _, name := range jsonFields(of) {
			if !rows[name] {
				fmt.Fprintf(&missing, "| `%s` |  |\n", name)
			}
			delete(rows, name)
		}
		if missing.Len() > 0 || !there {
			t.Errorf("docs/json.md: section %q lacks\n%s", title, missing.String())
		}
		for name := range rows {
			t.Errorf("docs/json.md: section %q explains `%s`, which %v does not have", title, name, of)
		}
		delete(sections, title)
	}
	for title := range sections {
		t.Errorf("docs/json.md: section %q describes no document", title)
	}
	for link := range strings.SplitSeq(string(page), "](#") {
		anchor, _, is := strings.Cut(link, ")")
		heading := strings.ReplaceAll(anchor, "-", " ")
		if is && !strings.HasPrefix(link, "# ") && !strings.Contains(strings.ToLower(string(page)), "### "+heading+"\n") {
			t.Errorf("docs/json.md: a link leads to #%s, which is not there", anchor)
		}
	}
}

// Each event that the commands send is explained, and no other.
func TestEventsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n### Event\n")
	section, _, _ = strings.Cut(section, "\n### ")
	explained := map[string]bool{}
	for line := range strings.Lines(section) {
		if item, is := strings.CutPrefix(line, "- `"); is {
			name, _, _ := strings.Cut(item, "`")
			explained[name] = true
		}
	}
	sent := sentEvents(t)
	if len(sent) < 10 {
		t.Errorf("only %d events are found in the source: does this test still know how they are sent?", len(sent))
	}
	for name := range sent {
		if !explained[name] {
			t.Errorf("docs/json.md: the list of events has no `%s`", name)
		}
	}
	for name := range explained {
		if !sent[name] {
			t.Errorf("docs/json.md: nothing sends the event `%s`", name)
		}
	}
}

// sentEvents finds the names of the events in the source of this package. A
// name that is computed there could not be found: that is an error.
func sentEvents(t *testing.T) map[string]bool {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	sent := map[string]bool{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(source, func(n ast.Node) bool {
			made, is := n.(*ast.CompositeLit)
			if !is {
				return true
			}
			if of, is := made.Type.(*ast.Ident); !is || of.Name != "Event" {
				return true
			}
			name := ""
			for _, element := range made.Elts {
				field, is := element.(*ast.KeyValueExpr)
				if !is || field.Key.(*ast.Ident).Name != "Event" {
					continue
				}
				if text, is := field.Value.(*ast.BasicLit); is {
					name, _ = strconv.Unquote(text.Value)
				}
			}
			if name == "" {
				t.Errorf("%s: an event whose name is not written there", file)
			}
			sent[name] = true
			return true
		})
	}
	return sent
}

// jsonPage takes the page apart: the commands in its first table, and the
// fields of each section.
func jsonPage(page string) (commands map[string]bool, sections map[string]map[string]bool) {
	commands, sections = map[string]bool{}, map[string]map[string]bool{}
	var rows map[string]bool
	for line := range strings.Lines(page) {
		if title, is := strings.CutPrefix(line, "### "); is {
			rows = map[string]bool{}
			sections[strings.TrimSpace(title)] = rows
			continue
		}
		cell, _, is := strings.Cut(strings.TrimPrefix(line, "| "), " |")
		if !is || !strings.HasPrefix(cell, "`") {
			continue
		}
		for name := range strings.SplitSeq(cell, ", ") {
			if name = strings.Trim(name, "`"); rows == nil {
				commands[name] = true
			} else {
				rows[name] = true
			}
		}
	}
	return commands, sections
}

// collect finds the documents inside of one.
func collect(of reflect.Type, found map[reflect.Type]bool) {
	for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice || of.Kind() == reflect.Map {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct || found[of] || of.Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
		return
	}
	found[of] = true
	for _, f := range reflect.VisibleFields(of) {
		if f.IsExported() && !f.Anonymous && f.Tag.Get("json") != "-" {
			collect(f.Type, found)
		}
	}
}

// jsonFields are the names that encoding/json gives the fields of a struct,
// those of embedded ones included.
func jsonFields(of reflect.Type) (names []string) {
	seen := map[string]bool{}
	for _, f := range reflect.VisibleFields(of) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.IsExported() && !f.Anonymous && name != "-" && !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names
}
