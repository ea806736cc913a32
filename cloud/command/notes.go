package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"nimbus/cloud"
)

// notes are what the driver itself remembers of a launch, so that programs need
// not. Without them instances can still be listed and ended.
type notes struct {
	Instances map[string]asked `json:"instances"` // by token
}

// asked is what was asked for.
type asked struct {
	Name     string    `json:"name"`
	Image    string    `json:"image"`
	Networks []string  `json:"networks"`
	Created  time.Time `json:"created"`
}

func (d *Driver) notesFile(launch string) string {
	return filepath.Join(d.o.launches(), launch+".json")
}

// recall reads the notes of a launch; those that are missing or damaged are
// empty.
func (d *Driver) recall(launch string) notes {
	n := notes{}
	text, err := os.ReadFile(d.notesFile(launch))
	if err != nil || json.Unmarshal(text, &n) != nil {
		n = notes{}
	}
	if n.Instances == nil {
		n.Instances = map[string]asked{}
	}
	return n
}

// note adds requests to the notes of their launch.
func (d *Driver) note(launch string, requests []cloud.Request) error {
	n := d.recall(launch)
	now := time.Now().Round(time.Second)
	for _, r := range requests {
		n.Instances[r.Token] = asked{Name: r.Name, Image: r.Image, Networks: r.Networks, Created: now}
	}
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	name := d.notesFile(launch)
	if err := os.WriteFile(name+".new", append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("note what is launched: %w", err)
	}
	return os.Rename(name+".new", name)
}

// forget removes the notes of a launch.
func (d *Driver) forget(launch string) error {
	if err := os.Remove(d.notesFile(launch)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
