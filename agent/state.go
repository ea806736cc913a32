package agent

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"nimbus/agent/phase"
	"nimbus/broker/cluster"
	"nimbus/broker/wire"
)

// A state is what the agent remembers on disk. Each context has a directory
// of its own in it; "context" names the one this machine was in last.
type state struct {
	root string
	dir  string // of the context
	lock *os.File
}

// errBusy is why a second agent stops, and leaves the reporting to the first.
var errBusy = errors.New("another agent is at work here")

// openState makes the directories of a context and locks them: two agents
// would run every script twice.
func openState(root, context string) (*state, error) {
	s := &state{root: root, dir: filepath.Join(root, context)}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	for _, dir := range []string{s.root, s.dir} {
		if err := os.Chmod(dir, 0o700); err != nil {
			return nil, fmt.Errorf("state directory: %w", err)
		}
	}
	var err error
	if s.lock, err = os.OpenFile(filepath.Join(root, "lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	if err := syscall.Flock(int(s.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		s.close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s is locked", errBusy, filepath.Join(root, "lock"))
		}
		return nil, fmt.Errorf("lock %s: %w", filepath.Join(root, "lock"), err)
	}
	return s, nil
}

func (s *state) close() { s.lock.Close() }

// claim is the secret that binds this node's place to this machine. It is on
// disk for good before anybody is told.
func (s *state) claim() (string, error) {
	claim, err := readClaim(s.dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return claim, err
	}
	claim = newClaim()
	if err := save(filepath.Join(s.dir, "claim"), []byte(claim+"\n"), true); err != nil {
		return "", fmt.Errorf("claim: %w", err)
	}
	return claim, nil
}

func readClaim(dir string) (string, error) {
	path := filepath.Join(dir, "claim")
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("claim: %w", err)
	}
	claim := strings.TrimSpace(string(content))
	if raw, err := hex.DecodeString(claim); err != nil || len(raw) != 32 {
		return "", fmt.Errorf("the claim in %s is damaged: have the node's place released (nimbus release), then remove the file", path)
	}
	return claim, nil
}

func newClaim() string {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	return hex.EncodeToString(secret)
}

// readIdentities are those that this node joined with, or was about to; nil
// if it has none yet.
func readIdentities(dir string) []cluster.Identity {
	content, err := os.ReadFile(filepath.Join(dir, "identities.json"))
	var identities []cluster.Identity
	if err != nil || json.Unmarshal(content, &identities) != nil {
		return nil
	}
	for _, i := range identities {
		if i.Check() != nil {
			return nil
		}
	}
	return identities
}

// saveIdentities keeps them for good: like the claim they must be on disk
// before anybody is told.
func (s *state) saveIdentities(identities []cluster.Identity) error {
	content, err := json.Marshal(identities)
	if err == nil {
		err = save(filepath.Join(s.dir, "identities.json"), append(content, '\n'), true)
	}
	if err != nil {
		return fmt.Errorf("identities: %w", err)
	}
	return nil
}

func (s *state) forgetIdentities() error {
	return os.RemoveAll(filepath.Join(s.dir, "identities.json"))
}

// lastContext is the context that this machine was in before, if any.
func (s *state) lastContext() string {
	content, _ := os.ReadFile(filepath.Join(s.root, "context"))
	last := strings.TrimSpace(string(content))
	if cluster.CheckName(last) != nil {
		return ""
	}
	return last
}

func (s *state) setContext(id string) error {
	return save(filepath.Join(s.root, "context"), []byte(id+"\n"), true)
}

func (s *state) dataDir() string { return filepath.Join(s.dir, "data") }

// progress is how far this node has come with its manifest. Steps are done one
// after the other, so a number says it.
type progress struct {
	Manifest string       `json:"manifest,omitempty"` // hash: what was told
	Plan     string       `json:"plan,omitempty"`     // hash: what follows from it
	Steps    int          `json:"steps"`
	Done     int          `json:"done"`
	Step     string       `json:"step,omitempty"`   // the one after those, in words
	Begun    int          `json:"begun"`            // how often that one was begun
	Group    *phase.Group `json:"group,omitempty"`  // the processes of its script
	Report   *wire.Report `json:"report,omitempty"` // of the last stage
	Reported bool         `json:"reported"`         // it was delivered, or nobody wants it any more
	Again    bool         `json:"again,omitempty"`  // the broker may have taken that back: see again
}

// progress reads it back. What cannot be true (a crash in the middle of a
// write, another version) counts as none: scripts may be run twice.
func (s *state) progress() progress {
	var p progress
	content, err := os.ReadFile(filepath.Join(s.dir, "progress.json"))
	if err != nil || json.Unmarshal(content, &p) != nil {
		return progress{}
	}
	if p.Done < 0 || p.Done > p.Steps || p.Begun < 0 || p.Reported && p.Report == nil {
		return progress{}
	}
	return p
}

// saveProgress is not flushed to the disk: that would cost more than most
// steps, and what a power failure takes is only a step done twice.
func (s *state) saveProgress(p progress) error { return s.writeProgress(p, false) }

// keepProgress is for what a power failure may not take.
func (s *state) keepProgress(p progress) error { return s.writeProgress(p, true) }

func (s *state) writeProgress(p progress, flush bool) error {
	content, err := json.MarshalIndent(p, "", "  ")
	if err == nil {
		err = save(filepath.Join(s.dir, "progress.json"), append(content, '\n'), flush)
	}
	if err != nil {
		return fmt.Errorf("progress: %w", err)
	}
	return nil
}

// saveManifest keeps what was told, for people and for dry runs, and returns
// its hash.
func (s *state) saveManifest(m *cluster.Manifest) (string, error) {
	content, err := json.Marshal(m)
	if err == nil {
		err = save(filepath.Join(s.dir, "manifest.json"), content, false)
	}
	if err != nil {
		return "", fmt.Errorf("manifest: %w", err)
	}
	return hash(content), nil
}

func planHash(steps []phase.Step) string {
	h := sha256.New()
	for _, s := range steps {
		fmt.Fprintln(h, s.Kind, s.String())
	}
	return hex.EncodeToString(h.Sum(nil))
}

func hash(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// save replaces a file that only root may read. With flush it is on the disk
// when save returns.
func save(path string, content []byte, flush bool) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err == nil && flush {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil || !flush {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
