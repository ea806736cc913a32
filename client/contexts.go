package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"nimbus/broker/wire"
)

var contextsHelp = helpText{"list the contexts at a broker", `Usage:
  nimbus contexts [--broker URL] [OPTIONS]

Lists the contexts that a broker keeps for you: name (the handle of the launch),
state, how many nodes are expected, joined, ok and failed, age, and how long the
broker will keep it. It asks the broker of the settings, else your own: that one
runs as long as it has contexts, and is not started when it has none.

Example:
  nimbus contexts --broker https://broker.example.org:8443

Options:
  --broker URL        broker to ask` + commonHelp}

func (env *Env) contextsCommand() *cli.Command {
	return &cli.Command{
		Name:   "contexts",
		Flags:  append(commonFlags(), stringFlags("broker")...),
		Action: env.inSession(func(c *cli.Context, s *session) error { return s.contexts(c.Context) }),
	}
}

func (s *session) contexts(ctx context.Context) error {
	url := s.settings.Broker
	ctx, cancel := context.WithTimeout(ctx, cloudPatience)
	defer cancel()
	broker, err := s.findBroker(ctx, url)
	none := errors.Is(err, ErrNoBroker)
	var list []wire.Summary
	if err == nil {
		list, err = broker.Contexts(ctx)
	}
	if err != nil && !none {
		return s.env.brokerFailure(url, err)
	}
	if s.out.document(list) {
		return nil
	}
	switch {
	case none:
		s.out.print("No broker of yours runs, so it has no contexts.\n")
	case len(list) == 0:
		s.out.print("There are no contexts at the broker (%s).\n", brokerName(url))
	default:
		s.out.print("%s", s.contextTable(list))
	}
	return nil
}

func (s *session) contextTable(list []wire.Summary) string {
	now := s.env.Now()
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATE\tNODES\tJOINED\tOK\tFAILED\tAGE\tTIME LEFT\tID")
	for _, c := range list {
		age, left := "-", "-"
		if !c.Created.IsZero() {
			age = spanText(now.Sub(c.Created))
		}
		if d := c.Expires.Sub(now); d > 0 {
			left = spanText(d)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\t%s\n", orDash(c.Name), c.State, c.Expected, c.Joined, c.OK, c.Failed, age, left, c.ID)
	}
	_ = w.Flush() // a builder takes everything
	return printable(b.String())
}
