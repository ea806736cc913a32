//go:build acme

package broker

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"nimbus/broker/pki"
)

// TestACME obtains a certificate from a real ACME server, Pebble, on loopback.
// PEBBLE names its directory: the executable and test/ of its module
// (make test-acme).
func TestACME(t *testing.T) {
	pebble := os.Getenv("PEBBLE")
	if pebble == "" {
		t.Fatal("PEBBLE is not set: run make test-acme")
	}
	dir := t.TempDir()
	authority, err := pki.OpenAuthority(dir, time.Now())
	must(t, err)
	config := Default()
	config.Data, config.PublicName, config.ACME = dir, "broker.example.org", true
	config.ACMERoots = filepath.Join(pebble, "test/certs/pebble.minica.pem")
	acmePort := freePort(t)
	config.ACMEDirectory = fmt.Sprintf("https://127.0.0.1:%d/dir", acmePort)
	must(t, config.Validate())
	choose, protos, err := certificates(config, authority)
	must(t, err)
	address := serveTLS(t, choose, protos)
	_, port, err := net.SplitHostPort(address)
	must(t, err)

	// Pebble asks the broker's port for the challenge.
	settings := filepath.Join(dir, "pebble.json")
	must(t, os.WriteFile(settings, fmt.Appendf(nil, `{"pebble":{"listenAddress":"127.0.0.1:%d","managementListenAddress":"127.0.0.1:%d",
		"certificate":%q,"privateKey":%q,"httpPort":%d,"tlsPort":%s}}`, acmePort, freePort(t),
		filepath.Join(pebble, "test/certs/localhost/cert.pem"), filepath.Join(pebble, "test/certs/localhost/key.pem"), freePort(t), port), 0o600))
	dns := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	run(t, filepath.Join(pebble, "pebble-challtestsrv"), "-dnsserver", dns, "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "",
		"-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-management", fmt.Sprintf("127.0.0.1:%d", freePort(t)))
	run(t, filepath.Join(pebble, "pebble"), "-config", settings, "-dnsserver", dns)
	probe := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // only whether it is up
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if response, err := probe.Get(config.ACMEDirectory); err == nil {
			response.Body.Close()
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}

	if issuer := shown(t, address, "broker.example.org", "http/1.1").Issuer.CommonName; issuer == authority.BrokerID || issuer == "" {
		t.Errorf("the public name is shown a certificate of %q", issuer)
	} else {
		t.Logf("issued by %s", issuer)
	}
	if name := shown(t, address, authority.BrokerID).Subject.CommonName; name != authority.BrokerID {
		t.Errorf("a node is shown a certificate for %q", name)
	}
}

// run starts a server and ends it with the test.
func run(t *testing.T, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	must(t, cmd.Start())
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
	})
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
