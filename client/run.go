package client

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"nimbus/broker/cluster"
	"nimbus/client/history"
	"nimbus/client/loginkey"
	"nimbus/client/progress"
)

// runOptions is what the command line of a run says.
type runOptions struct {
	file    string // cluster definition
	image   string // or one machine of this image
	hours   time.Duration
	timeout time.Duration
	expires time.Duration // of the context; 0: the hours plus a day
	keep    bool
}

// graceOfContext is how long a broker remembers a context after its machines
// have ended: reports may be asked for the day after.
const graceOfContext = 24 * time.Hour

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
  nimbus run --name debian --json

Options:
  --cluster FILE      cluster definition; "nimbus validate FILE" checks it
  --name IMAGE        one machine of this image, without a context
  --hours H           how long the instances live, such as 1 or 0.5 (default 1)
  --timeout MINUTES   give up when not all is ready by then (default 20)
  --expires HOURS     how long the broker keeps the context
                      (default: the hours plus a day)
  --keep              leave everything running when something fails
  --cloud NAME        cloud to use, by its name in the settings
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
	flags := append(commonFlags(), stringFlags("cluster", "name", "hours", "timeout", "expires", "cloud", "broker", "ssh-key", "known-hosts")...)
	return &cli.Command{
		Name:  "run",
		Flags: append(flags, &cli.BoolFlag{Name: "keep"}),
		Action: func(c *cli.Context) error {
			var r *run
			err := env.inSession(func(c *cli.Context, s *session) error {
				o, err := parseRun(c)
				if err == nil {
					r, err = s.newRun(o)
				}
				return err
			})(c)
			if err != nil {
				newOutput(env, formatOf(c)).refused(err)
				return err
			}
			return r.run(c.Context, r.up)
		},
	}
}

func parseRun(c *cli.Context) (o runOptions, err error) {
	o = runOptions{file: c.String("cluster"), image: c.String("name"), keep: c.Bool("keep")}
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
	if o.expires == 0 {
		o.expires = o.hours + graceOfContext
	}
	return o, nil
}

// newRun gathers what a run needs, and finds what would make it fail before
// anything is launched.
func (s *session) newRun(o runOptions) (*run, error) {
	def, source, err := s.definition(o)
	if err != nil {
		return nil, err
	}
	driver, err := s.cloud(s.settings.Cloud)
	if err != nil {
		return nil, err
	}
	hosts, err := s.knownHostsFile()
	if err != nil {
		return nil, err
	}
	key, err := loginkey.Find(s.env.expand(s.settings.SSHKey), s.env.Home, s.env.StateDir)
	if err != nil {
		return nil, &Failure{Code: exitFailed, Text: err.Error(), Advice: "ssh_key in the settings or --ssh-key names a public key file"}
	}
	h, err := s.history()
	if err != nil {
		return nil, err
	}
	s.forgetExpired(h)
	kind := "cluster"
	if o.image != "" {
		kind = "vm"
	}
	launch, err := h.New(kind)
	if err != nil {
		return nil, &Failure{Code: exitFailed, Text: err.Error()}
	}
	unlock, err := launch.Lock()
	if err != nil {
		return nil, &Failure{Code: exitFailed, Text: err.Error()}
	}
	info, debug, err := launch.RunLog()
	if err != nil {
		unlock()
		return nil, &Failure{Code: exitFailed, Text: err.Error()}
	}
	now := s.env.Now()
	r := &run{session: s, o: o, def: def, driver: driver, launch: launch, key: key, hostsFile: hosts, model: progress.New(def)}
	r.record = history.Record{
		Handle: launch.Handle, Launch: s.env.NewID(), Cloud: s.settings.Cloud, Source: source, Definition: def,
		Created: now, Expires: now.Add(o.hours), State: history.Launching,
	}
	r.openLogs(info, debug)
	r.close = func() {
		s.out.logTo(nil)
		_ = info.Close() // a log that cannot be finished harms nothing
		_ = debug.Close()
		unlock()
	}
	return r, nil
}

// definition reads the cluster file, or makes the cluster of one machine.
func (s *session) definition(o runOptions) (def *cluster.Definition, source string, err error) {
	if o.image != "" {
		def = &cluster.Definition{Workspaces: []cluster.Workspace{{
			Name: "vm", Image: o.image, Quantity: 1,
			NICs: []cluster.NIC{{Network: "public", Interface: cluster.PublicNIC, WantLogin: true}},
		}}}
		if err := def.Check().Err(); err != nil {
			return nil, "", &Failure{Code: exitUsage, Text: fmt.Sprintf("--name: %v", err)}
		}
		return def, "", nil
	}
	def, problems, err := readDefinition(s.env.expand(o.file))
	if err != nil {
		return nil, "", err
	}
	for _, p := range problems {
		s.out.warn("%s\n", p)
	}
	if n := problems.Errors(); n > 0 {
		return nil, "", &Failure{Code: exitUsage, Text: fmt.Sprintf("%s has %s: nothing was launched", o.file, count(n, "error"))}
	}
	if source, err = filepath.Abs(s.env.expand(o.file)); err != nil {
		source = o.file
	}
	return def, source, nil
}

// readDefinition reads a cluster definition from a file.
func readDefinition(file string) (*cluster.Definition, cluster.Problems, error) {
	f, err := os.Open(file)
	if err != nil {
		var p *os.PathError
		if errors.As(err, &p) {
			err = p.Err
		}
		return nil, nil, &Failure{Code: exitUsage, Text: fmt.Sprintf("cannot read the cluster definition %s: %v", file, err)}
	}
	defer f.Close()
	def, problems := cluster.Read(file, f)
	return def, problems, nil
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
