package settings

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"nimbus/broker/cluster"
	"nimbus/broker/wire"
)

// drivers are the ways to speak to a cloud that this version has.
var drivers = []string{"command", "local", "ssh"}

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
