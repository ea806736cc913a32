package client

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"nimbus/broker/cluster"
)

var validateHelp = helpText{"check a cluster definition", `Usage:
  nimbus validate [--json] FILE

Prints everything that is wrong with a cluster definition, each problem with
its line, and what is odd about it as warnings. Exit code 1 when it cannot be
launched.

Example:
  nimbus validate hello-cluster.xml

Options:
  --json              print one JSON document
`}

func (env *Env) validateCommand() *cli.Command {
	return &cli.Command{
		Name:  "validate",
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			for _, arg := range c.Args().Tail() {
				if strings.HasPrefix(arg, "-") {
					return &Failure{Code: exitUsage, Text: fmt.Sprintf("validate: the option %s stands after the file, where it would be ignored", arg), Advice: "write options first"}
				}
			}
			if c.Args().Len() != 1 {
				return &Failure{Code: exitUsage, Text: "validate: give one cluster definition", Advice: "for example: nimbus validate hello-cluster.xml"}
			}
			return env.validate(newOutput(env, formatOf(c)), c.Args().First())
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
func (env *Env) validate(out *output, file string) error {
	def, problems, err := readDefinition(env.expand(file))
	if err != nil {
		return err
	}
	n := problems.Errors()
	if problems == nil {
		problems = cluster.Problems{}
	}
	if !out.document(Validation{file, n == 0, problems}) {
		for _, p := range problems {
			out.print("%s\n", p)
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
