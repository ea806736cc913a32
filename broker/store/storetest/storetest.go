// Package storetest is what every store must do.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"nimbus/broker/match"
	"nimbus/broker/store"
)

// Run tests a store. With durable, open is called again after Close and must
// find what was written before.
func Run(t *testing.T, open func(*testing.T) store.Store, durable bool) {
	s := open(t)
	ctx := context.Background()

	t.Run("log", func(t *testing.T) {
		must(t, s.Create(ctx, "a", event(0)))
		want(t, s.Create(ctx, "a", event(0)), store.ErrExists)
		must(t, s.Append(ctx, "a", 1, []match.Event{event(1), event(2)}))
		must(t, s.Append(ctx, "a", 3, []match.Event{event(3)}))
		reads(t, s, "a", 0, 0, 1, 2, 3)
		reads(t, s, "a", 2, 2, 3)
		reads(t, s, "a", 4)
		reads(t, s, "a", 99)
	})
	t.Run("conflict", func(t *testing.T) {
		for _, seq := range []uint64{0, 1, 3, 5} {
			want(t, s.Append(ctx, "a", seq, []match.Event{event(9)}), store.ErrConflict)
		}
		reads(t, s, "a", 0, 0, 1, 2, 3)
	})
	t.Run("unknown", func(t *testing.T) {
		want(t, s.Append(ctx, "none", 0, []match.Event{event(0)}), store.ErrNotFound)
		_, err := s.Read(ctx, "none", 0)
		want(t, err, store.ErrNotFound)
		must(t, s.Drop(ctx, "none"))
	})
	t.Run("list and drop", func(t *testing.T) {
		must(t, s.Create(ctx, "c", event(0)))
		must(t, s.Create(ctx, "b", event(0)))
		lists(t, s, "a", "b", "c")
		must(t, s.Drop(ctx, "b"))
		lists(t, s, "a", "c")
		_, err := s.Read(ctx, "b", 0)
		want(t, err, store.ErrNotFound)
	})
	t.Run("one of many writers wins", func(t *testing.T) {
		must(t, s.Create(ctx, "race", event(0)))
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for n := 0; n < 20; {
					events, err := s.Read(ctx, "race", 0)
					if err != nil {
						t.Error(err)
						return
					}
					err = s.Append(ctx, "race", uint64(len(events)), []match.Event{event(len(events))})
					if err == nil {
						n++
					} else if !errors.Is(err, store.ErrConflict) {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		all := make([]int, 8*20+1)
		for i := range all {
			all[i] = i
		}
		reads(t, s, "race", 0, all...)
	})
	t.Run("random logs as in memory", func(t *testing.T) { random(t, s) })
	if durable {
		t.Run("survives", func(t *testing.T) {
			must(t, s.Close())
			s = open(t)
			reads(t, s, "a", 0, 0, 1, 2, 3)
		})
	}
}

// random does the same things to the store and to one in memory.
func random(t *testing.T, s store.Store) {
	ctx := context.Background()
	m := store.NewMemory()
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		id := fmt.Sprint("random-", r.IntN(4))
		var a, b error
		switch r.IntN(5) {
		case 0:
			a, b = s.Create(ctx, id, event(0)), m.Create(ctx, id, event(0))
		case 1:
			if r.IntN(4) == 0 {
				a, b = s.Drop(ctx, id), m.Drop(ctx, id)
			}
		default:
			seq, events := uint64(r.IntN(6)), []match.Event{}
			for range 1 + r.IntN(3) {
				events = append(events, event(r.IntN(100)))
			}
			a, b = s.Append(ctx, id, seq, events), m.Append(ctx, id, seq, events)
		}
		if !errors.Is(a, b) {
			t.Fatalf("%s: %v, in memory %v", id, a, b)
		}
		x, a := s.Read(ctx, id, 0)
		y, b := m.Read(ctx, id, 0)
		if !errors.Is(a, b) || !reflect.DeepEqual(x, y) {
			t.Fatalf("%s: %v %v, in memory %v %v", id, x, a, y, b)
		}
	}
}

// event makes one that is recognized by its number.
func event(n int) match.Event {
	return match.Event{At: time.Unix(int64(n), 0).UTC(), DataAdded: &match.DataAdded{Name: fmt.Sprint("n", n), Value: "<&\u2028>"}}
}

func reads(t *testing.T, s store.Store, id string, from uint64, numbers ...int) {
	t.Helper()
	events, err := s.Read(context.Background(), id, from)
	must(t, err)
	var expected []match.Event
	for _, n := range numbers {
		expected = append(expected, event(n))
	}
	if len(events)+len(expected) > 0 && !reflect.DeepEqual(events, expected) {
		t.Fatalf("%s from %d: read %v, want %v", id, from, events, expected)
	}
}

func lists(t *testing.T, s store.Store, ids ...string) {
	t.Helper()
	got, err := s.List(context.Background())
	must(t, err)
	if !slices.Equal(got, ids) {
		t.Fatalf("lists %q, want %q", got, ids)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, err, wanted error) {
	t.Helper()
	if !errors.Is(err, wanted) {
		t.Fatalf("%v, want %v", err, wanted)
	}
}
