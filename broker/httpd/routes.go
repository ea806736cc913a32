package httpd

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/gorilla/mux"

	"nimbus/broker/wire"
)

// A route is one line of the interface: who may call it, and what it does.
type route struct {
	method, path string
	who          who
	handle       func(*Server, *call) error
}

// who may call a route.
type who int

const (
	anyone who = iota
	owner      // an account
	node       // a token of the context in the path
	local      // the local socket
)

// routes is the whole interface; docs/protocol.md describes it line by line.
var routes = []route{
	{"GET", "/healthz", anyone, (*Server).healthz},
	{"GET", "/v1/info", anyone, (*Server).info},

	{"GET", "/install.sh", anyone, (*Server).installScript},
	{"GET", "/download/SHA256SUMS", anyone, (*Server).sums},
	{"GET", "/download/{file}", anyone, (*Server).download},

	{"POST", "/v1/contexts", owner, (*Server).create},
	{"GET", "/v1/contexts", owner, (*Server).contexts},
	{"GET", "/v1/contexts/{id}", owner, (*Server).status},
	{"GET", "/v1/contexts/{id}/nodes", owner, (*Server).nodes},
	{"POST", "/v1/contexts/{id}/data", owner, (*Server).addData},
	{"POST", "/v1/contexts/{id}/lock", owner, (*Server).lock},
	{"POST", "/v1/contexts/{id}/release", owner, (*Server).release},
	{"POST", "/v1/contexts/{id}/extend", owner, (*Server).extend},
	{"GET", "/v1/contexts/{id}/nodes/{node}/log", owner, (*Server).nodeLog},
	{"PUT", "/v1/contexts/{id}/packs/{sha256}", owner, (*Server).putPack},
	{"DELETE", "/v1/contexts/{id}", owner, (*Server).remove},

	{"POST", "/v1/contexts/{id}/join", node, (*Server).join},
	{"GET", "/v1/contexts/{id}/manifest", node, (*Server).manifest},
	{"GET", "/v1/contexts/{id}/pack", node, (*Server).pack},
	{"POST", "/v1/contexts/{id}/log", node, (*Server).log},
	{"POST", "/v1/contexts/{id}/report", node, (*Server).report},
	{"POST", "/v1/contexts/{id}/retry", node, (*Server).retry},

	{"POST", "/v1/listen", local, (*Server).listen},
	{"POST", "/v1/stop", local, (*Server).stop},
}

func (s *Server) router() http.Handler {
	r := mux.NewRouter()
	for _, route := range routes {
		methods := []string{route.method}
		if route.method == "GET" && route.who == anyone {
			methods = append(methods, "HEAD") // the body is left out by net/http
		}
		r.Path(route.path).Methods(methods...).Handler(s.serve(route))
	}
	r.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		s.refuse(w, q, wire.Errorf(wire.NotFound, "there is no %s here", q.URL.Path))
	})
	r.MethodNotAllowedHandler = http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		s.refuse(w, q, wire.Errorf(wire.BadRequest, "%s is not for %s", q.Method, q.URL.Path))
	})
	return r
}

func (s *Server) healthz(c *call) error {
	c.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, err := c.w.Write([]byte("ok\n"))
	return err
}

func (s *Server) info(c *call) error { return c.reply(http.StatusOK, s.Service.Info(c.Context())) }

func (s *Server) create(c *call) error {
	var create wire.Create
	if err := c.document(&create, maxCreate); err != nil {
		return err
	}
	created, err := s.Service.Create(c.Context(), c.owner, create)
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", "/v1/contexts/"+created.ID)
	return c.reply(http.StatusCreated, created)
}

func (s *Server) contexts(c *call) error {
	list, err := s.Service.Contexts(c.Context(), c.owner)
	if list == nil {
		list = []wire.Summary{}
	}
	return c.replyIf(err, list)
}

func (s *Server) status(c *call) error {
	var after uint64
	if text := c.URL.Query().Get("after"); text != "" {
		var err error
		if after, err = strconv.ParseUint(text, 10, 64); err != nil {
			return wire.Errorf(wire.BadRequest, "after must be a number, not %q", text)
		}
	}
	status, err := s.Service.Status(c.Context(), c.owner, c.id, after)
	return c.replyIf(err, status)
}

func (s *Server) nodes(c *call) error {
	nodes, err := s.Service.Nodes(c.Context(), c.owner, c.id)
	return c.replyIf(err, nodes)
}

func (s *Server) addData(c *call) error {
	var data wire.AddData
	if err := c.document(&data, maxData); err != nil {
		return err
	}
	return c.done(s.Service.AddData(c.Context(), c.owner, c.id, data))
}

func (s *Server) lock(c *call) error { return c.done(s.Service.Lock(c.Context(), c.owner, c.id)) }

func (s *Server) release(c *call) error {
	var release wire.Release
	if err := c.document(&release, maxSmall); err != nil {
		return err
	}
	return c.done(s.Service.Release(c.Context(), c.owner, c.id, release.Node))
}

func (s *Server) extend(c *call) error {
	var extend wire.Extend
	if err := c.document(&extend, maxSmall); err != nil {
		return err
	}
	return c.done(s.Service.Extend(c.Context(), c.owner, c.id, extend.Expires))
}

func (s *Server) nodeLog(c *call) error {
	offset := int64(-1)
	if text := c.URL.Query().Get("offset"); text != "" {
		var err error
		if offset, err = strconv.ParseInt(text, 10, 64); err != nil || offset < 0 {
			return wire.Errorf(wire.BadRequest, "offset must be a number from 0, not %.40q", text)
		}
	}
	log, err := s.Service.NodeLog(c.Context(), c.owner, c.id, mux.Vars(c.Request)["node"], offset)
	return c.replyIf(err, log)
}

func (s *Server) remove(c *call) error { return c.done(s.Service.Delete(c.Context(), c.owner, c.id)) }

func (s *Server) join(c *call) error {
	var join wire.Join
	if err := c.document(&join, wire.MaxJoin); err != nil {
		return err
	}
	joined, err := s.Service.Join(c.Context(), c.node, join)
	return c.replyIf(err, joined)
}

func (s *Server) manifest(c *call) error {
	stage, err := strconv.Atoi(c.URL.Query().Get("stage"))
	if err != nil || stage < 0 {
		return wire.Errorf(wire.BadRequest, "stage must be a number from 0")
	}
	ctx, done := s.asking.begin(c)
	defer done()
	answer, waiting, err := s.Service.Answer(ctx, c.node, stage)
	if err != nil && ctx.Err() != nil && c.Context().Err() == nil {
		return wire.Errorf(wire.Unavailable, "this node asks on another connection")
	}
	if err != nil {
		return err
	}
	if answer == nil {
		return c.reply(http.StatusAccepted, wire.Waiting{For: waiting})
	}
	header := c.w.Header()
	header.Set("Content-Type", "application/json")
	body := answer.JSON
	if answer.Gzip != nil && strings.Contains(c.Header.Get("Accept-Encoding"), "gzip") {
		header.Set("Content-Encoding", "gzip")
		body = answer.Gzip
	}
	header.Set("Content-Length", strconv.Itoa(len(body)))
	// Many get the same body at the same moment: a few at a time, or the
	// buffers of all connections fill up at once.
	if len(body) > smallBody {
		select {
		case s.bodies <- struct{}{}:
			defer func() { <-s.bodies }()
		case <-ctx.Done():
			return nil
		}
	}
	c.write(body)
	return nil
}

func (s *Server) report(c *call) error {
	var report wire.Report
	if err := c.document(&report, wire.MaxReport); err != nil {
		return err
	}
	if err := report.Check(); err != nil {
		return wire.Errorf(wire.BadRequest, "%v", err)
	}
	return c.done(s.Service.Report(c.Context(), c.node, report))
}

func (s *Server) retry(c *call) error { return c.done(s.Service.Retry(c.Context(), c.node)) }

func (s *Server) log(c *call) error {
	var piece wire.LogText
	if err := c.document(&piece, wire.MaxReport); err != nil {
		return err
	}
	if err := piece.Check(); err != nil {
		return wire.Errorf(wire.BadRequest, "%v", err)
	}
	return c.done(s.Service.TakeLog(c.Context(), c.node, piece))
}

func (s *Server) listen(c *call) error {
	var listen wire.Listen
	if err := c.document(&listen, maxSmall); err != nil {
		return err
	}
	url, err := s.AddListener(listen.Address)
	if err != nil {
		return wire.Errorf(wire.BadRequest, "listen on %s: %v", listen.Address, err)
	}
	return c.reply(http.StatusOK, map[string]string{"url": url})
}

func (s *Server) stop(c *call) error {
	s.Shutdown()
	return c.done(nil)
}

// done answers a call that has no result.
func (c *call) done(err error) error {
	if err == nil {
		c.w.WriteHeader(http.StatusNoContent)
	}
	return err
}

func (c *call) replyIf(err error, document any) error {
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, document)
}

func (c *call) reply(status int, document any) error {
	body, err := json.Marshal(document)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	c.write(append(body, '\n'))
	return nil
}
