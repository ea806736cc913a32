package httpd

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"nimbus/broker/pki"
	"nimbus/broker/wire"
)

// Largest documents in bytes. A definition may hold much data.
const (
	maxCreate = 64 << 20
	maxData   = 8 << 20
	maxSmall  = 4 << 10
)

// bodyTime is how long a caller may take to send a document, or to take one;
// large ones get more, at slowest bytes a second.
const (
	bodyTime = 30 * time.Second
	slowest  = 100 << 10
)

// smallBody is the size in bytes up to which an answer is just written.
const smallBody = 64 << 10

// A call is a request whose caller is known.
type call struct {
	*http.Request
	w     http.ResponseWriter
	id    string // context in the path
	owner string // account, for owners' routes
	node  Node   // for nodes' routes
}

// serve wraps a route: credentials first, then the work, then the error.
func (s *Server) serve(r route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		s.requests.Add(1)
		s.lastRequest.Store(time.Now().UnixNano())
		defer func() {
			s.requests.Add(-1)
			s.lastRequest.Store(time.Now().UnixNano())
		}()
		c := &call{Request: q, w: w, id: mux.Vars(q)["id"]}
		err := s.admit(r.who, c)
		if err == nil {
			err = r.handle(s, c)
		}
		if err != nil {
			s.refuse(w, q, err)
		}
	})
}

// admit checks who calls. A caller that may not learn whether a context exists
// is told the same in both cases.
func (s *Server) admit(w who, c *call) error {
	isLocal, atSocket := c.Context().Value(localCaller{}).(bool)
	if atSocket && !isLocal {
		return &wire.Error{Code: wire.Forbidden, Message: "the broker's own socket is not for programs in other containers or sandboxes (pid namespaces) than its own",
			Hint: "run the command where the broker was started, or use an account at its address"}
	}
	switch w {
	case anyone:
		return nil
	case local:
		if !isLocal {
			return wire.Errorf(wire.Forbidden, "only the local socket takes this")
		}
	case owner:
		scheme, key, _ := strings.Cut(c.Header.Get("Authorization"), " ")
		if !isLocal && !(strings.EqualFold(scheme, "Bearer") && s.Guard.IsOwner(key)) {
			return &wire.Error{Code: wire.Unauthorized, Message: "this broker does not know the caller",
				Hint: "send an account's key; the owner's key is in the file owner.key of the broker's directory"}
		}
		c.owner = Owner
	case node:
		scheme, text, _ := strings.Cut(c.Header.Get("Authorization"), " ")
		token, err := wire.ParseToken(text)
		if err != nil || !strings.EqualFold(scheme, wire.NodeScheme) || !s.Guard.Verify(c.id, token) {
			return wire.Errorf(wire.Unauthorized, "this token is not good for context %.64q", c.id)
		}
		claim := c.Header.Get(wire.ClaimHeader)
		if len(claim) < 16 || len(claim) > 256 {
			return wire.Errorf(wire.BadRequest, "the header %s must hold the machine's secret, 16 to 256 characters", wire.ClaimHeader)
		}
		from, _, _ := net.SplitHostPort(c.RemoteAddr)
		if from == "" {
			from = "this machine" // the nodes' socket has no addresses
		}
		c.node = Node{Context: c.id, Token: token, Claim: pki.HashClaim(claim), From: from}
	}
	return nil
}

// write sends a body. A reader that is gone, or takes too long, is no accident
// of ours.
func (c *call) write(body []byte) {
	control := http.NewResponseController(c.w)
	_ = control.SetWriteDeadline(time.Now().Add(bodyTime + time.Duration(len(body)/slowest)*time.Second))
	defer control.SetWriteDeadline(time.Time{})
	_, _ = c.w.Write(body)
}

// document reads the request's JSON, bounded in size and time.
func (c *call) document(into any, limit int64) error {
	control := http.NewResponseController(c.w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTime))
	defer control.SetReadDeadline(time.Time{})
	d := json.NewDecoder(http.MaxBytesReader(c.w, c.Body, limit))
	err := d.Decode(into)
	if err == nil {
		_, err = d.Token() // nothing may follow
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = errors.New("something follows it")
		}
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return wire.Errorf(wire.TooLarge, "the document is larger than %d KiB", limit>>10)
	}
	return wire.Errorf(wire.BadRequest, "cannot read the document: %v", err)
}

// refuse answers with an error. An accident is logged, not told.
func (s *Server) refuse(w http.ResponseWriter, q *http.Request, err error) {
	var e *wire.Error
	if !errors.As(err, &e) {
		if q.Context().Err() != nil {
			return // the caller has gone
		}
		s.Log.Error("request failed", "method", q.Method, "path", q.URL.Path, "error", err)
		e = wire.Errorf(wire.Internal, "the broker had an accident; its log says more")
	}
	level := slog.LevelDebug
	if e.Code == wire.Unauthorized || e.Code == wire.Forbidden {
		level = slog.LevelWarn
	}
	// Anybody can send nonsense as fast as the network goes.
	if passed, ok := s.refusals.take(time.Now()); ok {
		s.Log.Log(q.Context(), level, "refused", "method", clip(q.Method), "path", clip(q.URL.Path), "from", q.RemoteAddr, "reason", e.Message, "not_logged", passed)
	}
	if e.Code == wire.Unauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="nimbus"`)
	}
	body, _ := json.Marshal(e)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Status())
	_, _ = w.Write(append(body, '\n'))
}
