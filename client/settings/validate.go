package settings

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"nimbus/broker/cluster"
	"nimbus/broker/wire"
)

// drivers are the ways to speak to a cloud that this version has.
var drivers = []string{"command", "local", "ssh"}

var userName = regexp.MustCompile(`^([A-Za-z0-9_][A-Za-z0-9_.-]{0,63})?$`)

// Validate names the first field that cannot be right, and its value.
func (s *Settings) Validate() error {
	if s.Broker != "" {
		if err := wire.CheckURL(s.Broker); err != nil {
			return fmt.Errorf("broker: %v", err)
		}
	}
	names := slices.Sorted(maps.Keys(s.Clouds))
	for _, name := range names {
		if err := cluster.CheckName(name); err != nil {
			return fmt.Errorf("clouds: %v", err)
		}
		if err := s.Clouds[name].validate(); err != nil {
			return fmt.Errorf("clouds.%s.%v", name, err)
		}
	}
	if _, ok := s.Clouds[s.Cloud]; !ok {
		return fmt.Errorf("cloud: there is no cloud %q (there are: %s)", s.Cloud, strings.Join(names, ", "))
	}
	return nil
}

func (c Cloud) validate() error {
	if !slices.Contains(drivers, c.Driver) {
		return fmt.Errorf("driver: there is no driver %q (there are: %s)", c.Driver, strings.Join(drivers, ", "))
	}
	if c.Subnets != "" {
		p, err := netip.ParsePrefix(c.Subnets)
		if err != nil || !p.Addr().Is4() || p.Bits() > 22 {
			return fmt.Errorf("subnets: %q must be an IPv4 network of /22 or larger, such as \"10.78.0.0/16\"", c.Subnets)
		}
	}
	for _, f := range []struct {
		field   string
		given   bool
		drivers []string
	}{
		{"subnets", c.Subnets != "", []string{"local"}},
		{"command", c.Command != "", []string{"command"}},
		{"hosts_file", c.HostsFile != "", []string{"ssh"}},
		{"hosts", c.Hosts != nil, []string{"ssh"}},
		{"user", c.User != "", []string{"ssh", "command"}},
		{"key", c.Key != "", []string{"ssh"}},
		{"jump", c.Jump != "", []string{"ssh"}},
		{"host_keys", c.HostKeys != "", []string{"ssh"}},
		{"keep_agent", c.KeepAgent, []string{"ssh"}},
	} {
		if f.given && !slices.Contains(f.drivers, c.Driver) {
			return fmt.Errorf("%s: this is for driver %s; the cloud has driver %s", f.field, strings.Join(f.drivers, " or "), c.Driver)
		}
	}
	switch {
	case c.Driver == "command" && c.Command == "":
		return errors.New("command: driver command needs the program that starts and ends machines")
	case strings.Contains(c.Command, "/") && !anywhere(c.Command):
		return fmt.Errorf("command: %q must begin with / or ~/, or be a name in PATH: a launch is also ended from another directory", c.Command)
	case c.Key != "" && !anywhere(c.Key):
		return fmt.Errorf("key: %q must begin with / or ~/: a launch is also ended from another directory", c.Key)
	case c.HostsFile != "" && c.Hosts != nil:
		return errors.New("hosts_file: there are hosts in the settings, too: leave one of them out")
	case !userName.MatchString(c.User):
		return fmt.Errorf("user: %q is no user name", c.User)
	}
	if c.BrokerAddress != "" {
		if ip, err := netip.ParseAddr(c.BrokerAddress); err != nil || ip.IsUnspecified() || ip.IsMulticast() {
			return fmt.Errorf("broker_address: %q must be an IP address of this machine", c.BrokerAddress)
		}
	}
	if !slices.Contains([]string{"", HostKeysStrict, HostKeysAcceptNew}, c.HostKeys) {
		return fmt.Errorf("host_keys: %q must be %q or %q", c.HostKeys, HostKeysStrict, HostKeysAcceptNew)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Images)) {
		i := c.Images[name]
		if name == "" {
			return errors.New("images: an image needs a name")
		}
		if i.Agent == agentLegacy {
			return fmt.Errorf("images.%s.agent: %q: images of the original Nimbus (2008-2013) are not served by this version; put the agent of this one into the image and say %q", name, i.Agent, AgentPrepared)
		}
		if !slices.Contains([]string{"", AgentPrepared, AgentInstall}, i.Agent) {
			return fmt.Errorf("images.%s.agent: %q must be %q or %q, or left out", name, i.Agent, AgentPrepared, AgentInstall)
		}
		for _, dir := range []struct{ field, path string }{{"root", i.Root}, {"scripts", i.Scripts}} {
			if dir.path != "" && !filepath.IsAbs(dir.path) {
				return fmt.Errorf("images.%s.%s: %q must begin with a slash", name, dir.field, dir.path)
			}
		}
	}
	return nil
}

// anywhere tells whether a path means the same in every directory.
func anywhere(path string) bool { return filepath.IsAbs(path) || strings.HasPrefix(path, "~/") }
