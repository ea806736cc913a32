//go:build linux

package ssh

import (
	"context"
	"testing"

	"nimbus/cloud"
	"nimbus/cloud/cloudtest"
)

func TestConformance(t *testing.T) {
	b := newBench(t, 5)
	for name, forward := range map[string]bool{"plain": false, "forward": true} {
		t.Run(name, func(t *testing.T) {
			o := b.options()
			o.Dir += name
			o.Forward = forward
			cloudtest.Run(t, func(t *testing.T) cloud.Driver {
				d, err := New(o)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if left, err := d.List(context.Background(), ""); err != nil || len(left) > 0 {
						t.Errorf("left: %v, %v", left, err)
					}
					d.Close()
				})
				return d
			})
		})
	}
}
