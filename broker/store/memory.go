package store

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"

	"nimbus/broker/match"
)

// Memory is a store that forgets all when the process ends. It keeps events as
// the bytes that the others write, so that no reader can change them.
type Memory struct {
	mu   sync.Mutex
	logs map[string][][]byte
}

// NewMemory makes an empty one.
func NewMemory() *Memory { return &Memory{logs: map[string][][]byte{}} }

// Create begins a log.
func (m *Memory) Create(_ context.Context, id string, first match.Event) error {
	record, err := json.Marshal(first)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, exists := m.logs[id]; exists {
		return ErrExists
	}
	m.logs[id] = [][]byte{record}
	return nil
}

// Append adds events.
func (m *Memory) Append(_ context.Context, id string, seq uint64, events []match.Event) error {
	var records [][]byte
	for _, e := range events {
		record, err := json.Marshal(e)
		if err != nil {
			return err
		}
		records = append(records, record)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	log, exists := m.logs[id]
	switch {
	case !exists:
		return ErrNotFound
	case uint64(len(log)) != seq:
		return ErrConflict
	}
	m.logs[id] = append(log, records...)
	return nil
}

// Read returns a log, or its end.
func (m *Memory) Read(_ context.Context, id string, from uint64) ([]match.Event, error) {
	m.mu.Lock()
	log, exists := m.logs[id]
	m.mu.Unlock()
	if !exists {
		return nil, ErrNotFound
	}
	var events []match.Event
	for _, record := range log[min(from, uint64(len(log))):] {
		var e match.Event
		if err := json.Unmarshal(record, &e); err != nil {
			return nil, err
		}
		events = append(events, e)
	}
	return events, nil
}

// List names the logs.
func (m *Memory) List(context.Context) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.logs)), nil
}

// Drop removes a log.
func (m *Memory) Drop(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.logs, id)
	return nil
}

// Close does nothing.
func (m *Memory) Close() error { return nil }
