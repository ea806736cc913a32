package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"nimbus/broker/wire"
	"nimbus/client/history"
	"nimbus/cloud"
)

var logsHelp = helpText{"show what a node logs while its scripts run", `Usage:
  nimbus logs [--follow] [OPTIONS] NODE
  nimbus logs --console [OPTIONS] NODE

Prints the end of a node's log as the broker has it: what the agent says and
what the scripts print. A node whose scripts were done within a second has sent
nothing: then the end of its log is fetched from the node itself, where all of
it is in /opt/nimbus/ctxlog.txt. When the broker has forgotten the launch, the
report of the node in the history directory is printed.

NODE is workspace-index, or whatever else means one node only: an address, a
host name, or a workspace or role of one node.

Examples:
  nimbus logs --follow worker-0
  nimbus logs --handle cluster-001 --console head-0

Options:
  --follow, -f        go on until the node has finished
  --console           what the instance printed since it was started instead: for
                      a node that has not joined
  --handle HANDLE     which launch (default: the only one that runs)` + commonHelp + `  --json=stream       with --follow: one JSON event for each piece

Exit codes: 0 printed, with --follow: the node is ok; 1 wrong parameters, with
--follow: the node failed; 2 something else did not work; 141 with --follow:
nobody reads on.
`}

func (env *Env) logsCommand() *cli.Command {
	return &cli.Command{
		Name: "logs",
		Flags: append(commonFlags(), &cli.StringFlag{Name: "handle"}, &cli.BoolFlag{Name: "console"},
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}}),
		Action: func(c *cli.Context) error {
			words, err := targetWords(c)
			if err != nil {
				return err
			}
			if len(words) != 1 {
				return &Failure{Code: exitUsage, Text: "logs: give one node", Advice: "for example: nimbus logs --follow worker-0"}
			}
			follow, console := c.Bool("follow"), c.Bool("console")
			if follow && console {
				return &Failure{Code: exitUsage, Text: "logs: --console cannot be followed", Advice: "leave --follow away"}
			}
			if follow && formatOf(c) == formatDocument {
				return &Failure{Code: exitUsage, Text: "logs: what goes on is no single document", Advice: "use --json=stream with --follow"}
			}
			s, err := env.open(c)
			if err != nil {
				return err
			}
			l, record, err := s.current(c.String("handle"))
			if err != nil {
				return err
			}
			i, err := oneTarget(record, words[0])
			if err != nil {
				return err
			}
			n := &nodeLog{session: s, launch: l, record: record, instance: i}
			if console {
				return n.printConsole(c.Context)
			}
			if !member(record, i) {
				return &Failure{Code: exitUsage, Text: fmt.Sprintf("%s takes no part in the context of %s: it runs no scripts, and logs nothing", i.Node, record.Handle), Advice: n.consoleAdvice()}
			}
			if n.following = follow; follow {
				return n.follow(c.Context)
			}
			return n.print(c.Context)
		},
	}
}

// targetWords are the nodes that stand after the options.
func targetWords(c *cli.Context) ([]string, error) {
	words := c.Args().Slice()
	for _, word := range words {
		if strings.HasPrefix(word, "-") {
			return nil, &Failure{Code: exitUsage, Text: fmt.Sprintf("%s: there is no option %s", c.Command.Name, word), Advice: "see --help"}
		}
	}
	return words, nil
}

// oneTarget finds the one instance that a word means.
func oneTarget(record history.Record, word string) (history.Instance, error) {
	found, err := targets(record, word)
	if err != nil {
		return history.Instance{}, err
	}
	if len(found) > 1 {
		const most = 20
		var names []string
		for _, i := range found[:min(most, len(found))] {
			names = append(names, i.Node)
		}
		if len(found) > most {
			names = append(names, "...")
		}
		return history.Instance{}, &Failure{Code: exitUsage, Text: fmt.Sprintf("%q means %s of %s", word, count(len(found), "node"), record.Handle),
			Advice: "name one: " + strings.Join(names, ", ")}
	}
	return found[0], nil
}

// member tells whether an instance takes part in the context.
func member(record history.Record, i history.Instance) bool {
	if record.Definition == nil {
		return record.Context != nil
	}
	w, _ := record.Definition.Find(i.Workspace)
	return record.Context != nil && w != nil && w.Ctx != nil
}

// NodeLog is what --json prints of a node's log.
type NodeLog struct {
	Handle string         `json:"handle"`
	Node   string         `json:"node"`
	State  wire.NodeState `json:"state,omitempty"`
	Source string         `json:"source"` // broker, node, report, console
	Text   string         `json:"text"`
}

// A nodeLog is the log of one node, to be printed.
type nodeLog struct {
	*session
	launch    *history.Launch
	record    history.Record
	instance  history.Instance
	following bool // what is printed is events
}

// print shows what there is now.
func (n *nodeLog) print(ctx context.Context) error {
	var log wire.NodeLog
	err := n.withContext(ctx, n.record, func(b Broker) (err error) {
		log, err = b.NodeLog(ctx, n.record.Context.ID, n.instance.Node, -1)
		return err
	})
	if err != nil {
		return n.printReport(err)
	}
	source := "broker"
	if text := ""; log.Text == "" && log.State != wire.NodeExpected {
		if text, err = n.fetch(ctx); err == nil && text != "" {
			log.Text, source = text, "node"
		}
	}
	n.show(log.State, source, log.Text)
	if log.Text == "" {
		n.out.warn("%s\n", n.nothing(log.State))
	}
	return nil
}

// logThere is the agent's log in a node.
const logThere = "/opt/nimbus/ctxlog.txt"

// fetch gets the end of the log from the node itself: one that was done within
// a second has sent none to the broker.
func (n *nodeLog) fetch(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var text lastWords
	code, err := n.runIn(ctx, n.record, n.instance, cloud.Program{
		Command: []string{"tail", "-c", fmt.Sprint(maxWords), logThere}, Stdout: &text, Stderr: io.Discard})
	if err != nil || code != 0 {
		return "", err
	}
	return text.String(), nil
}

func (n *nodeLog) show(state wire.NodeState, source, text string) {
	if n.following {
		n.more(text)
	} else if !n.out.document(NodeLog{n.record.Handle, n.instance.Node, state, source, text}) {
		n.out.print("%s", printable(text))
	}
}

// nothing says why there is no log.
func (n *nodeLog) nothing(state wire.NodeState) string {
	switch state {
	case wire.NodeExpected:
		return fmt.Sprintf("%s has not joined the context: nothing was heard of it; %s", n.instance.Node, n.consoleAdvice())
	case wire.NodeJoined:
		return fmt.Sprintf("%s has joined and has sent no log yet: it begins when its scripts have run for a second.", n.instance.Node)
	}
	return fmt.Sprintf("%s has finished, and the broker has nothing of its log: it was done within a second, or that was long ago. The log is in the node, in %s.", n.instance.Node, logThere)
}

func (n *nodeLog) consoleAdvice() string {
	return "what its instance printed: " + n.command("logs", "--handle", n.record.Handle, "--console", n.instance.Node)
}

// printReport shows what the run left of the node when the broker knows no more.
func (n *nodeLog) printReport(cause error) error {
	path, text, err := n.launch.NodeReport(n.instance.Node)
	if errors.Is(err, fs.ErrNotExist) {
		return cause
	}
	if err != nil {
		return &Failure{Code: exitFailed, Text: fmt.Sprintf("%v; nor can the report in the history be read: %v", cause, err)}
	}
	n.out.warn("%v; this is from %s:\n", cause, path)
	n.show("", "report", text)
	return nil
}

// printConsole shows what the instance has printed.
func (n *nodeLog) printConsole(ctx context.Context) error {
	driver, err := n.cloud(n.record.Cloud)
	if err != nil {
		return err
	}
	consoler, ok := driver.(cloud.Consoler)
	if !ok {
		return &Failure{Code: exitFailed, Text: fmt.Sprintf("cloud %q cannot show what an instance prints", n.record.Cloud)}
	}
	text, err := consoler.Console(ctx, n.instance.Instance)
	if err != nil {
		kept, missing := n.launch.Console(n.instance.Node)
		if missing != nil {
			return &Failure{Code: exitFailed, Text: fmt.Sprintf("console of %s: %v", n.instance.Node, err)}
		}
		n.out.warn("The cloud does not show the console of %s any more (%v); this was kept when the run failed:\n", n.instance.Node, err)
		text = []byte(kept)
	}
	n.show("", "console", strings.ReplaceAll(string(text), "\r\n", "\n"))
	return nil
}

// away is how long a broker may be out of reach while a log is followed.
const away = time.Minute

// follow prints what the node logs until it has finished.
func (n *nodeLog) follow(ctx context.Context) error {
	if n.record.State == history.Terminated {
		return n.printReport(n.contextGone(n.record))
	}
	broker, err := n.findBroker(ctx, n.record.Context.Broker)
	if errors.Is(err, ErrNoBroker) {
		return n.printReport(n.contextGone(n.record))
	}
	if err != nil {
		return &Failure{Code: exitFailed, Text: fmt.Sprintf("broker: %s", brokerText(err)), Advice: n.env.brokerAdvice(n.record.Context.Broker, err)}
	}
	offset := int64(0)
	var lost time.Time // since when the broker has not answered
	for waits := false; ; {
		log, err := broker.NodeLog(ctx, n.record.Context.ID, n.instance.Node, offset)
		code := wire.CodeOf(err)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case (code == wire.NotFound || code == wire.ContextGone) && offset == 0:
			return n.printReport(n.contextGone(n.record))
		case code == wire.NotFound || code == wire.ContextGone:
			return n.contextGone(n.record)
		case wire.Final(err):
			return &Failure{Code: exitFailed, Text: fmt.Sprintf("broker: %s", brokerText(err)), Advice: n.env.brokerAdvice(n.record.Context.Broker, err)}
		case err != nil:
			if lost.IsZero() {
				n.out.warn("The broker does not answer: %v. Trying again.\n", err)
				lost = n.env.Now()
			}
			if n.env.Now().Sub(lost) > away {
				return &Failure{Code: exitFailed, Text: fmt.Sprintf("broker: %s", brokerText(err)), Advice: fmt.Sprintf("it has not answered for %s; the log is in the node, in %s", spanText(away), logThere)}
			}
			if broker, err = n.again(ctx, broker); err != nil {
				return err
			}
			continue
		}
		lost = time.Time{}
		n.more(log.Text)
		switch {
		case n.env.results.unread():
			return &Failure{Code: codeOfSignal(syscall.SIGPIPE)} // as of a program that learns it so
		case log.State == wire.NodeError:
			return n.failed(ctx)
		case log.State == wire.NodeOK && log.Next == 0:
			text, err := n.fetch(ctx)
			if n.more(text); err != nil || text == "" {
				n.out.warn("%s\n", n.nothing(log.State))
			}
			return nil
		case log.State == wire.NodeOK:
			return nil
		case log.State == wire.NodeExpected && !waits:
			n.out.warn("%s\n", n.nothing(log.State))
			waits = true
		}
		if log.Next == offset { // a broker that does not hold requests is not to be asked for ever
			if err := pause(ctx, retryBroker/4); err != nil {
				return err
			}
		}
		offset = log.Next
	}
}

// more prints a piece.
func (n *nodeLog) more(text string) {
	if text == "" {
		return
	}
	n.out.event(Event{Event: "log", Handle: n.record.Handle, Node: n.instance.Node, Text: text})
	if n.out.format == formatText {
		n.out.print("%s", printable(text))
	}
}

// again finds the broker after a moment. This user's own is started again when
// it has died: the context is on its disk, unless the launch was ended.
func (n *nodeLog) again(ctx context.Context, broker Broker) (Broker, error) {
	if err := pause(ctx, retryBroker); err != nil {
		return nil, err
	}
	if n.record.Context.Broker != "" {
		return broker, nil
	}
	if record, err := n.launch.Record(); err == nil && record.State == history.Terminated {
		return nil, n.contextGone(record)
	}
	if found, err := n.env.EnsureBroker(ctx, n.env.brokerDir(), n.env.Executable); err == nil {
		return found, nil
	}
	return broker, nil
}

// failed is the end of a node that reported an error.
func (n *nodeLog) failed(ctx context.Context) error {
	f := &Failure{Code: exitCluster, Text: fmt.Sprintf("node %s failed", n.instance.Node),
		Advice: "mend its script in the node, then: " + n.command("rerun", "--handle", n.record.Handle, n.instance.Node)}
	nodes, err := n.contextNodes(ctx, n.record)
	if err != nil {
		return f
	}
	for _, node := range nodes {
		if node.Node == n.instance.Node && node.Report != nil {
			f.Text = fmt.Sprintf("node %s: %s", n.instance.Node, stepText(*node.Report))
			n.out.event(Event{Event: "node-failed", Handle: n.record.Handle, Node: node.Node, Failure: &wire.Failure{Node: node.Node, Report: *node.Report}})
		}
	}
	return f
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
