package client

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"nimbus/install"
)

var installHelp = helpText{"install this program for its users", `Usage:
  nimbus install [--prefix DIR] [--root DIR]
  nimbus install --uninstall [--prefix DIR] [--root DIR]

Puts this program and the names that it also has into DIR/bin, manual pages and
completions for bash, zsh and fish into DIR/share, where they are found. Run it
again at will: what is right is left alone. It does all or nothing, and
DIR/share/nimbus/client.json says what was put there.

The agent of a machine is installed by "nimbus agent install", a broker by
"nimbus broker install".

Examples:
  nimbus install
  nimbus install --prefix ~/.local
  nimbus install --uninstall

Options:
  --prefix DIR        where to (default /usr/local, and ~/.local for others than root)
  --root DIR          put it below DIR, as if that were the root: for packages
  --binary FILE       install this program instead of the one that runs
  --uninstall         take all of it back
  --json              print one JSON document
`}

// Installed is what --json prints of an installation.
type Installed struct {
	Prefix   string   `json:"prefix"`
	Made     []string `json:"made"`
	Replaced []string `json:"replaced"`
	Same     []string `json:"same"`
	Removed  []string `json:"removed"`
}

func (env *Env) installCommand() *cli.Command {
	return &cli.Command{
		Name:  "install",
		Flags: append(stringFlags("prefix", "root", "binary"), &cli.BoolFlag{Name: "uninstall"}, jsonFlag()),
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			prefix, err := env.installPrefix(c)
			if err != nil {
				return err
			}
			if c.Bool("uninstall") && c.IsSet("binary") {
				return &Failure{Code: exitUsage, Text: "install: --binary does not go with --uninstall", Advice: "see --help"}
			}
			out := newOutput(env, formatOf(c))
			tree, err := install.OpenTree(env.expand(c.String("root")))
			if err != nil {
				return installFailure(err)
			}
			defer tree.Close()
			var report install.Report
			if c.Bool("uninstall") {
				report, err = tree.Remove(install.Client(prefix, nil, nil, nil).Record)
			} else {
				report, err = putClient(tree, prefix, c)
			}
			if err != nil {
				return installFailure(err)
			}
			paths := func(names []string) []string { return append([]string{}, names...) }
			if out.document(Installed{prefix, paths(report.Made), paths(report.Replaced), paths(report.Same), paths(report.Removed)}) {
				return nil
			}
			switch {
			case !c.Bool("uninstall"):
				out.print("Installed as %s.\n", printable(tree.Name(strings.TrimPrefix(prefix, "/")+"/bin/nimbus")))
			case report.Changed():
				out.print("Removed from %s.\n", printable(tree.Name(strings.TrimPrefix(prefix, "/"))))
			default:
				out.print("There is nothing in %s that was installed by this command.\n", printable(tree.Name(strings.TrimPrefix(prefix, "/"))))
			}
			report.Print(env.results)
			return nil
		},
	}
}

// installPrefix is where to install: as users are used to.
func (env *Env) installPrefix(c *cli.Context) (string, error) {
	prefix := env.expand(c.String("prefix"))
	switch {
	case c.IsSet("prefix") && prefix == "":
		return "", &Failure{Code: exitUsage, Text: "install: --prefix is empty", Advice: "name a directory, or leave the option out"}
	case prefix == "" && os.Geteuid() == 0:
		prefix = "/usr/local"
	case prefix == "":
		prefix = filepath.Join(env.Home, ".local")
	}
	prefix, err := filepath.Abs(prefix)
	if err != nil {
		return "", &Failure{Code: exitFailed, Text: fmt.Sprintf("install: %v", err)}
	}
	return prefix, nil
}

func putClient(tree *install.Tree, prefix string, c *cli.Context) (install.Report, error) {
	program, err := install.OpenProgram(c.String("binary"))
	if err != nil {
		return install.Report{}, err
	}
	defer program.Close()
	pages, err := manPages(c.App.Commands)
	if err != nil {
		return install.Report{}, err
	}
	return tree.Put(install.Client(prefix, program, pages, completionScripts))
}

func installFailure(err error) error {
	f := &Failure{Code: exitFailed, Text: fmt.Sprintf("install: %v", err)}
	var problem *install.Problem
	if errors.As(err, &problem) {
		f.Advice = problem.Hint()
	}
	return f
}
