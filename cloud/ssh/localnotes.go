package ssh

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// A book has this user's own notes: a directory for each launch, with a file for
// each host that the launch was meant to get. A host is written down before it
// is touched.
type book struct{ dir string }

// place says which host an instance has, and what was asked for: what the host
// itself says of that is a stranger's word.
type place struct {
	Launch string `json:"launch"`
	Token  string `json:"token"`
	Host   string `json:"host"` // as in Host.String

	Name     string    `json:"name"`
	Image    string    `json:"image"`
	Networks []string  `json:"networks"`
	Created  time.Time `json:"created"`
	Bare     bool      `json:"bare,omitempty"` // without an agent
}

// note is what the host should have.
func (p place) note() note {
	return note{Launch: p.Launch, Token: p.Token, Name: p.Name, Image: p.Image, Networks: p.Networks, Created: p.Created}
}

// id is that of the instance.
func (p place) id(h Host) string { return instanceID(h, p.Launch, p.Token) }

// prepared is the note of a launch as a whole.
type prepared struct {
	Ports []int `json:"ports"` // where its hosts find the broker
}

// launchID is what can be a directory.
var launchID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

const preparedFile = "launch.json"

func (p place) host() (Host, error) { return ParseHost(p.Host) }

func (p place) file() string { return "host-" + tagOf(p.Launch, p.Token) + ".json" }

// lock keeps others, in this process or not, from deciding about hosts.
func (b book) lock() (unlock func(), err error) {
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return nil, fmt.Errorf("notes: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(b.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("notes: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("notes: lock: %w", err)
	}
	return func() { f.Close() }, nil
}

// add writes a place down, for good.
func (b book) add(p place) error { return b.save(p.Launch, p.file(), p) }

// forget removes it, and the launch with its last one unless it is prepared.
func (b book) forget(p place) error {
	dir := filepath.Join(b.dir, p.Launch)
	if err := os.Remove(filepath.Join(dir, p.file())); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("notes: %w", err)
	}
	_ = os.Remove(dir) // only when it is empty
	return nil
}

// places are those of a launch; none where it is not known.
func (b book) places(launch string) ([]place, error) {
	if !launchID.MatchString(launch) {
		return nil, nil
	}
	entries, err := os.ReadDir(filepath.Join(b.dir, launch))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("notes: %w", err)
	}
	var all []place
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "host-") {
			continue
		}
		file := filepath.Join(b.dir, launch, e.Name())
		var p place
		switch err := read(file, &p); {
		case errors.Is(err, fs.ErrNotExist): // somebody ended it meanwhile
		case err != nil:
			return nil, err
		default:
			if _, err := p.host(); err != nil || p.Launch != launch || p.Token == "" {
				return nil, fmt.Errorf("notes: %s is damaged", file)
			}
			all = append(all, p)
		}
	}
	return all, nil
}

// all are the places of all launches.
func (b book) all() ([]place, error) {
	launches, err := b.launches()
	if err != nil {
		return nil, err
	}
	var all []place
	for _, l := range launches {
		places, err := b.places(l)
		if err != nil {
			return nil, err
		}
		all = append(all, places...)
	}
	return all, nil
}

func (b book) launches() ([]string, error) {
	entries, err := os.ReadDir(b.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("notes: %w", err)
	}
	var all []string
	for _, e := range entries {
		if e.IsDir() && launchID.MatchString(e.Name()) {
			all = append(all, e.Name())
		}
	}
	return all, nil
}

// prepared returns the note of a launch, or fs.ErrNotExist.
func (b book) prepared(launch string) (prepared, error) {
	var p prepared
	if !launchID.MatchString(launch) {
		return p, fs.ErrNotExist
	}
	return p, read(filepath.Join(b.dir, launch, preparedFile), &p)
}

func (b book) prepare(launch string, p prepared) error { return b.save(launch, preparedFile, p) }

// release removes a launch that has no host.
func (b book) release(launch string) error {
	if !launchID.MatchString(launch) {
		return nil
	}
	places, err := b.places(launch)
	if err != nil {
		return err
	}
	if len(places) > 0 {
		return fmt.Errorf("launch %s still has %d hosts", launch, len(places))
	}
	if err := os.RemoveAll(filepath.Join(b.dir, launch)); err != nil {
		return fmt.Errorf("notes: %w", err)
	}
	return nil
}

func read(file string, into any) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("notes: %s is damaged: %v", file, err)
	}
	return nil
}

// save writes a file as a whole; it is on the disk when save returns.
func (b book) save(launch, name string, content any) error {
	if !launchID.MatchString(launch) {
		return fmt.Errorf("launch %q: want letters, digits, dots, hyphens and underscores", launch)
	}
	text, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("notes: %w", err)
	}
	dir := filepath.Join(b.dir, launch)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("notes: %w", err)
	}
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return fmt.Errorf("notes: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(text, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		return fmt.Errorf("notes: %w", err)
	}
	return nil
}
