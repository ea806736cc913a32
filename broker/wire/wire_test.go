package wire

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// ca is some CA certificate in PEM.
func ca(t testing.TB) (server *httptest.Server, text string) {
	t.Helper()
	server = httptest.NewUnstartedServer(http.NotFoundHandler())
	server.StartTLS()
	t.Cleanup(server.Close)
	return server, string(pemOf(server.Certificate().Raw))
}

func pemOf(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func good(t testing.TB) *Bootstrap {
	_, text := ca(t)
	return &Bootstrap{Version: BootstrapVersion, Brokers: []string{"https://10.78.0.1:8443"}, BrokerID: "example.com", CA: text,
		Context: "3f1c0000-0000-4000-8000-00000000beef", Token: "front:0:c2VjcmV0", NICs: []BootstrapNIC{{"publicnic", "public"}},
		Issued: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
}

func TestBootstrapThereAndBack(t *testing.T) {
	b := good(t)
	text, err := b.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > 2<<10 {
		t.Errorf("it has %d bytes: some clouds give little room", len(text))
	}
	again, err := ParseBootstrap(append([]byte("\n  "), text...))
	if err != nil || !reflect.DeepEqual(b, again) {
		t.Fatalf("%v\n%+v\n%+v", err, b, again)
	}
}

func TestBootstrapRefusals(t *testing.T) {
	for _, other := range []string{"", "#!/bin/sh\necho hello", "#cloud-config\n", "{}", `{"key":"value"}`, "\x1f\x8b\x08"} {
		if _, err := ParseBootstrap([]byte(other)); !errors.Is(err, ErrNoBootstrap) {
			t.Errorf("%q: %v", other, err)
		}
	}
	for what, change := range map[string]func(*Bootstrap){
		"version":      func(b *Bootstrap) { b.Version = 2 },
		"1 to 64":      func(b *Bootstrap) { b.Brokers = nil },
		"https://host": func(b *Bootstrap) { b.Brokers = []string{"http://x"} },
		"broker id":    func(b *Bootstrap) { b.BrokerID = "a b" },
		"context id":   func(b *Bootstrap) { b.Context = "../../etc" },
		"PEM":          func(b *Bootstrap) { b.CA = "" },
		"token":        func(b *Bootstrap) { b.Token = "../x:0:y" },
		"NICs":         func(b *Bootstrap) { b.NICs = nil },
		"label":        func(b *Bootstrap) { b.NICs[0].Label = "a/b" },
	} {
		b := good(t)
		change(b)
		if _, err := b.Encode(); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: written, %v", what, err)
		}
		text, _ := json.Marshal(b)
		if _, err := ParseBootstrap(text); err == nil || errors.Is(err, ErrNoBootstrap) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: read, %v", what, err)
		}
	}
	if _, err := ParseBootstrap([]byte(`{"nimbus":1,"x":"` + strings.Repeat("x", MaxBootstrap) + `"}`)); err == nil {
		t.Error("a huge one is read")
	}
}

// carried is a document in the script that brings a machine its agent.
func carried(document string) string {
	return "#!/bin/sh\n# Nimbus\nmain() {\ncat >$run/bootstrap <<'" + BootstrapMarker + "'\n" + document + BootstrapMarker + "\n}\nmain\n"
}

func TestBootstrapInAScript(t *testing.T) {
	b := good(t)
	b.Agents = map[string]string{"linux-amd64": strings.Repeat("0a", 32)}
	document, err := b.Encode()
	if err != nil {
		t.Fatal(err)
	}
	script := carried(string(document))
	for what, text := range map[string]string{"the script": script, "with other line ends": strings.ReplaceAll(script, "\n", "\r\n"), "indented": strings.ReplaceAll(script, "cat >", "\t\tcat >")} {
		if again, err := ParseBootstrap([]byte(text)); err != nil || !reflect.DeepEqual(b, again) {
			t.Errorf("%s: %v\n%+v", what, err, again)
		}
	}
	// What only looks like it is somebody else's.
	for what, text := range map[string]string{
		"no script":          strings.TrimPrefix(script, "#!/bin/sh\n"),
		"cloud-config":       "#cloud-config\nwrite_files:\n- content: |\n    " + script,
		"another word":       strings.ReplaceAll(script, BootstrapMarker, "EOF"),
		"another document":   carried("{}\n"),
		"the word elsewhere": "#!/bin/sh\necho \"<<'" + BootstrapMarker + "'\"\n",
	} {
		if _, err := ParseBootstrap([]byte(text)); !errors.Is(err, ErrNoBootstrap) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// What is ours and damaged is said to be.
	for what, text := range map[string]string{
		"cut before it": script[:strings.Index(script, "{\"nimbus")],
		"cut in it":     script[:strings.Index(script, "\"context\"")],
		"cut behind it": script[:strings.LastIndex(script, BootstrapMarker)],
		"no document":   carried(""),
		"two lines":     carried(string(document) + "{}\n"),
		"too large":     carried(string(document)) + strings.Repeat("# more\n", MaxBootstrap/6),
	} {
		if _, err := ParseBootstrap([]byte(text)); err == nil || errors.Is(err, ErrNoBootstrap) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestAgentsOfTheBootstrap(t *testing.T) {
	for what, agents := range map[string]map[string]string{
		"a platform that is none": {"linux-amd64\":\"": strings.Repeat("0a", 32)},
		"a short sum":             {"linux-amd64": "0a0a"},
		"capitals":                {"linux-amd64": strings.Repeat("0A", 32)},
		"no sum":                  {"linux-amd64": strings.Repeat("xy", 32)},
	} {
		b := good(t)
		b.Agents = agents
		if _, err := b.Encode(); err == nil || !strings.Contains(err.Error(), "agents") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func FuzzBootstrap(f *testing.F) {
	b := good(f)
	text, _ := b.Encode()
	f.Add(text)
	b.Agents = map[string]string{"linux-amd64": strings.Repeat("0a", 32)}
	text, _ = b.Encode()
	f.Add([]byte(carried(string(text))))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := ParseBootstrap(data)
		if err != nil {
			return
		}
		if _, err := b.Encode(); err != nil && !strings.Contains(err.Error(), "limit") {
			t.Fatalf("read, but not written: %v", err)
		}
	})
}

func TestToken(t *testing.T) {
	for _, text := range []string{"front:0:c2Vj", "a.b_c-d:32766:x", "w:any:x"} {
		token, err := ParseToken(text)
		if err != nil || token.String() != text {
			t.Errorf("%q: %v, %v", text, token, err)
		}
	}
	for _, text := range []string{"", "front", "front:0", "front:0:", "front:-1:x", "front:00:x", "front:+1:x", "../x:0:y", "front:40000:x", "front:0:x:y", strings.Repeat("w", 600) + ":0:x"} {
		if token, err := ParseToken(text); err == nil {
			t.Errorf("%q is read as %v", text, token)
		} else if len(text) > 20 && strings.Contains(err.Error(), text) {
			t.Errorf("the error repeats the token: %v", err)
		}
	}
}

func FuzzToken(f *testing.F) {
	f.Add("front:0:c2Vj")
	f.Add("w:any:x")
	f.Fuzz(func(t *testing.T, text string) {
		if token, err := ParseToken(text); err == nil && token.String() != text {
			t.Fatalf("%q is written as %q", text, token)
		}
	})
}

// Answers that no broker of ours would give are errors, not accidents.
func TestStrangeAnswers(t *testing.T) {
	answer := func(http.ResponseWriter) {}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w) }))
	defer server.Close()
	client, err := NewClient(Endpoint{URLs: []string{server.URL}, BrokerID: "example.com", CA: string(pemOf(server.Certificate().Raw))})
	if err != nil {
		t.Fatal(err)
	}
	for what, try := range map[string]struct {
		answer func(http.ResponseWriter)
		want   string
	}{
		"a web page": {func(w http.ResponseWriter) { w.WriteHeader(404); w.Write([]byte("<html>")) }, "is this a Nimbus broker?"},
		"no JSON":    {func(w http.ResponseWriter) { w.Write([]byte("hello")) }, "cannot read the answer"},
		"too much":   {func(w http.ResponseWriter) { w.Write([]byte(`{"version":"`)); fill(w, maxAnswer) }, "larger than"},
		"our error": {func(w http.ResponseWriter) {
			w.WriteHeader(409)
			w.Write([]byte(`{"code":"locked","message":"no more"}`))
		}, "no more"},
	} {
		answer = try.answer
		if _, err := client.Info(context.Background()); err == nil || !strings.Contains(err.Error(), try.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	answer = func(w http.ResponseWriter) {
		w.WriteHeader(409)
		w.Write([]byte(`{"code":"locked","message":"no more"}`))
	}
	if err := client.Lock(context.Background(), "x"); CodeOf(err) != Locked || !Final(err) {
		t.Errorf("%v", err)
	}
	server.Close()
	if err := client.Lock(context.Background(), "x"); err == nil || Final(err) {
		t.Errorf("%v", err)
	}
}

func fill(w http.ResponseWriter, n int) {
	chunk := make([]byte, 1<<16)
	for i := range chunk {
		chunk[i] = 'x'
	}
	for ; n > 0; n -= len(chunk) {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

// A machine whose clock stands in 1970 takes the bootstrap's time for now.
func TestClockOfTheBootstrap(t *testing.T) {
	issued := time.Now().Add(time.Hour)
	if now := notBefore(issued)(); !now.Equal(issued) {
		t.Errorf("now is %v", now)
	}
	if now := notBefore(time.Unix(0, 0))(); time.Since(now) > time.Minute {
		t.Errorf("now is %v", now)
	}
}

// A socket deeper than the kernel's limit is reached all the same.
func TestShortSocket(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep/", 40))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	short, release, err := ShortSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", short)
	if err != nil {
		t.Fatal(err)
	}
	release()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`{"version":"v"}`)) }))
	server.Listener = l
	server.Start()
	defer server.Close()
	if info, err := NewLocalClient(path).Info(context.Background()); err != nil || info.Version != "v" {
		t.Errorf("%+v, %v", info, err)
	}
}
