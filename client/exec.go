package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"nimbus/client/history"
	"nimbus/cloud"
)

var execHelp = helpText{"run a command on many machines of a cluster at once", `Usage:
  nimbus exec --all [OPTIONS] -- COMMAND [ARG...]
  nimbus exec [--role R] [--workspace W] [--node N ...] [OPTIONS] -- COMMAND ...

Runs a command as root on all chosen nodes and prints what it prints, each line
behind the name of its node. The words are passed as they are: for pipes and
the like run a shell, sh -c '...'. The command reads nothing.
Where it fails, the other nodes go on.

Examples:
  nimbus exec --all -- uptime
  nimbus exec --role nfsclient --timeout 30s -- sh -c 'df -h | grep /home'

Options:
  --all               on all nodes
  --role ROLE         on those that provide it; may be given more than once
  --workspace NAME    on those of a workspace; may be given more than once
  --node NODE         on this one; may be given more than once
  --parallel N        on so many at the same time (default 32)
  --timeout MINUTES   end the command where it takes longer, such as 5 or 30s
  --json              print one JSON document: node, code, stdout, stderr, error;
                      at most 1 MiB of each stream` + handleHelp + `
Exit codes: 0 that of the command was 0 on all nodes; else the highest of theirs,
124 of a node where the time was over, 255 of one that could not be reached; 1
also wrong parameters; 2 also something else did not work; 130 interrupted.
`}

func (env *Env) execCommand() *cli.Command {
	return &cli.Command{
		Name: "exec",
		Flags: append(handleFlags(), jsonFlag(), &cli.BoolFlag{Name: "all"},
			&cli.StringSliceFlag{Name: "role"}, &cli.StringSliceFlag{Name: "workspace"}, &cli.StringSliceFlag{Name: "node"},
			&cli.IntFlag{Name: "parallel", Value: mostAtOnce}, &cli.StringFlag{Name: "timeout"}),
		Action: func(c *cli.Context) error {
			e := execution{command: c.Args().Slice(), parallel: c.Int("parallel")}
			if len(e.command) == 0 {
				return &Failure{Code: exitUsage, Text: "exec: no command is given", Advice: "for example: nimbus exec --all -- uptime"}
			}
			if e.parallel < 1 {
				return &Failure{Code: exitUsage, Text: fmt.Sprintf("exec: --parallel %d: want at least 1", e.parallel)}
			}
			if text := c.String("timeout"); text != "" {
				var err error
				if e.timeout, err = parseSpan("--timeout", text, time.Minute); err != nil {
					return err
				}
			}
			s, err := env.open(c)
			if err != nil {
				return err
			}
			record, err := s.inside(c.String("handle"))
			if err != nil {
				return err
			}
			chosen, err := choose(record, choice{c.Bool("all"), c.StringSlice("role"), c.StringSlice("workspace"), c.StringSlice("node")})
			if err != nil {
				return err
			}
			return s.exec(c.Context, record, chosen, e)
		},
	}
}

// mostAtOnce is on how many machines something is done at the same time,
// unless the user says otherwise.
const mostAtOnce = 32

// choice says which instances of a launch are meant.
type choice struct {
	all                      bool
	roles, workspaces, nodes []string
}

// choose finds the instances in the order of the launch, each once.
func choose(record history.Record, c choice) ([]history.Instance, error) {
	if !c.all && len(c.roles)+len(c.workspaces)+len(c.nodes) == 0 {
		return nil, &Failure{Code: exitUsage, Text: "exec: on which nodes?", Advice: "add --all, --role ROLE, --workspace NAME or --node NODE"}
	}
	if c.all {
		return record.Instances, nil
	}
	meant := map[string]bool{}
	for _, kind := range []struct {
		name  string
		words []string
		is    func(i history.Instance, word string) bool
	}{
		{"role", c.roles, func(i history.Instance, word string) bool {
			return record.Definition != nil && provides(record.Definition, i.Workspace, word)
		}},
		{"workspace", c.workspaces, func(i history.Instance, word string) bool { return i.Workspace == word }},
		{"node", c.nodes, func(i history.Instance, word string) bool { return i.Node == word }},
	} {
		for _, word := range kind.words {
			some := false
			for _, i := range record.Instances {
				if kind.is(i, word) {
					meant[i.Node], some = true, true
				}
			}
			if some {
				continue
			}
			if _, err := targets(record, word); err != nil {
				return nil, err
			}
			return nil, &Failure{Code: exitUsage, Text: fmt.Sprintf("%s has no %s %q, but something else of that name", record.Handle, kind.name, word),
				Advice: "--role, --workspace and --node say what a name means"}
		}
	}
	return slices.DeleteFunc(slices.Clone(record.Instances), func(i history.Instance) bool { return !meant[i.Node] }), nil
}

// onEach does something for each instance, some at the same time.
func onEach(instances []history.Instance, parallel int, do func(n int, i history.Instance)) {
	slots := make(chan struct{}, parallel)
	var all sync.WaitGroup
	for n, i := range instances {
		slots <- struct{}{}
		all.Go(func() {
			do(n, i)
			<-slots
		})
	}
	all.Wait()
}

// execution is a command for many machines.
type execution struct {
	command  []string
	parallel int
	timeout  time.Duration // for each; 0: none
}

// Execution is how a command went on one node, as --json prints it.
type Execution struct {
	Node      string `json:"node"`
	Code      int    `json:"code"`
	Stdout    string `json:"stdout"`
	Stderr    string `json:"stderr"`
	Truncated bool   `json:"truncated,omitempty"` // there was more on a stream
	Error     string `json:"error,omitempty"`     // why it did not run to its end
}

// The codes of a node where a command has none of its own.
const (
	codeTimeout     = 124
	codeUnreachable = 255
)

func (s *session) exec(ctx context.Context, record history.Record, instances []history.Instance, e execution) error {
	results := make([]Execution, len(instances))
	width := 0
	for _, i := range instances {
		width = max(width, len(i.Node))
	}
	_, _, colours := s.env.Terminal(s.env.Stdout)
	colours = colours && !s.env.NoColor
	onEach(instances, e.parallel, func(n int, i history.Instance) {
		r := &results[n]
		if s.out.format != formatText {
			var stdout, stderr beginningOf
			r.Code, r.Error = s.execOn(ctx, record, i, e, &stdout, &stderr)
			r.Stdout, r.Stderr, r.Truncated = stdout.text.String(), stderr.text.String(), stdout.more || stderr.more
		} else {
			prefix := fmt.Sprintf("%-*s| ", width, i.Node)
			if colours {
				prefix = fmt.Sprintf("\x1b[%dm%s\x1b[0m", 31+n%6, prefix)
			}
			stdout := &prefixed{prefix: prefix, to: s.env.results, mu: &s.out.mu}
			stderr := &prefixed{prefix: prefix, to: s.env.Stderr, mu: &s.out.mu}
			r.Code, r.Error = s.execOn(ctx, record, i, e, stdout, stderr)
			stdout.flush()
			stderr.flush()
		}
		r.Node = i.Node
	})
	if ctx.Err() != nil {
		return &Failure{Code: exitInterrupted, Text: "interrupted: the command was ended on all nodes"}
	}
	s.out.document(results)
	return execFailure(results)
}

// execOn runs the command on one node.
func (s *session) execOn(parent context.Context, record history.Record, i history.Instance, e execution, stdout, stderr io.Writer) (code int, problem string) {
	ctx := parent
	if e.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(parent, e.timeout)
		defer cancel()
	}
	code, err := s.runIn(ctx, record, i, cloud.Program{Command: e.command, Stdout: stdout, Stderr: stderr})
	switch {
	case err == nil:
		return code, ""
	case parent.Err() == nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return codeTimeout, fmt.Sprintf("it took longer than %s", spanText(e.timeout))
	}
	return codeUnreachable, strings.TrimPrefix(err.Error(), i.Node+": ")
}

// execFailure sums up where the command did not end well; nil: nowhere.
func execFailure(results []Execution) error {
	by := map[string][]string{} // how → nodes
	var hows []string
	highest := 0
	for _, r := range results {
		if r.Code == 0 {
			continue
		}
		highest = max(highest, r.Code)
		how := cmp.Or(r.Error, fmt.Sprintf("exit code %d", r.Code))
		if by[how] == nil {
			hows = append(hows, how)
		}
		by[how] = append(by[how], r.Node)
	}
	if highest == 0 {
		return nil
	}
	var parts []string
	for _, how := range hows {
		parts = append(parts, some(by[how])+": "+how)
	}
	return &Failure{Code: highest, Text: strings.Join(parts[:min(len(parts), 10)], "; ")}
}

// some names the first of many.
func some(nodes []string) string {
	const most = 10
	if len(nodes) <= most {
		return strings.Join(nodes, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(nodes[:most], ", "), len(nodes)-most)
}

// prefixed prints whole lines with something before each. A program learns
// that nobody reads them any more.
type prefixed struct {
	prefix string
	to     io.Writer
	mu     *sync.Mutex // others write there as well
	line   []byte
}

// maxLine is where a line without an end is broken.
const maxLine = 16 << 10

func (p *prefixed) Write(b []byte) (int, error) {
	p.line = append(p.line, b...)
	var text strings.Builder
	for {
		n := slices.Index(p.line, '\n')
		switch {
		case n >= 0:
			p.put(&text, p.line[:n])
			p.line = p.line[n+1:]
			continue
		case len(p.line) >= maxLine:
			p.put(&text, p.line)
			p.line = nil
		}
		break
	}
	if text.Len() == 0 {
		return len(b), nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := io.WriteString(p.to, text.String()); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (p *prefixed) put(text *strings.Builder, line []byte) {
	text.WriteString(p.prefix + printable(strings.TrimSuffix(string(line), "\r")) + "\n")
}

// flush prints a last line that has no end.
func (p *prefixed) flush() {
	if len(p.line) > 0 {
		p.Write([]byte("\n"))
	}
}

// beginningOf keeps the first of what is written.
type beginningOf struct {
	text strings.Builder
	more bool
}

// maxKept is how much of a stream is kept of each node.
const maxKept = 1 << 20

func (k *beginningOf) Write(b []byte) (int, error) {
	fits := min(len(b), maxKept-k.text.Len())
	k.text.Write(b[:fits])
	k.more = k.more || fits < len(b)
	return len(b), nil
}
