package source

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// Who was given the document as a file learns the machine's name from where
// the document was, as if nobody had been between.
func TestNameBesideGivenDocument(t *testing.T) {
	good := strings.TrimSpace(string(document(t)))
	other := strings.Replace(good, "head:0:mac", "head:1:mac", 1)
	if other == good {
		t.Fatal("the documents are the same")
	}
	meta := []byte("local-hostname: head-0.cluster-001\n")
	drive := func(document string) fstest.MapFS {
		return fstest.MapFS{"user-data": {Data: []byte("#!/bin/sh\ncat >document <<'NIMBUS-BOOTSTRAP'\n" + document + "\nNIMBUS-BOOTSTRAP\n")}, "meta-data": {Data: meta}}
	}
	for name, c := range map[string]struct {
		drive     fstest.MapFS
		seed      bool
		server    string // its user data
		cloudInit bool   // it ran in this boot
		dmi       string // who made this machine
		want      string
		asked     bool // the server
	}{
		"drive":                       {drive: drive(good), want: "head-0.cluster-001"},
		"another node's drive":        {drive: drive(other)},
		"a drive with something else": {drive: fstest.MapFS{"user-data": {Data: []byte("#cloud-config\n")}, "meta-data": {Data: meta}}},
		"seed":                        {seed: true, want: "head-0.cluster-001"},
		"server":                      {server: good, cloudInit: true, want: "head-0.internal", asked: true},
		"server of a named cloud":     {server: good, dmi: "Amazon EC2", want: "head-0.internal", asked: true},
		"another node's server":       {server: other, cloudInit: true, asked: true},
		"no sign of a server":         {server: good},
		"nowhere":                     {cloudInit: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := nowhere(t)
			p.Given = filepath.Join(t.TempDir(), "given")
			put(t, p.Given, good)
			if c.drive != nil {
				p.Drives = shelf{"/dev/vdb": {label: "cidata", files: c.drive}}.drives(t)
			}
			if c.seed {
				dir := filepath.Join(p.CloudInit, "seed", "nocloud")
				if err := os.MkdirAll(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				put(t, filepath.Join(dir, "user-data"), good)
				put(t, filepath.Join(dir, "meta-data"), string(meta))
			}
			asked := func() bool { return false }
			if c.server != "" {
				server, n := serve(t, body([]byte(c.server)))
				own := server.Config.Handler
				server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/2007-01-19/meta-data/local-hostname" {
						body([]byte("head-0.internal"))(w, r)
						return
					}
					own.ServeHTTP(w, r)
				})
				p.MetadataURL, asked = server.URL, func() bool { return n.Load() > 0 }
			}
			if c.cloudInit {
				if err := os.MkdirAll(p.CloudInitRun, 0o755); err != nil {
					t.Fatal(err)
				}
				put(t, filepath.Join(p.CloudInitRun, ".instance-id"), "i-1\n")
			}
			p.DMI = fstest.MapFS{"sys_vendor": {Data: []byte(c.dmi)}}
			f, err := p.Find(t.Context())
			if err != nil || f.Where != p.Given || f.Token != "head:0:mac" {
				t.Fatalf("got %+v, %v", f, err)
			}
			got := ""
			if f.Values != nil {
				got = f.Values.Value(t.Context(), localHostname)
			}
			if got != c.want {
				t.Errorf("called %q, not %q", got, c.want)
			}
			if asked() != c.asked {
				t.Errorf("the server was asked: %v", asked())
			}
		})
	}
}
