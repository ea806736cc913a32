package cloudtest

import (
	"path/filepath"
	"testing"

	"nimbus/cloud"
)

// forwards checks what a Forwarder answers; that the connections arrive is for
// the driver's own tests.
func forwards(t *testing.T, b *bench) {
	p, ok := b.Driver.(cloud.Preparer)
	f, too := b.Driver.(cloud.Forwarder)
	if !ok || !too {
		return
	}
	launch, socket := b.launch(t), filepath.Join(t.TempDir(), "socket")
	prepared, err := p.Prepare(t.Context(), cloud.Preparation{Launch: launch, Networks: map[string]int{b.network(t): 8}})
	if err != nil {
		t.Fatalf("prepare: %v", err)
	}
	for range 2 { // it may be repeated
		doors, err := f.Forward(t.Context(), launch, socket)
		if err != nil || len(doors) != len(prepared.Hosts) {
			t.Fatalf("forward: %v, %v, want a door at each of %v", doors, err, prepared.Hosts)
		}
		for n, door := range doors {
			if door.Addr() != prepared.Hosts[n] || door.Port() == 0 {
				t.Errorf("door %v, want a port of %v", door, prepared.Hosts[n])
			}
		}
	}
	if doors, err := f.Forward(t.Context(), Token(), socket); err == nil {
		t.Errorf("forward for an unknown launch: %v", doors)
	}
}
