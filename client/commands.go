package client

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

// Commands are the client's subcommands.
func Commands(env *Env) []*cli.Command {
	var commands []*cli.Command
	for _, entry := range []struct {
		command *cli.Command
		text    helpText
	}{
		{env.runCommand(), runHelp},
		{env.statusCommand(), statusHelp},
		{env.nodesCommand(), nodesHelp},
		{env.sshCommand(), sshHelp},
		{env.execCommand(), execHelp},
		{env.cpCommand(), cpHelp},
		{env.releaseCommand(), releaseHelp},
		{env.terminateCommand(), terminateHelp},
		{env.validateCommand(), validateHelp},
		{env.networksCommand(), networksHelp},
		{env.listCommand(), listHelp},
		{env.ctxStatusCommand(), ctxStatusHelp},
		{env.loginCommand(), loginHelp},
	} {
		c := entry.command
		c.Usage = entry.text.summary
		c.CustomHelpTemplate = entry.text.help
		c.OnUsageError = usageError
		c.HideHelpCommand = true
		c.Action = interruptible(c.Action)
		commands = append(commands, c)
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
