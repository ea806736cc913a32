package client

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"nimbus/broker/wire"
	"nimbus/client/settings"
)

func TestSystemFindsTheUsersDirectories(t *testing.T) {
	t.Setenv("HOME", "/home/u")
	t.Setenv("XDG_STATE_HOME", "")
	t.Setenv("XDG_CONFIG_HOME", "/etc/u")
	env, err := System("nimbus", false, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if env.StateDir != "/home/u/.local/state/nimbus" || env.ConfigDir != "/etc/u/nimbus" {
		t.Errorf("%s %s", env.StateDir, env.ConfigDir)
	}
	t.Setenv("XDG_CONFIG_HOME", "relative")
	if env, err = System("nimbus", false, nil, nil, nil); err != nil || env.ConfigDir != "/home/u/.config/nimbus" {
		t.Errorf("%v %v", env, err)
	}
	if a, b := env.NewID(), env.NewID(); a == b || len(a) < 20 {
		t.Errorf("%s %s", a, b)
	}
	if _, err := env.FindBroker(t.Context(), t.TempDir()); err != ErrNoBroker {
		t.Error(err)
	}
	if _, err := env.OpenCloud("x", settings.Settings{Clouds: map[string]settings.Cloud{"x": {Driver: "moon"}}}); err == nil {
		t.Error("a driver that is not there was opened")
	}
}

func TestInterrupts(t *testing.T) {
	ctx, again, stop := Interrupts(t.Context())
	defer stop()
	press := func() {
		t.Helper()
		if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
	}
	press()
	<-ctx.Done()
	select {
	case <-again:
		t.Fatal("one interrupt counted twice")
	default:
	}
	press()
	<-again
}

// This test runs itself with an output that nobody reads.
func TestOutputThatNobodyReads(t *testing.T) {
	const child = "NIMBUS_TEST_PIPE"
	if os.Getenv(child) != "" {
		_, _, stop := Interrupts(t.Context())
		defer stop()
		for range 3 {
			if _, err := os.Stdout.WriteString("hello\n"); !errors.Is(err, syscall.EPIPE) {
				t.Fatal(err)
			}
		}
		err := exec.Command("/bin/sh", "-c", "kill -PIPE $$").Run()
		if err == nil || err.Error() != "signal: broken pipe" {
			t.Fatalf("programs that are started do not have the signal: %v", err)
		}
		os.Exit(7) // not by way of the test's own output
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	var said strings.Builder
	cmd := exec.Command(os.Args[0], "-test.run=^TestOutputThatNobodyReads$")
	cmd.Env = append(os.Environ(), child+"=1")
	cmd.Stdout, cmd.Stderr = w, &said
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("%v\n%s", err, said.String())
	}
}

func TestLoginIsUsedForItsURL(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"code":"unauthorized","message":"no such account"}`))
			return
		}
		_, _ = w.Write([]byte("[]"))
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that do not trust it
	server.StartTLS()
	defer server.Close()
	w := newWorld(t)
	w.write("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	w.write("key", "wrong\n")
	args := []string{"login", "--ca", w.path("ca.pem"), "--key", w.path("key"), server.URL}
	w.expect(2, args, "no such account", "nothing was stored")
	w.write("key", "secret\n")
	w.expect(0, args, "Logged in at "+server.URL)
	w.expect(1, []string{"login", "--ca", w.path("ca.pem"), server.URL}, "Key of your account", "no key given")
	// A key is not asked for in vain, and a Ctrl-C at the question is heard.
	w.expect(2, []string{"login", server.URL}, "unknown authority; nothing was stored", "hint: this broker has a CA of its own: copy ca.pem")
	if strings.Contains(w.stderr.String(), "Key of") {
		t.Errorf("it asked for the key: %s", w.stderr.String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	never, stop := io.Pipe()
	defer stop.Close()
	w.change = func(e *Env) { e.Stdin = io.MultiReader(onRead(cancel), never) }
	w.expectContext(ctx, exitInterrupted, []string{"login", "--ca", w.path("ca.pem"), server.URL}, "Key of your account (one line): \n", "error: interrupted")
	w.change = nil
	w.expect(0, append([]string{"login", "--json"}, args[1:]...), `"url": "`+server.URL+`"`)
	w.write("other.pem", selfSigned(t))
	w.expect(2, []string{"login", "--key", w.path("key"), server.URL}, "unknown authority; nothing was stored", "hint: this broker has a CA of its own: copy ca.pem")
	w.expect(2, []string{"login", "--ca", w.path("other.pem"), "--key", w.path("key"), server.URL}, "hint: the file of --ca")
	for _, c := range []struct {
		ca, key string
		want    string
	}{
		{"key", "ca.pem", "holds no certificate: CA certificate: no PEM block in it\nnimbus: hint: it looks like a key: give that with --key"},
		{"ca.pem", "ca.pem", "this is a certificate, not a key\nnimbus: hint: give it with --ca"},
		{"private.pem", "key", "holds a private key\nnimbus: hint: give ca.pem"},
		{"ca.pem", "private.pem", "this is not the key of an account"},
		{"ca.pem", "pasted", "there are spaces or several lines in the key\nnimbus: hint: a key is one word"},
		{"ca.pem", "odd", "there are characters in the key that no key has"},
		{"none.pem", "key", "--ca: open "},
	} {
		w.write("private.pem", "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n")
		w.write("pasted", "sec ret\n")
		w.write("odd", "secret\x00\n")
		w.expect(1, []string{"login", "--ca", w.path(c.ca), "--key", w.path(c.key), server.URL}, c.want)
		if strings.Contains(w.stdout.String()+w.stderr.String(), "secret") {
			t.Errorf("the key is shown:\n%s", w.stderr.String())
		}
	}
	for _, c := range []struct{ args, want string }{
		{"", "give the broker's URL\nnimbus: hint: for example"},
		{"http://x:1", "never by http: http://x:1\nnimbus: hint: write https://x:1"},
		{"broker.example.org:8443", "is no URL\nnimbus: hint: write https://broker.example.org:8443"},
		{"https://x/path", "must read https://host:port"},
		{"https://x https://y", "give one broker URL, not 2"},
		{"https://x --ca ca.pem", "the option --ca stands after the URL, where it would be ignored\nnimbus: hint: write options first: nimbus login --ca"},
	} {
		w.expect(1, append([]string{"login"}, strings.Fields(c.args)...), c.want)
	}

	env := &Env{ConfigDir: w.path("config")}
	s := &session{env: env, settings: settings.Settings{Broker: server.URL}}
	e, err := s.endpoint(server.URL)
	if err != nil || e.Key != "secret" || e.CA == "" {
		t.Errorf("%+v, %v", e, err)
	}
	client, err := wire.NewClient(e)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Contexts(context.Background()); err != nil {
		t.Error(err)
	}
	info, err := os.Stat(env.loginFile(server.URL))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
}

func selfSigned(t *testing.T) string {
	t.Helper()
	return newFakeBroker(t).ca
}

// What stands in the way of a login is named with what to do about it.
func TestLoginAdvice(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("SSH-2.0-OpenSSH\r\n"))
			conn.Close()
		}
	}()
	login := func(url string, parts ...string) {
		t.Helper()
		w := newWorld(t)
		w.write("key", "secret\n")
		w.expect(2, []string{"login", "--key", w.path("key"), url}, append(parts, "nothing was stored")...)
	}
	login("https://"+address, "what listens there does not speak https: check the port")
	listener.Close()
	login("https://"+address, "connection refused", "nothing listens there: check the port")
	login("https://host.invalid:8443", "there is no such host")

	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	for _, c := range []struct {
		url  string
		ca   bool
		err  error
		want string
	}{
		{"https://b.example.org", false, refused, "nothing listens at port 443 there; brokers listen at port 8443 unless told otherwise: write https://b.example.org:8443"},
		{"https://b.example.org/", false, context.DeadlineExceeded, "nobody answers; brokers listen at port 8443 unless told otherwise: write https://b.example.org:8443"},
		{"https://b.example.org:1", false, context.DeadlineExceeded, "firewall"},
		{"https://b.example.org:1", true, x509.HostnameError{}, "not the CA of this broker"},
		{"https://b.example.org:1", false, x509.HostnameError{}, "a broker with a CA of its own needs --ca"},
		{"https://b.example.org:1", false, wire.Errorf(wire.Unauthorized, "who are you?"), "check the key: the owner's is in owner.key"},
		{"https://b.example.org:1", false, fmt.Errorf("%w p:1: %w", wire.ErrProxy, syscall.ECONNREFUSED), "check HTTPS_PROXY"},
		{"https://b.example.org:1", false, x509.CertificateInvalidError{Reason: x509.Expired}, "check the clock"},
		{"https://b.example.org:1", true, x509.UnknownAuthorityError{}, "belongs to another broker"},
		{"https://b.example.org:1", false, errors.New("odd"), "check the URL"},
	} {
		if got := loginAdvice(c.url, c.ca, fmt.Errorf("broker: %w", c.err)); !strings.Contains(got, c.want) {
			t.Errorf("%s, %v: %q, want %q", c.url, c.err, got, c.want)
		}
	}
}

func TestSettingsNameTheBrokersFiles(t *testing.T) {
	w := newWorld(t)
	w.write("ca", "CA")
	w.write("key", "secret\n")
	const url = "https://b.example.org"
	s := &session{env: &Env{Home: w.home, ConfigDir: w.path("config")},
		settings: settings.Settings{Broker: url, BrokerCA: "~/ca", BrokerKey: "~/key"}}
	if e, err := s.endpoint(url); err != nil || e.CA != "CA" || e.Key != "secret" {
		t.Errorf("%+v, %v", e, err)
	}
	// A key is for its own broker only.
	if e, err := s.endpoint("https://other.example.org"); err != nil || e.CA != "" || e.Key != "" {
		t.Errorf("%+v, %v", e, err)
	}
	s.useBroker("https://other.example.org")
	if s.settings.BrokerKey != "" {
		t.Error("the key goes to another broker")
	}
	s.settings.Broker, s.settings.BrokerKey = url, "~/none"
	if _, err := s.endpoint(url); err == nil || !strings.HasPrefix(err.Error(), "broker_key: ") {
		t.Error(err)
	}
}

func TestHintsCanBePasted(t *testing.T) {
	s := &session{env: &Env{Command: "nimbus"}, extra: []string{"--history-dir", "/a b/it's"}}
	if got := s.command("terminate", "--handle", "vm-001"); got != `nimbus terminate --history-dir '/a b/it'\''s' --handle vm-001` {
		t.Error(got)
	}
}

// onRead is an empty text that tells when it is read.
type onRead func()

func (told onRead) Read([]byte) (int, error) {
	told()
	return 0, io.EOF
}
