package main

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"nimbus/agent"
	"nimbus/broker"
)

// The pages for operators and image authors have a row for every setting, and
// no other.
func TestSettingsPages(t *testing.T) {
	for page, config := range map[string]reflect.Type{
		"docs/broker.md": reflect.TypeFor[broker.Config](),
		"docs/image.md":  reflect.TypeFor[agent.Config](),
	} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		_, table, found := strings.Cut(string(text), "| setting |")
		if !found {
			t.Fatalf("%s has no table of settings", page)
		}
		rows := map[string]bool{}
		for line := range strings.Lines(table) {
			if cell, _, is := strings.Cut(strings.TrimPrefix(line, "| "), " |"); is && strings.HasPrefix(cell, "`") {
				for name := range strings.SplitSeq(cell, ", ") {
					rows[strings.Trim(name, "`")] = true
				}
			}
		}
		for field := range config.Fields() {
			name := field.Tag.Get("toml")
			if name == "" || name == "-" {
				continue
			}
			if !rows[name] {
				t.Errorf("%s does not explain %s", page, name)
			}
			delete(rows, name)
		}
		for name := range rows {
			t.Errorf("%s explains %s, which is no setting", page, name)
		}
	}
}
