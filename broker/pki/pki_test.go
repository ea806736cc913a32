package pki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nimbus/broker/wire"
)

func TestAuthorityIsKeptAndVerifies(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	a, err := OpenAuthority(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	again, err := OpenAuthority(dir, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if a.BrokerID != again.BrokerID || a.CA != again.CA {
		t.Fatal("the CA changed at the second start")
	}
	roots, err := wire.ParseCA(a.CA)
	if err != nil {
		t.Fatal(err)
	}
	verify := func(c *tls.Certificate, name string, at time.Time) error {
		leaf, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			return err
		}
		_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: at})
		return err
	}
	first, err := a.ServerCertificate(now)
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(first, a.BrokerID, now); err != nil {
		t.Error(err)
	}
	if err := verify(first, "broker.example.org", now); err == nil {
		t.Error("verifies by another name")
	}
	// A certificate made later is good for a clock that stands at the time
	// when a bootstrap was issued.
	later, err := again.ServerCertificate(now.Add(100 * 24 * time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(later, a.BrokerID, now); err != nil {
		t.Error(err)
	}
	if same, _ := a.ServerCertificate(now.Add(24 * time.Hour)); same != first {
		t.Error("renewed after a day")
	}
	renewed, _ := a.ServerCertificate(now.Add(320 * 24 * time.Hour))
	if renewed == first {
		t.Error("not renewed before its end")
	}
	if err := verify(renewed, a.BrokerID, now.Add(400*24*time.Hour)); err != nil {
		t.Error(err)
	}
}

func TestSecretsAreForTheirOwner(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenSecrets(dir)
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(s.OwnerKeyFile())
	if err != nil {
		t.Fatal(err)
	}
	if !s.IsOwner(strings.TrimSpace(string(key))) || s.IsOwner("") || s.IsOwner("x") {
		t.Error("the owner's key is not known")
	}
	if _, err := OpenAuthority(dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"master.key", "owner.key", "ca.key"} {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := OpenSecrets(dir); err == nil || !strings.Contains(err.Error(), "others") {
		t.Errorf("took a key that others can read: %v", err)
	}
	if _, err := OpenAuthority(dir, time.Now()); err == nil {
		t.Error("took a CA key that others can read")
	}
	open := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := MakeDir(open); err == nil {
		t.Error("took a directory that others can enter")
	}
}

func TestTokenIsGoodForOnePlaceOfOneContext(t *testing.T) {
	s, err := OpenSecrets(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	good, err := wire.ParseToken(s.Token("c1", "w", 1))
	if err != nil {
		t.Fatal(err)
	}
	any, err := wire.ParseToken(s.Token("c1", "w", wire.AnyIndex))
	if err != nil {
		t.Fatal(err)
	}
	if !s.Verify("c1", good) || !s.Verify("c1", any) || any.Index != wire.AnyIndex {
		t.Error("its own tokens are not known")
	}
	other, err := OpenSecrets(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]bool{
		"another context":   s.Verify("c2", good),
		"another place":     s.Verify("c1", wire.Token{Workspace: "w", Index: 2, MAC: good.MAC}),
		"any place":         s.Verify("c1", wire.Token{Workspace: "w", Index: wire.AnyIndex, MAC: good.MAC}),
		"another workspace": s.Verify("c1", wire.Token{Workspace: "v", Index: 1, MAC: good.MAC}),
		"another broker":    other.Verify("c1", good),
		"no mac":            s.Verify("c1", wire.Token{Workspace: "w", Index: 1}),
	} {
		if bad {
			t.Errorf("the token is good for %s", name)
		}
	}
}

// A server certificate is for the broker's id first, then for the names that
// are told; another set of names is another certificate.
func TestServerNames(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	a, err := OpenAuthority(t.TempDir(), now)
	if err != nil {
		t.Fatal(err)
	}
	made := func(at time.Time, names ...string) *x509.Certificate {
		t.Helper()
		pair, err := a.ServerCertificate(at, names...)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(pair.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		if len(leaf.DNSNames) == 0 || leaf.DNSNames[0] != a.BrokerID {
			t.Errorf("%v: the id does not come first in %v", names, leaf.DNSNames)
		}
		return leaf
	}
	first := made(now, "b.example.org", "192.0.2.1", "2001:db8::1", "no name", "*.example.org", "", a.BrokerID, "b.example.org")
	if len(first.DNSNames) != 2 || len(first.IPAddresses) != 2 {
		t.Errorf("%v, %v", first.DNSNames, first.IPAddresses)
	}
	for _, name := range []string{a.BrokerID, "b.example.org", "192.0.2.1", "2001:db8::1"} {
		if err := first.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	one := made(now, "x", "y")
	if !made(now, "y", "x", "y").Equal(one) {
		t.Error("the order of names matters")
	}
	if made(now, "x").Equal(one) || made(now).Equal(one) {
		t.Error("another set of names, the same certificate")
	}
	if made(now.Add(serverLife-renewAhead), "x", "y").Equal(one) {
		t.Error("not renewed")
	}
	var many []string
	for i := range 500 {
		many = append(many, fmt.Sprintf("host-%d", i))
		made(now, many[i])
	}
	if n := len(made(now, many...).DNSNames); n > maxNames+1 {
		t.Errorf("%d names", n)
	}
	if len(a.servers) > maxServers {
		t.Errorf("%d certificates are kept", len(a.servers))
	}
}

func TestHostName(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "A-1.example.org": true, "10.0.0.1": true, strings.Repeat("a", 63): true,
		"": false, ".": false, "a.": false, ".a": false, "a..b": false, "-a": false, "a-": false, "a b": false, "a_b": false, "a'b": false,
		"ä": false, "a\n": false, "::1": false, "*.a": false, strings.Repeat("a", 64): false, strings.Repeat("a.", 127) + "a": false,
	} {
		if HostName(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}
