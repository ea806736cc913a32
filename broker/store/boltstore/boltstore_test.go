package boltstore_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nimbus/broker/store"
	"nimbus/broker/store/boltstore"
	"nimbus/broker/store/storetest"
)

func open(t *testing.T, path string) *boltstore.Bolt {
	t.Helper()
	b, err := boltstore.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func TestBolt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "contexts.db")
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, path) }, true)
}

func TestFileIsForItsOwnerAndOneProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "contexts.db")
	open(t, path)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if _, err := boltstore.Open(path); err == nil || !strings.Contains(err.Error(), "another broker") {
		t.Errorf("opened twice: %v", err)
	}
}

// A file cut anywhere is an error, not a panic and not half a log.
func TestDamagedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "contexts.db")
	if err := os.WriteFile(path, []byte("this is no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := boltstore.Open(path); err == nil {
		b.Close()
		t.Error("opened")
	}
}
