//go:build linux

package ssh

import (
	"fmt"
	"strings"
	"testing"

	"nimbus/cloud"
	"nimbus/cloud/cloudtest"
)

// Each host has a line that says how it is, and what to do.
func TestCheck(t *testing.T) {
	b := newBench(t, 3)
	o := b.options()
	down := Host{User: "root", Address: b.hosts[0].Address, Port: 9}
	o.Hosts = map[string][]Host{"a": b.hosts, AnyGroup: {down, b.hosts[0]}}
	d := b.open(o)
	id := cloudtest.Token()
	rs := requests(id, "a", "a")
	launched(t, d, rs[1:])
	b.in(2, "mkdir -p /var/lib/nimbus; echo x >/var/lib/nimbus/bootstrap")
	findings := map[string]cloud.Finding{}
	for _, f := range d.Check(t.Context()) {
		host, _, _ := strings.Cut(f.Text, ": ")
		findings[host] = f
		if (f.Level == cloud.Fail) != (f.Advice != "") || strings.Contains(f.Text, "\n") {
			t.Errorf("%+v", f)
		}
	}
	for h, want := range map[Host]string{
		b.hosts[0]: "ok Linux * MB free, clock 0s apart",
		b.hosts[1]: "info Linux * MB free, clock 0s apart, in use as a-1.cluster-001 of launch " + id,
		b.hosts[2]: "fail Linux * MB free, clock 0s apart, a node of a cluster that is not ours",
		down:       "fail dial tcp",
	} {
		f := findings[h.String()]
		got := fmt.Sprintf("%s %s", f.Level, strings.TrimPrefix(f.Text, h.String()+": "))
		begin, end, _ := strings.Cut(want, "*")
		if !strings.HasPrefix(got, begin) || !strings.Contains(got, end) {
			t.Errorf("%s: %s, want %s", h, got, want)
		}
	}
	if len(findings) != 4 {
		t.Errorf("%v", findings)
	}
	all, err := d.List(t.Context(), id)
	if err == nil {
		err = d.Terminate(t.Context(), all)
	}
	if err != nil {
		t.Error(err)
	}
	o.Hosts = map[string][]Host{"a": {down}}
	if all := b.open(o).Check(t.Context()); len(all) != 1 || all[0].Level != cloud.Fail {
		t.Errorf("nothing works: %+v", all)
	}
	o.Hosts = nil
	if all := b.open(o).Check(t.Context()); len(all) != 1 || all[0].Level != cloud.Fail || !strings.Contains(all[0].Advice, "--hosts FILE") {
		t.Errorf("no hosts: %+v", all)
	}
}
