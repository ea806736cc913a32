package client

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"nimbus/broker/cluster"
)

// release frees the place of a node whose machine lost its claim: its disk was
// replaced, or another machine took the place with a stolen token.
var releaseHelp = helpText{"let another machine take a node's place", `Usage:
  nimbus release [--handle HANDLE] --node NODE [OPTIONS]

A node's place belongs to the first machine that came with its token. When that
machine lost its disk, or was not the right one, this frees the place for the
next that comes. It is refused when other nodes were told of it already: then
terminate the cluster and launch it again.

Example:
  nimbus release --handle cluster-001 --node worker-3

Options:
  --handle HANDLE     which launch (default: the only one that runs)
  --node NODE         which node, workspace-index` + commonHelp}

func (env *Env) releaseCommand() *cli.Command {
	return &cli.Command{
		Name:  "release",
		Flags: append(commonFlags(), stringFlags("handle", "node")...),
		Action: env.inSession(func(c *cli.Context, s *session) error {
			return s.release(c.Context, c.String("handle"), c.String("node"))
		}),
	}
}

// Released is what --json prints of a node whose place is free.
type Released struct {
	Handle string `json:"handle"`
	Node   string `json:"node"`
}

func (s *session) release(ctx context.Context, handle, node string) error {
	_, record, err := s.current(handle)
	if err != nil {
		return err
	}
	if node == "" {
		return &Failure{Code: exitUsage, Text: "release: which node? No --node is given", Advice: fmt.Sprintf("%q lists the nodes", s.command("nodes", "--handle", record.Handle))}
	}
	if _, err := cluster.ParsePlace(node); err != nil {
		return &Failure{Code: exitUsage, Text: "release: --node: " + err.Error(), Advice: fmt.Sprintf("%q lists the nodes", s.command("nodes", "--handle", record.Handle))}
	}
	err = s.withContext(ctx, record, func(b Broker) error { return b.Release(ctx, record.Context.ID, node) })
	if err != nil {
		return err
	}
	if s.out.document(Released{record.Handle, node}) {
		return nil
	}
	s.out.say("Released %s of %s: the next machine with its token takes the place.\n", node, record.Handle)
	return nil
}
