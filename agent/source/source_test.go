package source

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"nimbus/broker/wire"
)

// document is a bootstrap document that can be read.
func document(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	b := wire.Bootstrap{
		Version: wire.BootstrapVersion, Brokers: []string{"https://127.0.0.1:1"}, BrokerID: "broker-1", Context: "ctx-1", Token: "head:0:mac",
		CA:   string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		NICs: []wire.BootstrapNIC{{Label: "publicnic", Network: "public"}},
	}
	out, err := b.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// nowhere is a machine on which nothing can be found, not even slowly.
func nowhere(t *testing.T) Places {
	t.Helper()
	dir := t.TempDir()
	quickly(t)
	return Places{
		File: filepath.Join(dir, "bootstrap"), URLFile: filepath.Join(dir, "url"), MetadataURL: "http://127.0.0.1:1",
		Drives: Drives{Block: fstest.MapFS{}}, CloudInit: filepath.Join(dir, "cloud"), CloudInitRun: filepath.Join(dir, "run"),
		DMI: fstest.MapFS{}, Log: slog.New(slog.DiscardHandler),
	}
}

// quickly makes both patiences short, their tries as many.
func quickly(t *testing.T) {
	t.Helper()
	before := []patience{hasty, patient}
	hasty.tries, patient.tries = make([]time.Duration, len(hasty.tries)), make([]time.Duration, len(patient.tries))
	t.Cleanup(func() { hasty, patient = before[0], before[1] })
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// serve answers user-data with what it is told, in turn; the last one stays.
func serve(t *testing.T, answers ...http.HandlerFunc) (*httptest.Server, *atomic.Int32) {
	t.Helper()
	var asked atomic.Int32 // connections that were hung up may still be served
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/2007-01-19/user-data" {
			http.NotFound(w, r)
			return
		}
		answers[min(int(asked.Add(1)), len(answers))-1](w, r)
	}))
	t.Cleanup(server.Close)
	return server, &asked
}

func body(content []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) }
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>no</html>", code) }
}

func TestNoBootstrap(t *testing.T) {
	p := nowhere(t)
	_, err := p.Find(t.Context())
	var none *NotFoundError
	if !errors.As(err, &none) {
		t.Fatalf("got %v", err)
	}
	for _, part := range []string{
		"metadata server URL path '" + p.URLFile + "' does not exist on filesystem",
		"bootstrap file '" + p.File + "' does not exist",
		"no drive is called cidata or config-2",
		p.CloudInit + "/seed/nocloud/user-data does not exist, " + p.CloudInit + "/seed/nocloud-net/user-data does not exist",
		"http://127.0.0.1:1/2007-01-19/user-data gave no answer (3 tries",
		"cloud-init did not run in this boot",
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q lacks %q", err, part)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("%q is more than a line", err)
	}
}

func TestFiles(t *testing.T) {
	p := nowhere(t)
	put(t, p.File, string(document(t)))
	f, err := p.Find(t.Context())
	if err != nil || f.Context != "ctx-1" || f.Where != p.File || f.Values != nil {
		t.Errorf("got %+v, %v", f, err)
	}
	// A file that somebody names is the only place, whatever else there is.
	p.Given = filepath.Join(t.TempDir(), "given")
	var none *NotFoundError
	if _, err := p.Find(t.Context()); err == nil || errors.As(err, &none) {
		t.Errorf("a missing file that was named: %v", err)
	}
	put(t, p.Given, "#!/bin/sh\n")
	if _, err := p.Find(t.Context()); err == nil || errors.As(err, &none) {
		t.Errorf("a file that was named and is something else: %v", err)
	}
	put(t, p.Given, string(document(t)))
	if f, err := p.Find(t.Context()); err != nil || f.Where != p.Given {
		t.Errorf("got %+v, %v", f, err)
	}
}

func TestBrokenDocumentIsAnError(t *testing.T) {
	p := nowhere(t)
	put(t, p.File, `{"nimbus": 1, "brokers": []}`)
	var none *NotFoundError
	if _, err := p.Find(t.Context()); err == nil || errors.As(err, &none) || !strings.Contains(err.Error(), p.File) {
		t.Errorf("got %v", err)
	}
}

func TestMetadata(t *testing.T) {
	good := document(t)
	hangUp := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	huge := func(w http.ResponseWriter, _ *http.Request) {
		for range 1000 {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return // the agent has seen enough
			}
		}
	}
	elsewhere := func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/user-data", http.StatusFound) }
	for name, c := range map[string]struct {
		answers []http.HandlerFunc
		asked   int
		found   bool
		text    string // of the NotFoundError
	}{
		"there":           {[]http.HandlerFunc{body(good)}, 1, true, ""},
		"slow at first":   {[]http.HandlerFunc{hangUp, status(503), body(good)}, 3, true, ""},
		"404":             {[]http.HandlerFunc{status(404), body(good)}, 1, false, "answered 404 Not Found"},
		"403":             {[]http.HandlerFunc{status(403), body(good)}, 1, false, "answered 403 Forbidden"},
		"tokens only":     {[]http.HandlerFunc{status(401)}, 1, false, "answered 401"},
		"redirect":        {[]http.HandlerFunc{elsewhere}, 1, false, "answered 302"},
		"something else":  {[]http.HandlerFunc{body([]byte("#cloud-config\n"))}, 1, false, "is not a bootstrap document"},
		"nothing":         {[]http.HandlerFunc{body(nil)}, 1, false, "is not a bootstrap document"},
		"garbage":         {[]http.HandlerFunc{body([]byte("\x1f\x8b\x00\xff"))}, 1, false, "is not a bootstrap document"},
		"huge":            {[]http.HandlerFunc{huge}, 1, false, "is not a bootstrap document"},
		"broken for ever": {[]http.HandlerFunc{status(500)}, 3, false, "gave no answer (3 tries in 0s): it answered 500"},
	} {
		t.Run(name, func(t *testing.T) {
			server, asked := serve(t, c.answers...)
			p := nowhere(t)
			p.MetadataURL = server.URL
			f, err := p.Find(t.Context())
			if n := int(asked.Load()); n != c.asked {
				t.Errorf("asked %d times, want %d", n, c.asked)
			}
			var none *NotFoundError
			switch {
			case c.found && (err != nil || f.Values == nil):
				t.Errorf("got %+v, %v", f, err)
			case !c.found && (!errors.As(err, &none) || !strings.Contains(err.Error(), c.text)):
				t.Errorf("got %v, want %q", err, c.text)
			}
		})
	}
}

func TestPatience(t *testing.T) {
	for name, c := range map[string]struct {
		dmi   fstest.MapFS
		asked int
	}{
		"no firmware":  {nil, len(hasty.tries)},
		"a laptop":     {fstest.MapFS{"sys_vendor": {Data: []byte("LENOVO\n")}}, len(hasty.tries)},
		"a plain KVM":  {fstest.MapFS{"sys_vendor": {Data: []byte("QEMU\n")}, "product_name": {Data: []byte("Standard PC\n")}}, len(hasty.tries)},
		"EC2":          {fstest.MapFS{"sys_vendor": {Data: []byte("Amazon EC2\n")}}, len(patient.tries)},
		"EC2 with Xen": {fstest.MapFS{"sys_vendor": {Data: []byte("Xen\n")}, "bios_version": {Data: []byte("4.2.amazon\n")}}, len(patient.tries)},
		"OpenStack":    {fstest.MapFS{"product_name": {Data: []byte("OpenStack Compute\n")}}, len(patient.tries)},
	} {
		t.Run(name, func(t *testing.T) {
			server, asked := serve(t, status(503))
			p := nowhere(t)
			p.MetadataURL, p.DMI = server.URL, c.dmi
			var none *NotFoundError
			if _, err := p.Find(t.Context()); !errors.As(err, &none) {
				t.Errorf("got %v", err)
			}
			if n := int(asked.Load()); n != c.asked {
				t.Errorf("asked %d times, want %d", n, c.asked)
			}
		})
	}
	if last := hasty.tries[len(hasty.tries)-1] + hasty.each; last != 5*time.Second || len(hasty.tries) != 3 {
		t.Errorf("hasty takes %v", last)
	}
	if last := patient.tries[len(patient.tries)-1] + patient.each; last < 110*time.Second || last > 130*time.Second {
		t.Errorf("patient takes %v", last)
	}
}

func TestURLFile(t *testing.T) {
	server, _ := serve(t, body(document(t)))
	p := nowhere(t)
	put(t, p.URLFile, server.URL+"/\n")
	f, err := p.Find(t.Context())
	if err != nil || f.Values == nil || f.Where != server.URL+"/2007-01-19/user-data" {
		t.Errorf("got %+v, %v", f, err)
	}
	var none *NotFoundError
	put(t, p.URLFile, "file:///etc/passwd\n")
	if _, err := p.Find(t.Context()); err == nil || errors.As(err, &none) {
		t.Errorf("not a web address: %v", err)
	}
	put(t, p.URLFile, "http://127.0.0.1:1\n")
	if _, err := p.Find(t.Context()); err == nil || errors.As(err, &none) {
		t.Errorf("the named server is silent, and nobody else knows: %v", err)
	}
	p.MetadataURL = server.URL
	if _, err := p.Find(t.Context()); err != nil {
		t.Errorf("the named server is silent, but the cloud knows: %v", err)
	}
}

func TestValue(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch strings.TrimPrefix(r.URL.Path, "/2007-01-19/meta-data/") {
		case "local-hostname":
			_, _ = w.Write([]byte("head-0.cluster-001\n"))
		case "public-hostname":
			http.Error(w, "error page", http.StatusNotFound)
		case "two-lines":
			_, _ = w.Write([]byte("a\nb\n"))
		case "long":
			_, _ = w.Write([]byte(strings.Repeat("x", 1<<20)))
		}
	}))
	defer server.Close()
	m := newMetadata(server.URL, hasty, slog.New(slog.DiscardHandler))
	for name, want := range map[string]string{"local-hostname": "head-0.cluster-001", "public-hostname": "", "two-lines": "", "long": "", "empty": ""} {
		if got := m.Value(t.Context(), name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}
