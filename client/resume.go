package client

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"nimbus/broker/cluster"
	"nimbus/client/deploy"
	"nimbus/client/history"
	"nimbus/client/loginkey"
	"nimbus/client/progress"
)

var resumeHelp = helpText{"go on with a run whose client died", `Usage:
  nimbus resume [--handle HANDLE] [OPTIONS]

Goes on waiting for a launch whose client was killed, lost its terminal or was
interrupted twice, and finishes it as its run would have: progress, reports,
known_hosts, how to log in. When a node fails, or not all are ready in time,
everything is ended, as the run would have done.

A launch that was kept though it failed can be resumed, too: after "nimbus
rerun" has made its nodes ok this finishes it; while they are not, it says again
what is wrong, and keeps it.

What was never launched cannot be launched any more: then the rest of it is
ended.

Examples:
  nimbus resume
  nimbus resume --handle cluster-001 --timeout 10m

Options:
  --handle HANDLE     which launch (default: the only one that is not ok yet,
                      else the only one that may run)
  --timeout MINUTES   give up when not all is ready by then, counted from now
                      (default: as the run was told)
  --keep              leave everything running when something fails
  --conf FILE         settings (default ~/.config/nimbus/config.toml)
  --history-dir DIR   where launches are remembered
  --json              one JSON document on stdout, as of "nimbus run", progress
                      on stderr
  --json=stream       one JSON event per line on stdout

Exit codes: 0 all nodes are ok; 1 wrong parameters, or a node failed; 2
something else did not work; 130 interrupted; 143 and 129 ended by SIGTERM and
SIGHUP, and the launch goes on.
`}

func (env *Env) resumeCommand() *cli.Command {
	return &cli.Command{
		Name:  "resume",
		Flags: append(append(commonFlags(), stringFlags("handle", "timeout")...), &cli.BoolFlag{Name: "keep"}),
		Action: func(c *cli.Context) error {
			var r *run
			err := env.inSession(func(c *cli.Context, s *session) (err error) {
				r, err = s.newResume(c.String("handle"), c.String("timeout"), c.Bool("keep"))
				return err
			})(c)
			if err != nil {
				newOutput(env, formatOf(c)).refused(err)
				return err
			}
			if r.record.State == history.OK {
				defer r.close()
				return r.already(c.Context)
			}
			return r.run(c.Context, r.goOn)
		},
	}
}

// usualTimeout is that of a launch whose record does not tell.
const usualTimeout = 20 * time.Minute

// newResume takes a launch over from the run that died.
func (s *session) newResume(handle, timeout string, keep bool) (*run, error) {
	if handle == "" {
		var err error
		if handle, err = s.unready(); err != nil {
			return nil, err
		}
	}
	launch, _, err := s.current(handle)
	if err != nil {
		return nil, err
	}
	unlock, err := launch.Lock()
	if err != nil {
		return nil, &Failure{Code: exitFailed, Text: err.Error(), Advice: "a run that still waits needs no resume"}
	}
	r, err := s.resumed(launch, timeout, keep)
	if err == nil && r.record.State != history.OK {
		err = r.begin(unlock)
	} else if err == nil {
		r.close = unlock
	}
	if err != nil {
		unlock()
		return nil, err
	}
	return r, nil
}

// unready is the only launch that may run and is not ok; empty: there is none,
// or more than one.
func (s *session) unready() (string, error) {
	h, err := s.history()
	if err != nil {
		return "", err
	}
	launches, err := h.List()
	if err != nil {
		return "", &Failure{Code: exitFailed, Text: err.Error()}
	}
	var handles []string
	for _, l := range launches {
		switch record, err := l.Record(); {
		case err != nil || record.State == history.OK || s.refuseEnded(record) != nil:
		default:
			handles = append(handles, l.Handle)
		}
	}
	if len(handles) == 1 {
		return handles[0], nil
	}
	return "", nil
}

// resumed is the run of a launch that is ours now, as its record tells.
func (s *session) resumed(launch *history.Launch, timeout string, keep bool) (*run, error) {
	record, err := launch.Record()
	if err != nil {
		return nil, &Failure{Code: exitFailed, Text: err.Error()}
	}
	if err := s.refuseEnded(record); err != nil {
		return nil, err
	}
	if record.Run == nil {
		hosts, err := s.knownHostsFile()
		if err != nil {
			return nil, err
		}
		record.Run = &history.Run{Timeout: history.Span(usualTimeout), KnownHosts: hosts}
	}
	if timeout != "" {
		span, err := parseSpan("--timeout", timeout, time.Minute)
		if err != nil {
			return nil, err
		}
		record.Run.Timeout = history.Span(span)
	}
	record.Run.Keep = record.Run.Keep || keep || record.State == history.Kept
	driver, err := s.cloudOf(record)
	if err != nil {
		return nil, err
	}
	o := runOptions{timeout: time.Duration(record.Run.Timeout), keep: record.Run.Keep}
	if record.Source == "" {
		o.image = record.Definition.Workspaces[0].Image
	}
	return &run{session: s, o: o, def: record.Definition, driver: driver, launch: launch, record: record,
		key: loginkey.Key{Private: record.Run.SSHKey}, hostsFile: record.Run.KnownHosts, model: progress.New(record.Definition)}, nil
}

// refuseEnded refuses a launch that there is no going on with.
func (s *session) refuseEnded(record history.Record) error {
	again := "launch it again"
	if record.Source != "" {
		again += ": " + s.command("run", "--cluster", record.Source)
	}
	switch {
	case record.State == history.Terminated:
		return &Failure{Code: exitUsage, Text: fmt.Sprintf("%s was terminated: there is nothing to resume", record.Handle), Advice: again}
	case record.State == history.Failed && record.Ended.IsZero():
		return &Failure{Code: exitUsage, Text: fmt.Sprintf("%s failed, and not all of it may have ended: there is nothing to resume", record.Handle),
			Advice: "to clean up: " + s.command("terminate", "--handle", record.Handle)}
	case record.State == history.Failed:
		return &Failure{Code: exitUsage, Text: fmt.Sprintf("%s failed, and was ended: there is nothing to resume", record.Handle), Advice: again}
	case record.Over(s.env.Now()):
		return &Failure{Code: exitUsage, Text: fmt.Sprintf("the hours of %s were over at %s: there is nothing to resume", record.Handle,
			record.Expires.Local().Format("2006-01-02 15:04:05")), Advice: again + ", with more --hours"}
	case record.Definition == nil || len(record.Definition.Workspaces) == 0:
		return &Failure{Code: exitFailed, Text: fmt.Sprintf("the record of %s holds no definition of the cluster", record.Handle),
			Advice: "to end it: " + s.command("terminate", "--handle", record.Handle)}
	}
	return nil
}

// already says of a cluster that is ok what its run said at the end.
func (r *run) already(ctx context.Context) error {
	listing := r.list(ctx)
	err := error(nil)
	switch {
	case listing.err != nil:
		err = r.cloudError(listing.err)
	case len(listing.instances) == 0:
		err = &Failure{Code: exitCluster, Text: fmt.Sprintf("%s was ok, but its instances are gone", r.launch.Handle),
			Advice: "to end what is left of it: " + r.command("terminate", "--handle", r.launch.Handle)}
	default:
		r.machines = inOrder(r.def, deploy.Machines(listing.instances))
		r.note(r.machines)
		r.out.say("%s is ok already.\n%s", r.launch.Handle, r.farewell())
	}
	r.result(err)
	return err
}

// goOn waits for a cluster that another client launched.
func (r *run) goOn(ctx context.Context) error {
	r.out.say("Resuming %s, launched %s ago.\n", r.launch.Handle, spanText(r.env.Now().Sub(r.record.Created)))
	r.out.event(Event{Event: "resumed", Handle: r.launch.Handle, Path: r.launch.Dir})
	if err := r.find(ctx); err != nil {
		return err
	}
	if err := r.takeOver(ctx); err != nil {
		return &notTakenOver{err}
	}
	if err := r.waitRunning(ctx); err != nil {
		return err
	}
	if r.record.Context == nil {
		return nil
	}
	return r.waitContext(ctx)
}

// notTakenOver is why a client could not go on with a launch that may be well:
// that is no reason to end it.
type notTakenOver struct{ error }

func (e *notTakenOver) Unwrap() error { return e.error }

// leftAsItIs is the end of a run that could not begin.
func (r *run) leftAsItIs(err error) error {
	f := &Failure{Code: codeOf(err), Text: fmt.Sprintf("%v; %s was left as it is", err, r.launch.Handle), Advice: "when that is mended: " + r.command("resume", "--handle", r.launch.Handle)}
	r.out.settle()
	r.result(f)
	return f
}

// takeOver writes down what was found, and lets the nodes reach the broker.
func (r *run) takeOver(ctx context.Context) error {
	if err := r.save(); err != nil {
		return err
	}
	// Nodes that boot now look for the broker: it comes first.
	if err := r.prepare(ctx); err != nil {
		return err
	}
	if c := r.record.Context; c != nil {
		var err error
		if c.Broker == "" {
			_, err = r.ownBroker(ctx)
		} else {
			r.broker, err = r.findBroker(ctx, c.Broker)
		}
		if err != nil {
			return r.brokerError(err)
		}
	}
	return nil
}

// find asks the cloud for the machines of the launch, whatever the record says:
// the client may have died before it wrote them down. What was started last
// may not be listed at once.
func (r *run) find(ctx context.Context) error {
	for looks, silent := 0, false; ; {
		switch l := r.list(ctx); {
		case l.err == nil:
			looks++
			r.machines = inOrder(r.def, deploy.Machines(l.instances))
		case !silent:
			silent = true
			r.out.warn("Cloud %q does not answer: %v. Trying again.\n", r.record.Cloud, l.err)
		}
		if len(r.machines) == r.def.Instances() || looks == missedLooks {
			break
		}
		select {
		case <-time.After(pollInstances):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	noted := map[string]bool{}
	for _, i := range r.record.Instances {
		noted[i.Node] = true
	}
	r.note(r.machines)
	r.followEnd() // another client may have extended it
	if len(r.machines) == r.def.Instances() {
		return nil
	}
	for _, m := range r.machines {
		delete(noted, m.Node.String())
	}
	for _, i := range r.record.Instances {
		if noted[i.Node] {
			return r.gone(i.Node, "the cloud does not know it any more")
		}
	}
	if len(r.machines) == 0 {
		r.o.keep = false // there is nothing to keep
		return &Failure{Code: exitFailed, Text: fmt.Sprintf("%s: its run ended before anything was launched", r.launch.Handle), Advice: "launch it again"}
	}
	// The tokens of the others were known to the run alone.
	return &Failure{Code: exitFailed, Text: fmt.Sprintf("%s: its run ended when %d of %s were launched; the others cannot be launched any more",
		r.launch.Handle, len(r.machines), count(r.def.Instances(), "instance")), Advice: "launch it again"}
}

// inOrder sorts machines as the definition lists them, and leaves out what has
// no place in it.
func inOrder(def *cluster.Definition, machines []deploy.Machine) []deploy.Machine {
	by := map[cluster.Place]deploy.Machine{}
	for _, m := range machines {
		by[m.Node] = m
	}
	var ordered []deploy.Machine
	for _, w := range def.Workspaces {
		for index := range w.Quantity {
			if m, ok := by[cluster.Place{Workspace: w.Name, Index: index}]; ok {
				ordered = append(ordered, m)
			}
		}
	}
	return ordered
}
