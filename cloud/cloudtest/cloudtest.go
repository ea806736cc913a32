// Package cloudtest has what is needed to test drivers and what uses them: a
// conformance suite that every cloud.Driver passes, and a Fake to have faults
// with.
package cloudtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"nimbus/cloud"
)

// Run tests what package cloud promises of every driver. Each part opens the
// driver anew, and ends what it started. User data, keys and networks arrive
// differently in each cloud: that is for the driver's own tests.
func Run(t *testing.T, open func(t *testing.T) cloud.Driver) {
	for _, part := range []struct {
		name string
		test func(*testing.T, *bench)
	}{
		{"launch answers in order", inOrder},
		{"nothing to launch", nothing},
		{"a token starts one instance", oneToken},
		{"a launch that is given up", givenUp},
		{"list by launch and all", lists},
		{"terminate ends", ends},
		{"terminate what is missing", missing},
		{"terminate some", some},
		{"prepare and release", prepares},
		{"forward to a socket", forwards},
		{"extend", extends},
		{"enter", enters},
	} {
		t.Run(part.name, func(t *testing.T) {
			part.test(t, &bench{Driver: open(t)})
		})
	}
}

// bench is a driver under test.
type bench struct {
	cloud.Driver
}

// launch returns the id of a launch that the driver is ready for, and ends it
// with the test.
func (b *bench) launch(t *testing.T) string {
	t.Helper()
	id := Token()
	if p, ok := b.Driver.(cloud.Preparer); ok {
		_, err := p.Prepare(t.Context(), cloud.Preparation{
			Launch:   id,
			Networks: map[string]int{b.network(t): 8},
			Expires:  time.Now().Add(time.Hour),
		})
		if err != nil {
			t.Fatalf("prepare: %v", err)
		}
	}
	t.Cleanup(func() {
		ctx := context.Background()
		left, err := b.List(ctx, id)
		if err != nil {
			t.Errorf("list: %v", err)
		}
		if err := b.Terminate(ctx, left); err != nil {
			t.Errorf("terminate: %v", err)
		}
		if p, ok := b.Driver.(cloud.Preparer); ok {
			if err := p.Release(ctx, id); err != nil {
				t.Errorf("release: %v", err)
			}
		}
	})
	return id
}

// network is a name that NICs may have here.
func (b *bench) network(t *testing.T) string {
	if n, ok := b.Driver.(cloud.Networker); ok {
		if all, err := n.Networks(t.Context()); err != nil {
			t.Fatalf("networks: %v", err)
		} else if len(all) > 0 {
			return all[0].Name
		}
	}
	return "public"
}

// image is a name that images may have here.
func (b *bench) image(t *testing.T) string {
	if i, ok := b.Driver.(cloud.Imager); ok {
		if all, err := i.Images(t.Context()); err != nil {
			t.Fatalf("images: %v", err)
		} else if len(all) > 0 {
			return all[0].Name
		}
	}
	return "image"
}

// requests asks for instances with one NIC each.
func (b *bench) requests(t *testing.T, launch string, names ...string) []cloud.Request {
	var rs []cloud.Request
	for _, name := range names {
		rs = append(rs, cloud.Request{
			Launch:   launch,
			Token:    Token(),
			Name:     name + ".cloudtest",
			Image:    b.image(t),
			Networks: []string{b.network(t)},
			UserData: []byte("#!/bin/sh\n"),
			Expires:  time.Now().Add(time.Hour),
		})
	}
	return rs
}

// start launches and expects that to work.
func (b *bench) start(t *testing.T, rs []cloud.Request) []cloud.Instance {
	t.Helper()
	instances, err := b.Launch(t.Context(), rs)
	if err != nil {
		t.Fatalf("launch: %v", err)
	}
	if len(instances) != len(rs) {
		t.Fatalf("launch of %d returned %d instances", len(rs), len(instances))
	}
	return instances
}

// Token returns a random name for a launch or a request.
func Token() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// ids are the instances' IDs, sorted, for comparing.
func ids(instances []cloud.Instance) string {
	var all []string
	for _, i := range instances {
		all = append(all, i.ID)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// alive are those of the instances that have not ended: clouds may list the
// others for a while.
func alive(instances []cloud.Instance) []cloud.Instance {
	return slices.DeleteFunc(slices.Clone(instances), func(i cloud.Instance) bool {
		return i.State == cloud.Ended
	})
}

// same compares an instance with what was asked for.
func same(i cloud.Instance, r cloud.Request) error {
	switch {
	case i.ID == "":
		return fmt.Errorf("no ID")
	case i.Launch != r.Launch || i.Token != r.Token:
		return fmt.Errorf("launch %q, token %q, want %q, %q", i.Launch, i.Token, r.Launch, r.Token)
	case i.Name != r.Name:
		return fmt.Errorf("name %q, want %q", i.Name, r.Name)
	case i.Image != r.Image:
		return fmt.Errorf("image %q, want %q", i.Image, r.Image)
	case i.State != cloud.Starting && i.State != cloud.Running:
		return fmt.Errorf("state %q (%s)", i.State, i.Reason)
	case i.Created.IsZero():
		return fmt.Errorf("no time of creation")
	}
	// A cloud may tell addresses only later, but then all of them, in order.
	if len(i.Addresses) > 0 && len(i.Addresses) != len(r.Networks) {
		return fmt.Errorf("%d addresses for %d NICs", len(i.Addresses), len(r.Networks))
	}
	for n, a := range i.Addresses {
		if a.Network != r.Networks[n] || !a.IP.IsValid() {
			return fmt.Errorf("NIC %d has %v in %q, want one in %q", n, a.IP, a.Network, r.Networks[n])
		}
	}
	return nil
}
