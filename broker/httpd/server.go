package httpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"nimbus/broker/wire"
)

// atOnce is how many large bodies are written at the same time: more only cost
// memory.
const atOnce = 16

// Server is the broker on the network.
type Server struct {
	Service Service
	Guard   Guard
	Log     *slog.Logger
	// Certificate chooses what to show to a TLS client.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// NextProtos are offered by ALPN, besides HTTP/1.1: ACME needs one.
	NextProtos []string
	// Listening is told of every address that was added at run time.
	Listening func(address, url string)
	// Shutdown is called when the local socket is told to stop the broker.
	Shutdown func()

	http        *http.Server
	bodies      chan struct{}
	downloads   queue
	packs       queue // by context
	asking      asking
	refusals    limit
	requests    atomic.Int64
	lastRequest atomic.Int64 // nanoseconds since 1970

	mu        sync.Mutex
	port      int
	listeners map[netip.Addr]net.Listener
	failed    chan error
}

// localCaller marks the context of requests that came through the owner's
// socket: true, or false for those from inside a sandbox or container.
type localCaller struct{}

// ownersConn is a connection of that socket. Other Unix sockets are open to
// anyone, as the network is.
type ownersConn struct {
	net.Conn
	beside bool // see beside
}

// ownersListener is that socket.
type ownersListener struct{ net.Listener }

func (l ownersListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return ownersConn{conn, beside(conn)}, nil
}

// Start prepares the server. Listen, Socket and AddListener let callers in.
func (s *Server) Start() {
	s.bodies = make(chan struct{}, atOnce)
	s.failed = make(chan error, 1)
	s.listeners = map[netip.Addr]net.Listener{}
	s.lastRequest.Store(time.Now().UnixNano())
	s.http = &http.Server{
		Handler:           s.router(),
		ReadHeaderTimeout: 20 * time.Second,
		IdleTimeout:       3 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if c, ok := c.(ownersConn); ok {
				return context.WithValue(ctx, localCaller{}, c.beside)
			}
			return ctx
		},
		// Nodes gain nothing from HTTP/2, and it costs twice as much.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
}

// Listen answers at address:port; port 0 takes a free one, which later
// listeners share.
func (s *Server) Listen(address string) (net.Addr, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	bound := l.Addr().(*net.TCPAddr)
	s.mu.Lock()
	s.port = bound.Port
	if ip, ok := netip.AddrFromSlice(bound.IP); ok {
		s.listeners[ip.Unmap()] = l
	}
	s.mu.Unlock()
	s.serveTLS(l)
	return bound, nil
}

// AddListener answers at one more address of this machine, at the same port,
// and returns the URL that leads there. An address that is listened on already
// is success.
func (s *Server) AddListener(address string) (string, error) {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return "", err
	}
	if ip.IsUnspecified() || ip.IsMulticast() {
		return "", errors.New("this is not an address of one interface")
	}
	ip = ip.Unmap()
	s.mu.Lock()
	defer s.mu.Unlock()
	target := net.JoinHostPort(ip.String(), strconv.Itoa(s.port))
	url := "https://" + target
	if old, listening := s.listeners[ip]; listening {
		old.Close() // its interface may have been made anew since
	}
	l, err := net.Listen("tcp", target)
	if err != nil {
		delete(s.listeners, ip)
		return "", err
	}
	s.listeners[ip] = l
	s.serveTLS(l)
	if s.Listening != nil {
		s.Listening(ip.String(), url)
	}
	return url, nil
}

// Forget stops listening at addresses that this machine does not have any
// more, and returns them: the networks they belonged to are gone, and another
// one may get them.
func (s *Server) Forget() []string {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	here := map[netip.Addr]bool{}
	for _, one := range all {
		if prefix, err := netip.ParsePrefix(one.String()); err == nil {
			here[prefix.Addr()] = true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var gone []string
	for ip, l := range s.listeners {
		if !here[ip] && !ip.IsLoopback() && !ip.IsUnspecified() {
			l.Close()
			delete(s.listeners, ip)
			gone = append(gone, ip.String())
		}
	}
	return gone
}

func (s *Server) serveTLS(l net.Listener) {
	config := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     append([]string{"http/1.1"}, s.NextProtos...),
		GetCertificate: s.Certificate,
	}
	go s.serveOn(tls.NewListener(l, config))
}

// Socket answers at a socket in the file system, for its owner only.
func (s *Server) Socket(path string) error {
	l, err := listenUnix(path)
	if err != nil {
		return err
	}
	go s.serveOn(ownersListener{l})
	return nil
}

// NodeSocket answers at a socket in the file system as it does at an address:
// by TLS, and to anyone. It is for nodes that are led there from a network that
// this machine has no part in.
func (s *Server) NodeSocket(path string) error {
	l, err := listenUnix(path)
	if err != nil {
		return err
	}
	s.serveTLS(l)
	return nil
}

// listenUnix makes a socket in the file system that only this user can open. A
// socket that a killed broker left is replaced; the caller makes sure that no
// other broker lives in the same directory.
func listenUnix(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	short, release, err := wire.ShortSocket(path)
	if err != nil {
		return nil, err
	}
	defer release()
	l, err := net.Listen("unix", short)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	// The short path will not lead there any more; the owner removes it.
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (s *Server) serveOn(l net.Listener) {
	err := s.http.Serve(l)
	if err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		select {
		case s.failed <- err:
		default:
		}
	}
}

// Failed tells when a listener died.
func (s *Server) Failed() <-chan error { return s.failed }

// Quiet tells for how long nobody has asked anything; zero while a request is
// being served.
func (s *Server) Quiet() time.Duration {
	if s.requests.Load() > 0 {
		return 0
	}
	return time.Since(time.Unix(0, s.lastRequest.Load()))
}

// Stop ends the server: held requests are cut, others may finish.
func (s *Server) Stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		s.http.Close()
	}
}
