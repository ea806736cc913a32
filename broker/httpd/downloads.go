package httpd

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"nimbus/broker/pki"
	"nimbus/broker/software"
	"nimbus/broker/wire"
)

// installScript hands out install.sh, which knows this broker by the URL that
// led the caller here.
func (s *Server) installScript(c *call) error {
	var url string
	if _, atSocket := c.Context().Value(localCaller{}).(bool); !atSocket && plainHost(c.Host) {
		url = "https://" + c.Host
	}
	c.handOut("install.sh", "text/plain; charset=utf-8", "", bytes.NewReader(s.Service.InstallScript(c.Context(), url)))
	return nil
}

// sums hands out the file that a release has beside its builds.
func (s *Server) sums(c *call) error {
	files := map[string]string{}
	for platform, sum := range s.Service.Info(c.Context()).Agents {
		files[software.Name(platform)] = sum
	}
	c.handOut(software.SumsName, "text/plain; charset=utf-8", "", strings.NewReader(software.FormatSums(files)))
	return nil
}

// download hands out a build.
func (s *Server) download(c *call) error {
	name := mux.Vars(c.Request)["file"]
	platform, ok := strings.CutPrefix(name, software.Name(""))
	var build *software.File
	if ok {
		var err error
		if build, err = s.Service.Build(c.Context(), platform); err != nil {
			return err
		}
	}
	if build == nil {
		var have []string
		for _, platform := range slices.Sorted(maps.Keys(s.Service.Info(c.Context()).Agents)) {
			have = append(have, software.Name(platform))
		}
		return &wire.Error{Code: wire.NotFound, Message: "there is no " + strconv.Quote(clip(name)) + " here, only " + strings.Join(append(have, software.SumsName), ", "),
			Hint: "whoever runs this broker can put builds of a release (make release) into its directory of downloads; its log says why one there is left out"}
	}
	defer build.Close()
	if !s.downloads.open(neighbourhood(c.RemoteAddr)) {
		return &wire.Error{Code: wire.Unavailable, Message: "too many wait for a download", Hint: "try again later"}
	}
	content := s.downloads.pace(c, io.NewSectionReader(build, 0, build.Size))
	defer content.done()
	c.handOut(name, "application/octet-stream", build.SHA256, content)
	return nil
}

// handOut answers with a file, or with the part of it that was asked for.
func (c *call) handOut(name, kind, sum string, content io.ReadSeeker) {
	header := c.w.Header()
	header.Set("Content-Type", kind)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-cache")
	if sum != "" {
		header.Set("ETag", `"`+sum+`"`)
	}
	if strings.Contains(c.Header.Get("Range"), ",") {
		c.Header.Del("Range") // many little parts cost more than the whole
	}
	// It ends with the answer, after the last bytes of it.
	_ = http.NewResponseController(c.w).SetWriteDeadline(time.Now().Add(bodyTime))
	http.ServeContent(c.w, c.Request, name, time.Time{}, content)
}

// plainHost tells whether the Host header is nothing but a host name or an
// address, with or without a port: it goes into a script.
func plainHost(host string) bool {
	name, port := host, ""
	if colon := strings.LastIndexByte(host, ':'); colon >= 0 && !strings.HasSuffix(host, "]") {
		name, port = host[:colon], host[colon+1:]
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
			return false
		}
	}
	if inner, ok := strings.CutPrefix(name, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		ip, err := netip.ParseAddr(inner)
		return ok && err == nil && ip.Is6() && ip.Zone() == ""
	}
	return pki.HostName(name)
}

// A paced reader lets the content go out as fast as the caller takes it once
// the download's turn has come. Before that it goes out in drops, so that a
// caller who looks at the clock sees that it lives. A caller who takes nothing
// for long is left.
type paced struct {
	io.ReadSeeker
	queue   *queue
	turn    *turn // nil until something is read: HEAD needs none
	since   time.Time
	taken   int64 // since then
	from    string
	ctx     context.Context
	control *http.ResponseController
}

// How a download waits, and how long it may stand still. (A caller's time for
// one piece begins with the piece before it; what the network has in its
// buffers counts as taken.)
const (
	drop       = 4 << 10
	dropEvery  = 5 * time.Second
	standstill = time.Minute
)

// pace makes the reader of a download that was let in by open. It must be ended
// with done.
func (q *queue) pace(c *call, content io.ReadSeeker) *paced {
	return &paced{ReadSeeker: content, queue: q, from: neighbourhood(c.RemoteAddr), ctx: c.Context(), control: http.NewResponseController(c.w)}
}

func (p *paced) Read(b []byte) (int, error) {
	if p.turn == nil {
		p.turn = p.queue.enter(p.from)
	}
	_ = p.control.SetWriteDeadline(time.Now().Add(standstill))
	select {
	case <-p.turn.come:
		return p.take(b)
	default:
	}
	if err := p.control.Flush(); err != nil {
		return 0, err
	}
	late := time.NewTimer(dropEvery)
	defer late.Stop()
	select {
	case <-p.turn.come:
	case <-late.C:
		b = b[:min(len(b), drop)]
	case <-p.ctx.Done():
		return 0, p.ctx.Err()
	}
	_ = p.control.SetWriteDeadline(time.Now().Add(standstill))
	return p.ReadSeeker.Read(b)
}

// take reads while it is this download's turn, which may end by that.
func (p *paced) take(b []byte) (int, error) {
	switch now := time.Now(); {
	case p.since.IsZero():
		p.since = now
	case now.Sub(p.since) >= turnTime:
		turn := p.queue.again(p.turn, p.taken)
		if p.since, p.taken = now, 0; turn != p.turn {
			p.turn, p.since = turn, time.Time{}
		}
	}
	n, err := p.ReadSeeker.Read(b)
	p.taken += int64(n)
	return n, err
}

// done lets the next one in.
func (p *paced) done() {
	if p.turn != nil {
		p.queue.leave(p.turn)
	}
	p.queue.close(p.from)
}
