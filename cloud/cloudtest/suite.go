package cloudtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"nimbus/cloud"
)

func inOrder(t *testing.T, b *bench) {
	rs := b.requests(t, b.launch(t), "c", "a", "b")
	instances := b.start(t, rs)
	seen := map[string]bool{}
	for n, i := range instances {
		if err := same(i, rs[n]); err != nil {
			t.Errorf("instance %d: %v", n, err)
		}
		if seen[i.ID] {
			t.Errorf("ID %q twice", i.ID)
		}
		seen[i.ID] = true
	}
}

func nothing(t *testing.T, b *bench) {
	if instances, err := b.Launch(t.Context(), nil); err != nil || len(instances) > 0 {
		t.Errorf("launch of nothing: %v, %v", instances, err)
	}
	if err := b.Terminate(t.Context(), nil); err != nil {
		t.Errorf("terminate nothing: %v", err)
	}
	if instances, err := b.List(t.Context(), Token()); err != nil || len(instances) > 0 {
		t.Errorf("list of an unknown launch: %v, %v", instances, err)
	}
}

func oneToken(t *testing.T, b *bench) {
	launch := b.launch(t)
	rs := b.requests(t, launch, "a", "b")
	first := b.start(t, rs[:1])
	both := b.start(t, rs)
	if both[0].ID != first[0].ID {
		t.Errorf("the same token started %q and %q", first[0].ID, both[0].ID)
	}
	if both[1].ID == first[0].ID {
		t.Errorf("another token got the same instance %q", first[0].ID)
	}
	twice := b.requests(t, launch, "c")
	pair := b.start(t, append(twice, twice[0]))
	if pair[0].ID != pair[1].ID {
		t.Errorf("a token twice in one launch started %q and %q", pair[0].ID, pair[1].ID)
	}
	all := append(both, pair[0])
	if got, err := b.List(t.Context(), launch); err != nil || ids(got) != ids(all) {
		t.Errorf("list: %s, %v, want %s", ids(got), err, ids(all))
	}
}

// givenUp checks that what an interrupted launch returns is all there is.
func givenUp(t *testing.T, b *bench) {
	launch := b.launch(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	started, err := b.Launch(ctx, b.requests(t, launch, "a", "b"))
	if err == nil {
		t.Errorf("launch with a canceled context returned no error")
	}
	if all, err := b.List(t.Context(), launch); err != nil || ids(alive(all)) != ids(started) {
		t.Errorf("list: %s, %v, but launch returned %s", ids(all), err, ids(started))
	}
}

func lists(t *testing.T, b *bench) {
	one, two := b.launch(t), b.launch(t)
	ones := b.start(t, b.requests(t, one, "a", "b"))
	twos := b.start(t, b.requests(t, two, "a"))
	for launch, want := range map[string][]cloud.Instance{one: ones, two: twos} {
		all, err := b.List(t.Context(), launch)
		if err != nil || ids(all) != ids(want) {
			t.Errorf("list of %s: %s, %v, want %s", launch, ids(all), err, ids(want))
		}
		for _, i := range all {
			if i.Launch != launch {
				t.Errorf("list of %s has an instance of %s", launch, i.Launch)
			}
		}
	}
	all, err := b.List(t.Context(), "")
	if err != nil {
		t.Errorf("list of all: %v", err)
	}
	listed := map[string]bool{}
	for _, i := range all {
		listed[i.ID] = true
	}
	for _, i := range append(ones, twos...) {
		if !listed[i.ID] {
			t.Errorf("list of all lacks %s", i.ID)
		}
	}
}

func ends(t *testing.T, b *bench) {
	launch := b.launch(t)
	rs := b.requests(t, launch, "a", "b")
	instances := b.start(t, rs)
	if err := b.Terminate(t.Context(), instances); err != nil {
		t.Fatalf("terminate: %v", err)
	}
	if all, err := b.List(t.Context(), launch); err != nil || len(alive(all)) > 0 {
		t.Errorf("list after terminate: %v, %v", all, err)
	}
	if err := b.Terminate(t.Context(), instances); err != nil {
		t.Errorf("terminate again: %v", err)
	}
}

func missing(t *testing.T, b *bench) {
	launch := b.launch(t)
	instances := b.start(t, b.requests(t, launch, "a"))
	gone := instances[0]
	gone.ID += "0"
	if err := b.Terminate(t.Context(), []cloud.Instance{gone}); err != nil {
		t.Errorf("terminate an instance that never was: %v", err)
	}
	if all, err := b.List(t.Context(), launch); err != nil || ids(alive(all)) != ids(instances) {
		t.Errorf("list: %s, %v, want %s", ids(all), err, ids(instances))
	}
}

func some(t *testing.T, b *bench) {
	launch := b.launch(t)
	instances := b.start(t, b.requests(t, launch, "a", "b", "c"))
	if err := b.Terminate(t.Context(), instances[1:2]); err != nil {
		t.Fatalf("terminate: %v", err)
	}
	all, err := b.List(t.Context(), launch)
	want := []cloud.Instance{instances[0], instances[2]}
	if err != nil || ids(alive(all)) != ids(want) {
		t.Errorf("list: %s, %v, want %s", ids(all), err, ids(want))
	}
}

func prepares(t *testing.T, b *bench) {
	p, ok := b.Driver.(cloud.Preparer)
	if !ok {
		return
	}
	launch := b.launch(t)
	again := cloud.Preparation{Launch: launch, Networks: map[string]int{b.network(t): 8}}
	one, err := p.Prepare(t.Context(), again)
	if err != nil {
		t.Fatalf("prepare again: %v", err)
	}
	two, err := p.Prepare(t.Context(), again)
	if err != nil || len(one.Hosts) != len(two.Hosts) {
		t.Errorf("prepare a third time: %v, %v, want %v", two, err, one)
	}
	for range 2 {
		if err := p.Release(t.Context(), launch); err != nil {
			t.Errorf("release: %v", err)
		}
	}
	if err := p.Release(t.Context(), Token()); err != nil {
		t.Errorf("release what was never prepared: %v", err)
	}
}

// extends checks that instances get another end, later or earlier.
func extends(t *testing.T, b *bench) {
	e, ok := b.Driver.(cloud.Extender)
	if !ok {
		return
	}
	launch := b.launch(t)
	b.start(t, b.requests(t, launch, "a", "b"))
	other := b.launch(t)
	b.start(t, b.requests(t, other, "a"))
	for _, span := range []time.Duration{3 * time.Hour, time.Hour / 2} {
		expires := time.Now().Add(span).Round(time.Second)
		if err := e.Extend(t.Context(), launch, expires); err != nil {
			t.Fatalf("extend: %v", err)
		}
		all, err := b.List(t.Context(), "")
		if err != nil {
			t.Fatalf("list: %v", err)
		}
		for _, i := range all {
			if (i.Launch == launch) != i.Expires.Equal(expires) {
				t.Errorf("%s of launch %s ends at %v; %s was extended to %v", i.ID, i.Launch, i.Expires, launch, expires)
			}
		}
	}
	if err := e.Extend(t.Context(), launch, time.Now().Add(-time.Second)); err == nil {
		t.Errorf("an end in the past was taken")
	}
	if all, err := b.List(t.Context(), launch); err != nil || len(alive(all)) != 2 {
		t.Errorf("list after that: %v, %v", all, err)
	}
}

// enters checks that programs run in an instance.
func enters(t *testing.T, b *bench) {
	e, ok := b.Driver.(cloud.Enterer)
	if !ok {
		return
	}
	launch := b.launch(t)
	i := b.start(t, b.requests(t, launch, "a"))[0]
	for _, c := range []struct {
		name           string
		command        []string
		stdin          io.Reader
		code           int
		stdout, stderr string
	}{
		{"streams and exit code", []string{"sh", "-c", "cat; echo err >&2; exit 3"}, strings.NewReader("in\n"), 3, "in\n", "err\n"},
		{"no input", []string{"cat"}, nil, 0, "", ""},
		{"words as they are", []string{"printf", "%s|", "a  b", "$HOME", "", "'"}, nil, 0, "a  b|$HOME||'|", ""},
		{"a signal", []string{"sh", "-c", "kill -TERM $$"}, nil, 143, "", ""},
		{"root", []string{"id", "-u"}, nil, 0, "0\n", ""},
		{"a shell", nil, strings.NewReader("exit 4\n"), 4, "", ""},
	} {
		var out, said bytes.Buffer
		code, err := e.Enter(t.Context(), i, cloud.Program{Command: c.command, Stdin: c.stdin, Stdout: &out, Stderr: &said})
		if err != nil || code != c.code || out.String() != c.stdout || said.String() != c.stderr {
			t.Errorf("%s: exit code %d, %v\n%s%s", c.name, code, err, out.String(), said.String())
		}
	}
	var said bytes.Buffer
	if code, err := e.Enter(t.Context(), i, cloud.Program{Command: []string{"no-such-program"}, Stderr: &said}); err != nil || code != 127 || !strings.Contains(said.String(), "no-such-program") {
		t.Errorf("a program that is not there: exit code %d, %v, %s", code, err, said.String())
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := e.Enter(ctx, i, cloud.Program{Command: []string{"sh", "-c", "echo up; sleep 1000"}, Stdout: writer(func() { cancel() })})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a program that is given up: %v", err)
	}

	gone := i
	gone.ID += "0"
	if code, err := e.Enter(t.Context(), gone, cloud.Program{Command: []string{"true"}}); err == nil {
		t.Errorf("an instance that never was: exit code %d", code)
	} else if text := fmt.Sprint(err); !strings.Contains(text, gone.ID) {
		t.Errorf("%q does not say which instance", text)
	}
}

// writer calls a function whenever something is written.
type writer func()

func (w writer) Write(b []byte) (int, error) {
	w()
	return len(b), nil
}
