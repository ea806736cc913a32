package client

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"nimbus/broker/cluster"
	"nimbus/client/graph"
)

var graphHelp = helpText{"draw who needs what in a cluster definition", `Usage:
  nimbus graph [OPTIONS] FILE

Prints a drawing of a cluster definition: an arrow leads from each workspace to
those that require a role of it, a bold one where it must be ready before; a
dotted one from data and from "all nodes" to those that require them.

Examples:
  nimbus graph samples/hello-cluster.xml
  nimbus graph --format dot my-cluster.xml | dot -Tsvg -o my-cluster.svg

Options:
  --format FORMAT     mermaid (default), which GitHub and others show, or dot
                      for Graphviz` + changesHelp + `
  --json              print the nodes and edges as one JSON document
`}

func (env *Env) graphCommand() *cli.Command {
	return &cli.Command{
		Name:  "graph",
		Flags: append(append(changeFlags(), stringFlags("format")...), jsonFlag()),
		Action: func(c *cli.Context) error {
			draw := graph.Graph.Mermaid
			switch format := c.String("format"); {
			case format == "dot":
				draw = graph.Graph.DOT
			case format != "mermaid" && c.IsSet("format"):
				return &Failure{Code: exitUsage, Text: fmt.Sprintf("graph: there is no format %q", format), Advice: "the formats: mermaid, dot"}
			}
			file, err := definitionArgument(c)
			if err != nil {
				return err
			}
			changes, err := env.changes(c)
			if err != nil {
				return err
			}
			out := newOutput(env, formatOf(c))
			def, err := env.checkedDefinition(c.Context, out, file, changes, "nothing was drawn")
			if err != nil {
				return err
			}
			if drawing := graph.Of(def); !out.document(drawing) {
				out.print("%s", draw(drawing))
			}
			return nil
		},
	}
}

// checkedDefinition reads a definition that must hold no error. What is wrong
// or odd is told on standard error; otherwise is what did not happen then.
func (env *Env) checkedDefinition(ctx context.Context, out *output, file string, changes cluster.Changes, otherwise string) (*cluster.Definition, error) {
	def, problems, err := readDefinition(ctx, env.expand(file), changes)
	if err != nil {
		return nil, err
	}
	for _, p := range problems {
		out.warn("%s\n", printable(p.String()))
	}
	if n := problems.Errors(); n > 0 {
		return nil, &Failure{Code: exitUsage, Text: fmt.Sprintf("%s has %s: %s", file, count(n, "error"), otherwise), Advice: definitionAdvice}
	}
	return def, nil
}
