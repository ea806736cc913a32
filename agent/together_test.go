package agent

import (
	"crypto/tls"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"nimbus/agent/host"
	realbroker "nimbus/broker"
	"nimbus/broker/cluster"
	"nimbus/broker/httpd"
	"nimbus/broker/pki"
	"nimbus/broker/store"
	"nimbus/broker/wire"
)

// realBroker starts the broker itself, with a context in it.
func realBroker(t *testing.T, definition string) (*realbroker.Service, wire.Created) {
	t.Helper()
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	authority, err := pki.OpenAuthority(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := pki.OpenSecrets(dir)
	if err != nil {
		t.Fatal(err)
	}
	var url string
	service := &realbroker.Service{Store: store.NewMemory(), Secrets: secrets, Authority: authority, Log: log,
		Brokers: func() []string { return []string{url} }}
	if err := service.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	server := &httpd.Server{Service: service, Guard: secrets, Log: log,
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return authority.ServerCertificate(time.Now()) }}
	server.Start()
	address, err := server.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url = "https://" + address.String()
	t.Cleanup(func() {
		server.Stop()
		service.Stop()
	})
	d, problems := cluster.Read("", strings.NewReader(definition))
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	created, err := service.Create(t.Context(), httpd.Owner, wire.Create{Definition: *d, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return service, created
}

// member is a machine of that context, without any scripts but an empty
// 0-etchosts.
func member(t *testing.T, c wire.Created, workspace string, last byte) *testMachine {
	t.Helper()
	m := newMachine(t, nil)
	m.cfg.machine.hostname = func() (string, error) { return workspace + "-0", nil }
	m.cfg.machine.interfaces = func() ([]host.Interface, error) {
		return []host.Interface{{Name: "eth0", Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 78, 0, last})}, Default: true}}, nil
	}
	boot := wire.Bootstrap{Version: wire.BootstrapVersion, Brokers: c.Brokers, BrokerID: c.BrokerID, CA: c.CA, Context: c.ID,
		Token: c.Tokens[workspace][0], NICs: []wire.BootstrapNIC{{Label: "publicnic", Network: "public"}}, Issued: time.Now()}
	document, err := boot.Encode()
	if err != nil {
		t.Fatal(err)
	}
	m.put(t, "bootstrap", string(document))
	m.script(t, "0-etchosts.all", "cat >/dev/null")
	return m
}

// One node fails, another one waits for it and is told so. When the script is
// mended both begin again, whoever comes first, and the cluster is whole.
func TestClusterIsMended(t *testing.T) {
	service, c := realBroker(t, `<cluster>
  <workspace><name>db</name><image>i</image><quantity>1</quantity><nic>public</nic>
    <ctx><provides><identity/><role>db</role></provides><requires><role name="web"/></requires></ctx></workspace>
  <workspace><name>web</name><image>i</image><quantity>1</quantity><nic>public</nic>
    <ctx><provides><identity/><role>web</role></provides><requires><role name="db" ready="true"/></requires></ctx></workspace>
</cluster>`)
	db, web := member(t, c, "db", 2), member(t, c, "web", 3)
	db.script(t, "1-ipandhost/web", "echo it hurts; exit 7")
	together := func(run func(m *testMachine) error) (dbErr, webErr error) {
		var all sync.WaitGroup
		all.Go(func() { webErr = run(web) })
		all.Go(func() { dbErr = run(db) })
		all.Wait()
		return dbErr, webErr
	}
	dbErr, webErr := together(func(m *testMachine) error { return m.run(t.Context()) })
	if code(dbErr) != CodeFailed || code(webErr) != CodeFailed || !strings.Contains(webErr.Error(), "node db-0 failed") {
		t.Fatalf("db: %v, web: %v", dbErr, webErr)
	}
	state := func() wire.State {
		status, err := service.Status(t.Context(), httpd.Owner, c.ID, 0)
		if err != nil {
			t.Fatal(err)
		}
		return status.State
	}
	if got := state(); got != wire.Failing {
		t.Errorf("the context is %s", got)
	}
	// The log of a node that was done at once is that of its report.
	log, err := service.NodeLog(t.Context(), httpd.Owner, c.ID, "db-0", -1)
	if err != nil || log.State != wire.NodeError || !strings.Contains(log.Text, "it hurts") {
		t.Errorf("%v, %+v", err, log)
	}

	// The one that waits begins first, the other one when it was told so.
	db.script(t, "1-ipandhost/web", "echo mended >>"+filepath.Join(db.root, "calls"))
	dbErr, webErr = together(func(m *testMachine) error {
		for tick := time.Tick(5 * time.Millisecond); m == db && !strings.Contains(web.read("opt/ctxlog.txt"), "INFO: beginning again"); {
			<-tick
		}
		return m.again(t.Context(), "")
	})
	if dbErr != nil || webErr != nil || db.read("calls") != "mended\n" {
		t.Fatalf("db: %v, web: %v\n%s\n%s", dbErr, webErr, db.console.String(), web.console.String())
	}
	if got := state(); got != wire.OK {
		t.Errorf("the context is %s", got)
	}
}
