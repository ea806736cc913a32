package phase

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"nimbus/broker/cluster"
)

var update = flag.Bool("update", false, "write the golden files anew")

const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE1hZGVVcEtleUZvclRlc3RzT25seTEyMzQ1Njc4 made-up"

func identity(label, ip, name, key string) cluster.Identity {
	return cluster.Identity{Interface: label, IP: netip.MustParseAddr(ip), Hostname: name, Pubkey: key}
}

// torque is what a compute node of a small cluster is told: everybody, the
// head's role, its own role, and two values.
func torque() *cluster.Manifest {
	return &cluster.Manifest{
		Last: true,
		Nodes: []cluster.ManifestNode{
			{Place: cluster.Place{Workspace: "head"}, Identities: []cluster.Identity{
				identity("publicnic", "192.0.2.10", "head.example.org", key),
				identity("localnic", "10.78.0.2", "head.example.org", key),
			}},
			{Place: cluster.Place{Workspace: "compute"}, Identities: []cluster.Identity{identity("publicnic", "10.78.0.3", "compute-0", key)}},
			{Place: cluster.Place{Workspace: "compute", Index: 1}, Identities: []cluster.Identity{identity("publicnic", "10.78.0.4", "", "")}},
		},
		Roles: []cluster.ManifestRole{
			{Name: "torquemaster", Providers: []cluster.Provider{{Node: 0, Identity: 1}}},
			{Name: "torqueslave", Providers: []cluster.Provider{{Node: 2, Identity: 0}, {Node: 1, Identity: 0}}},
			{Name: "unheard", Providers: []cluster.Provider{{Node: 0, Identity: 0}}},
			{Name: "nobody"},
		},
		Data: []cluster.Data{{Name: "gridmap", Value: "a\nb"}, {Name: "empty"}, {Name: "gridmap", Value: "c"}},
	}
}

func compute0() Self {
	return Self{
		Context:    "ctx-1",
		Place:      cluster.Place{Workspace: "compute"},
		Identities: []cluster.Identity{identity("publicnic", "10.78.0.3", "compute-0", key)},
		DataDir:    "/var/lib/nimbus/ctx-1/data",
	}
}

func TestPlan(t *testing.T) {
	for name, scripts := range map[string]Scripts{
		"each": {".": {"0-etchosts"}, IPAndHost: {"torquemaster", "torqueslave"}, ThisHost: {"publicnic"}, DataDir: {"gridmap"}, Restarts: {"torqueslave"}, Finalize: {"publicnic"}},
		"all":  {".": {"0-etchosts", "0-etchosts.all"}, IPAndHost: {"torquemaster", "torquemaster.all", "torqueslave.all"}},
		"old":  {".": {"0-etchosts.sh"}},
		"none": {},
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			for _, s := range Plan(torque(), compute0(), scripts) {
				fmt.Fprintf(&b, "%-6s %s", s.Kind, s)
				if s.Role != "" {
					fmt.Fprintf(&b, " [%s of %d]", s.Role, s.Count)
				}
				fmt.Fprintln(&b)
				for line := range strings.Lines(s.Stdin) {
					fmt.Fprint(&b, "       < ", strings.ReplaceAll(line, "\t", "|"))
				}
			}
			golden(t, name, b.String())
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s (go test -update writes it anew)\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

func TestPlanIsTheSameEachTime(t *testing.T) {
	scripts := Scripts{".": {"0-etchosts"}, IPAndHost: {"torqueslave.all"}}
	first := fmt.Sprint(Plan(torque(), compute0(), scripts))
	for range 20 {
		if again := fmt.Sprint(Plan(torque(), compute0(), scripts)); again != first {
			t.Fatalf("got %s, before %s", again, first)
		}
	}
}

// Without <identity/> and names there is nobody to put into /etc/hosts, and so
// nothing that could be missing.
func TestNobodyToKnow(t *testing.T) {
	for _, s := range Plan(&cluster.Manifest{Last: true}, Self{}, Scripts{}) {
		if s.Kind != Trust {
			t.Errorf("unexpected step %q", s)
		}
	}
}

func TestList(t *testing.T) {
	file := &fstest.MapFile{Mode: 0o755}
	got, err := List(fstest.MapFS{"0-etchosts": file, "1-ipandhost/db": file, "1-ipandhost/lib/x": file, "elsewhere/x": file})
	if err != nil {
		t.Fatal(err)
	}
	if !got.Has(".", "0-etchosts") || !got.Has(IPAndHost, "db") || got.Has(IPAndHost, "lib") || got.Has(ThisHost, "publicnic") || len(got) != 2 {
		t.Errorf("got %v", got)
	}
}
