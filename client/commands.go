package client

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

// Commands are the client's subcommands.
func Commands(env *Env) []*cli.Command {
	env.results = &results{w: env.Stdout}
	var commands []*cli.Command
	for _, entry := range []struct {
		command *cli.Command
		text    helpText
	}{
		{env.runCommand(), runHelp},
		{env.resumeCommand(), resumeHelp},
		{env.statusCommand(), statusHelp},
		{env.nodesCommand(), nodesHelp},
		{env.sshCommand(), sshHelp},
		{env.execCommand(), execHelp},
		{env.cpCommand(), cpHelp},
		{env.logsCommand(), logsHelp},
		{env.rerunCommand(), rerunHelp},
		{env.extendCommand(), extendHelp},
		{env.releaseCommand(), releaseHelp},
		{env.terminateCommand(), terminateHelp},
		{env.forgetCommand(), forgetHelp},
		{env.newCommand(), newHelp},
		{env.validateCommand(), validateHelp},
		{env.graphCommand(), graphHelp},
		{env.injectCommand(), injectHelp},
		{env.lockCommand(), lockHelp},
		{env.networksCommand(), networksHelp},
		{env.listCommand(), listHelp},
		{env.ctxStatusCommand(), ctxStatusHelp},
		{env.contextsCommand(), contextsHelp},
		{env.loginCommand(), loginHelp},
		{env.versionCommand(), versionHelp},
		{env.doctorCommand(), doctorHelp},
		{env.installCommand(), installHelp},
		{env.manCommand(), manHelp},
		{env.completionCommand(), completionHelp},
		{env.completeCommand(), completeHelp},
	} {
		c := entry.command
		c.Usage = entry.text.summary
		c.CustomHelpTemplate = entry.text.help
		c.OnUsageError = func(c *cli.Context, err error, sub bool) error {
			err = usageError(c, err, sub)
			env.answer(formatBefore(c), err)
			return err
		}
		c.HideHelpCommand = true
		c.Action = env.answered(interruptible(understood(c.Action)))
		commands = append(commands, c)
	}
	return append(commands, env.classicHelpCommand())
}

// understood refuses options that were not meant so before a command begins.
func understood(action cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		if err := swallowed(c); err != nil {
			return err
		}
		return action(c)
	}
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
		Action: env.answered(func(c *cli.Context) error {
			text, ok := classicTexts[c.Args().First()]
			if !ok {
				text = classicTexts["help"]
			}
			fmt.Fprint(env.results, text)
			return nil
		}),
	}
}
