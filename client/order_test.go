package client

import (
	"strings"
	"testing"
)

func TestOptionsFirst(t *testing.T) {
	commands := Commands(&Env{})
	for line, want := range map[string]string{
		"validate a.xml --json":                       "validate --json a.xml",
		"validate a.xml b.xml --set x=1 --json c.xml": "validate --set x=1 --json a.xml b.xml c.xml",
		"validate --set=x=1 a.xml --set=y=2":          "validate --set=x=1 --set=y=2 a.xml",
		"logs front-0 -f --handle cluster-001":        "logs -f --handle cluster-001 front-0",
		"logs front-0 --json=stream --follow":         "logs --json=stream --follow front-0",
		"rerun back-1 --from 3 back-0":                "rerun --from 3 back-1 back-0",
		"graph - --format dot":                        "graph --format dot -",
		"validate a.xml --help":                       "validate --help a.xml",
		// Not understood: as it was, and refused.
		"validate a.xml --odd":   "validate a.xml --odd",
		"rerun back-1 --from":    "rerun back-1 --from",
		"validate a.xml -- --js": "validate a.xml -- --js",
		// A command's own words are its own.
		"exec --all -- ls --json":   "exec --all -- ls --json",
		"ssh front-0 ls --json":     "ssh front-0 ls --json",
		"status cluster-001 --json": "status cluster-001 --json",
	} {
		if got := strings.Join(OptionsFirst(strings.Fields(line), commands), " "); got != want {
			t.Errorf("%s\n got %s\nwant %s", line, got, want)
		}
	}
}
