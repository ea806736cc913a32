package client

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"nimbus/broker/wire"
	"nimbus/client/history"
)

var nodesHelp = helpText{"show the nodes of a cluster as the broker knows them", `Usage:
  nimbus nodes [--handle HANDLE] [OPTIONS]

Prints the state, roles, addresses and SSH host keys of each node.

Examples:
  nimbus nodes
  nimbus nodes --handle cluster-001 --json

Options:
  --handle HANDLE     which launch (default: the only one that runs)` + commonHelp}

func (env *Env) nodesCommand() *cli.Command {
	return &cli.Command{
		Name:  "nodes",
		Flags: append(commonFlags(), stringFlags("handle")...),
		Action: env.inSession(func(c *cli.Context, s *session) error {
			return s.nodes(c.Context, c.String("handle"))
		}),
	}
}

// withContext asks something of the broker about the context of a launch.
func (s *session) withContext(ctx context.Context, record history.Record, ask func(Broker) error) error {
	if record.Context == nil {
		return &Failure{Code: exitUsage, Text: fmt.Sprintf("%s has no context: none of its workspaces has <ctx>", record.Handle),
			Advice: "its addresses: " + s.command("status", "--handle", record.Handle)}
	}
	if record.State == history.Terminated {
		return s.contextGone(record)
	}
	broker, err := s.findBroker(ctx, record.Context.Broker)
	if err == nil {
		err = ask(broker)
	}
	switch code := wire.CodeOf(err); {
	case err == nil:
		return nil
	case errors.Is(err, ErrNoBroker) || code == wire.NotFound || code == wire.ContextGone:
		return s.contextGone(record)
	}
	return &Failure{Code: exitFailed, Text: fmt.Sprintf("broker: %s", brokerText(err)), Advice: s.env.brokerAdvice(record.Context.Broker, err)}
}

// contextGone says that nothing can be asked about a launch any more, and why.
func (s *session) contextGone(record history.Record) error {
	f := &Failure{Code: exitFailed, Text: fmt.Sprintf("the context of %s is gone", record.Handle),
		Advice: "it ends with its launch; the reports of the run are in " + filepath.Join(s.historyDir(), record.Handle)}
	switch {
	case record.State == history.Terminated:
		f.Text += ": it was terminated"
	case record.Over(s.env.Now()):
		f.Text += fmt.Sprintf(": its time was over %s ago", spanText(s.env.Now().Sub(record.Expires)))
	case record.Expires.IsZero():
		f.Advice = "its time at the broker may have been over (--expires, \"nimbus extend\"), its machines go on; the reports of the run are in " + filepath.Join(s.historyDir(), record.Handle)
	}
	return f
}

// contextNodes asks the broker for the nodes of a launch.
func (s *session) contextNodes(ctx context.Context, record history.Record) (nodes []wire.Node, err error) {
	err = s.withContext(ctx, record, func(b Broker) error {
		nodes, err = b.Nodes(ctx, record.Context.ID)
		return err
	})
	return nodes, err
}

// nodes prints each node as the broker knows it.
func (s *session) nodes(ctx context.Context, handle string) error {
	_, record, err := s.current(handle)
	if err != nil {
		return err
	}
	nodes, err := s.contextNodes(ctx, record)
	if err != nil {
		return err
	}
	if s.out.document(nodes) {
		return nil
	}
	var b strings.Builder
	for _, n := range nodes {
		fmt.Fprintf(&b, "%s: %s", n.Node, n.State)
		if len(n.Roles) > 0 {
			fmt.Fprintf(&b, ", provides %s", strings.Join(n.Roles, ", "))
		}
		b.WriteString("\n")
		for _, i := range n.Identities {
			name, key := i.Interface, i.Pubkey
			if name == "" {
				name = "no label"
			}
			if key == "" {
				key = "no host key"
			}
			fmt.Fprintf(&b, "  - %s: %s [ %s ]\n      %s\n", name, i.IP, i.Hostname, key)
		}
		if n.Report != nil && !n.Report.OK {
			fmt.Fprintf(&b, "  - %s\n", stepText(*n.Report))
		}
	}
	s.out.print("%s", printable(b.String()))
	return nil
}

var ctxStatusHelp = helpText{"print the context state of each address, for scripts", `Usage:
  nimbus print-ctx-status [--handle HANDLE] [OPTIONS]

Prints one line for each address: [CTX_SUCCESS], [CTX_ERROR],
[CTX_CHECKED_IN_PENDING] or [CTX_NOT_CHECKED_IN].

Example:
  nimbus print-ctx-status --handle cluster-001

Options:
  --handle HANDLE     which launch (default: the only one that runs)` + commonHelp + `
Exit codes: 0 all are [CTX_SUCCESS]; 1 wrong parameters; 2 the broker could not
be asked; 6 not all are.
`}

func (env *Env) ctxStatusCommand() *cli.Command {
	return &cli.Command{
		Name:  "print-ctx-status",
		Flags: append(commonFlags(), stringFlags("handle")...),
		Action: env.inSession(func(c *cli.Context, s *session) error {
			return s.ctxStatus(c.Context, c.String("handle"))
		}),
	}
}

// AddressStatus is one line of print-ctx-status.
type AddressStatus struct {
	IP    netip.Addr `json:"ip"`
	Node  string     `json:"node"`
	State string     `json:"state"` // CTX_SUCCESS, ...
}

// ctxStates are the classic words for the states of a node.
var ctxStates = map[wire.NodeState]string{
	wire.NodeOK:       "CTX_SUCCESS",
	wire.NodeError:    "CTX_ERROR",
	wire.NodeJoined:   "CTX_CHECKED_IN_PENDING",
	wire.NodeExpected: "CTX_NOT_CHECKED_IN",
}

// ctxStatus prints a line for each address of the launch that belongs to a
// node, for scripts; not all success is exit code 6.
func (s *session) ctxStatus(ctx context.Context, handle string) error {
	find := s.current
	if s.env.Classic { // which wants a handle always
		find = s.launch
	}
	_, record, err := find(handle)
	if err != nil {
		return err
	}
	nodes, err := s.contextNodes(ctx, record)
	if err != nil {
		return err
	}
	list, ok := ctxAddresses(record.Instances, nodes)
	if !s.out.document(list) {
		width := 0
		for _, a := range list {
			width = max(width, len(a.IP.String()))
		}
		for _, a := range list {
			s.out.print("%-*s    [%s]\n", width, a.IP, a.State)
		}
	}
	if !ok {
		return &Failure{Code: exitNotAllOK, Text: fmt.Sprintf("%s: not every node is ok", record.Handle), Advice: fmt.Sprintf("%q says more of each", s.command("nodes", "--handle", record.Handle))}
	}
	return nil
}

// ctxAddresses finds the state of each address, and whether all nodes are ok,
// also those whose instance has no address yet.
func ctxAddresses(instances []history.Instance, nodes []wire.Node) (list []AddressStatus, ok bool) {
	list, ok = []AddressStatus{}, true
	states := map[string]wire.NodeState{}
	for _, n := range nodes {
		states[n.Node] = n.State
		ok = ok && n.State == wire.NodeOK
	}
	for _, i := range instances {
		state, member := states[i.Node]
		if !member {
			continue
		}
		for _, a := range i.Addresses {
			if a.IP.IsValid() {
				list = append(list, AddressStatus{a.IP, i.Node, ctxStates[state]})
			}
		}
	}
	return list, ok
}
