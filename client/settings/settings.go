// Package settings is the client's configuration file: which broker, which
// clouds, where things are kept. Without a file everything has a default that
// works.
package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"nimbus/broker/cluster"
)

// Settings of the client. docs/settings.md has the same list for people, and a
// test holds one against the other.
type Settings struct {
	// Broker is the URL of the broker that contexts are made at. Empty: one of
	// this user's own, started when it is needed.
	Broker string `toml:"broker"`
	// BrokerCA is a PEM file with the broker's own CA (ca.pem in its
	// directory). Empty: the broker's certificate is checked by its URL and
	// the system's CAs.
	BrokerCA string `toml:"broker_ca"`
	// BrokerKey is a file with the account's key at that broker.
	BrokerKey string `toml:"broker_key"`
	// Cloud is the name of the cloud that is used when none is named.
	Cloud string `toml:"cloud"`
	// HistoryDir keeps a directory for each launch. Empty: the state
	// directory's history.
	HistoryDir string `toml:"history_dir"`
	// SSHKey is the public key file that instances let in. Empty: the first
	// one in ~/.ssh, else one that is made.
	SSHKey string `toml:"ssh_key"`
	// KnownHosts is the file that new host keys are added to. Empty:
	// ~/.ssh/known_hosts. "none": no file.
	KnownHosts string `toml:"known_hosts"`
	// Clouds are the places that can start machines, by name.
	Clouds map[string]Cloud `toml:"clouds"`
}

// Cloud is one place that can start machines.
type Cloud struct {
	// Driver is how it is spoken to. Empty: the cloud's own name says it.
	Driver string `toml:"driver"`
	// Subnets is where driver local takes a network of each launch from.
	// Empty: 10.78.0.0/16.
	Subnets string `toml:"subnets"`
	// Images say more of an image name than the cloud knows. For driver local
	// every other name means this host's own file system.
	Images map[string]Image `toml:"images"`

	// BrokerAddress is this machine's address as the instances of this cloud
	// see it: a broker of the user's own listens there. Drivers local and ssh
	// find a way by themselves.
	BrokerAddress string `toml:"broker_address"`
	// Command is the program by which driver command starts and ends machines.
	Command string `toml:"command"`

	// HostsFile says for driver ssh which machines a workspace gets.
	HostsFile string `toml:"hosts_file"`
	// Hosts says the same: workspace (or "*") → [user@]address[:port].
	Hosts map[string][]string `toml:"hosts"`
	// User is whom drivers ssh and command log in as. Empty: root.
	User string `toml:"user"`
	// Key is a private key file for driver ssh. Empty: the agent's keys, and
	// those in ~/.ssh.
	Key string `toml:"key"`
	// Jump is a host that driver ssh goes through: [user@]address[:port].
	// Empty: none.
	Jump string `toml:"jump"`
	// HostKeys is what driver ssh takes for the key of a host: "strict" (one
	// that the known_hosts file has; also if empty) or "accept-new".
	HostKeys string `toml:"host_keys"`
}

// Image is what the settings say of an image name.
type Image struct {
	// Agent says how a machine of this image gets its agent: AgentPrepared,
	// AgentInstall, or empty: whichever is the case.
	Agent string `toml:"agent"`
	// Root is a directory on this host that driver local makes machines of.
	// Empty: /.
	Root string `toml:"root"`
	// Scripts is a directory that becomes the image's context scripts, for
	// driver local. Empty: those that the image has.
	Scripts string `toml:"scripts"`
	// Description is shown in the list of images.
	Description string `toml:"description"`
}

// How a machine gets its agent.
const (
	AgentPrepared = "prepared" // the image has it, and starts it at boot
	AgentInstall  = "install"  // cloud-init, or what does its work, fetches it from the broker
	agentLegacy   = "legacy"   // that of the original Nimbus (2008-2013): not served by this version
)

// Values of HostKeys.
const (
	HostKeysStrict    = "strict"
	HostKeysAcceptNew = "accept-new"
)

// KnownHostsOff is the value of KnownHosts that leaves all files alone.
const KnownHostsOff = "none"

// maxFile is the largest settings file that is read.
const maxFile = 1 << 20

// Default is what holds when no file says anything.
func Default() Settings {
	return Settings{Cloud: "local", Clouds: map[string]Cloud{"local": {Driver: "local"}}}
}

// Load reads a settings file over the defaults. A file that does not exist is
// all defaults, unless it must exist because somebody named it.
func Load(file string, must bool) (Settings, error) {
	s := Default()
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) && !must {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("settings: %v", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return s, fmt.Errorf("settings: read %s: %v", file, err)
	}
	if len(text) > maxFile {
		return s, fmt.Errorf("settings: %s is larger than %d KiB", file, maxFile>>10)
	}
	meta, err := toml.NewDecoder(bytes.NewReader(text)).Decode(&s)
	if err != nil {
		var p toml.ParseError
		if errors.As(err, &p) {
			return s, fmt.Errorf("%s:%d: %s", file, p.Position.Line, p.Message)
		}
		return s, fmt.Errorf("%s: %v", file, err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		key := unknown[0]
		return s, fmt.Errorf("%s:%s unknown setting %q%s", file, atLine(lineOf(string(text), key)), key, meant(key))
	}
	s.complete()
	if err := s.Validate(); err != nil {
		return s, fmt.Errorf("%s: %v", file, err)
	}
	return s, nil
}

// complete says what an empty driver means.
func (s *Settings) complete() {
	for name, c := range s.Clouds {
		if c.Driver == "" {
			c.Driver = name
			s.Clouds[name] = c
		}
	}
}

// lineOf finds the line that sets a key, or 0: the decoder does not tell.
func lineOf(text string, key toml.Key) int {
	table := ""
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if header, ok := strings.CutPrefix(line, "["); ok {
			table = strings.Trim(strings.SplitN(header, "#", 2)[0], "[] \t")
			if table == key.String() {
				return n
			}
			continue
		}
		name, _, assigned := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		if table != "" {
			name = table + "." + name
		}
		if assigned && (name == key.String() || strings.HasPrefix(key.String(), name+".")) {
			return n
		}
	}
	return 0
}

// meant says which setting an unknown one may have been meant to be.
func meant(key toml.Key) string {
	var known []string
	for _, of := range []reflect.Type{reflect.TypeFor[Settings](), reflect.TypeFor[Cloud](), reflect.TypeFor[Image]()} {
		for f := range of.Fields() {
			known = append(known, f.Tag.Get("toml"))
		}
	}
	for _, word := range key { // the first that is none: names of clouds and images are free
		if best := cluster.Nearest(word, known); best != "" && best != word && !slices.Contains(known, word) {
			return fmt.Sprintf("; did you mean %q?", best)
		}
	}
	return ""
}

func atLine(line int) string {
	if line == 0 {
		return ""
	}
	return fmt.Sprintf("%d:", line)
}
