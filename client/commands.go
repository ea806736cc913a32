package client

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

// Commands are the client's subcommands.
func Commands(env *Env) []*cli.Command {
	commands := []*cli.Command{
		env.runCommand(),
		env.statusCommand(),
		env.nodesCommand(),
		env.releaseCommand(),
		env.terminateCommand(),
		env.validateCommand(),
		env.networksCommand(),
		env.listCommand(),
		env.ctxStatusCommand(),
		env.loginCommand(),
	}
	for _, c := range commands {
		text := helpTexts[c.Name]
		c.Usage = text.summary
		c.CustomHelpTemplate = text.help
		c.OnUsageError = usageError
		c.HideHelpCommand = true
		c.Action = interruptible(c.Action)
	}
	return append(commands, env.classicHelpCommand())
}

// interruptible makes a command that Ctrl-C ended say so, instead of naming
// whatever failed because of it.
func interruptible(action cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		err := action(c)
		if err != nil && c.Context.Err() != nil && codeOf(err) != exitInterrupted {
			return &Failure{Code: exitInterrupted, Text: "interrupted"}
		}
		return err
	}
}

// classicHelpCommand prints what the classic client's --help, --usage and
// --extrahelp print.
func (env *Env) classicHelpCommand() *cli.Command {
	return &cli.Command{
		Name:            classicHelp,
		Hidden:          true,
		HideHelpCommand: true,
		OnUsageError:    usageError,
		Action: func(c *cli.Context) error {
			text, ok := classicTexts[c.Args().First()]
			if !ok {
				text = classicTexts["help"]
			}
			fmt.Fprint(env.Stdout, text)
			return nil
		},
	}
}
