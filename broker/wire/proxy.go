package wire

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"
)

// ErrProxy marks what a proxy is to blame for, or what the environment says of
// it.
var ErrProxy = errors.New("proxy")

// A proxyFunc names the proxy that leads to an address, host:port; nil says
// that there is none between.
type proxyFunc func(address string) (*url.URL, error)

// direct is the way of nodes: what their image's environment says was not
// written for the network that they share with the broker.
func direct(string) (*url.URL, error) { return nil, nil }

// ProxyFor is the way of clients, as HTTPS_PROXY and NO_PROXY say. This
// machine itself is never reached through a proxy.
func ProxyFor(address string) (*url.URL, error) {
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: "https", Host: address}})
	text := cmp.Or(os.Getenv("HTTPS_PROXY"), os.Getenv("https_proxy"))
	// What the library cannot read it takes for no proxy at all: NO_PROXY does
	// not count then either.
	if err != nil || proxy != nil && !goodProxy(proxy) || !isLoopback(address) && !readableProxy(text) {
		return nil, fmt.Errorf("%w: HTTPS_PROXY must read http://host:port or https://host:port", ErrProxy) // what it does read may hold a password
	}
	return proxy, nil
}

func goodProxy(u *url.URL) bool {
	return u.Hostname() != "" && (u.Scheme == "http" || u.Scheme == "https")
}

// readableProxy tells whether the text is a URL, or one without its scheme.
func readableProxy(text string) bool {
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	_, err := url.Parse(text)
	return err == nil
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// maxProxyHeader bounds what a proxy may say before it passes bytes on.
const maxProxyHeader = 64 << 10

// connect opens a connection to an address, through a proxy if there is one.
// Who answers there has yet to prove that it is the broker: a proxy carries the
// conversation and sees none of it.
func connect(ctx context.Context, address string, proxy *url.URL) (net.Conn, error) {
	dialer := net.Dialer{KeepAlive: 30 * time.Second}
	if proxy == nil {
		return dialer.DialContext(ctx, "tcp", address)
	}
	port := proxy.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[proxy.Scheme]
	}
	plain, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(proxy.Hostname(), port))
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrProxy, proxy.Host, err)
	}
	// Reading an answer does not end with ctx by itself.
	stop := context.AfterFunc(ctx, func() { plain.SetDeadline(time.Unix(1, 0)) })
	conn := plain
	if proxy.Scheme == "https" {
		conn = tls.Client(plain, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: proxy.Hostname()})
	}
	err = tunnel(conn, address, proxy.User)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("%w %s: %w", ErrProxy, proxy.Host, err)
	}
	return conn, nil
}

// tunnel asks a proxy to pass everything on to an address.
func tunnel(conn net.Conn, address string, user *url.Userinfo) error {
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: http.Header{}}
	if user != nil {
		password, _ := user.Password()
		request.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	if err := request.Write(conn); err != nil {
		return err
	}
	answer := bufio.NewReader(io.LimitReader(conn, maxProxyHeader))
	response, err := http.ReadResponse(answer, request)
	if err != nil {
		return fmt.Errorf("it does not answer as a proxy does: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("it does not lead to %s: %s", address, response.Status)
	}
	if answer.Buffered() > 0 { // a TLS server does not speak first
		return errors.New("it says more than it was asked")
	}
	return nil
}
