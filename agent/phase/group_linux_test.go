package phase

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// The first process of a script may be gone while what it started lives on.
// It is ended only if it is surely ours.
func TestEndOfAGroup(t *testing.T) {
	r, _ := newRunner(t)
	var group Group
	r.Started = func(g Group) { group = g }
	script(t, r, "1-ipandhost/leaves", "#!/bin/sh\nsleep 600 >/dev/null 2>&1 &\necho $! >child\n")
	if err := r.Run(t.Context(), role("leaves"), 0); err != nil {
		t.Fatal(err)
	}
	var child int
	if _, err := fmt.Sscan(read(t, filepath.Join(r.Dir, "child")), &child); err != nil {
		t.Fatal(err)
	}
	lives := func() bool {
		p, found := readProcess(child)
		return found && p.state != "Z"
	}
	if p, found := readProcess(child); !found || p.group != group.ID || group.Start == "" || group.Boot == "" {
		t.Fatalf("group %+v, child %+v", group, p)
	}
	before := Group{ID: group.ID, Start: group.Start, Boot: "another"}
	if before.End("ctx-1") || group.End("ctx-2") || !lives() {
		t.Fatal("what is not known to be ours was ended")
	}
	if !group.End("ctx-1") || lives() {
		t.Error("what was left was not ended")
	}
	if group.End("ctx-1") {
		t.Error("ended twice")
	}
}

// Numbers are given out again: to a process of somebody else.
func TestGroupOfSomebodyElse(t *testing.T) {
	r, _ := newRunner(t)
	r.Started = func(g Group) {
		g.Start = strings.Repeat("9", 12)
		if g.End("ctx-1") {
			t.Error("a process that began later was ended")
		}
	}
	script(t, r, "1-ipandhost/other", "#!/bin/sh\n")
	if err := r.Run(t.Context(), role("other"), 0); err != nil {
		t.Fatal(err)
	}
}
