package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The house: who may import whom. What is not listed is not allowed; why is in
// docs/architecture.md.
var arrows = map[string][]string{
	"nimbus":                 {"agent", "broker", "broker/cluster", "client", "client/progress", "cloud/local"},
	"broker":                 {"broker/cluster", "broker/httpd", "broker/match", "broker/pki", "broker/software", "broker/store", "broker/store/boltstore", "broker/wire", "install"},
	"broker/cluster":         {},
	"broker/match":           {"broker/cluster"},
	"broker/wire":            {"broker/cluster"},
	"broker/pki":             {"broker/wire"},
	"broker/httpd":           {"broker/pki", "broker/software", "broker/wire"},
	"broker/store":           {"broker/match"},
	"broker/store/boltstore": {"broker/match", "broker/store"},
	"broker/store/storetest": {"broker/match", "broker/store"},
	"broker/software":        {},
	"agent":                  {"agent/host", "agent/phase", "agent/source", "broker/cluster", "broker/wire", "ctxscripts", "ctxscripts/pack", "install"},
	"agent/host":             {"broker/cluster", "broker/wire"},
	"agent/phase":            {"broker/cluster"},
	"agent/source":           {"broker/wire"},
	"ctxscripts":             {},
	"ctxscripts/pack":        {},
	"install":                {"ctxscripts"},
	"client": {"broker", "broker/cluster", "broker/software", "broker/wire", "client/deploy", "client/graph", "client/history", "client/knownhosts", "client/loginkey", "client/manual",
		"client/progress", "client/settings", "cloud", "cloud/command", "cloud/local", "cloud/ssh", "ctxscripts", "ctxscripts/pack", "install"},
	"client/deploy":     {"broker/cluster", "broker/wire", "cloud"},
	"client/graph":      {"broker/cluster"},
	"client/history":    {"broker/cluster", "broker/wire", "cloud"},
	"client/knownhosts": {"broker/cluster"},
	"client/loginkey":   {},
	"client/manual":     {},
	"client/progress":   {"broker/cluster", "broker/wire"},
	"client/settings":   {"broker/cluster", "broker/wire"},
	"cloud":             {},
	"cloud/command":     {"cloud"},
	"cloud/local":       {"cloud"},
	"cloud/ssh":         {"cloud"},
	"cloud/cloudtest":   {"cloud"},
	"bench":             {},
	"docs/picture":      {},
}

// homes says which package is the home of a dependency.
var homes = map[string][]string{
	"go.etcd.io/bbolt":                  {"broker/store/boltstore"},
	"github.com/gorilla/mux":            {"broker/httpd"},
	"golang.org/x/crypto/acme/autocert": {"broker"},
	"github.com/vishvananda/netlink":    {"cloud/local"},
	"github.com/BurntSushi/toml":        {"broker", "agent", "client/settings"},
	"github.com/urfave/cli/v2":          {"nimbus", "broker", "agent", "client"},
}

// pure packages decide; they touch neither the clock nor the world.
var pure = map[string][]string{
	"broker/cluster": {"net/http", "os", "log", "log/slog", "os/exec", "net"},
	"client/graph":   {"net/http", "os", "log", "log/slog", "os/exec", "net", "time"},
	"broker/match":   {"net/http", "os", "log", "log/slog", "os/exec", "net", "sync", "math/rand", "math/rand/v2", "crypto/rand"},
}

func TestArrows(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(p.ImportPath, "nimbus/")
		seen[name] = true
		allowed, known := arrows[name]
		if !known {
			t.Errorf("%s has no place in the house: add it to arrows and to docs/architecture.md", name)
			continue
		}
		for _, i := range p.Imports {
			if ours, is := strings.CutPrefix(i, "nimbus/"); is && !slices.Contains(allowed, ours) {
				t.Errorf("%s must not import %s", name, ours)
			}
			if home, housed := homes[i]; housed && !slices.Contains(home, name) {
				t.Errorf("%s must not import %s: its home is %s", name, i, strings.Join(home, ", "))
			}
			if slices.Contains(pure[name], i) {
				t.Errorf("%s must not import %s: it decides, and touches nothing", name, i)
			}
		}
	}
	for name := range arrows {
		if !seen[name] {
			t.Errorf("arrows speaks of %s, which is not there", name)
		}
	}
}

// The core gets the time in its events; a clock of its own would make replay
// and answer differ.
func TestCoreHasNoClock(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{$d := .Dir}}{{range .GoFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}`, "./broker/match", "./broker/cluster").Output()
	if err != nil {
		t.Fatal(err)
	}
	for file := range strings.FieldsSeq(string(out)) {
		found, _ := exec.Command("grep", "-nE", `time\.(Now|Since|Until|After|Sleep|NewTimer)\(`, file).Output()
		if len(found) > 0 {
			t.Errorf("%s: %s", file, found)
		}
	}
}
