package client

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"nimbus/broker/cluster"
	"nimbus/broker/wire"
	"nimbus/client/history"
)

var injectHelp = helpText{"add data to a cluster whose context is open", `Usage:
  nimbus inject [--handle HANDLE] --name NAME --file FILE [OPTIONS]
  nimbus inject [--handle HANDLE] --name NAME --value VALUE [OPTIONS]

Gives a value to all nodes that require data of that name. The context must be
open: launched with "nimbus run --no-ctx-lock", and not locked yet. Another
value of the same name is added, it does not replace the first.

Examples:
  nimbus inject --handle cluster-001 --name gridmap --file gridmap.txt
  vault read -field=password db | nimbus inject --name db-password --file -
  nimbus lock --handle cluster-001

Options:
  --handle HANDLE     which launch (default: the only one that runs)
  --name NAME         name of the data, as the definition has it
  --file FILE         file with the value, up to 1 MiB of text; "-" is the
                      standard input
  --value VALUE       the value itself. Other users of this machine can see it
                      in the list of processes: use --file for secrets` + commonHelp}

func (env *Env) injectCommand() *cli.Command {
	return &cli.Command{
		Name:  "inject",
		Flags: append(commonFlags(), stringFlags("handle", "name", "file", "value")...),
		Action: env.inSession(func(c *cli.Context, s *session) error {
			name, err := c.String("name"), error(nil)
			if name == "" {
				return &Failure{Code: exitUsage, Text: "inject: which data? No --name is given", Advice: "for example: nimbus inject --name gridmap --file gridmap.txt"}
			}
			if c.IsSet("file") == c.IsSet("value") {
				return &Failure{Code: exitUsage, Text: "inject: give either --file FILE or --value VALUE", Advice: `--file - reads the standard input`}
			}
			_, record, err := s.current(c.String("handle"))
			if err != nil {
				return err
			}
			if err := requiresData(record, name); err != nil {
				return err
			}
			var value string
			switch file := c.String("file"); {
			case c.IsSet("value"):
				value, err = readBounded("--value", strings.NewReader(c.String("value")))
			case file == "-":
				value, err = reading(c.Context, func() (string, error) { return readBounded("--file -", s.env.Stdin) })
			default:
				value, err = s.env.readValue(c.Context, "--file", file)
			}
			if err != nil {
				return err
			}
			return s.inject(c.Context, record, wire.AddData{Name: name, Value: strings.TrimSpace(value)})
		}),
	}
}

// requiresData refuses a name that no node would be told.
func requiresData(record history.Record, name string) error {
	if record.Definition == nil {
		return nil // the broker takes any
	}
	known := record.Definition.DataNames()
	for _, k := range known {
		if k == name {
			return nil
		}
	}
	f := &Failure{Code: exitUsage, Text: fmt.Sprintf("nobody in %s requires data %q", record.Handle, name)}
	switch best := cluster.Nearest(name, known); {
	case best != "":
		f.Advice = fmt.Sprintf("did you mean %q?", best)
	case len(known) > 0:
		f.Advice = "its nodes require " + strings.Join(known[:min(len(known), 20)], ", ")
	default:
		f.Advice = fmt.Sprintf("write <data name=%q/> under <requires> of a workspace", name)
	}
	return f
}

// Injected is what --json prints of data that was added.
type Injected struct {
	Handle string `json:"handle"`
	Name   string `json:"name"`
	Bytes  int    `json:"bytes"`
}

func (s *session) inject(ctx context.Context, record history.Record, data wire.AddData) error {
	var refused error
	err := s.withContext(ctx, record, func(b Broker) error {
		err := b.AddData(ctx, record.Context.ID, data)
		if wire.CodeOf(err) == wire.Locked {
			refused = &Failure{Code: exitFailed, Text: fmt.Sprintf("the context of %s is locked: no more data can be added", record.Handle),
				Advice: "\"nimbus run --no-ctx-lock\" leaves it open; what is known before the launch can be given with --data"}
			return nil
		}
		return err
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return err
	}
	if !s.out.document(Injected{record.Handle, data.Name, len(data.Value)}) {
		s.out.print("Added data %q (%s) to %s.\n", data.Name, count(len(data.Value), "byte"), record.Handle)
	}
	return nil
}

var lockHelp = helpText{"let an open context proceed", `Usage:
  nimbus lock [--handle HANDLE] [OPTIONS]

Ends the time in which data can be added to a context that was left open by
"nimbus run --no-ctx-lock": its nodes are told what they require as soon as it
is complete. Repeating it is harmless.

Example:
  nimbus lock --handle cluster-001

Options:
  --handle HANDLE     which launch (default: the only one that runs)` + commonHelp}

func (env *Env) lockCommand() *cli.Command {
	return &cli.Command{
		Name:  "lock",
		Flags: append(commonFlags(), stringFlags("handle")...),
		Action: env.inSession(func(c *cli.Context, s *session) error {
			_, record, err := s.current(c.String("handle"))
			if err != nil {
				return err
			}
			return s.lock(c.Context, record)
		}),
	}
}

// Locked is what --json prints of a context that was locked.
type Locked struct {
	Handle  string `json:"handle"`
	Already bool   `json:"already,omitempty"` // it was before
}

func (s *session) lock(ctx context.Context, record history.Record) error {
	locked := Locked{Handle: record.Handle}
	err := s.withContext(ctx, record, func(b Broker) error {
		status, err := b.Status(ctx, record.Context.ID, 0)
		if locked.Already = status.Locked; err != nil || locked.Already {
			return err
		}
		return b.Lock(ctx, record.Context.ID)
	})
	if err != nil || s.out.document(locked) {
		return err
	}
	if locked.Already {
		s.out.print("The context of %s is locked already.\n", record.Handle)
		return nil
	}
	s.out.print("Locked the context of %s: its nodes are told what they require.\n", record.Handle)
	return nil
}

// sayOpen says what an open context waits for.
func (r *run) sayOpen() {
	handle := []string{"--handle", r.launch.Handle}
	names := r.def.DataNames()
	name, note := "NAME", ""
	switch {
	case len(names) == 0:
		note = " (no node requires data)"
	case len(names) == 1:
		name = names[0]
	default:
		note = " (required: " + strings.Join(names[:min(len(names), 20)], ", ") + ")"
	}
	r.out.say("\nThe context is open: all nodes wait until it is locked. From another terminal,\nadd data%s, as often as you like, then lock it:\n  %s\n  %s\n", note,
		r.command("inject", append(handle, "--name", name, "--file", "FILE")...), r.command("lock", handle...))
	r.out.event(Event{Event: "open", Handle: r.launch.Handle})
}

// left ends a run that does not wait for its context.
func (r *run) left() error {
	handle := []string{"--handle", r.launch.Handle}
	r.record.State = history.Waiting
	if err := r.save(); err != nil {
		r.result(err)
		return err
	}
	goOn := "its nodes go on by themselves (--no-wait). To wait for them:"
	if r.tied() {
		goOn = "its nodes reached your broker through this command, and wait (--no-wait). To let them go on:"
	}
	r.out.say("\n%s is launched; %s\n  %s\n%s", r.launch.Handle, goOn,
		r.command("resume", handle...), endText("It", r.record.Expires, r.command("terminate", handle...)))
	r.result(nil)
	return nil
}
