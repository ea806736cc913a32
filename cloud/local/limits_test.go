//go:build linux

package local

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"nimbus/cloud"
)

func TestLimits(t *testing.T) {
	subnets := netip.MustParsePrefix("10.78.0.0/20")
	taken := []netip.Prefix{netip.MustParsePrefix("10.78.4.0/24"), netip.MustParsePrefix("192.168.0.0/16")}
	got, err := limits(map[string]int{"b": 1021, "a": 2}, subnets, taken)
	want := []cloud.Limit{{What: `NICs in network "a"`, Asked: 2, Most: 1021}, {What: `NICs in network "b"`, Asked: 1021, Most: 1021}, {What: "networks in 10.78.0.0/20", Asked: 2, Most: 3}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, c := range []struct {
		networks map[string]int
		want     string
	}{
		{map[string]int{"a": 1022}, `network "a": 1022 NICs, but at most 1021 fit`},
		{map[string]int{"a": 1, "b": 1, "c": 1, "d": 1}, "4 networks, but 3 of /22 in 10.78.0.0/20 are free"},
	} {
		if _, err := limits(c.networks, subnets, taken); !errors.Is(err, cloud.ErrNoCapacity) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v", c.networks, err)
		}
	}
	if n := freePrefixes(netip.MustParsePrefix("10.0.0.0/8"), nil); n != 1<<14 {
		t.Errorf("%d", n)
	}
}
