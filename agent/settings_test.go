package agent

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// docs/image.md has a row for every setting, and no other.
func TestSettingsPage(t *testing.T) {
	text, err := os.ReadFile("../docs/image.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "| setting |")
	if !found {
		t.Fatal("docs/image.md has no table of settings")
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
			t.Errorf("docs/image.md does not explain %s", name)
		}
		delete(rows, name)
	}
	for name := range rows {
		t.Errorf("docs/image.md explains %s, which is no setting", name)
	}
}
