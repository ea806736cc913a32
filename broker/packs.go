package broker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"nimbus/broker/cluster"
	"nimbus/broker/httpd"
	"nimbus/broker/match"
	"nimbus/broker/wire"
)

// packsName is the directory of all packs in a broker's directory: in it one
// for each context whose nodes are brought scripts, with a file for each pack,
// named by its sum. A file is there as a whole or not at all.
const packsName = "packs"

// maxPacks is how many different packs one context may have.
const maxPacks = 256

// gonePrefix marks directories on their way out: no context is called so.
const gonePrefix = ".gone-"

// checkScripts tells whether a context can be made with these packs.
func checkScripts(def *cluster.Definition, scripts map[string]wire.Pack) error {
	sizes := map[string]int64{}
	for _, name := range slices.Sorted(maps.Keys(scripts)) {
		pack := scripts[name]
		if w, _ := def.Find(name); w == nil || w.Ctx == nil {
			return wire.Errorf(wire.BadRequest, "scripts for %.80q: no workspace of that name has a <ctx>", name)
		}
		if err := pack.Check(); err != nil {
			return wire.Errorf(wire.BadRequest, "scripts for workspace %q: %v", name, err)
		}
		if size, known := sizes[pack.SHA256]; known && size != pack.Size {
			return wire.Errorf(wire.BadRequest, "scripts for workspace %q: the same pack has another size elsewhere", name)
		}
		sizes[pack.SHA256] = pack.Size
	}
	if len(sizes) > maxPacks {
		return wire.Errorf(wire.BadRequest, "a context has at most %d different packs of scripts; this one would have %d", maxPacks, len(sizes))
	}
	return nil
}

// inLog is how the packs of a context are kept.
func inLog(scripts map[string]wire.Pack) map[string]match.Pack {
	if len(scripts) == 0 {
		return nil
	}
	kept := map[string]match.Pack{}
	for name, pack := range scripts {
		kept[name] = match.Pack(pack)
	}
	return kept
}

// packOf is the pack of a workspace, or nil.
func packOf(state *match.State, workspace string) *wire.Pack {
	created, _ := state.Created()
	pack, has := created.Scripts[workspace]
	if !has {
		return nil
	}
	p := wire.Pack(pack)
	return &p
}

// packsDir is where the packs of a context are.
func (s *Service) packsDir(id string) string { return filepath.Join(s.Packs, id) }

// makePacks makes room for the packs of a context that brings some. It may be
// repeated; the loop must not run yet.
func (r *rendezvous) makePacks() error {
	if created, _ := r.state.Created(); len(created.Scripts) == 0 {
		return nil
	}
	return os.MkdirAll(r.service.packsDir(r.id), 0o700)
}

// dropPacks forgets the packs of a context. Who is being sent one gets it; one
// that is being taken in finds no place any more.
func (s *Service) dropPacks(id string) error {
	gone := filepath.Join(s.Packs, gonePrefix+id)
	if err := os.Rename(s.packsDir(id), gone); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(gone)
}

// sweepPacks removes what contexts left that are not there any more; ids are
// those that are, sorted.
func (s *Service) sweepPacks(ids []string) error {
	entries, err := os.ReadDir(s.Packs)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		path := filepath.Join(s.Packs, e.Name())
		if _, there := slices.BinarySearch(ids, e.Name()); there {
			err = errors.Join(err, removeHalf(path))
		} else {
			err = errors.Join(err, os.RemoveAll(path))
		}
	}
	return err
}

// halfPattern is what a pack is called while it is taken in.
const (
	halfPrefix  = ".half-"
	halfPattern = halfPrefix + "*"
)

// removeHalf removes what a broker that was killed had not taken in as a whole.
func removeHalf(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), halfPrefix) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// PutPack takes in a pack that the context was created with.
func (s *Service) PutPack(_ context.Context, owner, id, sum string, content io.Reader) error {
	r, err := s.owned(owner, id)
	if err != nil {
		return err
	}
	var size int64
	err = r.ask(func(state *match.State) error {
		created, _ := state.Created()
		for _, pack := range created.Scripts {
			if pack.SHA256 == sum {
				size = pack.Size
				return nil
			}
		}
		return wire.Errorf(wire.NotFound, "context %s was not created with a pack %.80q", id, sum)
	})
	if err != nil {
		return err
	}
	err = storePack(s.packsDir(id), sum, size, content)
	var refused *wire.Error
	switch {
	case err == nil:
		s.Log.Info("took in scripts", "context", id, "pack", sum, "bytes", size)
		return nil
	case errors.As(err, &refused):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return wire.Errorf(wire.ContextGone, "context %s has ended", id)
	}
	var disk *fs.PathError
	if !errors.As(err, &disk) {
		return err // of the caller
	}
	s.Log.Error("cannot store", "context", id, "error", err)
	return cannotStore(err)
}

// storePack writes a pack down when it is what was announced: whole, and for
// good. The same again is success.
func storePack(dir, sum string, size int64, content io.Reader) error {
	f, err := os.CreateTemp(dir, halfPattern) // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(h, f), io.LimitReader(content, size+1))
	if err != nil {
		return err
	}
	if n != size || hex.EncodeToString(h.Sum(nil)) != sum {
		return wire.Errorf(wire.BadRequest, "this is not the pack that was announced: it has another size or SHA-256")
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, sum)); err != nil {
		var link *os.LinkError
		if errors.As(err, &link) {
			err = &fs.PathError{Op: link.Op, Path: link.New, Err: link.Err}
		}
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Pack opens the scripts of a node's workspace.
func (s *Service) Pack(_ context.Context, n httpd.Node) (io.ReadCloser, int64, error) {
	r, err := s.find(n.Context)
	if err != nil {
		return nil, 0, err
	}
	var pack *wire.Pack
	err = r.ask(func(state *match.State) error {
		place, _, err := state.Holder(claimant(n))
		if err != nil {
			return err
		}
		if pack = packOf(state, place.Workspace); pack == nil {
			return wire.Errorf(wire.NotFound, "workspace %q brings no scripts", place.Workspace)
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	f, err := os.Open(filepath.Join(s.packsDir(r.id), pack.SHA256))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, wire.Errorf(wire.Unavailable, "the scripts of this node have not been sent to the broker yet")
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() != pack.Size {
		err = fmt.Errorf("pack %s of context %s has %d bytes, not %d", pack.SHA256, r.id, info.Size(), pack.Size)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, pack.Size, nil
}
