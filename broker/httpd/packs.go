package httpd

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/gorilla/mux"

	"nimbus/broker/wire"
)

// piece is how much of a pack is moved under one deadline.
const piece = 256 << 10

func (s *Server) putPack(c *call) error {
	if c.ContentLength > wire.MaxPack {
		return wire.Errorf(wire.TooLarge, "a pack is at most %d MiB", wire.MaxPack>>20)
	}
	control := http.NewResponseController(c.w)
	defer control.SetReadDeadline(time.Time{})
	body := &steady{Reader: http.MaxBytesReader(c.w, c.Body, wire.MaxPack), begin: func() { _ = control.SetReadDeadline(time.Now().Add(bodyTime)) }}
	err := s.Service.PutPack(c.Context(), c.owner, c.id, mux.Vars(c.Request)["sha256"], body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return wire.Errorf(wire.TooLarge, "a pack is at most %d MiB", wire.MaxPack>>20)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, os.ErrDeadlineExceeded):
		return wire.Errorf(wire.BadRequest, "the pack was cut on its way")
	}
	return c.done(err)
}

func (s *Server) pack(c *call) error {
	ctx, done := s.asking.begin(c)
	defer done()
	// Nodes of one context that take their time keep nobody else waiting.
	turn := s.packs.enter(c.id)
	defer s.packs.leave(turn)
	select {
	case <-turn.come:
	case <-ctx.Done():
		return wire.Errorf(wire.Unavailable, "this node asks on another connection")
	}
	content, size, err := s.Service.Pack(ctx, c.node)
	if err != nil {
		return err
	}
	defer content.Close()
	header := c.w.Header()
	header.Set("Content-Type", "application/gzip")
	header.Set("Content-Length", strconv.FormatInt(size, 10))
	control := http.NewResponseController(c.w)
	defer control.SetWriteDeadline(time.Time{})
	for left := size; left > 0 && ctx.Err() == nil; {
		_ = control.SetWriteDeadline(time.Now().Add(bodyTime))
		n, err := io.CopyN(c.w, content, min(left, piece))
		if err != nil {
			break
		}
		left -= n
	}
	// A body that is shorter than announced is seen as cut by its reader. Who is
	// gone, or takes too long, is no accident of ours.
	return nil
}

// steady reads with a new deadline for every piece.
type steady struct {
	io.Reader
	begin func()
	left  int
}

func (s *steady) Read(b []byte) (int, error) {
	if s.left <= 0 {
		s.begin()
		s.left = piece
	}
	n, err := s.Reader.Read(b)
	s.left -= n
	return n, err
}
