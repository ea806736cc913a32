// Package pki makes and checks what a broker is known by and what it knows
// others by: its own CA and server certificate, the tokens of nodes, the key
// of its owner.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// How long certificates live. The CA must outlive every context and every
// image that pins it; a server certificate is renewed in good time.
const (
	caLife     = 20 * 365 * 24 * time.Hour
	serverLife = 365 * 24 * time.Hour
	renewAhead = 60 * 24 * time.Hour
	backdate   = 24 * time.Hour // for clocks that are behind
)

// Authority is a broker's own CA. Nodes trust it and nothing else, and verify
// the broker by its id, a name that no address is bound to: a broker that
// moves or sits behind a forwarded port is still the same.
type Authority struct {
	BrokerID string
	CA       string // PEM

	ca  *x509.Certificate
	key *ecdsa.PrivateKey

	mu      sync.Mutex
	servers map[string]server // names → certificate for them
}

// server is a certificate that was made, and when it ends.
type server struct {
	certificate *tls.Certificate
	until       time.Time
}

// Bounds of a server certificate: more names make it a burden for every
// connection, and nobody asks for so many sets of them.
const (
	maxNames   = 64
	maxServers = 64
)

// OpenAuthority reads the CA from a directory, and makes it the first time.
func OpenAuthority(dir string, now time.Time) (*Authority, error) {
	certPath, keyPath := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key")
	certPEM, err := os.ReadFile(certPath)
	if errors.Is(err, fs.ErrNotExist) {
		if certPEM, err = makeCA(certPath, keyPath, now); err != nil {
			return nil, fmt.Errorf("make the broker's CA: %w", err)
		}
	} else if err != nil {
		return nil, fmt.Errorf("broker's CA: %w", err)
	}
	keyPEM, err := readSecret(keyPath)
	if err != nil {
		return nil, fmt.Errorf("broker's CA: %w", err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("broker's CA in %s: %w", dir, err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return nil, fmt.Errorf("broker's CA in %s: not a CA of this program", dir)
	}
	return &Authority{BrokerID: pair.Leaf.Subject.CommonName, CA: string(certPEM), ca: pair.Leaf, key: key}, nil
}

// makeCA writes the key before the certificate: a certificate without its key
// would be found at the next start.
func makeCA(certPath, keyPath string, now time.Time) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	id := make([]byte, 8)
	if _, err := rand.Read(id); err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "broker-" + hex.EncodeToString(id) + ".nimbus", Organization: []string{"Nimbus context broker"}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := writeSecret(keyPath, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})); err != nil {
		return nil, err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return certPEM, writeFile(certPath, certPEM, 0o644)
}

// ServerCertificate is what the broker shows to nodes: of its own CA, for its
// id, and for names (host names, IP addresses) by which programs that cannot
// ask for the id know it; of many, the first count. It is made when it is first asked for, and again
// before it ends. It begins with the CA, so that a node whose clock stands at
// the time its bootstrap was issued can verify it.
func (a *Authority) ServerCertificate(now time.Time, names ...string) (*tls.Certificate, error) {
	names = slices.Compact(slices.Sorted(slices.Values(names[:min(len(names), maxNames)])))
	set := strings.Join(names, " ")
	a.mu.Lock()
	defer a.mu.Unlock()
	if s, ok := a.servers[set]; ok && now.Add(renewAhead).Before(s.until) {
		return s.certificate, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	until := now.Add(serverLife)
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: a.BrokerID},
		DNSNames:     []string{a.BrokerID},
		NotBefore:    a.ca.NotBefore,
		NotAfter:     until,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if HostName(name) && name != a.BrokerID {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.ca, &key.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("make the broker's certificate: %w", err)
	}
	if a.servers == nil || len(a.servers) >= maxServers {
		a.servers = map[string]server{}
	}
	certificate := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	a.servers[set] = server{certificate, until}
	return certificate, nil
}

// HostName tells whether a text is a host name as the network knows them:
// letters, digits and hyphens, between dots. (An IPv4 address looks like one.)
func HostName(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		if strings.ContainsFunc(label, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-'
		}) {
			return false
		}
	}
	return true
}

func serial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // crypto/rand does not fail
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b)
}

// readSecret refuses a file that others could have read.
func readSecret(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read by others (mode %v): chmod 600 it, or better make a new broker directory", path, info.Mode().Perm())
	}
	return os.ReadFile(path)
}

func writeSecret(path string, data []byte) error { return writeFile(path, data, 0o600) }

// writeFile writes all of a file or nothing, on disk when it returns.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+strings.TrimPrefix(filepath.Base(path), ".")+"-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}
