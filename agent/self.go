package agent

import (
	"context"

	"nimbus/agent/host"
	"nimbus/agent/source"
	"nimbus/broker/cluster"
	"nimbus/broker/wire"
)

// identify says who this node is in the context. That is found out once: a
// machine may get another address or name while it is being configured, but
// the broker knows the node, and others may have been told of it.
func (s *session) identify(ctx context.Context) error {
	if s.identities = readIdentities(s.state.dir); s.identities != nil {
		for _, i := range s.identities {
			s.log.Info("this machine, as it was described before", "interface", i.Interface, "ip", i.IP.String(), "hostname", i.Hostname)
		}
		return nil
	}
	var err error
	if s.identities, err = s.describe(ctx); err != nil {
		return err
	}
	return s.state.saveIdentities(s.identities)
}

// describe finds this machine's identities.
func (s *session) describe(ctx context.Context) ([]cluster.Identity, error) {
	network := host.Network{Read: s.cfg.machine.interfaces, Bound: s.cfg.NetworkWait}
	interfaces, err := network.Wait(ctx, s.found.NICs)
	if err != nil {
		return nil, err
	}
	files := host.KeyFiles{Pattern: s.cfg.SSHHostKeys, Server: s.cfg.machine.sshd, Wait: s.cfg.SSHHostKeyWait}
	key := files.Read(ctx)
	if key == "" {
		s.log.Warn("this machine has no SSH host key", "looked_for", s.cfg.SSHHostKeys)
	}
	identities, err := host.Identities(s.found.NICs, interfaces, names(ctx, s.cfg, s.found, s.token), key)
	for _, i := range identities {
		s.log.Info("this machine", "interface", i.Interface, "ip", i.IP.String(), "hostname", i.Hostname)
	}
	return identities, err
}

// names asks the cloud, then the machine, what it is called; the node's name
// is left when neither knows.
func names(ctx context.Context, cfg Config, found *source.Found, token wire.Token) host.Names {
	var names host.Names
	var local, own, node string
	if m := found.Values; m != nil {
		local = m.Value(ctx, "local-hostname")
		for _, nic := range found.NICs {
			if nic.Label == cluster.PublicNIC {
				names.Public = host.FirstName(m.Value(ctx, "public-hostname"))
				names.PublicIP = host.Address(m.Value(ctx, "public-ipv4"))
			}
		}
	}
	if name, err := cfg.machine.hostname(); err == nil {
		own = name
	}
	if token.Index != wire.AnyIndex {
		node = cluster.Place{Workspace: token.Workspace, Index: token.Index}.String()
	}
	names.Host = host.FirstName(local, own, node)
	return names
}
