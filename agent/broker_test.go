package agent

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"nimbus/agent/host"
	"nimbus/broker/cluster"
	"nimbus/broker/wire"
)

const token = "head:0:bWFjLW9mLXRoZS10b2tlbg"

// A broker plays the broker's part over real TLS. Each kind of request is
// answered by its script, a function of how often it was asked before.
type broker struct {
	*httptest.Server
	ca       string
	join     func(n int) any // a document, a *wire.Error, or nil: hang up
	manifest func(n int) any
	report   func(n int) any
	retry    func(n int) any
	log      func(n int) any
	pack     func(n int) any // a []byte, too

	mutex   sync.Mutex
	asked   map[string]int
	claims  map[string]bool
	joins   []wire.Join
	reports []wire.Report
	pieces  []wire.LogText
}

// done is the answer without a document, held the one without a manifest.
type (
	done struct{}
	held []string
)

func newBroker(t *testing.T) *broker {
	t.Helper()
	b := &broker{asked: map[string]int{}, claims: map[string]bool{}}
	b.join = func(int) any { return wire.Joined{Place: cluster.Place{Workspace: "head"}, Node: "head-0", Stages: 1} }
	b.manifest = func(int) any { return helloManifest() }
	b.report = func(int) any { return done{} }
	b.retry = func(int) any { return done{} }
	b.log = func(int) any { return done{} }
	b.pack = func(int) any { return wire.Errorf(wire.NotFound, "no scripts") }
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/contexts/ctx-1/join", func(w http.ResponseWriter, r *http.Request) {
		var j wire.Join
		b.answer(w, r, "join", &j, b.join, func() *wire.Error {
			if len(b.joins) > 0 && !slices.Equal(b.joins[0].Identities, j.Identities) {
				return wire.Errorf(wire.PlaceTaken, "node head-0 joined before with other addresses or keys")
			}
			b.joins = append(b.joins, j)
			return nil
		})
	})
	mux.HandleFunc("GET /v1/contexts/ctx-1/manifest", func(w http.ResponseWriter, r *http.Request) {
		b.answer(w, r, "manifest", nil, b.manifest, func() *wire.Error { return nil })
	})
	mux.HandleFunc("GET /v1/contexts/ctx-1/pack", func(w http.ResponseWriter, r *http.Request) {
		b.answer(w, r, "pack", nil, b.pack, func() *wire.Error { return nil })
	})
	mux.HandleFunc("POST /v1/contexts/ctx-1/retry", func(w http.ResponseWriter, r *http.Request) {
		b.answer(w, r, "retry", nil, b.retry, func() *wire.Error { return nil })
	})
	mux.HandleFunc("POST /v1/contexts/ctx-1/log", func(w http.ResponseWriter, r *http.Request) {
		var piece wire.LogText
		b.answer(w, r, "log", &piece, b.log, func() *wire.Error {
			if err := piece.Check(); err != nil {
				return wire.Errorf(wire.BadRequest, "%v", err)
			}
			b.pieces = append(b.pieces, piece)
			return nil
		})
	})
	mux.HandleFunc("POST /v1/contexts/ctx-1/report", func(w http.ResponseWriter, r *http.Request) {
		var report wire.Report
		b.answer(w, r, "report", &report, b.report, func() *wire.Error {
			b.reports = append(b.reports, report)
			return nil
		})
	})
	b.Server = httptest.NewUnstartedServer(mux)
	b.Config.ErrorLog = log.New(io.Discard, "", 0)
	certificate, ca := serverCertificate(t)
	b.ca, b.TLS = ca, &tls.Config{Certificates: []tls.Certificate{certificate}}
	b.StartTLS()
	t.Cleanup(b.Close)
	return b
}

func (b *broker) answer(w http.ResponseWriter, r *http.Request, kind string, document any, script func(int) any, accept func() *wire.Error) {
	if r.Header.Get("Authorization") != wire.NodeScheme+" "+token {
		send(w, http.StatusUnauthorized, wire.Errorf(wire.Unauthorized, "wrong token"))
		return
	}
	if document != nil {
		if err := json.NewDecoder(r.Body).Decode(document); err != nil {
			send(w, http.StatusBadRequest, wire.Errorf(wire.BadRequest, "%v", err))
			return
		}
	}
	b.mutex.Lock()
	b.claims[r.Header.Get(wire.ClaimHeader)] = true
	n := b.asked[kind]
	b.asked[kind]++
	b.mutex.Unlock()
	switch reply := script(n).(type) {
	case nil:
		panic(http.ErrAbortHandler)
	case *wire.Error:
		send(w, reply.Status(), reply)
	case []byte:
		_, _ = w.Write(reply)
	case held:
		send(w, http.StatusAccepted, wire.Waiting{For: reply})
	default:
		b.mutex.Lock()
		refusal := accept()
		b.mutex.Unlock()
		if refusal != nil {
			send(w, refusal.Status(), refusal)
			return
		}
		if reply == (done{}) {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		send(w, http.StatusOK, reply)
	}
}

func send(w http.ResponseWriter, status int, document any) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(document)
}

func serverCertificate(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), DNSNames: []string{"broker-1"}}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}))
}

// helloManifest is what head-0 is told: itself, two workers, a value.
func helloManifest() *cluster.Manifest {
	node := func(workspace string, index int, ip, name string) cluster.ManifestNode {
		return cluster.ManifestNode{
			Place:      cluster.Place{Workspace: workspace, Index: index},
			Identities: []cluster.Identity{{Interface: "publicnic", IP: netip.MustParseAddr(ip), Hostname: name}},
		}
	}
	return &cluster.Manifest{
		Last:  true,
		Nodes: []cluster.ManifestNode{node("head", 0, "10.78.0.2", "head-0"), node("work", 0, "10.78.0.3", "work-0"), node("work", 1, "10.78.0.4", "work-1")},
		Roles: []cluster.ManifestRole{{Name: "worker", Providers: []cluster.Provider{{Node: 1}, {Node: 2}}}},
		Data:  []cluster.Data{{Name: "greeting", Value: "hello"}},
	}
}

// A machine under test: everything that the agent touches is below root.
type testMachine struct {
	root    string
	cfg     Config
	console bytes.Buffer
}

// testConfig is that of a machine under test.
func testConfig(root string) Config {
	at := func(name string) string { return filepath.Join(root, name) }
	cfg := Default()
	cfg.ScriptsDir, cfg.StateDir, cfg.LogFile = at("opt/ctx-scripts"), at("var/nimbus"), at("opt/ctxlog.txt")
	cfg.BootstrapFile, cfg.MetadataURLFile = at("bootstrap"), at("metadata-url")
	cfg.SSHHostKeys, cfg.KnownHosts, cfg.HostsEquiv = at("ssh/ssh_host_*_key.pub"), at("ssh/ssh_known_hosts"), at("hosts.equiv")
	cfg.MetadataURL = "http://127.0.0.1:1"
	cfg.NetworkWait, cfg.ScriptTimeLimit = time.Second, 20*time.Second
	cfg.machine = machine{
		dmi:       fstest.MapFS{},
		cloudInit: at("cloud"),
		cloudRun:  at("cloud-run"),
		sshd:      at("no-sshd"),
		interfaces: func() ([]host.Interface, error) {
			return []host.Interface{{Name: "eth0", Addrs: []netip.Addr{netip.MustParseAddr("10.78.0.2")}, Default: true}}, nil
		},
		hostname: func() (string, error) { return "localhost", nil },
	}
	return cfg
}

func newMachine(t *testing.T, b *broker) *testMachine {
	t.Helper()
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	// The scripts of Nimbus itself run in some tests; they write where these say.
	for name, path := range map[string]string{
		"TESTDIR": "opt/ctx-test", "HOSTS_FILE": "hosts", "STATE_DIR": "var/nimbus", "LOG_FILE": "opt/ctxlog.txt",
		"KNOWN_HOSTS": "ssh/ssh_known_hosts", "HOSTS_EQUIV": "hosts.equiv",
	} {
		t.Setenv("NIMBUS_"+name, at(path))
	}
	m := &testMachine{root: root, cfg: testConfig(root)}
	if b != nil {
		boot := wire.Bootstrap{
			Version: wire.BootstrapVersion, Brokers: []string{b.URL}, BrokerID: "broker-1", CA: b.ca, Context: "ctx-1", Token: token,
			NICs: []wire.BootstrapNIC{{Label: "publicnic", Network: "public"}}, Issued: time.Now(),
		}
		document, err := boot.Encode()
		if err != nil {
			t.Fatal(err)
		}
		m.put(t, "bootstrap", string(document))
		// Every call of a script leaves a line.
		for _, name := range []string{"0-etchosts.all", "1-ipandhost/worker", "3-data/greeting", "4-restarts/worker"} {
			m.script(t, name, `echo "$NIMBUS_RETRY|${0#"$PWD"/} $*" >>`+at("calls"))
		}
	}
	return m
}

func (m *testMachine) put(t *testing.T, name, content string) {
	t.Helper()
	path := filepath.Join(m.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

func (m *testMachine) script(t *testing.T, name, body string) {
	t.Helper()
	m.put(t, "opt/ctx-scripts/"+name, "#!/bin/sh\n"+body+"\n")
}

func (m *testMachine) read(name string) string {
	content, _ := os.ReadFile(filepath.Join(m.root, name))
	return string(content)
}

// run starts the agent, as at a boot of the machine.
func (m *testMachine) run(ctx context.Context) error { return Run(ctx, m.cfg, &m.console) }

func (m *testMachine) logs(t *testing.T, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(m.read("opt/ctxlog.txt"), part) {
			t.Errorf("the log lacks %q:\n%s", part, m.read("opt/ctxlog.txt"))
		}
	}
}
