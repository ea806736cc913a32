package client

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

var completionHelp = helpText{"print what lets a shell complete commands", `Usage:
  nimbus completion bash|zsh|fish

Prints a script for a shell. With it, the TAB key completes commands, options
and what belongs to them: handles, nodes, roles, clouds, images, files. The
flags of cloud-client are completed, too. "make install" puts the scripts where
shells look by themselves.

Examples:
  source <(nimbus completion bash)
  nimbus completion zsh >~/.zfunc/_nimbus
  nimbus completion fish | source
`}

//go:embed completion/nimbus.bash
var bashScript string

//go:embed completion/nimbus.zsh
var zshScript string

//go:embed completion/nimbus.fish
var fishScript string

var completionScripts = map[string]string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}

func (env *Env) completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion",
		Action: func(c *cli.Context) error {
			script, ok := completionScripts[c.Args().First()]
			if c.Args().Len() != 1 || !ok {
				shells := slices.Sorted(maps.Keys(completionScripts))
				return &Failure{Code: exitUsage, Text: "completion: give one shell: " + strings.Join(shells, ", "), Advice: "for example: source <(nimbus completion bash)"}
			}
			fmt.Fprint(env.results, script)
			return nil
		},
	}
}
