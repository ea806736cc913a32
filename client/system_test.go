package client

import (
	"context"
	"encoding/pem"
	"errors"
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
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"code":"unauthorized","message":"no such account"}`))
			return
		}
		_, _ = w.Write([]byte("[]"))
	}))
	defer server.Close()
	w := newWorld(t)
	w.write("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	w.write("key", "wrong\n")
	args := []string{"login", "--ca", w.path("ca.pem"), "--key", w.path("key"), server.URL}
	w.expect(2, args, "no such account", "nothing was stored")
	w.write("key", "secret\n")
	w.expect(0, args, "Logged in at "+server.URL)
	w.expect(1, []string{"login", server.URL}, "no key given")
	w.expect(1, []string{"login", "http://x"}, "must read https://host:port")

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
	if got := s.command("terminate", "--handle", "vm-001"); got != `nimbus terminate --handle vm-001 --history-dir '/a b/it'\''s'` {
		t.Error(got)
	}
}
