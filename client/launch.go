package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"nimbus/broker/cluster"
	"nimbus/broker/wire"
	"nimbus/client/deploy"
	"nimbus/client/history"
	"nimbus/client/loginkey"
	"nimbus/client/progress"
	"nimbus/cloud"
)

// run is one launch on its way.
type run struct {
	*session
	o         runOptions
	def       *cluster.Definition
	driver    cloud.Driver
	launch    *history.Launch
	record    history.Record
	key       loginkey.Key
	hostsFile string // known_hosts; empty: none
	log       *slog.Logger
	close     func()

	broker   Broker
	hosts    []netip.Addr // this machine as the instances see it
	machines []deploy.Machine
	model    *progress.Model
	status   wire.Status // the last that was heard of the context
	nodes    []wire.Node
	refused  time.Time // of the last refusal that was shown
	warned   time.Time // the end of the hours that was warned of
	met      atomic.Pointer[moment]
}

// errTimeout ends a run that took too long.
var errTimeout = errors.New("timeout")

// do brings the cluster up by some work, or back down.
func (r *run) do(parent context.Context, work func(context.Context) error) error {
	r.reach(r.first())
	working, halt := context.WithCancel(context.WithoutCancel(parent))
	defer halt()
	stop := context.AfterFunc(parent, func() {
		r.interrupted() // what it has met, before that changes
		halt()
	})
	ctx, cancel := context.WithTimeoutCause(working, r.o.timeout, errTimeout)
	defer cancel()
	r.model.Between(r.env.Now(), r.env.Now().Add(r.o.timeout))
	err := work(ctx)
	if err == nil && !stop() {
		err = parent.Err() // the user was told already that it ends
	}
	if err == nil {
		r.reach(finishing)
		defer context.AfterFunc(parent, r.interrupted)()
		return r.finish()
	}
	defer stop()
	if context.Cause(ctx) == errTimeout {
		err = r.timedOut(parent)
	}
	if parent.Err() != nil {
		err = &Failure{Code: exitInterrupted, Text: fmt.Sprintf("interrupted: %s is not complete", r.launch.Handle)}
	}
	r.log.Error("run failed", "error", err)
	return r.down(err)
}

// up launches the cluster and returns when it is complete.
func (r *run) up(ctx context.Context) error {
	r.announce()
	r.warnOfHours()
	if err := r.save(); err != nil {
		return err
	}
	var err error
	if r.hosts, err = deploy.Prepare(ctx, r.driver, r.def, r.record.Launch, r.record.Expires); err != nil {
		return r.cloudError(err)
	}
	var created *wire.Created
	if r.def.Nodes() > 0 {
		if created, err = r.createContext(ctx); err != nil {
			return err
		}
	}
	plan, err := deploy.Plan(r.def, deploy.Deployment{
		Handle: r.launch.Handle, Launch: r.record.Launch, PublicKeys: publicKeys(r.key), Context: created,
		Issued: r.env.Now(), Expires: r.record.Expires,
	})
	if err != nil {
		return &Failure{Code: exitFailed, Text: err.Error()}
	}
	if err := r.launchAll(ctx, plan); err != nil {
		return err
	}
	if err := r.waitRunning(ctx); err != nil {
		return err
	}
	if created == nil {
		return nil
	}
	return r.waitContext(ctx)
}

// createContext makes the context at the broker and returns what nodes must
// know of it.
func (r *run) createContext(ctx context.Context) (*wire.Created, error) {
	var urls []string
	var err error
	if r.settings.Broker == "" {
		urls, err = r.ownBroker(ctx)
	} else {
		r.broker, err = r.findBroker(ctx, r.settings.Broker)
	}
	if err != nil {
		return nil, r.brokerError(err)
	}
	created, err := r.broker.Create(ctx, wire.Create{Name: r.launch.Handle, Definition: *r.def, Expires: r.record.Created.Add(r.o.expires)})
	if err != nil {
		return nil, r.brokerError(err)
	}
	if len(urls) > 0 {
		created.Brokers = urls
	}
	r.record.Context = &history.Context{ID: created.ID, Broker: r.settings.Broker, BrokerID: created.BrokerID}
	if err := r.save(); err != nil {
		return nil, err
	}
	if err := r.reachable(created.Brokers); err != nil {
		return nil, err
	}
	r.out.say("\nContext Broker:\n")
	for _, url := range created.Brokers {
		r.out.say("    %s\n", url)
	}
	r.out.say("\nCreated new context with broker.\n")
	r.out.event(Event{Event: "context", Handle: r.launch.Handle, Text: created.ID})
	return &created, nil
}

// reachable refuses a broker that the instances of this cloud cannot reach:
// they would wait for it until the time is over.
func (r *run) reachable(brokers []string) error {
	if len(r.hosts) == 0 {
		return nil // the cloud's networks lead out
	}
	for _, broker := range brokers {
		if u, err := url.Parse(broker); err == nil {
			if ip, err := netip.ParseAddr(u.Hostname()); err == nil && slices.Contains(r.hosts, ip) {
				return nil
			}
		}
	}
	return &Failure{Code: exitUsage, Text: fmt.Sprintf("the instances of cloud %q reach this machine at %s and nothing else; the broker is at %s", r.record.Cloud, r.hosts[0], strings.Join(brokers, ", ")),
		Advice: "leave the setting broker and --broker away for this cloud: then a broker of your own is used"}
}

// ownBroker opens this user's own broker, and has it listen where the
// instances reach this machine.
func (r *run) ownBroker(ctx context.Context) (urls []string, err error) {
	if r.broker, err = r.env.EnsureBroker(ctx, r.env.brokerDir(), r.env.Executable); err != nil {
		return nil, err
	}
	for _, host := range r.hosts {
		url, err := r.broker.Listen(ctx, host.String())
		if err != nil {
			return nil, fmt.Errorf("listen at %s: %w", host, err)
		}
		urls = append(urls, url)
	}
	return urls, nil
}

// launchAll asks the cloud for all instances, and notes those that started
// even when not all did.
func (r *run) launchAll(ctx context.Context, plan []deploy.Item) error {
	r.reach(launching)
	r.out.show(r.model.Frame())
	machines, err := deploy.Launch(ctx, r.driver, plan)
	r.machines = machines
	r.note(machines)
	r.out.show(nil)
	if saved := r.save(); err == nil {
		err = saved
	}
	if err != nil {
		r.out.say("\nLaunching %s... failed.\n", r.launch.Handle)
		return r.cloudError(err)
	}
	r.printMachines()
	r.out.say("\nLaunching %s... done.\n", r.launch.Handle)
	r.out.event(Event{Event: "launched", Handle: r.launch.Handle})
	return nil
}

// note takes what the cloud says of the machines into the record.
func (r *run) note(machines []deploy.Machine) {
	known := map[string]int{}
	for i, m := range r.record.Instances {
		known[m.Node] = i
	}
	for _, m := range machines {
		instance := history.Instance{Node: m.Node.String(), Workspace: m.Node.Workspace, Index: m.Node.Index, Instance: m.Instance}
		if i, ok := known[instance.Node]; ok {
			r.record.Instances[i] = instance
			continue
		}
		r.record.Instances = append(r.record.Instances, instance)
		r.out.event(Event{Event: "instance", Handle: r.launch.Handle, Node: instance.Node, Instance: &m.Instance})
	}
}

func (r *run) save() error {
	if err := r.launch.Save(r.record); err != nil {
		return &Failure{Code: exitFailed, Text: err.Error()}
	}
	return nil
}

// openLogs sends all that is said to both logs of the run, and our own notes
// to the second.
func (r *run) openLogs(info, debug io.Writer) {
	r.out.logTo(io.MultiWriter(info, debug))
	r.log = slog.New(slog.NewTextHandler(debug, &slog.HandlerOptions{Level: slog.LevelDebug})).With("launch", r.record.Launch)
	r.log.Info("run", "handle", r.launch.Handle, "cloud", r.record.Cloud, "source", r.record.Source, "expires", r.record.Expires)
}

func (r *run) cloudError(err error) error {
	f := &Failure{Code: exitFailed, Text: fmt.Sprintf("cloud %q: %v", r.record.Cloud, err)}
	if errors.Is(err, cloud.ErrNoCapacity) {
		f.Advice = "ask for fewer instances, or try again when others have ended"
	}
	return f
}

func (r *run) brokerError(err error) error {
	where := r.settings.Broker
	if where == "" {
		where = "your own"
	}
	f := &Failure{Code: exitFailed, Text: fmt.Sprintf("broker (%s): %v", where, err)}
	var refused *wire.Error
	if errors.As(err, &refused) {
		f.Advice = refused.Hint
		if refused.Code == wire.Unauthorized && f.Advice == "" {
			f.Advice = "log in with \"nimbus login " + where + "\", or name a key file in broker_key"
		}
	}
	return f
}

func publicKeys(key loginkey.Key) []string {
	var lines []string
	for line := range strings.Lines(key.Public) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}
