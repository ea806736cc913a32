package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nimbus/broker/store"
	"nimbus/broker/wire"
)

// through is an HTTP client that speaks TLS to a socket in the file system.
func (b *bench) through(socket string) *http.Client {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(b.service.Authority.CA))
	config := &tls.Config{RootCAs: pool, ServerName: b.service.Authority.BrokerID, MinVersion: tls.VersionTLS12}
	transport := &http.Transport{DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		short, release, err := wire.ShortSocket(socket)
		if err != nil {
			return nil, err
		}
		defer release()
		return (&tls.Dialer{Config: config}).DialContext(ctx, "unix", short)
	}}
	b.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// The socket for nodes is one more way in from outside: whoever comes through
// it is nobody's owner, though it is a socket in the file system as well.
func TestNodesSocketIsForAnyone(t *testing.T) {
	b := newBench(t, t.TempDir(), store.NewMemory(), 0)
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep/", 30))
	must(t, os.MkdirAll(dir, 0o700))
	nodes, owners := filepath.Join(dir, "nodes.sock"), filepath.Join(dir, "owner.sock")
	must(t, b.server.NodeSocket(nodes))
	must(t, b.server.Socket(owners))
	if fi, err := os.Stat(nodes); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v, want mode 600", fi, err)
	}
	c := b.create(false)
	key, err := readFile(filepath.Join(b.dir, "owner.key"))
	must(t, err)

	join, err := json.Marshal(face(1))
	must(t, err)
	stopped := false
	b.server.Shutdown = func() { stopped = true }
	client := b.through(nodes)
	for _, call := range []struct {
		method, path, authorization, body string
		status                            int
	}{
		{"GET", "/healthz", "", "", http.StatusOK},
		{"GET", "/v1/info", "", "", http.StatusOK},
		{"POST", "/v1/contexts", "", "{}", http.StatusUnauthorized},
		{"GET", "/v1/contexts", "", "", http.StatusUnauthorized},
		{"GET", "/v1/contexts/" + c.ID, "", "", http.StatusUnauthorized},
		{"DELETE", "/v1/contexts/" + c.ID, "", "", http.StatusUnauthorized},
		{"POST", "/v1/listen", "", `{"address":"127.0.0.2"}`, http.StatusForbidden},
		{"POST", "/v1/stop", "", "", http.StatusForbidden},
		{"POST", "/v1/stop", "Bearer " + strings.TrimSpace(key), "", http.StatusForbidden},
		{"GET", "/v1/contexts", "Bearer " + strings.TrimSpace(key), "", http.StatusOK},
		{"POST", "/v1/contexts/" + c.ID + "/join", wire.NodeScheme + " " + c.Tokens["back"][0], string(join), http.StatusOK},
	} {
		request, err := http.NewRequest(call.method, "https://broker"+call.path, strings.NewReader(call.body))
		must(t, err)
		request.Header.Set(wire.ClaimHeader, "the-claim-of-this-machine")
		if call.authorization != "" {
			request.Header.Set("Authorization", call.authorization)
		}
		response, err := client.Do(request)
		must(t, err)
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != call.status {
			t.Errorf("%s %s with %.6q: %s, want %d\n%s", call.method, call.path, call.authorization, response.Status, call.status, body)
		}
	}
	if stopped {
		t.Errorf("a node stopped the broker")
	}
	// It takes TLS only, and the other socket is its owner's still.
	plain := wire.NewLocalClient(nodes)
	if _, err := plain.Info(t.Context()); err == nil {
		t.Errorf("the socket for nodes takes plain HTTP")
	}
	if _, err := wire.NewLocalClient(owners).Contexts(t.Context()); err != nil {
		t.Errorf("the owner's socket: %v", err)
	}
}

// The user's own broker opens it, and again after a restart, at the same path.
func TestNodesSocketStays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "broker")
	ctx := t.Context()
	if _, err := NodesSocket(dir); err == nil {
		t.Errorf("there is a socket without a broker")
	}
	client, err := Ensure(ctx, dir, testExecutable(t))
	must(t, err)
	path, err := NodesSocket(dir)
	must(t, err)
	created := oneContext(t, client)
	must(t, client.Stop(ctx))
	gone(t, dir)
	client, err = Ensure(ctx, dir, testExecutable(t))
	must(t, err)
	conn, err := net.DialTimeout("unix", path, 10*time.Second)
	must(t, err)
	conn.Close()
	must(t, client.Delete(ctx, created.ID))
	gone(t, dir)
	if _, err := os.Lstat(path); err == nil {
		t.Errorf("%s is left", path)
	}
}
