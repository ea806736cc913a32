package client

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"nimbus/broker/cluster"
)

var validateHelp = helpText{"check a cluster definition", `Usage:
  nimbus validate [OPTIONS] FILE

Prints everything that is wrong with a cluster definition, each problem with
its line, and what is odd about it as warnings. What the options change is
checked like the rest.

Examples:
  nimbus validate hello-cluster.xml
  nimbus validate --set release=12 --quantity worker=8 my-cluster.xml

Options:` + changesHelp + `
  --json              print one JSON document

Exit codes: 0 it can be launched; 1 it cannot, or wrong parameters.
`}

func (env *Env) validateCommand() *cli.Command {
	return &cli.Command{
		Name:  "validate",
		Flags: append(changeFlags(), jsonFlag()),
		Action: func(c *cli.Context) error {
			file, err := definitionArgument(c)
			if err != nil {
				return err
			}
			changes, err := env.changes(c)
			if err != nil {
				return err
			}
			return env.validate(c.Context, newOutput(env, formatOf(c)), file, changes)
		},
	}
}

// Validation is what --json prints of a cluster definition.
type Validation struct {
	File     string           `json:"file"`
	OK       bool             `json:"ok"`
	Problems cluster.Problems `json:"problems"`
}

// validate prints all problems of a definition, as compilers do.
func (env *Env) validate(ctx context.Context, out *output, file string, changes cluster.Changes) error {
	def, problems, err := readDefinition(ctx, env.expand(file), changes)
	if err != nil {
		return err
	}
	n := problems.Errors()
	if problems == nil {
		problems = cluster.Problems{}
	}
	if !out.document(Validation{file, n == 0, problems}) {
		for _, p := range problems {
			out.print("%s\n", printable(p.String()))
		}
		if n == 0 {
			out.print("%s: ok: %s, %s, %d of them in the context\n", file,
				count(len(def.Workspaces), "workspace"), count(def.Instances(), "instance"), def.Nodes())
		}
	}
	if n > 0 {
		return &Failure{Code: exitUsage, Text: fmt.Sprintf("%s has %s", file, count(n, "error")), Advice: definitionAdvice}
	}
	return nil
}
