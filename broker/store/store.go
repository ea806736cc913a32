// Package store keeps what happened to contexts: one append-only log of events
// each. What a context is, is the fold of its log (package match); a store
// knows nothing of that, so every store agrees with every other.
package store

import (
	"context"
	"errors"

	"nimbus/broker/match"
)

// A Store keeps logs. Its methods may be called by several goroutines at once.
type Store interface {
	// Create begins the log of a context with its first event; ErrExists when
	// there is one.
	Create(ctx context.Context, id string, first match.Event) error
	// Append adds events, all or none, to a log that holds exactly seq events;
	// ErrConflict when it holds more, ErrNotFound when there is no such log.
	// The events are on disk when it returns.
	Append(ctx context.Context, id string, seq uint64, events []match.Event) error
	// Read returns the events after the first from; ErrNotFound when there is
	// no such log.
	Read(ctx context.Context, id string, from uint64) ([]match.Event, error)
	// List returns the ids of all logs, sorted.
	List(ctx context.Context) ([]string, error)
	// Drop removes a log; one that is not there is success.
	Drop(ctx context.Context, id string) error
	Close() error
}

// What a store says no with.
var (
	ErrExists   = errors.New("the context exists already")
	ErrNotFound = errors.New("no such context")
	ErrConflict = errors.New("another writer was faster")
)
