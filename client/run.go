package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"nimbus/broker/cluster"
	"nimbus/client/deploy"
	"nimbus/client/history"
	"nimbus/client/loginkey"
	"nimbus/client/progress"
	"nimbus/cloud"
)

// runOptions is what the command line of a run says.
type runOptions struct {
	file    string // cluster definition
	image   string // or one machine of this image
	scripts string // directory of scripts that travel with it; empty: what the definition says
	hours   time.Duration
	timeout time.Duration // 0: as long as the machines or, where those go on, the context
	expires time.Duration // of the context; 0: the hours plus a day
	keep    bool
	changes cluster.Changes
	open    bool // the context is not locked: data may be added
	noWait  bool
	dry     bool // only say what would be

	hoursGiven bool // else they are the default
	endless    bool // the cloud has no use for hours
}

var runHelp = helpText{"launch a cluster, or one machine", `Usage:
  nimbus run --cluster FILE [--hours H] [OPTIONS]
  nimbus run --name IMAGE [--hours H] [OPTIONS]

Launches the instances of a cluster definition, waits until each of them has
configured itself, and says how to log in. When a node fails, or not all are
ready in time, everything that was started is ended again.

On a terminal a bar for each workspace shows how far its nodes are. Ctrl-C says
what runs, and ends it (with --keep it stays); a second one leaves at once and
says how to clean up. Who ends this program otherwise (SIGTERM, a closed
terminal) ends nothing else.

Examples:
  nimbus run --cluster hello-cluster.xml --hours 1
  nimbus run --cluster big.xml --hours 0.5 --timeout 10m --keep
  nimbus run --cluster big.xml --quantity worker=8 --set release=12 --dry-run
  nimbus run --cluster hello-cluster.xml --hosts hosts.ini
  nimbus run --cluster shop.xml --scripts ./scripts
  nimbus run --name debian --json

Options:
  --cluster FILE      cluster definition; "nimbus validate FILE" checks it
  --name IMAGE        one machine of this image, without a context
  --hours H           how long the instances live, such as 1, 0.5, 90m or 2d
                      (default 1). Where a cloud never ends them by itself
                      (hosts that run already), it does not apply
  --timeout MINUTES   give up when not all is ready by then (default 20)
  --expires HOURS     how long the broker keeps the context
                      (default: the hours plus a day; 30 days where hours do
                      not apply)
  --scripts DIR       bring the scripts in DIR to all nodes, which put them over
                      those of their image; a workspace whose definition names
                      a directory of its own (scripts="…") gets that
  --keep              leave everything running when something fails
  --dry-run           only say what would be launched where, and who waits for
                      whom; nothing is made or changed
  --no-wait           return when the instances run; "nimbus resume" waits for
                      the nodes, adds host keys and writes the reports
  --no-ctx-lock       leave the context open: the nodes wait until "nimbus
                      inject" has added data and "nimbus lock" lets them go on.
                      The run waits too, without --timeout as long as the hours` + changesHelp + `
  --cloud NAME        cloud to use, by its name in the settings
  --hosts FILE        no new machines, but those of this file, which run already
                      and are reached by SSH; docs/hosts.md explains it
  --host-keys HOW     of these hosts: "strict" (the default) takes only keys that
                      known_hosts has, "accept-new" adds those of unknown hosts
  --keep-agent        Nimbus stays on these hosts when the launch has ended: the
                      next one has nothing to copy
  --broker URL        broker to use instead of one of your own
  --ssh-key FILE      public key that the instances let in
  --known-hosts FILE  file for new host keys; "none" leaves all files alone
  --json              one JSON document on stdout, progress on stderr; also
                      when nothing was launched, with the error
  --json=stream       one JSON event per line on stdout
  --conf FILE         settings (default ~/.config/nimbus/config.toml)
  --history-dir DIR   where launches are remembered

Exit codes: 0 all nodes are ok; 1 wrong parameters, or a node failed; 2
something else did not work; 130 interrupted; 143 and 129 ended by SIGTERM and
SIGHUP, and what was launched goes on.
`}

func (env *Env) runCommand() *cli.Command {
	flags := append(commonFlags(), stringFlags("cluster", "name", "hours", "timeout", "expires", "scripts", "cloud", "hosts", "host-keys", "broker", "ssh-key", "known-hosts")...)
	for _, name := range []string{"keep", "keep-agent", "dry-run", "no-wait", "no-ctx-lock"} {
		flags = append(flags, &cli.BoolFlag{Name: name})
	}
	return &cli.Command{
		Name:  "run",
		Flags: append(flags, changeFlags()...),
		Action: func(c *cli.Context) error {
			var r *run
			err := env.inSession(func(c *cli.Context, s *session) error {
				o, err := env.parseRun(c)
				switch {
				case err != nil:
				case o.dry:
					err = s.dryRun(c.Context, o)
				default:
					r, err = s.newRun(c.Context, o)
				}
				return err
			})(c)
			if err != nil {
				newOutput(env, formatOf(c)).refused(err)
				return err
			}
			if r == nil {
				return nil // a dry run
			}
			return r.run(c.Context, r.up)
		},
	}
}

func (env *Env) parseRun(c *cli.Context) (o runOptions, err error) {
	o = runOptions{file: c.String("cluster"), image: c.String("name"), scripts: c.String("scripts"), keep: c.Bool("keep"),
		open: c.Bool("no-ctx-lock"), noWait: c.Bool("no-wait"), dry: c.Bool("dry-run")}
	if (o.file == "") == (o.image == "") {
		return o, &Failure{Code: exitUsage, Text: "run: give either --cluster FILE or --name IMAGE", Advice: "for example: nimbus run --cluster hello-cluster.xml --hours 1"}
	}
	for _, span := range []struct {
		option, otherwise string
		unit              time.Duration
		value             *time.Duration
	}{
		{"hours", "1", time.Hour, &o.hours},
		{"timeout", "20", time.Minute, &o.timeout},
		{"expires", "", time.Hour, &o.expires},
	} {
		text := c.String(span.option)
		if !c.IsSet(span.option) {
			text = span.otherwise
		}
		if text == "" && !c.IsSet(span.option) {
			continue
		}
		if *span.value, err = parseSpan("--"+span.option, text, span.unit); err != nil {
			return o, err
		}
	}
	o.hoursGiven = c.IsSet("hours")
	if o.open && !c.IsSet("timeout") {
		o.timeout = 0
	}
	if o.image != "" {
		for _, option := range []string{"no-ctx-lock", "quantity", "data", "set", "scripts"} {
			if c.IsSet(option) {
				return o, &Failure{Code: exitUsage, Text: fmt.Sprintf("run: --%s means nothing for one machine", option), Advice: "it belongs to --cluster FILE"}
			}
		}
	}
	if c.IsSet("scripts") && o.scripts == "" {
		return o, &Failure{Code: exitUsage, Text: "run: --scripts needs a directory", Advice: "for example: nimbus run --cluster shop.xml --scripts ./scripts"}
	}
	o.changes, err = env.changes(c)
	return o, err
}

// kind is what the handle of such a launch begins with.
func (o *runOptions) kind() string {
	if o.image != "" {
		return "vm"
	}
	return "cluster"
}

// keyFailure is for a login key that cannot be used: one that the user named,
// or else the one that is made for him.
func (s *session) keyFailure(err error) error {
	if s.settings.SSHKey == "" {
		return &Failure{Code: exitFailed, Text: err.Error(), Advice: s.doctorAdvice()}
	}
	return &Failure{Code: exitUsage, Text: err.Error(), Advice: "ssh_key in the settings or --ssh-key names a public key file"}
}

// keeps finds out, before anything is made, whether what a launch leaves on
// this machine can be written.
func (s *session) keeps() error {
	m := s.env.machine
	if m == nil {
		m = thisMachine{env: s.env}
	}
	for _, d := range []struct{ what, dir, otherwise string }{
		{"state", s.env.StateDir, "XDG_STATE_HOME names another place"},
		{"history", s.historyDir(), "give another with --history-dir"},
	} {
		there, err := nearestDir(d.dir)
		if err == nil {
			err = m.writable(there)
		}
		if err != nil {
			return &Failure{Code: exitFailed, Text: fmt.Sprintf("the %s directory %s cannot be written: %v; %s", d.what, d.dir, err, d.otherwise), Advice: s.doctorAdvice()}
		}
	}
	return nil
}

// newRun gathers what a run needs, and finds what would make it fail before
// anything is launched.
func (s *session) newRun(ctx context.Context, o runOptions) (*run, error) {
	def, source, err := s.definition(ctx, o)
	if err != nil {
		return nil, err
	}
	driver, err := s.cloud(s.settings.Cloud)
	if err != nil {
		return nil, err
	}
	o.settle(driver)
	if err := s.wayFor(driver, def); err != nil {
		return nil, err
	}
	if _, err := s.limits(ctx, driver, def); err != nil {
		return nil, err
	}
	if err := checkImages(s.settings.Cloud, s.settings.Clouds[s.settings.Cloud], def); err != nil {
		return nil, err
	}
	scripts, err := s.packScripts(ctx, def, &o)
	if err != nil {
		return nil, err
	}
	hosts, err := s.knownHostsFile()
	if err != nil {
		return nil, err
	}
	if err := s.keeps(); err != nil {
		return nil, err
	}
	key, err := s.loginKey(loginkey.Find)
	if err != nil {
		return nil, s.keyFailure(err)
	}
	key = key.For(filepath.Dir(s.env.SSHKnownHosts))
	private := key.Private
	if private != "" {
		if private, err = filepath.Abs(private); err != nil {
			return nil, &Failure{Code: exitFailed, Text: err.Error()}
		}
	}
	ran := &history.Run{Timeout: history.Span(o.timeout), Keep: o.keep, KnownHosts: hosts, SSHKey: private}
	if err := s.remember(ran); err != nil {
		return nil, err
	}
	if err := s.survey(ctx, driver, def); err != nil {
		return nil, err
	}
	h, err := s.history()
	if err != nil {
		return nil, err
	}
	s.forgetExpired(h)
	launch, err := h.New(o.kind())
	if err != nil {
		return nil, &Failure{Code: exitFailed, Text: err.Error(), Advice: s.doctorAdvice()}
	}
	unlock, err := launch.Lock()
	if err != nil {
		return nil, &Failure{Code: exitFailed, Text: err.Error(), Advice: s.doctorAdvice()}
	}
	now := s.env.Now()
	r := &run{session: s, o: o, def: def, scripts: scripts, driver: driver, launch: launch, key: key, hostsFile: hosts, model: progress.New(def)}
	r.record = history.Record{
		Handle: launch.Handle, Launch: s.env.NewID(), Cloud: s.settings.Cloud, Source: source, Definition: def,
		Created: now, Expires: o.end(now), State: history.Launching,
		Run: ran,
	}
	if err := r.begin(unlock); err != nil {
		unlock()
		return nil, err
	}
	return r, nil
}

// loginKey is the key that new machines let in; hosts that run already let in
// whom they let in.
func (s *session) loginKey(find func(file, home, stateDir string) (loginkey.Key, error)) (loginkey.Key, error) {
	if s.overSSH(s.settings.Cloud) {
		return loginkey.Key{}, nil
	}
	return find(s.env.expand(s.settings.SSHKey), s.env.Home, s.env.StateDir)
}

// definition reads the cluster file, or makes the cluster of one machine.
func (s *session) definition(ctx context.Context, o runOptions) (def *cluster.Definition, source string, err error) {
	if o.image != "" {
		def = &cluster.Definition{Workspaces: []cluster.Workspace{{
			Name: "vm", Image: o.image, Quantity: 1,
			NICs: []cluster.NIC{{Network: "public", Interface: cluster.PublicNIC, WantLogin: true}},
		}}}
		if err := def.Check().Err(); err != nil {
			return nil, "", &Failure{Code: exitUsage, Text: fmt.Sprintf("--name: %v", err), Advice: fmt.Sprintf("%q lists images", s.command("list"))}
		}
		return def, "", nil
	}
	if def, err = s.env.checkedDefinition(ctx, s.out, o.file, o.changes, "nothing was launched"); err != nil {
		return nil, "", err
	}
	if o.open && def.Nodes() == 0 {
		return nil, "", &Failure{Code: exitUsage, Text: fmt.Sprintf("--no-ctx-lock: %s has no context: none of its workspaces has <ctx>", o.file), Advice: "leave --no-ctx-lock out"}
	}
	if source, err = filepath.Abs(s.env.expand(o.file)); err != nil {
		source = o.file
	}
	return def, source, nil
}

// limits asks the cloud, where it can tell, whether there is room.
func (s *session) limits(ctx context.Context, driver cloud.Driver, def *cluster.Definition) ([]cloud.Limit, error) {
	limiter, ok := driver.(cloud.Limiter)
	if !ok {
		return nil, nil
	}
	limits, err := limiter.Limits(ctx, deploy.Demand(def))
	if errors.Is(err, cloud.ErrNoCapacity) {
		return nil, &Failure{Code: exitFailed, Text: fmt.Sprintf("cloud %q: %v: nothing was launched", s.settings.Cloud, err), Advice: s.fewHostsAdvice(def)}
	}
	if err != nil {
		return nil, &Failure{Code: exitFailed, Text: fmt.Sprintf("cloud %q: %v: nothing was launched", s.settings.Cloud, err), Advice: cmp.Or(s.hintHere(err), s.cloudAdvice(s.settings.Cloud))}
	}
	return limits, nil
}

// survey finds out, where a cloud's machines are there already, whether the
// launch could begin on them: before it has a name, and a context.
func (s *session) survey(ctx context.Context, driver cloud.Driver, def *cluster.Definition) error {
	surveyor, ok := driver.(cloud.Surveyor)
	if !ok {
		return nil
	}
	s.out.say("Looking at %s.\n\n", count(def.Instances(), "host"))
	err := surveyor.Survey(ctx, deploy.Demand(def))
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	advice := cmp.Or(s.hintHere(err), s.cloudAdvice(s.settings.Cloud))
	if errors.Is(err, cloud.ErrNoCapacity) {
		advice = s.fewHostsAdvice(def)
	}
	return &Failure{Code: exitFailed, Text: fmt.Sprintf("cloud %q: %v\nnothing was launched", s.settings.Cloud, err), Advice: advice}
}

// readDefinition reads a cluster definition from a file, with the changes that
// the command line makes.
func readDefinition(ctx context.Context, file string, changes cluster.Changes) (*cluster.Definition, cluster.Problems, error) {
	type found struct {
		def      *cluster.Definition
		problems cluster.Problems
	}
	got, err := reading(ctx, func() (found, error) {
		f, err := os.Open(file)
		if err != nil {
			var p *os.PathError
			if errors.As(err, &p) {
				err = p.Err
			}
			return found{}, &Failure{Code: exitUsage, Text: fmt.Sprintf("cannot read the cluster definition %s: %v", file, err), Advice: pathAdvice(file)}
		}
		defer f.Close()
		def, problems := cluster.ReadWith(file, f, changes)
		return found{def, problems}, nil
	})
	return got.def, got.problems, err
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
