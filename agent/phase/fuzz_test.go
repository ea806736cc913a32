package phase

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"nimbus/broker/cluster"
)

// Whatever a broker tells: a manifest that passes its check names no file
// outside the scripts and the data directory, and no argument holds a line end
// or begins like an option.
func FuzzPlan(f *testing.F) {
	f.Add([]byte(`{"last":true,"nodes":[{"workspace":"w","index":0,"identities":[{"interface":"publicnic","ip":"10.0.0.1","hostname":"w-0.x","pubkey":"ssh-ed25519 AAAA"}]}],
		"roles":[{"name":"r","providers":[{"node":0,"identity":0}]}],"data":[{"name":"d","value":"v"}]}`))
	f.Add([]byte(`{"nodes":[{"workspace":"w","identities":[{"ip":"::1"}]}],"roles":[{"name":"../../bin/sh","providers":[{"node":0,"identity":0}]}],"data":[{"name":"../x"}]}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		var m cluster.Manifest
		if json.Unmarshal(document, &m) != nil || m.Check() != nil {
			return
		}
		// The worst machine: it has a script for every name.
		scripts := Scripts{".": {EtcHosts}}
		for _, r := range m.Roles {
			scripts[IPAndHost] = append(scripts[IPAndHost], r.Name)
			scripts[Restarts] = append(scripts[Restarts], r.Name)
		}
		for _, d := range m.Data {
			scripts[DataDir] = append(scripts[DataDir], d.Name)
		}
		self := Self{Context: "c", DataDir: "/data"}
		if len(m.Nodes) > 0 {
			self.Place, self.Identities = m.Nodes[0].Place, m.Nodes[0].Identities
		}
		for _, step := range Plan(&m, self, scripts) {
			if step.Script != "" && (!filepath.IsLocal(step.Script) || step.Script != filepath.Clean(step.Script)) {
				t.Fatalf("the script %q", step.Script)
			}
			for _, arg := range step.Args {
				if strings.ContainsAny(arg, "\n\r\x00") || strings.HasPrefix(arg, "-") {
					t.Fatalf("the argument %q of %s", arg, step.Script)
				}
				if step.Phase == DataDir && filepath.Dir(arg) != "/data" {
					t.Fatalf("the data file %q", arg)
				}
			}
		}
	})
}
