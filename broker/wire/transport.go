package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// dialTimeout bounds one attempt at one address, handshake included; stagger
// is the head start of each address over the next.
const (
	dialTimeout = 10 * time.Second
	stagger     = 150 * time.Millisecond
)

// transportTo makes a transport that reaches a broker at whichever of its URLs
// answers first with the right certificate: a machine with several networks
// need not know which of them leads there. Each may lie behind a proxy of its
// own. HTTP/1.1 on purpose: one connection for each node, and half the cost of
// HTTP/2 for the broker.
func transportTo(urls []string, brokerID, ca string, issued time.Time, proxy proxyFunc) (*http.Transport, string, error) {
	if len(urls) == 0 {
		return nil, "", errors.New("no broker URL")
	}
	var addresses []string
	for _, text := range urls {
		if err := CheckURL(text); err != nil {
			return nil, "", err
		}
		u, err := url.Parse(text)
		if err != nil {
			return nil, "", err
		}
		port := u.Port()
		if port == "" {
			port = "443"
		}
		addresses = append(addresses, net.JoinHostPort(u.Hostname(), port))
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Time: notBefore(issued), ServerName: brokerID}
	base := "https://" + brokerID
	if brokerID == "" {
		u, err := url.Parse(urls[0])
		if err != nil {
			return nil, "", err
		}
		config.ServerName, base = u.Hostname(), strings.TrimSuffix(urls[0], "/")
	}
	if ca != "" {
		pool, err := ParseCA(ca)
		if err != nil {
			return nil, "", err
		}
		config.RootCAs = pool
	}
	return &http.Transport{
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialFirst(ctx, addresses, config, proxy)
		},
		MaxIdleConns:          4,
		IdleConnTimeout:       2 * time.Minute,
		ResponseHeaderTimeout: MaxHold + 30*time.Second,
	}, base, nil
}

// httpClient follows no redirects: they could lead a credential elsewhere.
func httpClient(transport http.RoundTripper) *http.Client {
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// notBefore is the clock, but never before the time when the bootstrap
// document was issued: machines without a clock of their own start in 1970.
func notBefore(issued time.Time) func() time.Time {
	return func() time.Time {
		if now := time.Now(); now.After(issued) {
			return now
		}
		return issued
	}
}

// dialFirst tries all addresses, each a little after the one before, and
// returns the first connection over which the broker proved who it is.
func dialFirst(ctx context.Context, addresses []string, config *tls.Config, proxy proxyFunc) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	type result struct {
		conn net.Conn
		err  error
	}
	results := make(chan result, len(addresses))
	failed := make(chan struct{}, len(addresses)) // a failure lets the next one start at once
	go func() {
		for i, address := range addresses {
			if i > 0 {
				select {
				case <-time.After(stagger):
				case <-failed:
				case <-ctx.Done():
				}
			}
			go func() {
				conn, err := dial(ctx, address, config, proxy)
				if err != nil {
					failed <- struct{}{}
				}
				results <- result{conn, err}
			}()
		}
	}()
	var errs []error
	for i := range addresses {
		r := <-results
		if r.err == nil {
			cancel()
			go func() { // those that come too late
				for range len(addresses) - i - 1 {
					if late := <-results; late.err == nil {
						late.conn.Close()
					}
				}
			}()
			return r.conn, nil
		}
		errs = append(errs, r.err)
	}
	return nil, errors.Join(errs...)
}

func dial(ctx context.Context, address string, config *tls.Config, proxy proxyFunc) (net.Conn, error) {
	through, err := proxy(address)
	if err != nil {
		return nil, err
	}
	plain, err := connect(ctx, address, through)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(plain, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		plain.Close()
		return nil, fmt.Errorf("TLS with %s: %w", address, err)
	}
	return conn, nil
}

// socketTransport speaks to a broker on this machine through its socket.
func socketTransport(path string) *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			short, release, err := ShortSocket(path)
			if err != nil {
				return nil, err
			}
			defer release()
			var d net.Dialer
			return d.DialContext(ctx, "unix", short)
		},
		MaxIdleConns:    2,
		IdleConnTimeout: time.Minute,
	}
}
