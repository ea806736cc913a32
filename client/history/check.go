package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"nimbus/broker/cluster"
	"nimbus/broker/wire"
	"nimbus/cloud"
)

// maxRecord is the size of the largest launch.json in bytes: a hundred thousand
// instances with their host keys fit in.
const maxRecord = 256 << 20

// decode reads a record back. People edit such files, and worse happens to
// them: nothing in it is taken unchecked.
func decode(data []byte) (Record, error) {
	var record Record
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&record); err != nil {
		return Record{}, fmt.Errorf("this is no record of a launch: %v", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return Record{}, errors.New("something follows the record")
	}
	if err := record.check(); err != nil {
		return Record{}, err
	}
	return record, nil
}

// encode is decode's inverse.
func encode(record Record) ([]byte, error) {
	if err := record.check(); err != nil {
		return nil, err
	}
	data, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return nil, err
	}
	if len(data) >= maxRecord {
		return nil, fmt.Errorf("the record is larger than %d MiB", maxRecord>>20)
	}
	return append(data, '\n'), nil
}

func (r *Record) check() error {
	if _, ok := parseHandle(r.Handle); !ok {
		return fmt.Errorf("handle: %q is none", clip(r.Handle))
	}
	// To a driver an empty launch means everything that this user started:
	// nobody may terminate that by accident.
	if err := cluster.CheckName(r.Launch); err != nil {
		return fmt.Errorf("launch: %v", err)
	}
	if err := checkText("cloud", r.Cloud, 256); err != nil {
		return err
	}
	if err := checkText("source", r.Source, 4096); err != nil {
		return err
	}
	states := []string{Launching, Waiting, OK, Failed, Terminated, Kept}
	if !slices.Contains(states, r.State) {
		return fmt.Errorf("state: %q is none of %s", clip(r.State), strings.Join(states, ", "))
	}
	if outcomes := append(states, Expired); r.Outcome != "" && !slices.Contains(outcomes, r.Outcome) {
		return fmt.Errorf("outcome: %q is none of %s", clip(r.Outcome), strings.Join(outcomes, ", "))
	}
	if r.Run != nil {
		if err := r.Run.check(); err != nil {
			return fmt.Errorf("run: %v", err)
		}
	}
	if r.Definition != nil {
		if err := r.Definition.Check().Err(); err != nil {
			return fmt.Errorf("definition: %v", err)
		}
	}
	if r.Context != nil {
		if err := r.Context.check(); err != nil {
			return fmt.Errorf("context: %v", err)
		}
	}
	if len(r.Instances) > cluster.MaxNodes {
		return fmt.Errorf("instances: more than %d", cluster.MaxNodes)
	}
	for i := range r.Instances {
		if err := r.Instances[i].check(r.Launch); err != nil {
			return fmt.Errorf("instances[%d]: %v", i, err)
		}
	}
	if len(r.Unreachable) > cluster.MaxNodes {
		return fmt.Errorf("unreachable: more than %d", cluster.MaxNodes)
	}
	for i := range r.Unreachable {
		if err := r.Unreachable[i].check(r.Launch); err != nil {
			return fmt.Errorf("unreachable[%d]: %v", i, err)
		}
	}
	if r.KnownHosts != nil {
		if err := r.KnownHosts.check(); err != nil {
			return fmt.Errorf("known_hosts: %v", err)
		}
	}
	return nil
}

func (r *Run) check() error {
	if r.Timeout <= 0 {
		return fmt.Errorf("timeout: %v is no time to wait", time.Duration(r.Timeout))
	}
	for _, f := range []struct{ name, path string }{{"known_hosts", r.KnownHosts}, {"ssh_key", r.SSHKey}, {"hosts_file", r.HostsFile}} {
		if err := checkText(f.name, f.path, 4096); err != nil {
			return err
		}
		// Who goes on may do so somewhere else.
		if f.path != "" && !filepath.IsAbs(f.path) {
			return fmt.Errorf("%s: %q must be an absolute path", f.name, f.path)
		}
	}
	for group, hosts := range r.Hosts {
		if err := checkText("hosts", group, 256); err != nil {
			return err
		}
		for _, host := range hosts {
			if err := checkText("hosts", host, 1<<10); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Context) check() error {
	if err := cluster.CheckName(c.ID); err != nil {
		return fmt.Errorf("id: %v", err)
	}
	if c.Broker != "" {
		if err := wire.CheckURL(c.Broker); err != nil {
			return err
		}
	}
	if c.BrokerID != "" {
		if err := cluster.CheckName(c.BrokerID); err != nil {
			return fmt.Errorf("broker_id: %v", err)
		}
	}
	return nil
}

func (i *Instance) check(launch string) error {
	place := cluster.Place{Workspace: i.Workspace, Index: i.Index}
	if err := cluster.CheckName(i.Workspace); err != nil {
		return fmt.Errorf("workspace: %v", err)
	}
	if i.Index < 0 || i.Index >= cluster.MaxQuantity || i.Node != place.String() {
		return fmt.Errorf("node: %q is not place %q", clip(i.Node), place)
	}
	if i.ID == "" {
		return errors.New("id: it is empty")
	}
	if i.Launch != "" && i.Launch != launch {
		return fmt.Errorf("launch: %q is another one", clip(i.Launch))
	}
	for _, f := range []struct{ name, text string }{
		{"id", i.ID}, {"token", i.Token}, {"name", i.Name}, {"image", i.Image}, {"host_key", i.HostKey},
	} {
		if err := checkText(f.name, f.text, 8<<10); err != nil {
			return err
		}
	}
	// It becomes an argument of ssh.
	if strings.HasPrefix(i.Login, "-") || strings.ContainsAny(i.Login, " @") {
		return fmt.Errorf("login: %q is no user name", clip(i.Login))
	}
	if err := checkText("login", i.Login, 256); err != nil {
		return err
	}
	switch i.State {
	case "", cloud.Starting, cloud.Running, cloud.Ended, cloud.Failed:
	default:
		return fmt.Errorf("state: %q is none of an instance", clip(string(i.State)))
	}
	if len(i.Addresses) > cluster.MaxNICs {
		return fmt.Errorf("addresses: more than %d", cluster.MaxNICs)
	}
	for _, a := range i.Addresses {
		if err := checkText("network", a.Network, 256); err != nil {
			return err
		}
		if a.IP.Zone() != "" {
			return fmt.Errorf("ip: %q is good on one machine only", clip(a.IP.String()))
		}
	}
	return nil
}

func (k *KnownHosts) check() error {
	if err := checkText("file", k.File, 4096); err != nil {
		return err
	}
	// The command that takes the lines out again may run somewhere else.
	if !filepath.IsAbs(k.File) {
		return fmt.Errorf("file: %q must be an absolute path", k.File)
	}
	for i, line := range k.Lines {
		if err := checkText(fmt.Sprintf("lines[%d]", i), line, 64<<10); err != nil {
			return err
		}
	}
	return nil
}

// checkText bounds a text that is printed or passed on as one line.
func checkText(name, text string, limit int) error {
	if len(text) > limit {
		return fmt.Errorf("%s: longer than %d bytes", name, limit)
	}
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return fmt.Errorf("%s: %q holds characters that cannot be printed", name, clip(text))
	}
	return nil
}

// clip shortens what an error message quotes.
func clip(text string) string {
	if len(text) <= 80 {
		return text
	}
	return strings.ToValidUTF8(text[:80], "") + "…"
}
