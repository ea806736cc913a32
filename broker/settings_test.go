package broker

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// docs/broker.md has a row for every setting, and no other.
func TestSettingsPage(t *testing.T) {
	text, err := os.ReadFile("../docs/broker.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "| setting |")
	if !found {
		t.Fatal("docs/broker.md has no table of settings")
	}
	rows := map[string]bool{}
	for line := range strings.Lines(table) {
		if cell, _, is := strings.Cut(strings.TrimPrefix(line, "| "), " |"); is && strings.HasPrefix(cell, "`") {
			for name := range strings.SplitSeq(cell, ", ") {
				rows[strings.Trim(name, "`")] = true
			}
		}
	}
	for field := range reflect.TypeFor[Config]().Fields() {
		name := field.Tag.Get("toml")
		if name == "" || name == "-" {
			continue
		}
		if !rows[name] {
			t.Errorf("docs/broker.md does not explain %s", name)
		}
		delete(rows, name)
	}
	for name := range rows {
		t.Errorf("docs/broker.md explains %s, which is no setting", name)
	}
}
