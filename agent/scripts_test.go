package agent

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nimbus/broker/cluster"
	"nimbus/broker/wire"
	"nimbus/ctxscripts/pack"
)

// brings makes a broker's nodes unpack scripts: name → what each prints.
func (b *broker) brings(t *testing.T, m *testMachine, scripts map[string]string) *pack.Pack {
	t.Helper()
	dir := t.TempDir()
	for name, word := range scripts {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/sh\necho '"+word+"' >>"+m.root+"/calls\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p, err := pack.Make(dir)
	if err != nil {
		t.Fatal(err)
	}
	b.join = func(int) any {
		return wire.Joined{Place: cluster.Place{Workspace: "head"}, Node: "head-0", Stages: 1, Scripts: &wire.Pack{SHA256: p.SHA256, Size: int64(len(p.Content))}}
	}
	b.pack = func(int) any { return p.Content }
	return p
}

// A pack is fetched once for a context. What is mended there stays, over a
// rerun and a reboot; in another context the machine has its own scripts again.
func TestScriptsOfTheLaunch(t *testing.T) {
	b := newBroker(t)
	m := newMachine(t, b)
	pack := b.brings(t, m, map[string]string{"1-ipandhost/worker": "brought", "clean.sh": "cleaned by what was brought"})
	if err := m.run(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, m.console.String())
	}
	own := strings.SplitAfter(allCalls, "\n")
	if want := own[0] + "brought\nbrought\n" + own[3] + own[4]; m.calls() != want {
		t.Errorf("scripts:\n%s\nwant:\n%s", m.calls(), want)
	}
	m.logs(t, "INFO: put the launch's scripts over this machine's own", "sha256="+pack.SHA256)
	if left, _ := filepath.Glob(m.cfg.StateDir + "/ctx-1/scripts*"); len(left) > 0 {
		t.Errorf("left %v", left)
	}

	m.put(t, "calls", "")
	m.script(t, "1-ipandhost/worker", "echo mended >>"+m.root+"/calls")
	for range 2 { // a rerun, and the boot after it
		if err := m.again(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		if err := m.run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if b.asked["pack"] != 1 || strings.Count(m.calls(), "mended\n") != 4 || strings.Contains(m.calls(), "brought") {
		t.Errorf("%v, scripts:\n%s", b.asked, m.calls())
	}

	// Another context, without scripts. Who did the work may clean up after it.
	m.put(t, "calls", "")
	m.put(t, "var/nimbus/context", "ctx-0\n")
	mark := filepath.Join(m.root, "opt/ctx-scripts.image/.pack")
	if err := os.WriteFile(mark, []byte(strings.Replace(m.read("opt/ctx-scripts.image/.pack"), "ctx-1", "ctx-0", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(m.cfg.StateDir, "ctx-1")); err != nil {
		t.Fatal(err)
	}
	b.joins = nil
	b.join = func(int) any { return wire.Joined{Place: cluster.Place{Workspace: "head"}, Node: "head-0", Stages: 1} }
	if err := m.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := "cleaned by what was brought\n" + allCalls; m.calls() != want {
		t.Errorf("scripts:\n%s\nwant:\n%s", m.calls(), want)
	}
	if got, _ := filepath.Glob(m.root + "/opt/*scripts*"); len(got) != 1 {
		t.Errorf("left %v", got)
	}
	m.logs(t, "this machine's own scripts are back")
}

// The same pack in another context is put there anew: what was mended belongs
// to the context before.
func TestSameScriptsInAnotherContext(t *testing.T) {
	b := newBroker(t)
	m := newMachine(t, b)
	p := b.brings(t, m, map[string]string{"1-ipandhost/worker": "brought"})
	o := pack.Overlay{Dir: m.cfg.ScriptsDir}
	if err := o.Put("ctx-0", strings.NewReader(string(p.Content)), int64(len(p.Content)), p.SHA256); err != nil {
		t.Fatal(err)
	}
	m.script(t, "1-ipandhost/worker", "echo mended >>"+m.root+"/calls")
	if err := m.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(m.calls(), "mended") || !strings.Contains(m.calls(), "brought") || b.asked["pack"] != 1 {
		t.Errorf("%v, scripts:\n%s", b.asked, m.calls())
	}
}

// A pack that is not there yet, or was cut, is asked for again; an agent that
// is stopped meanwhile goes on with it.
func TestScriptsThatComeLate(t *testing.T) {
	b := newBroker(t)
	m := newMachine(t, b)
	p := b.brings(t, m, map[string]string{"1-ipandhost/worker": "brought"})
	ctx, stop := context.WithCancel(t.Context())
	b.pack = func(int) any {
		stop()
		return wire.Errorf(wire.Unavailable, "the scripts have not been sent yet")
	}
	if err := m.run(ctx); code(err) != CodeFailed || len(b.reports) != 0 || m.calls() != "" {
		t.Fatalf("%v, %v, scripts:\n%s", err, b.reports, m.calls())
	}
	b.pack = func(n int) any {
		switch n {
		case 1:
			return nil // hung up
		case 2:
			return wire.Errorf(wire.Unavailable, "the scripts have not been sent yet")
		}
		return p.Content
	}
	if err := m.run(t.Context()); err != nil || !strings.Contains(m.calls(), "brought") || b.asked["pack"] != 4 {
		t.Errorf("%v, %v, scripts:\n%s", err, b.asked, m.calls())
	}
	m.logs(t, "scripts: no answer yet, trying again")
}

// What cannot be put into place is reported, and nothing is run.
func TestScriptsThatCannotBe(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(b *broker)
		want  string
	}{
		"other scripts": {func(b *broker) {
			b.pack = func(int) any { return []byte("something else") }
		}, "other scripts than it had announced"},
		"an odd name": {func(b *broker) {
			b.join = func(int) any {
				return wire.Joined{Place: cluster.Place{Workspace: "head"}, Node: "head-0", Stages: 1, Scripts: &wire.Pack{SHA256: "../x", Size: 1}}
			}
		}, `"../x" is no SHA-256`},
		"no pack": {func(b *broker) {
			junk := []byte("no archive")
			b.join = func(int) any {
				return wire.Joined{Place: cluster.Place{Workspace: "head"}, Node: "head-0", Stages: 1, Scripts: &wire.Pack{SHA256: hash(junk), Size: int64(len(junk))}}
			}
			b.pack = func(int) any { return junk }
		}, "this is no pack"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t)
			m := newMachine(t, b)
			b.brings(t, m, map[string]string{"1-ipandhost/worker": "brought"})
			c.spoil(b)
			m.failsWith(t, b, c.want)
		})
	}
}

// failsWith runs the agent, which must report a failure before any script.
func (m *testMachine) failsWith(t *testing.T, b *broker, want string) {
	t.Helper()
	if err := m.run(t.Context()); code(err) != CodeFailed || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v", err)
	}
	if len(b.reports) != 1 || !strings.Contains(b.reports[0].Log, want) || m.calls() != "" {
		t.Errorf("reports %+v, scripts:\n%s", b.reports, m.calls())
	}
}
