package client

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"nimbus/broker/cluster"
)

var validateHelp = helpText{"check a cluster definition", `Usage:
  nimbus validate [OPTIONS] FILE ...

Prints everything that is wrong with a cluster definition, each problem with
its line, and what is odd about it as warnings. What the options change is
checked like the rest, in each file.

Examples:
  nimbus validate hello-cluster.xml
  nimbus validate samples/*.xml
  nimbus validate --set release=12 --quantity worker=8 my-cluster.xml
  nimbus validate --scripts ./scripts my-cluster.xml

Options:` + changesHelp + `
  --scripts DIR       look at the scripts in DIR, too, as "run --scripts DIR" would
  --json              print one JSON document; of several files a list

Exit codes: 0 it can be launched, each of them; 1 it cannot, or wrong
parameters.
`}

func (env *Env) validateCommand() *cli.Command {
	return &cli.Command{
		Name:  "validate",
		Flags: append(append(changeFlags(), stringFlags("scripts")...), jsonFlag()),
		Action: func(c *cli.Context) error {
			files, err := definitionArguments(c)
			if err != nil {
				return err
			}
			changes, err := env.changes(c)
			if err != nil {
				return err
			}
			if c.IsSet("scripts") && c.String("scripts") == "" {
				return &Failure{Code: exitUsage, Text: "validate: --scripts needs a directory", Advice: "for example: nimbus validate --scripts ./scripts shop.xml"}
			}
			return env.validate(c.Context, newOutput(env, formatOf(c)), files, c.String("scripts"), changes)
		},
	}
}

// Validation is what --json prints of a cluster definition.
type Validation struct {
	File     string           `json:"file"`
	OK       bool             `json:"ok"`
	Problems cluster.Problems `json:"problems"`
}

// validate prints all problems of definitions, as compilers do.
func (env *Env) validate(ctx context.Context, out *output, files []string, scripts string, changes cluster.Changes) error {
	var list []Validation
	var bad []error
	for _, file := range files {
		v, err := env.validateOne(ctx, out, file, scripts, changes)
		if err != nil {
			bad = append(bad, err)
		}
		if err != nil && v.Problems == nil && len(files) > 1 { // it could not be read: the others can
			v.Problems = cluster.Problems{{File: file, Text: err.Error()}}
			out.problems(v.Problems)
		}
		list = append(list, v)
	}
	switch {
	case len(files) > 1:
		out.document(list)
	case list[0].Problems != nil: // else the error is the document
		out.document(list[0])
	}
	switch len(bad) {
	case 0:
		return nil
	case 1:
		return bad[0]
	}
	return &Failure{Code: exitUsage, Text: fmt.Sprintf("%d of %d files cannot be launched", len(bad), len(files)), Advice: definitionAdvice}
}

// validateOne is what is to be said of one file, printed for people already. It
// has no problems, not even an empty list, when it could not be read.
func (env *Env) validateOne(ctx context.Context, out *output, file, scripts string, changes cluster.Changes) (Validation, error) {
	def, problems, err := readDefinition(ctx, env.expand(file), changes)
	if err != nil {
		return Validation{File: file}, err
	}
	problems = append(problems, env.scriptsProblems(ctx, file, scripts, def)...)
	n := problems.Errors()
	if problems == nil {
		problems = cluster.Problems{}
	}
	out.problems(problems)
	v := Validation{file, n == 0, problems}
	if n > 0 {
		return v, &Failure{Code: exitUsage, Text: fmt.Sprintf("%s has %s", file, count(n, "error")), Advice: definitionAdvice}
	}
	if out.format == formatText {
		out.print("%s: ok: %s, %s, %d of them in the context\n", file,
			count(len(def.Workspaces), "workspace"), count(def.Instances(), "instance"), def.Nodes())
	}
	return v, nil
}

// problems prints them for people.
func (o *output) problems(list cluster.Problems) {
	for _, p := range list {
		if o.format == formatText {
			o.print("%s\n", printable(p.String()))
		}
	}
}

// definitionArguments are the cluster definitions that stand behind the
// options.
func definitionArguments(c *cli.Context) ([]string, error) {
	for _, arg := range c.Args().Slice() {
		if strings.HasPrefix(arg, "-") && arg != "-" {
			return nil, &Failure{Code: exitUsage, Text: fmt.Sprintf("%s: there is no option %s", c.Command.Name, arg), Advice: "see --help; a file of such a name is written ./" + arg}
		}
	}
	if c.Args().Len() == 0 {
		return nil, &Failure{Code: exitUsage, Text: c.Command.Name + ": give a cluster definition", Advice: "for example: nimbus validate hello-cluster.xml"}
	}
	return c.Args().Slice(), nil
}
