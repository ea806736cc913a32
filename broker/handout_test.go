package broker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nimbus/broker/pki"
	"nimbus/broker/software"
	"nimbus/broker/store"
	"nimbus/broker/wire"
)

// programText is what the brokers of these tests are made of.
var programText = strings.Repeat("#!/bin/sh\n# This stands for a program.\n", 4000)

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// another is a platform that this program is not for.
func another() string {
	return slices.DeleteFunc(slices.Clone(software.Platforms), func(p string) bool { return p == software.Own() })[0]
}

// anyone is a client that knows no more than the CA and the URL.
func (b *bench) anyone() *http.Client {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(b.service.Authority.CA))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	b.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// ask sends a request without credentials; header is NAME: VALUE, or nothing.
func (b *bench) ask(client *http.Client, method, url, header string) (*http.Response, string) {
	b.t.Helper()
	q, err := http.NewRequest(method, url, nil)
	must(b.t, err)
	if name, value, ok := strings.Cut(header, ": "); ok {
		q.Header.Set(name, value)
		if name == "Host" {
			q.Host = value
		}
	}
	response, err := client.Do(q)
	must(b.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	must(b.t, err)
	return response, string(body)
}

// Anyone gets the program, or a part of it, with what is needed to check it.
func TestHandsItselfOut(t *testing.T) {
	b := newBench(t, t.TempDir(), store.NewMemory(), 0)
	own, sum := software.Own(), sumOf(programText)
	path := "/download/nimbus-" + own
	size := len(programText)
	client := b.anyone()
	for _, try := range []struct {
		method, path, header string
		status               int
		body                 string
	}{
		{"GET", path, "", 200, programText},
		{"HEAD", path, "", 200, ""},
		{"GET", path, "Range: bytes=10-19", 206, programText[10:20]},
		{"GET", path, fmt.Sprintf("Range: bytes=%d-", size-3), 206, programText[size-3:]},
		{"GET", path, fmt.Sprintf("Range: bytes=%d-", size), 416, ""},
		{"GET", path, "Range: bytes=0-1,4-5,8-9", 200, programText},
		{"GET", path, `If-None-Match: "` + sum + `"`, 304, ""},
		{"GET", "/download/SHA256SUMS", "", 200, sum + "  nimbus-" + own + "\n"},
		{"HEAD", "/download/SHA256SUMS", "", 200, ""},
		{"HEAD", "/install.sh", "", 200, ""},
		{"HEAD", "/healthz", "", 200, ""},
		{"POST", path, "", 400, ""},
		{"DELETE", path, "", 400, ""},
		{"HEAD", "/v1/contexts", "", 400, ""},
	} {
		response, body := b.ask(client, try.method, b.url+try.path, try.header)
		if response.StatusCode != try.status || try.status < 400 && body != try.body {
			t.Errorf("%s %s %s: %s, %d bytes %.40q", try.method, try.path, try.header, response.Status, len(body), body)
		}
		if try.path == path && try.status == 200 && (response.ContentLength != int64(size) || response.Header.Get("ETag") != `"`+sum+`"`) {
			t.Errorf("%s %s: %d bytes, %v", try.method, try.path, response.ContentLength, response.Header)
		}
	}

	want := map[string]string{own: sum}
	info, err := b.owner.Info(t.Context())
	must(t, err)
	if created := b.create(false); !reflect.DeepEqual(created.Agents, want) || !reflect.DeepEqual(info.Agents, want) {
		t.Errorf("created %v, info %v, want %v", created.Agents, info.Agents, want)
	}
}

// What is not there is said, with what is; a name leads nowhere else.
func TestNoSuchDownload(t *testing.T) {
	dir := t.TempDir()
	b := newBench(t, dir, store.NewMemory(), 0)
	must(t, os.Mkdir(filepath.Join(dir, downloadsName), 0o700))
	must(t, os.Symlink("../owner.key", filepath.Join(dir, downloadsName, software.Name(another()))))
	client := b.anyone()
	for _, name := range []string{
		software.Name(another()), "nimbus-", "nimbus-plan9-mips", "owner.key", "..", "../owner.key", "%2e%2e/owner.key", "..%2fowner.key",
		"nimbus-..%2f..%2fowner.key", "nimbus-linux-amd64%00", "nimbus-%0a", "sha256sums", "", strings.Repeat("x", 9000),
	} {
		response, body := b.ask(client, "GET", b.url+"/download/"+name, "")
		var e wire.Error
		err := json.Unmarshal([]byte(body), &e)
		if response.StatusCode != 404 || err != nil || len(body) > 12000 {
			t.Errorf("%.100q: %s, %.300q", name, response.Status, body)
		}
		if strings.HasPrefix(name, "nimbus-") && !strings.HasPrefix(name, "nimbus-..") && !strings.Contains(e.Message, "only nimbus-"+software.Own()+", SHA256SUMS") {
			t.Errorf("%q: %q", name, e.Message)
		}
	}
}

// An operator fills the directory of downloads while the broker runs. What is
// damaged is not handed out, and the log says so once.
func TestDirectoryOfDownloads(t *testing.T) {
	dir := t.TempDir()
	b := newBench(t, dir, store.NewMemory(), 0)
	var log bytes.Buffer
	b.service.Log = slog.New(slog.NewTextHandler(&log, nil))
	downloads, name := filepath.Join(dir, downloadsName), software.Name(another())
	client := b.anyone()
	want := func(status int, text string) {
		t.Helper()
		response, body := b.ask(client, "GET", b.url+"/download/"+name, "")
		if response.StatusCode != status || status == 200 && (body != text || response.Header.Get("ETag") != `"`+sumOf(text)+`"`) {
			t.Errorf("%s %.40q, want %d %q", response.Status, body, status, text)
		}
		if strings.Contains(body, dir) {
			t.Errorf("anyone is told where the broker's files are: %s", body)
		}
		_, sums := b.ask(client, "GET", b.url+"/download/SHA256SUMS", "")
		if strings.Contains(sums, name) != (status == 200) || status == 200 && !strings.Contains(sums, sumOf(text)+"  "+name+"\n") {
			t.Errorf("sums %q", sums)
		}
	}
	write := func(file, text string) {
		t.Helper()
		must(t, os.WriteFile(filepath.Join(downloads, file), []byte(text), 0o600))
	}
	want(404, "")
	must(t, os.Mkdir(downloads, 0o700))
	write(name, "first build")
	want(200, "first build")
	write(name, "the second build")
	want(200, "the second build")
	write("SHA256SUMS", sumOf("the second build")+"  "+name+"\n")
	want(200, "the second build")
	write(name, "the tampered one")
	want(404, "")
	want(404, "")
	if n := strings.Count(log.String(), "is left out"); n != 1 || !strings.Contains(log.String(), sumOf("the tampered one")) {
		t.Errorf("the log says it %d times:\n%s", n, log.String())
	}
	write("SHA256SUMS", sumOf("the tampered one")+"  "+name+"\n")
	want(200, "the tampered one")
}

// install.sh knows the broker by the URL that its reader used, where that is
// one, and by the others.
func TestInstallScript(t *testing.T) {
	b := newBench(t, t.TempDir(), store.NewMemory(), 0)
	client := b.anyone()
	_, port, err := net.SplitHostPort(strings.TrimPrefix(b.url, "https://"))
	must(t, err)
	for host, first := range map[string]string{
		"": b.url, "testbed.example.org:8443": "https://testbed.example.org:8443", "testbed": "https://testbed",
		"192.0.2.7": "https://192.0.2.7", "[2001:db8::1]:8443": "https://[2001:db8::1]:8443", "127.0.0.1:" + port: b.url,
		// No hosts, or none that lead here.
		b.service.Authority.BrokerID: b.url, b.service.Authority.BrokerID + ":8443": b.url,
		"x'y": b.url, "x;reboot": b.url, "$(reboot)": b.url, "x`id`": b.url, "a&b": b.url, `"x"`: b.url, "x(y)": b.url,
		"-x": b.url, "x:": b.url, "x:0": b.url, "x:99999": b.url, "x:1:2": b.url, "[::1": b.url, "x:-1": b.url, "x.": b.url, "a..b": b.url,
		"[1.2.3.4]": b.url, strings.Repeat("x", 64): b.url, "[::1]x": b.url,
	} {
		q, err := http.NewRequest("GET", b.url+"/install.sh", nil)
		must(t, err)
		q.Host = host
		response, err := client.Do(q)
		must(t, err)
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		must(t, err)
		if response.StatusCode == http.StatusBadRequest {
			continue // net/http itself refuses it
		}
		line := "\nbrokers='" + first + "'\n"
		if first != b.url {
			line = "\nbrokers='" + first + " " + b.url + "'\n"
		}
		if response.StatusCode != 200 || !strings.HasPrefix(string(text), "#!/bin/sh\n") || !strings.Contains(string(text), line) {
			_, rest, _ := strings.Cut(string(text), "\nbrokers=")
			t.Errorf("%q: %s, brokers=%.100q", host, response.Status, rest)
		}
		for _, known := range []string{b.service.Authority.BrokerID, b.service.Authority.CA, sumOf(programText)} {
			if !strings.Contains(string(text), known) {
				t.Errorf("%q: no %q in it", host, known)
			}
		}
	}
	// Through the owner's socket there is no host.
	socket := filepath.Join(t.TempDir(), "b.sock")
	must(t, b.server.Socket(socket))
	local := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	defer local.CloseIdleConnections()
	if _, text := b.ask(local, "GET", "http://local/install.sh", ""); !strings.Contains(text, "\nbrokers='"+b.url+"'\n") {
		t.Errorf("brokers of the socket: %.100q", text)
	}
	// And the nodes' socket hands out the same.
	nodes := filepath.Join(t.TempDir(), "n.sock")
	must(t, b.server.NodeSocket(nodes))
	if response, text := b.ask(b.through(nodes), "GET", "https://192.0.2.9:1/download/nimbus-"+software.Own(), ""); text != programText {
		t.Errorf("%s %.40q", response.Status, text)
	}
}

// Many fetch at once, some go away in the middle: the others get all of it.
func TestManyDownloads(t *testing.T) {
	b := newBench(t, t.TempDir(), store.NewMemory(), 0)
	url := b.url + "/download/nimbus-" + software.Own()
	var all sync.WaitGroup
	client := b.anyone()
	for i := range 100 {
		all.Go(func() {
			q, err := http.NewRequest("GET", url, nil)
			if err != nil {
				t.Error(err)
				return
			}
			response, err := client.Do(q)
			if err != nil {
				t.Error(err)
				return
			}
			defer response.Body.Close()
			if i%4 == 0 {
				_, _ = io.ReadFull(response.Body, make([]byte, 100))
				return // the rest is never read: the connection is closed
			}
			if text, err := io.ReadAll(response.Body); err != nil || string(text) != programText {
				t.Errorf("%d bytes, %v", len(text), err)
			}
		})
	}
	all.Wait()
}

// The own certificate is valid for what the broker is known by, and for nothing
// else.
func TestCertificateForItsAddresses(t *testing.T) {
	authority, err := pki.OpenAuthority(t.TempDir(), time.Now())
	must(t, err)
	config := Default()
	config.Listen = []string{"testbed.example.org:8443", "0.0.0.0:8444", "[2001:db8::1]:8443"}
	urls := []string{"https://nat.example.org:9000", "https://192.0.2.8:9000"}
	choose, protos, err := certificates(config, authority, func() []string { return urls })
	must(t, err)
	address := serveTLS(t, choose, protos)
	valid := func(names ...string) {
		t.Helper()
		c := shown(t, address, authority.BrokerID)
		if c.DNSNames[0] != authority.BrokerID || c.Subject.CommonName != authority.BrokerID {
			t.Errorf("it is for %s first, %v", c.Subject, c.DNSNames)
		}
		for _, name := range names {
			if err := c.VerifyHostname(name); err != nil {
				t.Error(err)
			}
		}
		for _, name := range []string{"example.org", "192.0.2.1", "0.0.0.0", "broker-0123456789abcdef.nimbus"} {
			if c.VerifyHostname(name) == nil {
				t.Errorf("valid for %s", name)
			}
		}
	}
	known := []string{authority.BrokerID, "testbed.example.org", "2001:db8::1", "nat.example.org", "192.0.2.8", "127.0.0.1", "localhost"}
	valid(known...)
	before := shown(t, address, "")
	if !shown(t, address, "").Equal(before) {
		t.Errorf("made anew without need")
	}
	urls = append(urls, "https://10.78.3.1:9000")
	valid(append(known, "10.78.3.1")...)
	urls = urls[:2]
	if shown(t, address, "").VerifyHostname("10.78.3.1") == nil {
		t.Error("valid for an address that is gone")
	}
}

// An address that is added at run time is one of them.
func TestAddedListenerIsInTheCertificate(t *testing.T) {
	b := newBench(t, t.TempDir(), store.NewMemory(), 0)
	url, err := b.server.AddListener("127.0.0.3")
	if err != nil {
		t.Skip("this system has no 127.0.0.3")
	}
	if response, body := b.ask(b.anyone(), "GET", url+"/healthz", ""); body != "ok\n" {
		t.Errorf("%s %q", response.Status, body)
	}
}

// A broker starts with its directory of downloads, or without one that is not
// there yet.
func TestDownloadsSetting(t *testing.T) {
	run := func(c Config) string {
		t.Helper()
		c.Listen = []string{"127.0.0.1:0"}
		must(t, c.Validate())
		program := filepath.Join(t.TempDir(), "nimbus")
		must(t, os.WriteFile(program, []byte(programText), 0o700))
		shelf, err := software.Open(program, c.Downloads)
		must(t, err)
		defer shelf.Close()
		var log bytes.Buffer
		ctx, stop := context.WithCancel(t.Context())
		stop() // it starts, and ends at once
		if err := Run(ctx, c, shelf, slog.New(slog.NewTextHandler(&log, nil))); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		return log.String()
	}
	c := Default()
	c.Data = filepath.Join(t.TempDir(), "data")
	if log := run(c); !strings.Contains(log, "hands_out=["+software.Own()+"]") || strings.Contains(log, "WARN") {
		t.Error(log)
	}
	if info, err := os.Stat(filepath.Join(c.Data, "downloads")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	c.Downloads = filepath.Join(t.TempDir(), "none")
	if log := run(c); !strings.Contains(log, "WARN") || !strings.Contains(log, c.Downloads) {
		t.Error(log)
	}
}
