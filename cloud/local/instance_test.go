//go:build linux

package local

import (
	"strings"
	"testing"
)

// A first process is not trusted by its keeper: what it says has an end.
func TestSandboxThatSaysTooMuch(t *testing.T) {
	ours, theirs, err := conversation()
	if err != nil {
		t.Fatal(err)
	}
	sandbox, err := connection(theirs)
	if err != nil {
		t.Fatal(err)
	}
	defer sandbox.Close()
	defer ours.Close()
	go send(sandbox, verdict{Error: strings.Repeat("x", maxReply)})
	_, err = (&keeper{}).lead(&instance{conn: ours}, []any{setup{}})
	if err == nil || !strings.Contains(err.Error(), "says too much") {
		t.Errorf("got %v", err)
	}
}
