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
	scripts   []*Scripts // that travel with it
	driver    cloud.Driver
	launch    *history.Launch
	record    history.Record
	key       loginkey.Key
	hostsFile string // known_hosts; empty: none
	log       *slog.Logger
	close     func()

	broker   Broker
	here     cloud.Prepared // this machine as the instances see it
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
	if err == nil && r.o.noWait && r.record.Context != nil {
		return r.left()
	}
	if err == nil {
		r.reach(finishing)
		defer context.AfterFunc(parent, r.interrupted)()
		return r.finish()
	}
	defer stop()
	var kept *notTakenOver
	if errors.As(err, &kept) && ctx.Err() == nil {
		return r.leftAsItIs(kept.error)
	}
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
	if err := r.prepare(ctx); err != nil {
		return err
	}
	var created *wire.Created
	var err error
	if r.def.Nodes() > 0 {
		if created, err = r.createContext(ctx); err != nil {
			return err
		}
		if err := r.sendScripts(ctx, created.ID); err != nil {
			return err
		}
	}
	plan, err := deploy.Plan(r.def, deploy.Deployment{
		Handle: r.launch.Handle, Launch: r.record.Launch, PublicKeys: publicKeys(r.key), Context: created,
		Issued: r.env.Now(), Expires: r.record.Expires, Installs: r.installs(r.driver),
	})
	if err != nil {
		return r.planFailure(err)
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
	if r.o.open {
		r.sayOpen()
	}
	if r.o.noWait {
		return nil
	}
	return r.waitContext(ctx)
}

// prepare makes what the instances need around them, or finds it again.
func (r *run) prepare(ctx context.Context) (err error) {
	if r.here, err = deploy.Prepare(ctx, r.driver, r.def, r.record.Launch, r.record.Expires); err != nil {
		return r.cloudError(err)
	}
	return nil
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
	created, err := r.broker.Create(ctx, wire.Create{Name: r.launch.Handle, Definition: bare(r.def), Expires: r.record.Created.Add(r.o.expires), Open: r.o.open,
		Scripts: announcedScripts(r.scripts)})
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
	way := ""
	if r.tied() {
		way = "  (through the SSH connections, to your own)"
	}
	for _, url := range created.Brokers {
		r.out.say("    %s%s\n", url, way)
	}
	r.out.say("\nCreated new context with broker.\n")
	r.out.event(Event{Event: "context", Handle: r.launch.Handle, Text: created.ID})
	return &created, nil
}

// reachable refuses a broker that the instances of this cloud cannot reach:
// they would wait for it until the time is over.
func (r *run) reachable(brokers []string) error {
	if len(r.here.Hosts) == 0 {
		return nil // the cloud's networks lead out
	}
	for _, broker := range brokers {
		if u, err := url.Parse(broker); err == nil {
			if ip, err := netip.ParseAddr(u.Hostname()); err == nil && slices.Contains(r.here.Hosts, ip) {
				return nil
			}
		}
	}
	return &Failure{Code: exitUsage, Text: fmt.Sprintf("the instances of cloud %q reach this machine at %s and nothing else; the broker is at %s", r.record.Cloud, r.here.Hosts[0], strings.Join(brokers, ", ")),
		Advice: "leave the setting broker and --broker away for this cloud: then a broker of your own is used"}
}

// ownBroker opens this user's own broker, and has it listen where the
// instances reach this machine.
func (r *run) ownBroker(ctx context.Context) (urls []string, err error) {
	if r.broker, err = r.env.EnsureBroker(ctx, r.env.brokerDir(), r.env.Executable); err != nil {
		return nil, err
	}
	return r.letIn(ctx, r.broker)
}

// letIn makes this user's own broker answer the instances, at the URLs that it
// returns. It may be repeated.
func (r *run) letIn(ctx context.Context, broker Broker) (urls []string, err error) {
	if r.here.Apart {
		return r.forward(ctx)
	}
	var failed []error
	for _, host := range brokerHosts(r.here, r.settings.Clouds[r.record.Cloud]) {
		url, err := broker.Listen(ctx, host.String())
		if err != nil {
			failed = append(failed, fmt.Errorf("listen at %s: %w", host, err))
			continue
		}
		urls = append(urls, url)
	}
	return urls, errors.Join(failed...)
}

// forward leads the instances to the broker's socket for nodes: no address of
// theirs is one of this machine's.
func (r *run) forward(ctx context.Context) (urls []string, err error) {
	forwarder, ok := r.driver.(cloud.Forwarder)
	if !ok {
		return nil, fmt.Errorf("the instances of cloud %q have no way to this machine", r.record.Cloud)
	}
	socket, err := r.env.NodesSocket(r.env.brokerDir())
	if err != nil {
		return nil, err
	}
	doors, err := forwarder.Forward(ctx, r.record.Launch, socket)
	for _, door := range doors {
		urls = append(urls, "https://"+door.String())
	}
	return urls, err
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
	if text := r.env.copies.String(); text != "" {
		r.out.say("\nAgent: %s.\n", text)
	}
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
		return &Failure{Code: exitFailed, Text: err.Error(), Advice: r.doctorAdvice()}
	}
	// "nimbus extend" may have moved the end meanwhile.
	if now, err := r.launch.Record(); err == nil {
		r.record.Expires = now.Expires
	}
	return nil
}

// begin makes this command the one that works on the launch: all that is said
// goes to both logs of the run, and our own notes to the second. close ends it.
func (r *run) begin(unlock func()) error {
	info, debug, err := r.launch.RunLog()
	if err != nil {
		return &Failure{Code: exitFailed, Text: err.Error()}
	}
	r.out.logTo(io.MultiWriter(info, debug))
	r.log = slog.New(slog.NewTextHandler(debug, &slog.HandlerOptions{Level: slog.LevelDebug})).With("launch", r.record.Launch)
	r.log.Info("run", "handle", r.launch.Handle, "cloud", r.record.Cloud, "source", r.record.Source, "expires", r.record.Expires)
	r.env.listener.Store(&listener{
		log:  func(who, line string) { r.log.Debug("from a machine", "machine", who, "line", line) },
		note: func(who, line string) { r.out.warn("%s: %s\n", printable(who), printable(line)) },
	})
	r.close = func() {
		r.env.listener.Store(nil)
		r.out.logTo(nil)
		_ = info.Close() // a log that cannot be finished harms nothing
		_ = debug.Close()
		unlock()
	}
	return nil
}

func (r *run) cloudError(err error) error {
	f := &Failure{Code: exitFailed, Text: fmt.Sprintf("cloud %q: %v", r.record.Cloud, err), Advice: r.cloudAdvice(r.record.Cloud)}
	if hint := r.hintHere(err); hint != "" {
		f.Advice = hint
	}
	if errors.Is(err, cloud.ErrNoCapacity) {
		f.Advice = r.roomAdvice(r.record.Cloud)
	}
	return f
}

func (r *run) brokerError(err error) error {
	where := r.settings.Broker
	if r.record.Context != nil {
		where = r.record.Context.Broker
	}
	return r.env.brokerFailure(where, err)
}

// brokerFailure is what to say when the broker at a URL (empty: this user's
// own) does not do what was asked.
func (env *Env) brokerFailure(url string, err error) error {
	return &Failure{Code: exitFailed, Text: fmt.Sprintf("broker (%s): %s", brokerName(url), brokerText(err)), Advice: env.brokerAdvice(url, err)}
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
