package client

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"nimbus/broker/cluster"
)

// changesHelp explains changeFlags.
const changesHelp = `
  --quantity W=N      another number of instances of workspace W; may be repeated
  --data NAME=VALUE   value of data that nodes require; may be repeated
  --data NAME=@FILE   the same, out of a file
  --set NAME=VALUE    value of ${NAME} in the definition; may be repeated`

// changeFlags are the options of commands that read a cluster definition.
func changeFlags() []cli.Flag {
	var flags []cli.Flag
	for _, name := range []string{"quantity", "data", "set"} {
		flags = append(flags, &cli.StringSliceFlag{Name: name, KeepSpace: true})
	}
	return flags
}

// changes reads what the command line says about a definition.
func (env *Env) changes(c *cli.Context) (cluster.Changes, error) {
	changes := cluster.Changes{Set: map[string]string{}}
	counted := map[string]bool{}
	for _, option := range []string{"quantity", "data", "set"} {
		for _, text := range c.StringSlice(option) {
			name, value, found := strings.Cut(text, "=")
			if name = strings.TrimSpace(name); !found || name == "" {
				examples := map[string]string{"quantity": "--quantity worker=8", "data": "--data motd=hello", "set": "--set release=12"}
				return changes, &Failure{Code: exitUsage, Text: fmt.Sprintf("--%s %q: there must be a name and =", option, text), Advice: "for example: " + examples[option]}
			}
			_, set := changes.Set[name]
			if option == "set" && set || option == "quantity" && counted[name] {
				return changes, &Failure{Code: exitUsage, Text: fmt.Sprintf("--%s %s is given twice", option, name), Advice: "leave one of them out"}
			}
			switch option {
			case "quantity":
				counted[name] = true
				changes.Quantity = append(changes.Quantity, cluster.Quantity{Workspace: name, Number: strings.TrimSpace(value)})
			case "set":
				changes.Set[name] = value
			case "data":
				if file, is := strings.CutPrefix(value, "@"); is {
					var err error
					if value, err = env.readValue(c.Context, "--data "+name, file); err != nil {
						return changes, err
					}
				}
				changes.Data = append(changes.Data, cluster.Data{Name: name, Value: value})
			}
		}
	}
	return changes, nil
}

// readValue reads a value of data from a file.
func (env *Env) readValue(ctx context.Context, option, file string) (string, error) {
	return reading(ctx, func() (string, error) {
		f, err := os.Open(env.expand(file))
		if err != nil {
			return "", &Failure{Code: exitUsage, Text: fmt.Sprintf("%s: %v", option, err)}
		}
		defer f.Close()
		return readBounded(option, f)
	})
}

// readBounded reads a value that can be sent to nodes.
func readBounded(option string, r io.Reader) (string, error) {
	value, err := io.ReadAll(io.LimitReader(r, cluster.MaxData+1))
	if err != nil {
		return "", &Failure{Code: exitUsage, Text: fmt.Sprintf("%s: %v", option, err)}
	}
	if err := cluster.CheckText(string(value)); err != nil {
		return "", &Failure{Code: exitUsage, Text: fmt.Sprintf("%s: %v", option, err)}
	}
	return string(value), nil
}

// definitionArgument is the one cluster definition that a command is given.
func definitionArgument(c *cli.Context) (string, error) {
	name := c.Command.Name
	for _, arg := range c.Args().Tail() {
		if strings.HasPrefix(arg, "-") {
			return "", &Failure{Code: exitUsage, Text: fmt.Sprintf("%s: there is no option %s", name, arg), Advice: "see --help"}
		}
	}
	if c.Args().Len() != 1 {
		return "", &Failure{Code: exitUsage, Text: name + ": give one cluster definition", Advice: "for example: nimbus " + name + " hello-cluster.xml"}
	}
	return c.Args().First(), nil
}
