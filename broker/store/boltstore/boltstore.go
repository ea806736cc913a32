// Package boltstore keeps the logs of contexts in one bbolt file: a bucket for
// each context, in it one record for each event under its number, 8 bytes
// big-endian from 0.
package boltstore

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"nimbus/broker/match"
	"nimbus/broker/store"
)

// gather is how long a commit waits for others to share its fsync.
const gather = time.Millisecond

// Bolt is a store in a file.
type Bolt struct{ db *bbolt.DB }

// ErrInUse says that another process has the file open.
var ErrInUse = errors.New("another broker has it open")

// Open opens the file and makes it when it is missing, for its owner only. A
// file that another process has open is an error after a few seconds: a broker
// that ends holds it a little longer.
func Open(path string) (*Bolt, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: 3 * time.Second, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("store %s: %w", path, ErrInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", path, err)
	}
	db.MaxBatchDelay = gather
	return &Bolt{db}, nil
}

// Peek tells whether a file that no broker has open holds any log.
func Peek(path string) (bool, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, ReadOnly: true})
	if err != nil {
		return false, err
	}
	defer db.Close()
	held := false
	err = db.View(func(tx *bbolt.Tx) error {
		first, _ := tx.Cursor().First()
		held = first != nil
		return nil
	})
	return held, err
}

func key(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

// Create begins a log.
func (b *Bolt) Create(_ context.Context, id string, first match.Event) error {
	record, err := json.Marshal(first)
	if err != nil {
		return err
	}
	return b.db.Batch(func(tx *bbolt.Tx) error {
		if tx.Bucket([]byte(id)) != nil {
			return store.ErrExists
		}
		bucket, err := tx.CreateBucket([]byte(id))
		if err != nil {
			return err
		}
		return bucket.Put(key(0), record)
	})
}

// Append adds events in one commit.
func (b *Bolt) Append(_ context.Context, id string, seq uint64, events []match.Event) error {
	records := make([][]byte, len(events))
	for i, e := range events {
		record, err := json.Marshal(e)
		if err != nil {
			return err
		}
		records[i] = record
	}
	return b.db.Batch(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket([]byte(id))
		if bucket == nil {
			return store.ErrNotFound
		}
		bucket.FillPercent = 0.9 // it only grows at its end
		last, _ := bucket.Cursor().Last()
		if held := binary.BigEndian.Uint64(last) + 1; held != seq {
			return store.ErrConflict
		}
		for i, record := range records {
			if err := bucket.Put(key(seq+uint64(i)), record); err != nil {
				return err
			}
		}
		return nil
	})
}

// Read returns a log, or its end.
func (b *Bolt) Read(_ context.Context, id string, from uint64) ([]match.Event, error) {
	var events []match.Event
	err := b.db.View(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket([]byte(id))
		if bucket == nil {
			return store.ErrNotFound
		}
		cursor := bucket.Cursor()
		for k, v := cursor.Seek(key(from)); k != nil; k, v = cursor.Next() {
			var e match.Event
			if err := json.Unmarshal(v, &e); err != nil {
				return fmt.Errorf("context %s, event %d: %w", id, binary.BigEndian.Uint64(k), err)
			}
			events = append(events, e)
		}
		return nil
	})
	return events, err
}

// List names the logs.
func (b *Bolt) List(context.Context) ([]string, error) {
	var ids []string
	err := b.db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, _ *bbolt.Bucket) error {
			ids = append(ids, string(name))
			return nil
		})
	})
	return ids, err
}

// Drop removes a log.
func (b *Bolt) Drop(_ context.Context, id string) error {
	return b.db.Batch(func(tx *bbolt.Tx) error {
		if err := tx.DeleteBucket([]byte(id)); err != nil && !errors.Is(err, bolterrors.ErrBucketNotFound) {
			return err
		}
		return nil
	})
}

// Close lets another process open the file.
func (b *Bolt) Close() error { return b.db.Close() }
