package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// A proxy passes connections on, and remembers what it was asked for.
type proxy struct {
	*httptest.Server
	refuse string // say this instead
	mu     sync.Mutex
	asked  []string // "address authorization"
}

func newProxy(t *testing.T, refuse string) *proxy {
	p := &proxy{refuse: refuse}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, strings.TrimSpace(r.Method+" "+r.Host+" "+r.Header.Get("Proxy-Authorization")))
	p.mu.Unlock()
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	if p.refuse != "" {
		fmt.Fprint(conn, p.refuse)
		return
	}
	there, err := net.Dial("tcp", r.Host)
	if err != nil {
		return
	}
	defer there.Close()
	fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n\r\n")
	go io.Copy(there, conn)
	io.Copy(conn, there)
}

func (p *proxy) seen() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.asked, "; ")
}

// The environment is read once in a process: each case is one of its own,
// which asks the broker who it is.
func TestProxies(t *testing.T) {
	const child = "NIMBUS_TEST_ASK"
	if given := os.Getenv(child); given != "" {
		var b Bootstrap
		if err := json.Unmarshal([]byte(given), &b); err != nil {
			t.Fatal(err)
		}
		fmt.Println(askInfo(&b, os.Getenv(child+"_AS") == "node"))
		os.Exit(0)
	}
	broker := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"broker_id":"hello","node":"front-0","workspace":"front"}`)
	}))
	t.Cleanup(broker.Close)
	_, port, err := net.SplitHostPort(broker.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	loopback, any := "https://127.0.0.1:"+port, "https://0.0.0.0:"+port // leads here, too, and is no loopback address
	const through = "CONNECT 0.0.0.0:"

	for _, c := range []struct {
		name, url, proxy, noProxy, as, refuse string
		said, seen                            string
	}{
		{name: "no proxy is set", url: any, said: "hello"},
		{name: "through it", url: any, proxy: "http://{proxy}", said: "hello", seen: through + port},
		{name: "without a scheme", url: any, proxy: "{proxy}", said: "hello", seen: through + port},
		{name: "with a password", url: any, proxy: "http://me:secret@{proxy}", said: "hello", seen: through + port + " Basic bWU6c2VjcmV0"},
		{name: "NO_PROXY has the address", url: any, proxy: "http://{proxy}", noProxy: "example.org,0.0.0.0", said: "hello"},
		{name: "NO_PROXY has another", url: any, proxy: "http://{proxy}", noProxy: "10.0.0.0/8", said: "hello", seen: through + port},
		{name: "NO_PROXY has all", url: any, proxy: "http://{proxy}", noProxy: "*", said: "hello"},
		{name: "this machine", url: loopback, proxy: "http://{proxy}", said: "hello"},
		{name: "a node", url: any, proxy: "http://{proxy}", as: "node", said: "hello"},
		{name: "it says no", url: any, proxy: "http://me:secret@{proxy}", refuse: "HTTP/1.1 403 Not from here\r\n\r\n",
			said: "proxy {proxy}: it does not lead to 0.0.0.0:" + port + ": 403 Not from here", seen: through + port + " Basic bWU6c2VjcmV0"},
		{name: "it is none", url: any, proxy: "http://{proxy}", refuse: "220 mail.example.org\r\n", said: "it does not answer as a proxy does", seen: through + port},
		{name: "it speaks first", url: any, proxy: "http://{proxy}", refuse: "HTTP/1.1 200 OK\r\n\r\nhello", said: "more than it was asked", seen: through + port},
		{name: "it says nothing", url: any, proxy: "http://{proxy}", refuse: " ", said: "does not answer as a proxy does", seen: through + port},
		{name: "another kind", url: any, proxy: "socks5://{proxy}", said: "HTTPS_PROXY must read http://host:port"},
		{name: "no URL", url: any, proxy: "http://me:secret@{proxy}/%zz", said: "proxy: HTTPS_PROXY must read http://host:port"},
		{name: "no port", url: any, proxy: "http://me:secret@proxy:port", said: "proxy: HTTPS_PROXY must read http://host:port"},
		{name: "no URL, without a scheme", url: any, proxy: "me:secret@{proxy}:x", said: "proxy: HTTPS_PROXY must read http://host:port"},
		{name: "no URL, for this machine", url: loopback, proxy: "http://%zz", said: "hello"},
		{name: "no URL, for a node", url: any, proxy: "http://%zz", as: "node", said: "hello"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newProxy(t, c.refuse)
			address := strings.TrimPrefix(p.URL, "http://")
			given, err := json.Marshal(Bootstrap{Brokers: []string{c.url}, BrokerID: "example.com", CA: string(pemOf(broker.Certificate().Raw)), Context: "c", Token: "t"})
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(os.Args[0], "-test.run=^TestProxies$")
			cmd.Env = append(os.Environ(), child+"="+string(given), child+"_AS="+c.as,
				"HTTPS_PROXY="+strings.ReplaceAll(c.proxy, "{proxy}", address), "NO_PROXY="+c.noProxy, "https_proxy=", "no_proxy=")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if want := strings.ReplaceAll(c.said, "{proxy}", address); !bytes.Contains(out, []byte(want)) || bytes.Contains(out, []byte("secret")) {
				t.Errorf("%q is missing from, or a secret is in: %s", want, out)
			}
			if p.seen() != c.seen {
				t.Errorf("the proxy was asked for %q, want %q", p.seen(), c.seen)
			}
		})
	}
}

// askInfo says who the broker is, or what went wrong.
func askInfo(b *Bootstrap, asNode bool) string {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if asNode {
		node, err := NewNodeClient(b, "claim")
		if err == nil {
			_, err = node.Join(ctx, Join{})
		}
		if err != nil {
			return err.Error()
		}
		return "hello"
	}
	client, err := NewClient(Endpoint{URLs: b.Brokers, CA: b.CA, BrokerID: b.BrokerID})
	if err != nil {
		return err.Error()
	}
	info, err := client.Info(ctx)
	if err != nil {
		return err.Error()
	}
	return info.BrokerID
}

// A proxy that accepts and then is silent does not hold anybody for ever.
func TestSilentProxy(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		conn.Read(make([]byte, 1))
		cancel()
		io.Copy(io.Discard, conn)
	}()
	if _, err := connect(ctx, "192.0.2.1:443", &url.URL{Scheme: "http", Host: l.Addr().String()}); err == nil {
		t.Error("it leads somewhere")
	}
}

// Endless headers are cut off.
func TestTalkativeProxy(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nX-Long: ")
		for err == nil {
			_, err = fmt.Fprint(conn, strings.Repeat("a", 1<<10))
		}
	}()
	if _, err := connect(t.Context(), "192.0.2.1:443", &url.URL{Scheme: "http", Host: l.Addr().String()}); err == nil {
		t.Error("it was listened to to the end")
	}
}
