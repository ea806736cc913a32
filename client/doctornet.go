package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"nimbus/broker/wire"
	"nimbus/cloud"
)

// What a doctor looks at beyond this disk: the cloud, brokers, the way to them.

func checkCloud(ctx context.Context, p *patient) []cloud.Finding {
	name := p.settings.Cloud
	all := p.machine.cloud(ctx, name, p.settings)
	failed := false
	for i := range all {
		all[i].Text = fmt.Sprintf("cloud %q: %s", name, all[i].Text)
		all[i].Advice = p.asTyped(all[i].Advice)
		failed = failed || all[i].Level == cloud.Fail
	}
	if _, err := p.cloud(name); err != nil {
		return append(all, fail("mend that, or choose another with --cloud NAME", "%v", err)...)
	}
	if failed {
		return all
	}
	return append(all, fine("cloud %q: can be used", name)...)
}

func checkOwnBroker(ctx context.Context, p *patient) []cloud.Finding {
	dir := p.env.brokerDir()
	own := p.machine.ownBroker(ctx, dir, p.env.Executable)
	switch {
	case own.hangs:
		return fail(fmt.Sprintf("end that process (nimbus broker --data %s ...): the next launch starts another, with the same contexts", dir), "your own broker: it does not answer at %s/broker.sock", dir)
	case own.broker == nil && own.holds:
		return warn("the next command that needs it starts it again", "your own broker: it is not running, and has contexts in %s", dir)
	case own.broker == nil:
		return info("your own broker: not running; a launch starts it when it is needed")
	}
	contexts, err := own.broker.Contexts(ctx)
	if err != nil {
		return fail(p.env.brokerAdvice("", err), "your own broker: %s", brokerText(err))
	}
	where := "no address yet"
	if len(own.info.Brokers) > 0 {
		where = strings.Join(own.info.Brokers, ", ")
	}
	what := fmt.Sprintf("your own broker: answers at %s, holds %s", where, count(len(contexts), "context"))
	if own.version != "" && own.info.Version != own.version {
		return warn("it goes on serving; it is replaced when its last context has ended", "%s, is of another build than this program", what)
	}
	return fine("%s", what)
}

// How far the clocks of two machines may be apart: certificates begin an hour
// before they are made, hours of clusters are counted by both.
const (
	slightlyOff = 10 * time.Second
	farOff      = 5 * time.Minute
)

func checkBroker(ctx context.Context, p *patient) []cloud.Finding {
	url := p.settings.Broker
	if url == "" {
		return info("broker: none is configured, your own is used")
	}
	ctx, cancel := context.WithTimeout(ctx, 2*lookPatience)
	defer cancel()
	endpoint, err := p.endpoint(url)
	if err != nil {
		return fail(p.env.brokerAdvice(url, err), "broker %s: %s", url, brokerText(err))
	}
	broker, err := p.env.OpenBroker(endpoint)
	if err != nil {
		return fail("correct what it names; docs/settings.md explains each setting", "broker %s: %s", url, brokerText(err))
	}
	asked := p.env.Now()
	who, err := inform(ctx, broker)
	if err != nil {
		return fail(p.env.brokerAdvice(url, err), "broker %s: %s", url, brokerText(err))
	}
	all := fine("broker %s: answers, and proves who it is", url)
	all = append(all, checkClock(url, who, asked, p.env.Now())...)
	if contexts, err := broker.Contexts(ctx); err != nil {
		all = append(all, fail(p.env.brokerAdvice(url, err), "broker %s: key: %s", url, brokerText(err))...)
	} else {
		all = append(all, fine("broker %s: takes your key, holds %s of yours", url, count(len(contexts), "context"))...)
	}
	return append(all, checkReach(p, url, who)...)
}

// checkClock: the broker's answer was written between asking and hearing.
func checkClock(url string, who wire.Info, asked, heard time.Time) []cloud.Finding {
	if who.Now.IsZero() {
		return nil // an older broker
	}
	off := max(asked.Sub(who.Now), who.Now.Sub(heard), 0)
	const advice = "set the clock of one of them (NTP): certificates and hours are counted by both"
	switch {
	case off > farOff:
		return fail(advice, "clock: %s apart from that of broker %s", spanText(off), url)
	case off > slightlyOff:
		return warn(advice, "clock: %s apart from that of broker %s", spanText(off), url)
	}
	return fine("clock: as that of broker %s", url)
}

// checkReach looks at the addresses that nodes are told.
func checkReach(p *patient, url string, who wire.Info) []cloud.Finding {
	name := p.settings.Cloud
	if p.settings.Clouds[name].Driver == driverLocal {
		return warn("leave the setting broker and --broker away for this cloud: then your own is used", "broker %s: the sandboxes of cloud %q cannot reach it, they have no way out", url, name)
	}
	for _, told := range who.Brokers {
		if !isLoopback(told) {
			return fine("broker %s: nodes are told %s", url, strings.Join(who.Brokers, ", "))
		}
	}
	if len(who.Brokers) == 0 {
		return nil
	}
	return warn("start it with --listen or --advertise and an address that instances reach", "broker %s: nodes are told %s, which leads each to itself", url, strings.Join(who.Brokers, ", "))
}

func isLoopback(text string) bool {
	u, err := url.Parse(text)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err == nil && ip.IsLoopback() || u.Hostname() == "localhost"
}

// checkAddresses: instances on a cloud must reach a broker that runs here.
func checkAddresses(_ context.Context, p *patient) []cloud.Finding {
	switch c := p.settings.Clouds[p.settings.Cloud]; {
	case c.Driver == driverLocal:
		return info("addresses: sandboxes reach this machine at an address made for each launch")
	case p.settings.Broker != "":
		return nil // that broker's count
	case c.BrokerAddress != "":
		return checkBrokerAddress(p, c.BrokerAddress)
	case c.Driver == driverSSH:
		return info("addresses: hosts reach your own broker through their SSH connections")
	case c.Driver == driverCommand:
		return fail(fmt.Sprintf("write broker_address under [clouds.%s], or use a broker elsewhere (--broker URL)", p.settings.Cloud), "addresses: nobody says at which one instances reach this machine")
	}
	all, err := p.machine.addresses()
	if err != nil {
		return warn("look at the network of this machine", "addresses: %v", err)
	}
	var list []string
	private := true
	for _, a := range all {
		list = append(list, a.String())
		private = private && a.IsPrivate()
	}
	switch {
	case len(all) == 0:
		return fail("connect this machine to a network, or use a broker elsewhere (--broker URL)", "addresses: this machine has none that an instance could reach")
	case private:
		return warn("instances must be in the same network: else use a broker elsewhere (--broker URL)", "addresses: this machine has private ones only: %s", strings.Join(list, ", "))
	}
	return fine("addresses: %s", strings.Join(list, ", "))
}

// checkBrokerAddress: a broker can listen only at what is this machine's.
func checkBrokerAddress(p *patient, address string) []cloud.Finding {
	all, err := p.machine.addresses()
	ip, bad := netip.ParseAddr(address)
	switch {
	case err != nil || bad != nil:
		return warn("look at the network of this machine", "addresses: %v", errors.Join(err, bad))
	case ip.IsLoopback() || slices.Contains(all, ip):
		return fine("addresses: instances reach this machine at %s (broker_address)", address)
	}
	return fail("correct it in the settings: the broker must be able to listen there", "addresses: broker_address %s is none of this machine", address)
}

// checkProxies says which way the broker is reached.
func checkProxies(_ context.Context, p *patient) []cloud.Finding {
	set := ""
	for _, name := range []string{"HTTPS_PROXY", "https_proxy"} {
		if set == "" && p.machine.variable(name) != "" {
			set = name
		}
	}
	broker := p.settings.Broker
	switch {
	case set == "" && p.machine.variable("HTTP_PROXY")+p.machine.variable("http_proxy") != "":
		return info("proxies: HTTP_PROXY is set, HTTPS_PROXY is not: brokers are reached without a proxy")
	case set == "":
		return fine("proxies: none is set")
	case broker == "":
		return fine("proxies: %s is set; your own broker is reached without it", set)
	}
	u, err := url.Parse(broker)
	if err != nil {
		return nil // the settings were refused
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	proxy, err := p.machine.proxy(net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return fail("set it as docs/settings.md says, or unset it", "proxies: %v", err)
	}
	if proxy == nil {
		return fine("proxies: %s is set; broker %s is reached without it (NO_PROXY)", set, broker)
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && (ip.IsPrivate() || ip.IsLinkLocalUnicast()) || !strings.Contains(u.Hostname(), ".") {
		return warn(fmt.Sprintf("if it is in your own network, add %s to NO_PROXY", u.Hostname()), "proxies: broker %s is reached through %s", broker, proxy.Host)
	}
	return fine("proxies: broker %s is reached through %s", broker, proxy.Host)
}
