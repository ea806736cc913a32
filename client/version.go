package client

import (
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

var versionHelp = helpText{"print the version", `Usage:
  nimbus version [--json]

Prints the version of this program, the revision that it was built from, and by
which Go.

Example:
  nimbus version

Options:
  --json              print one JSON document
`}

// Version is what --json prints of this program.
type Version struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go"`
}

func (env *Env) versionCommand() *cli.Command {
	return &cli.Command{
		Name:  "version",
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			info, ok := debug.ReadBuildInfo()
			if !ok {
				return &Failure{Code: exitFailed, Text: "this program was built without a version"}
			}
			v := Version{Version: info.Main.Version, Go: info.GoVersion}
			for _, s := range info.Settings {
				if s.Key == "vcs.revision" {
					v.Revision = s.Value
				}
			}
			out := newOutput(env, formatOf(c))
			if out.document(v) {
				return nil
			}
			revision := ""
			if v.Revision != "" {
				revision = " " + v.Revision
			}
			out.print("nimbus %s%s (%s)\n", v.Version, revision, v.Go)
			return nil
		},
	}
}
