package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"nimbus/agent/phase"
	"nimbus/broker/wire"
	"nimbus/ctxscripts/pack"
)

func (s *session) overlay() pack.Overlay { return pack.Overlay{Dir: s.cfg.ScriptsDir} }

// ownScripts takes back what another context brought, or what a start before
// this one did not come to the end of.
func (s *session) ownScripts() error {
	mark, over, err := s.overlay().Over()
	if err == nil && (!over || mark.Context != s.found.Context) {
		err = s.overlay().Restore()
	}
	if err != nil {
		return s.scriptsFailure(fmt.Errorf("this machine's own scripts cannot be brought back: %w", err))
	}
	if over && mark.Context != s.found.Context {
		s.log.Info("this machine's own scripts are back", "dir", s.cfg.ScriptsDir)
	}
	return nil
}

// bring puts the scripts that came with the launch over this machine's own,
// once: what is mended there afterwards stays.
func (s *session) bring(ctx context.Context, scripts *wire.Pack) error {
	mark, over, err := s.overlay().Over()
	switch {
	case err != nil:
		return s.scriptsFailure(err)
	case scripts == nil && over:
		return s.scriptsFailure(s.overlay().Restore())
	case scripts == nil:
		return nil
	case mark.Done && mark.Context == s.found.Context && mark.SHA256 == scripts.SHA256:
		s.log.Info("the launch's scripts are in place", "dir", s.cfg.ScriptsDir)
		return nil
	}
	f, err := s.fetch(ctx, scripts)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := s.overlay().Put(s.found.Context, f, scripts.Size, scripts.SHA256); err != nil {
		return s.scriptsFailure(fmt.Errorf("the launch's scripts cannot be put into %s: %w", s.cfg.ScriptsDir, err))
	}
	s.log.Info("put the launch's scripts over this machine's own", "dir", s.cfg.ScriptsDir, "sha256", scripts.SHA256)
	return nil
}

// fetch brings a pack into a file, however often that takes.
func (s *session) fetch(ctx context.Context, scripts *wire.Pack) (*os.File, error) {
	path := filepath.Join(s.state.dir, "scripts.tar.gz")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, s.scriptsFailure(err)
	}
	var local error // of this machine: asking again does not help
	err = persist(ctx, s.log, "scripts", func(ctx context.Context) error {
		if _, local = f.Seek(0, io.SeekStart); local == nil {
			local = f.Truncate(0)
		}
		if local != nil {
			return wire.Errorf(wire.BadRequest, "%v", local)
		}
		w := &noting{w: f}
		err := s.client.Pack(ctx, *scripts, w)
		if local = w.err; local != nil {
			return wire.Errorf(wire.BadRequest, "%v", local)
		}
		return err
	})
	if err == nil {
		return f, nil
	}
	f.Close()
	os.Remove(path)
	if local != nil {
		return nil, s.scriptsFailure(local)
	}
	return nil, refused("scripts", err)
}

// noting tells an error of what is written to from one of what is read.
type noting struct {
	w   io.Writer
	err error
}

func (n *noting) Write(b []byte) (int, error) {
	written, err := n.w.Write(b)
	if err != nil {
		n.err = err
	}
	return written, err
}

// scriptsFailure is a failure of this machine, or of what it was sent.
func (s *session) scriptsFailure(err error) error {
	if err == nil {
		return nil
	}
	var refusal *pack.Refusal
	text := "scripts: " + err.Error()
	if !errors.As(err, &refusal) && !errors.Is(err, pack.ErrSum) {
		text += "; scripts_dir in the agent's configuration must be a directory that can be written, and so must the one that it is in"
	}
	return &phase.Failure{Step: "scripts", Code: CodeFailed, Text: text}
}
