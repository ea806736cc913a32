//go:build vm

package vm

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// metadata is a server like EC2's for one machine, which takes nobody without a
// token of IMDSv2. What the machine is told is in a directory, in the files of
// a request.
type metadata struct {
	dir, ip, mac string
	mu           sync.Mutex
	refused      int // requests without a token
	served       int // times that user data were handed out
}

const imdsToken = "a-token-of-imds-v2=="

// serveMetadata answers at the address that all of EC2 has for it.
func (w *world) serveMetadata(m *metadata) {
	w.Helper()
	w.sh("ip addr add 169.254.169.254/32 dev " + bridge)
	l, err := net.Listen("tcp", "169.254.169.254:80")
	w.must(err)
	server := &http.Server{Handler: m}
	go server.Serve(l)
	w.Cleanup(func() { server.Close() })
}

func (m *metadata) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.URL.Path == "/latest/api/token" {
		if r.Method != http.MethodPut || r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds") == "" {
			http.Error(w, "want PUT with a time to live", http.StatusBadRequest)
			return
		}
		io.WriteString(w, imdsToken)
		return
	}
	if r.Header.Get("X-Aws-Ec2-Metadata-Token") != imdsToken {
		m.refused++
		http.Error(w, "no token", http.StatusUnauthorized)
		return
	}
	version, rest, _ := strings.Cut(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case version == "":
		io.WriteString(w, "2009-04-04\n2021-03-23\nlatest\n")
	case rest == "user-data":
		m.served++
		http.ServeFile(w, r, filepath.Join(m.dir, "user-data"))
	default:
		m.value(w, path.Clean(rest))
	}
}

// value answers with a value, or lists a directory of them.
func (m *metadata) value(w http.ResponseWriter, name string) {
	read := func(file string) string {
		text, _ := os.ReadFile(filepath.Join(m.dir, file))
		return strings.TrimSpace(string(text))
	}
	nic := "meta-data/network/interfaces/macs/" + m.mac
	values := map[string]string{
		"meta-data/ami-id": "ami-1", "meta-data/instance-id": "i-0123456789abcdef0", "meta-data/instance-type": "t2.nano",
		"meta-data/local-hostname": read("name"), "meta-data/hostname": read("name"), "meta-data/local-ipv4": m.ip,
		"meta-data/placement/availability-zone": "here-1a", "meta-data/placement/region": "here-1",
		nic + "/device-number": "0", nic + "/mac": m.mac, nic + "/local-ipv4s": m.ip, nic + "/subnet-ipv4-cidr-block": "10.77.0.0/24",
		"meta-data/public-keys/0/openssh-key": read("authorized-keys"),
		"dynamic/instance-identity/document":  `{"region": "here-1"}`,
	}
	if value, ok := values[name]; ok {
		io.WriteString(w, value)
		return
	}
	if name == "meta-data/public-keys" { // the one list with names in it
		io.WriteString(w, "0=key")
		return
	}
	listed := map[string]bool{}
	for at := range values {
		if below, ok := strings.CutPrefix(at, name+"/"); ok {
			first, _, more := strings.Cut(below, "/")
			if more {
				first += "/"
			}
			if !listed[first] {
				listed[first] = true
				fmt.Fprintln(w, first)
			}
		}
	}
	if len(listed) == 0 {
		http.Error(w, "no such value", http.StatusNotFound)
	}
}

// The server keeps to what clients of EC2's rely on.
func TestMetadataServer(t *testing.T) {
	dir := t.TempDir()
	m := &metadata{dir: dir, ip: "10.77.0.10", mac: "52:54:0a:4d:00:0a"}
	if err := os.WriteFile(filepath.Join(dir, "name"), []byte("a.b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{
		"/latest/meta-data/local-hostname":                                    "a.b",
		"/latest/meta-data/placement/":                                        "availability-zone region",
		"/2021-03-23/meta-data/network/interfaces/macs/":                      "52:54:0a:4d:00:0a/",
		"/latest/meta-data/public-keys/":                                      "0=key",
		"/latest/meta-data/public-keys/0/":                                    "openssh-key",
		"/latest/meta-data/network/interfaces/macs/" + m.mac + "/local-ipv4s": "10.77.0.10",
	} {
		w := httptest.NewRecorder()
		r, err := http.NewRequest("GET", "http://x"+url, nil)
		if err != nil {
			t.Fatal(err)
		}
		m.ServeHTTP(w, r)
		if w.Code != http.StatusUnauthorized {
			t.Errorf("%s without a token: %d", url, w.Code)
		}
		w = httptest.NewRecorder()
		r.Header.Set("X-Aws-Ec2-Metadata-Token", imdsToken)
		m.ServeHTTP(w, r)
		got := strings.Fields(w.Body.String())
		for _, word := range strings.Fields(want) {
			if !strings.Contains(" "+strings.Join(got, " ")+" ", " "+word+" ") {
				t.Errorf("%s: %q lacks %s", url, got, word)
			}
		}
	}
}
