package store_test

import (
	"testing"

	"nimbus/broker/store"
	"nimbus/broker/store/storetest"
)

func TestMemory(t *testing.T) {
	m := store.NewMemory()
	storetest.Run(t, func(*testing.T) store.Store { return m }, false)
}
