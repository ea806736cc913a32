package broker

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"nimbus/broker/pki"
)

// shown is the certificate that a server shows to who asks for a name.
func shown(t *testing.T, address, name string, protos ...string) *x509.Certificate {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: protos}) // looked at below
	must(t, err)
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0]
}

func serveTLS(t *testing.T, choose func(*tls.ClientHelloInfo) (*tls.Certificate, error), protos []string) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: choose, NextProtos: append(protos, "http/1.1"), MinVersion: tls.VersionTLS12})
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_ = conn.(*tls.Conn).Handshake()
				_, _ = conn.Read(make([]byte, 1)) // until the other side has seen enough
				conn.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// writePair stores a certificate of some other CA for a name.
func writePair(t *testing.T, dir string) (cert, key, name string) {
	t.Helper()
	other, err := pki.OpenAuthority(t.TempDir(), time.Now())
	must(t, err)
	pair, err := other.ServerCertificate(time.Now())
	must(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	must(t, err)
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	must(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	must(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}), 0o600))
	return cert, key, other.BrokerID
}

// Nodes are always shown the broker's own certificate, clients that ask for
// the public name the one from the files, also after it was renewed.
func TestCertificateByName(t *testing.T) {
	dir := t.TempDir()
	authority, err := pki.OpenAuthority(dir, time.Now())
	must(t, err)
	cert, key, name := writePair(t, dir)
	config := Default()
	config.Data, config.PublicName, config.CertFile, config.KeyFile = dir, name, cert, key
	must(t, config.Validate())
	choose, protos, err := certificates(config, authority, func() []string { return nil })
	must(t, err)
	address := serveTLS(t, choose, protos)
	for ask, want := range map[string]string{authority.BrokerID: authority.BrokerID, "": authority.BrokerID, "other.example.org": authority.BrokerID, name: name} {
		if got := shown(t, address, ask).Subject.CommonName; got != want {
			t.Errorf("asked for %q: shown %q, want %q", ask, got, want)
		}
	}
	before := shown(t, address, name)
	writePair(t, dir) // another key, and another name in it
	must(t, os.Chtimes(cert, time.Now(), time.Now().Add(time.Minute)))
	if after := shown(t, address, name); after.Equal(before) {
		t.Error("the renewed certificate is not shown")
	}
	must(t, os.WriteFile(cert, []byte("half"), 0o600))
	must(t, os.Chtimes(cert, time.Now(), time.Now().Add(2*time.Minute)))
	shown(t, address, name) // the last good one
}

func TestConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "broker.toml")
	load := func(text string) error {
		must(t, os.WriteFile(path, []byte(text), 0o600))
		c, err := Load(path)
		if err == nil {
			err = c.Validate()
		}
		return err
	}
	must(t, load("data = \"/x\"\nlisten = [\"127.0.0.1:1\"]\nadvertise = [\"https://b.example.org:8443\"]\n"))
	for text, want := range map[string]string{
		"lisen = []":               `there is no setting "lisen"`,
		"\n\ndata = 3":             "line 3",
		`listen = ["nonsense"]`:    "listen",
		`advertise = ["http://x"]`: "https://host:port",
		`acme = true`:              "public_name",
		`cert_file = "x"`:          "key_file",
		`log_level = "loud"`:       "log_level",
		`log_format = "xml"`:       "log_format",
		`data = ""`:                "data",
	} {
		if err := load(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// The ACME server is elsewhere: what the environment says of proxies holds for
// it, with roots of its own as without.
func TestACMEGoesThroughProxies(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	roots := filepath.Join(t.TempDir(), "roots.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(roots, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []Config{{}, {ACMERoots: roots}} {
		manager, err := acmeManager(c)
		if err != nil {
			t.Fatal(err)
		}
		transport := http.DefaultTransport
		if client := manager.Client.HTTPClient; client != nil {
			transport = client.Transport
		}
		proxy := transport.(*http.Transport).Proxy
		if reflect.ValueOf(proxy).Pointer() != reflect.ValueOf(http.ProxyFromEnvironment).Pointer() {
			t.Errorf("%+v: no proxy of the environment", c)
		}
	}
}
