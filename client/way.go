package client

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"nimbus/broker/cluster"
	"nimbus/client/deploy"
	"nimbus/client/history"
	"nimbus/client/settings"
	"nimbus/cloud"
)

// The way from instances to the broker: a broker elsewhere is their own affair,
// to this user's own they need one that the cloud makes or the settings tell.

// wayFor refuses what would not work, before anything is launched: machines
// that would not find the broker, hosts for which there is no program.
func (s *session) wayFor(driver cloud.Driver, def *cluster.Definition) error {
	if s.overSSH(s.settings.Cloud) {
		if err := s.env.hasBuilds(); err != nil {
			return err
		}
	}
	return s.wayToBroker(driver, def)
}

// wayToBroker refuses, before anything is launched, a cloud whose instances
// would look for the broker in vain.
func (s *session) wayToBroker(driver cloud.Driver, def *cluster.Definition) error {
	if e, ok := driver.(cloud.Encloser); ok && e.Encloses() && def.Nodes() > 0 && s.settings.Broker != "" {
		return &Failure{Code: exitUsage, Text: fmt.Sprintf("the instances of cloud %q reach this machine and nothing else, not the broker %s; nothing was launched", s.settings.Cloud, s.settings.Broker),
			Advice: "leave the setting broker and --broker away for this cloud: then a broker of your own is used"}
	}
	_, makes := driver.(cloud.Preparer)
	if def.Nodes() == 0 || s.settings.Broker != "" || makes || s.settings.Clouds[s.settings.Cloud].BrokerAddress != "" {
		return nil
	}
	return &Failure{Code: exitUsage, Text: fmt.Sprintf("cloud %q does not tell at which address its instances reach this machine, so they would not find a broker of your own", s.settings.Cloud),
		Advice: fmt.Sprintf("if they reach this machine, write broker_address = \"ADDRESS\" under [clouds.%s] in the settings; else use a broker that they reach: --broker URL", s.settings.Cloud)}
}

// brokerHosts are this machine's addresses as the instances see it.
func brokerHosts(here cloud.Prepared, c settings.Cloud) []netip.Addr {
	if len(here.Hosts) > 0 {
		return here.Hosts
	}
	if ip, err := netip.ParseAddr(c.BrokerAddress); err == nil {
		return []netip.Addr{ip}
	}
	return nil
}

// wayThrough opens the way from the instances of a launch that runs to this
// user's own broker again, where it is open only as long as a command holds
// it. It stays open as long as the driver is used.
func (s *session) wayThrough(ctx context.Context, driver cloud.Driver, record history.Record) error {
	if record.Context == nil || record.Context.Broker != "" || record.Definition == nil || !s.overSSH(record.Cloud) {
		return nil
	}
	r := &run{session: s, driver: driver, record: record}
	var err error
	if r.here, err = deploy.Prepare(ctx, driver, record.Definition, record.Launch, record.Expires); err != nil {
		return r.cloudError(err)
	}
	if !r.here.Apart {
		return nil // they reach the broker without us
	}
	broker, err := s.findBroker(ctx, "")
	if err == nil {
		_, err = r.letIn(ctx, broker)
	}
	switch {
	case errors.Is(err, ErrNoBroker):
		return s.contextGone(record)
	case err != nil:
		return r.brokerError(err)
	}
	return nil
}

// tied tells whether the instances lose the way to the broker when this command
// ends.
func (r *run) tied() bool { return r.here.Apart && r.overSSH(r.record.Cloud) }
