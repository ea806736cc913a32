//go:build linux

package ssh

import (
	"strings"
	"testing"

	"nimbus/cloud"
	"nimbus/cloud/cloudtest"
)

// What a launch would meet is found without touching a host, and by the doctor,
// too.
func TestSurvey(t *testing.T) {
	b := newBench(t, 2)
	o := b.options()
	o.Forward = true
	o.Hosts = map[string][]Host{"head": b.hosts[:1], AnyGroup: b.hosts[1:]}
	d := b.open(o)
	two := cloud.Demand{Groups: map[string]int{"head": 1, "web": 1}}
	before := b.in(0, listing)
	if err := d.Survey(t.Context(), two); err != nil {
		t.Errorf("all is well: %v", err)
	}
	unchanged(t, "looked at", before, b.in(0, listing))
	if all, err := d.book.launches(); err != nil || len(all) > 0 {
		t.Errorf("notes: %v, %v", all, err)
	}

	id := cloudtest.Token()
	instances := launched(t, d, requests(id, "head"))
	refuses(t, "in use", d.Survey(t.Context(), two), b.hosts[0].String()+": it is in use: as head-0.cluster-001 of launch "+id, "hint: terminate that launch first")
	if err := d.Survey(t.Context(), cloud.Demand{Groups: map[string]int{"web": 1}}); err != nil {
		t.Errorf("another host: %v", err)
	}
	if err := d.Terminate(t.Context(), instances); err != nil {
		t.Error(err)
	}

	b.in(1, "pid=$(cat /run/sshd.pid); kill $pid; while kill -0 $pid 2>/dev/null; do sleep 0.05; done; echo AllowTcpForwarding no >>/etc/ssh/nimbus_sshd_config; "+startSSHD)
	d = b.open(o)
	eventually(t, "it is up again", func() bool { _, _, err := d.glance(t.Context(), b.hosts[1]); return err == nil })
	refuses(t, "no forwarding", d.Survey(t.Context(), two), b.hosts[1].String()+": its SSH server does not let us forward", "AllowTcpForwarding")
	failed := 0
	for _, f := range d.Check(t.Context()) {
		if f.Level == cloud.Fail && strings.Contains(f.Text, b.hosts[1].String()+": its SSH server does not let us forward") {
			failed++
		}
	}
	if failed != 1 {
		t.Errorf("checked: %+v", d.Check(t.Context()))
	}
	o.Forward = false // a broker that hosts reach
	if err := b.open(o).Survey(t.Context(), two); err != nil {
		t.Errorf("nothing is forwarded: %v", err)
	}

	o.KnownHosts = []string{b.write("nobody", "")}
	refuses(t, "unknown", b.open(o).Survey(t.Context(), two), "its host key is not known", AcceptNewSetting)
	o.Hosts = map[string][]Host{AnyGroup: {{User: "root", Address: b.hosts[0].Address, Port: 9}}}
	refuses(t, "down", b.open(o).Survey(t.Context(), cloud.Demand{Groups: map[string]int{"web": 1}}), "connection refused", "see that the host runs")
	o.Key = "/nokey"
	o.Hosts = map[string][]Host{AnyGroup: b.hosts}
	const once = "key /nokey: no such file or directory"
	gone := []cloud.Instance{{ID: instanceID(b.hosts[0], "l", "a")}, {ID: instanceID(b.hosts[1], "l", "b")}}
	err := b.open(o).Terminate(t.Context(), gone)
	if refuses(t, "no key for two hosts", err, once); strings.Count(err.Error(), once) != 1 {
		t.Errorf("said more than once: %v", err)
	}
	if all := b.open(o).Check(t.Context()); len(all) != 1 || all[0].Level != cloud.Fail || !strings.Contains(all[0].Text, once) {
		t.Errorf("checked without a key: %+v", all)
	}
	_, err = b.open(o).Limits(t.Context(), cloud.Demand{Groups: map[string]int{"web": 1}})
	refuses(t, "no key", err, once, "names a private key file")
}
