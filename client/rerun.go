package client

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"nimbus/broker/wire"
	"nimbus/client/history"
	"nimbus/cloud"
)

var rerunHelp = helpText{"run the scripts of nodes again", `Usage:
  nimbus rerun [OPTIONS] NODE|ROLE|WORKSPACE ...
  nimbus rerun --failed [OPTIONS]

For a cluster that was kept ("nimbus run --keep") when a script failed. Mend the
script in the node first, in /opt/nimbus/ctx-scripts: with "nimbus ssh", or copy
a better one there with "nimbus cp". Then the agent of each node takes its
report back, asks anew what it must know, runs all scripts from the first phase,
and reports; scripts must bear to be called again. Nodes that are named keep
their addresses and keys.

When all nodes are ok, "nimbus resume" finishes what the run could not: reports,
known_hosts.

Examples:
  nimbus rerun --failed
  nimbus rerun --handle cluster-001 --from 3-data worker-0 head-0

Options:
  --failed            all nodes that failed, and those that were waiting for them
  --from PHASE        leave out the phases before this one: a number from 0 to
                      5, or a name such as 1-ipandhost
  --handle HANDLE     which launch (default: the only one that runs)` + commonHelp + `
Exit codes: 0 all these nodes are ok, with --failed: or still at work; 1 wrong
parameters, or one of them is not; 2 something else did not work; 130
interrupted.
`}

func (env *Env) rerunCommand() *cli.Command {
	return &cli.Command{
		Name:  "rerun",
		Flags: append(commonFlags(), append(stringFlags("handle", "from"), &cli.BoolFlag{Name: "failed"})...),
		Action: func(c *cli.Context) error {
			words, err := targetWords(c)
			if err != nil {
				return err
			}
			if (len(words) > 0) == c.Bool("failed") {
				return &Failure{Code: exitUsage, Text: "rerun: give either nodes or --failed", Advice: "for example: nimbus rerun --failed"}
			}
			from := c.String("from")
			if c.IsSet("from") && !isPhase(from) {
				return &Failure{Code: exitUsage, Text: fmt.Sprintf("rerun: --from %q is no phase", from),
					Advice: "give a number from 0 to 5, or one of " + strings.Join(fixed[phases], ", ")}
			}
			s, err := env.open(c)
			if err != nil {
				return err
			}
			if c.Bool("failed") {
				words = nil
			}
			return s.rerun(c.Context, c.String("handle"), from, words)
		},
	}
}

// isPhase tells whether an agent will know a phase: by its name, or by the
// number that this begins with.
func isPhase(text string) bool {
	return slices.ContainsFunc(fixed[phases], func(phase string) bool {
		number, _, _ := strings.Cut(phase, "-")
		return text == phase || text == number
	})
}

// Rerun is what --json prints of one node.
type Rerun struct {
	Node  string `json:"node"`
	OK    bool   `json:"ok"`
	Busy  bool   `json:"busy,omitempty"`  // its agent was at work already
	Code  int    `json:"code,omitempty"`  // of the step that failed, or the agent's
	Step  string `json:"step,omitempty"`  // what failed
	Log   string `json:"log,omitempty"`   // its end
	Error string `json:"error,omitempty"` // why the agent could not even be started
}

// agentBusy is the exit code of an agent that finds another one at work.
const agentBusy = 5

// rerunAtOnce is how many agents are run at the same time: nodes may wait for
// each other, so it is many.
const rerunAtOnce = 256

// rerun lets nodes run their scripts again; without words, those that failed.
func (s *session) rerun(ctx context.Context, handle, from string, words []string) error {
	_, record, err := s.current(handle)
	if err != nil {
		return err
	}
	if record.State == history.Terminated || record.State == history.Failed {
		return &Failure{Code: exitUsage, Text: fmt.Sprintf("nothing of %s runs any more: it is %s", record.Handle, record.State),
			Advice: "a run with --keep leaves its machines running when something fails"}
	}
	nodes, err := s.contextNodes(ctx, record) // its agents would wait for a broker that is gone
	if err != nil {
		return err
	}
	chosen, err := rerunnable(record, nodes, words)
	if err != nil {
		return err
	}
	if len(chosen) == 0 {
		s.out.say("No node of %s has failed.\n", record.Handle)
		s.out.document([]Rerun{})
		return nil
	}
	driver, err := s.cloudOf(record)
	if err != nil {
		return err
	}
	if err := s.wayThrough(ctx, driver, record); err != nil {
		return err
	}
	before := map[string]time.Time{} // when each node reported last
	for _, n := range nodes {
		before[n.Node] = n.Reported
	}
	s.out.say("Running the scripts of %s again.\n", count(len(chosen), "node"))
	list := make([]Rerun, len(chosen))
	free := make(chan struct{}, rerunAtOnce)
	var all sync.WaitGroup
	for n, i := range chosen {
		all.Go(func() {
			free <- struct{}{}
			defer func() { <-free }()
			list[n] = s.rerunOne(ctx, record, i, from, before[i.Node])
			if ctx.Err() == nil {
				s.out.say("%s", rerunText(list[n]))
			}
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		return &Failure{Code: exitInterrupted, Text: "interrupted: the agents were stopped", Advice: "the same command begins again"}
	}
	s.out.document(list)
	return s.rerunDone(ctx, record, list, words != nil)
}

// rerunnable finds the instances of the nodes that words mean, or else of those
// that failed or were told that others did. Those that failed come first.
func rerunnable(record history.Record, nodes []wire.Node, words []string) ([]history.Instance, error) {
	states := map[string]wire.NodeState{}
	failing := false
	for _, n := range nodes {
		states[n.Node] = n.State
		failing = failing || n.State == wire.NodeError
	}
	wanted := map[string]bool{}
	for _, word := range words {
		found, err := targets(record, word)
		if err != nil {
			return nil, err
		}
		takesPart := false
		for _, i := range found {
			if _, is := states[i.Node]; is {
				wanted[i.Node], takesPart = true, true
			}
		}
		if !takesPart {
			return nil, &Failure{Code: exitUsage, Text: fmt.Sprintf("%s takes no part in the context of %s: it runs no scripts", word, record.Handle)}
		}
	}
	var chosen []history.Instance
	for _, i := range record.Instances {
		state := states[i.Node]
		if wanted[i.Node] || words == nil && failing && (state == wire.NodeError || state == wire.NodeJoined) {
			chosen = append(chosen, i)
		}
	}
	rank := func(i history.Instance) int {
		if states[i.Node] == wire.NodeError {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(chosen, func(a, b history.Instance) int { return rank(a) - rank(b) })
	return chosen, nil
}

// rerunOne runs the agent in a node again and says how that ended. A report
// that is as old as the one before is not about this.
func (s *session) rerunOne(ctx context.Context, record history.Record, i history.Instance, from string, before time.Time) Rerun {
	command := []string{launchThere, "--rerun"}
	if from != "" {
		command = append(command, "--from", from)
	}
	var said lastWords
	code, err := s.runIn(ctx, record, i, cloud.Program{Command: command, Stdout: &said, Stderr: &said})
	r := Rerun{Node: i.Node, Code: code, Log: said.String(), Busy: err == nil && code == agentBusy}
	switch {
	case err != nil:
		r.Error = err.Error()
	case code == 0:
		// An agent that finds nothing to do ends well, too.
		if state, err := s.nodeState(ctx, record, i.Node); err != nil {
			r.Error = err.Error()
		} else if state != wire.NodeOK {
			r.Error = "its agent ended well, but the broker has no report of it"
		} else {
			r.OK, r.Log = true, ""
		}
	case !r.Busy:
		if nodes, err := s.contextNodes(ctx, record); err == nil {
			r.reported(nodes, before)
		}
	}
	return r
}

// reported takes over what the broker was told of the failure; where that is
// nothing new, what the agent said has to do.
func (r *Rerun) reported(nodes []wire.Node, before time.Time) {
	for _, n := range nodes {
		if n.Node == r.Node && n.Report != nil && !n.Reported.Equal(before) {
			r.Code, r.Step, r.Log = n.Report.Code, n.Report.Step, n.Report.Log
		}
	}
}

func (s *session) nodeState(ctx context.Context, record history.Record, node string) (state wire.NodeState, err error) {
	err = s.withContext(ctx, record, func(b Broker) error {
		log, err := b.NodeLog(ctx, record.Context.ID, node, -1)
		state = log.State
		return err
	})
	return state, err
}

func rerunText(r Rerun) string {
	switch {
	case r.OK:
		return fmt.Sprintf("  - %s: ok\n", r.Node)
	case r.Busy:
		return fmt.Sprintf("  - %s: its agent is at work already\n", r.Node)
	case r.Error != "":
		return fmt.Sprintf("  - %s: %s\n", r.Node, printable(r.Error)) + quoted("it said", r.Log)
	case r.Step != "":
		return fmt.Sprintf("  - %s: %s\n", r.Node, stepText(wire.Report{Step: r.Step, Code: r.Code, Log: r.Log})) + quoted("its log ends with", r.Log)
	}
	return fmt.Sprintf("  - %s: its agent ended with exit code %d\n", r.Node, r.Code) + quoted("it said", r.Log)
}

// rerunDone says how the cluster is now, and what to do next. A node at work is
// no failure, unless it was named.
func (s *session) rerunDone(ctx context.Context, record history.Record, list []Rerun, named bool) error {
	bad := 0
	var first Rerun
	for _, r := range list {
		if !r.OK && (named || !r.Busy) {
			if bad++; bad == 1 {
				first = r
			}
		}
	}
	if bad > 0 {
		text := strings.TrimPrefix(strings.TrimSpace(strings.SplitN(rerunText(first), "\n", 2)[0]), "- ")
		if bad > 1 {
			text += fmt.Sprintf(" (and %s)", count(bad-1, "other node"))
		}
		return &Failure{Code: exitCluster, Text: text, Advice: "mend the script in the node, then: " + s.command("rerun", "--handle", record.Handle, "--failed")}
	}
	var status wire.Status
	err := s.withContext(ctx, record, func(b Broker) (err error) {
		status, err = b.Status(ctx, record.Context.ID, 0)
		return err
	})
	if err != nil {
		return err
	}
	switch {
	case status.State == wire.OK && record.State == history.OK:
		s.out.say("%s: all nodes are ok\n", record.Handle)
	case status.State == wire.OK:
		s.out.say("%s: all nodes are ok. To finish it (reports, known_hosts):\n  %s\n", record.Handle, s.command("resume", "--handle", record.Handle))
	default:
		s.out.say("%s: %d of %d nodes are ok. To see the others:\n  %s\n", record.Handle, status.OK, status.Expected, s.command("status", "--handle", record.Handle))
	}
	return nil
}
