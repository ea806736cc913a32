package broker

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"nimbus/broker/cluster"
	"nimbus/broker/match"
	"nimbus/broker/store"
	"nimbus/broker/wire"
)

// fullStore is a store whose disk is full when it is told so.
type fullStore struct {
	store.Store
	errno atomic.Int64
}

func (s *fullStore) fault() error {
	if errno := s.errno.Load(); errno != 0 {
		return fmt.Errorf("bolt: %w", &os.PathError{Op: "write", Path: "contexts.db", Err: syscall.Errno(errno)})
	}
	return nil
}

func (s *fullStore) Create(ctx context.Context, id string, first match.Event) error {
	if err := s.fault(); err != nil {
		return err
	}
	return s.Store.Create(ctx, id, first)
}

func (s *fullStore) Append(ctx context.Context, id string, seq uint64, events []match.Event) error {
	if err := s.fault(); err != nil {
		return err
	}
	return s.Store.Append(ctx, id, seq, events)
}

// Who asks something of a broker that cannot write is told what is wrong with
// its disk, and can go on when that is mended.
func TestAFullDiskIsNamed(t *testing.T) {
	d, problems := cluster.Read("", strings.NewReader(definition))
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	s := &fullStore{Store: store.NewMemory()}
	b := newBench(t, t.TempDir(), s, 0)
	c := b.create(false)
	node := b.node(c, c.Tokens["back"][0], "b0")
	for errno, want := range map[syscall.Errno]string{
		syscall.ENOSPC: "cannot store anything at the moment: its disk is full",
		syscall.EDQUOT: "its disk quota is used up",
		syscall.EROFS:  "its disk is read-only",
		syscall.EIO:    "its log says why",
	} {
		s.errno.Store(int64(errno))
		_, err := node.Join(t.Context(), face(2))
		wantCode(t, err, wire.Unavailable)
		_, created := b.owner.Create(t.Context(), wire.Create{Definition: *d, Expires: time.Now().Add(time.Hour)})
		wantCode(t, created, wire.Unavailable)
		for _, err := range []error{err, created} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v: %v", errno, err)
			}
		}
	}
	s.errno.Store(0)
	if _, err := node.Join(t.Context(), face(2)); err != nil {
		t.Error(err)
	}
}
