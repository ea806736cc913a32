package broker

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"nimbus/broker/pki"
)

// certificates chooses by the name a TLS client asks for: nodes ask for the
// broker's id and get a certificate of its own CA; a configured public name
// gets the public one. Whoever names nothing is taken for a node. The own one is
// valid for all names of knownAs as well; urls are those that are advertised.
func certificates(c Config, authority *pki.Authority, urls func() []string) (choose func(*tls.ClientHelloInfo) (*tls.Certificate, error), protos []string, err error) {
	own := func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		var local net.Addr
		if hello.Conn != nil {
			local = hello.Conn.LocalAddr()
		}
		return authority.ServerCertificate(time.Now(), knownAs(c.Listen, urls(), local)...)
	}
	var public func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	switch {
	case c.CertFile != "":
		files := &certificateFiles{cert: c.CertFile, key: c.KeyFile}
		if _, err := files.get(nil); err != nil {
			return nil, nil, err
		}
		public = files.get
	case c.ACME:
		manager, err := acmeManager(c)
		if err != nil {
			return nil, nil, err
		}
		public, protos = manager.GetCertificate, []string{acme.ALPNProto}
	default:
		return own, nil, nil
	}
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if strings.EqualFold(hello.ServerName, c.PublicName) || slices.Contains(hello.SupportedProtos, acme.ALPNProto) {
			return public(hello)
		}
		return own(hello)
	}, protos, nil
}

func acmeManager(c Config) (*autocert.Manager, error) {
	manager := &autocert.Manager{
		Prompt:     autocert.AcceptTOS,
		HostPolicy: autocert.HostWhitelist(c.PublicName),
		Cache:      autocert.DirCache(filepath.Join(c.Data, "acme")),
		Email:      c.ACMEEmail,
		Client:     &acme.Client{DirectoryURL: c.ACMEDirectory},
	}
	if c.ACMEDirectory == "" {
		manager.Client.DirectoryURL = autocert.DefaultACMEDirectory
	}
	if c.ACMERoots != "" {
		roots, err := os.ReadFile(c.ACMERoots)
		if err != nil {
			return nil, fmt.Errorf("acme_roots: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(roots) {
			return nil, fmt.Errorf("acme_roots: no certificate in %s", c.ACMERoots)
		}
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
		manager.Client.HTTPClient = &http.Client{Transport: transport}
	}
	return manager, nil
}

// certificateFiles reads a certificate again when its file has changed, so
// that a renewal needs no restart.
type certificateFiles struct {
	cert, key string
	mu        sync.Mutex
	read      time.Time
	current   *tls.Certificate
}

func (f *certificateFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.cert)
	if err == nil && (f.current == nil || !info.ModTime().Equal(f.read)) {
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(f.cert, f.key); err == nil {
			f.current, f.read = &pair, info.ModTime()
		}
	}
	if f.current == nil {
		return nil, errors.Join(errors.New("cert_file"), err)
	}
	return f.current, nil // an old one, while the new one is half written
}
