package client

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"nimbus/client/history"
	"nimbus/cloud"
)

// handleFlags are those of commands that get into the machines of a launch.
func handleFlags() []cli.Flag { return stringFlags("handle", "conf", "history-dir") }

// handleHelp explains handleFlags.
const handleHelp = `
  --handle HANDLE     which launch; not needed when only one has machines
  --conf FILE         settings (default ~/.config/nimbus/config.toml)
  --history-dir DIR   where launches are remembered
`

var sshHelp = helpText{"log in to a machine of a cluster, or run a command there", `Usage:
  nimbus ssh [OPTIONS] NODE|ROLE|WORKSPACE [COMMAND...]

Logs in to a node. Of a role or a workspace with several nodes it is the first.
The ssh program of this machine is used where the node lets people in that way;
a sandbox on this machine is entered without it otherwise. Hosts that ran before
("run --hosts") are entered with the user, key, port and jump host of the launch.
Wherever it is, one is root there, by sudo if need be. As with ssh, the words of
a command are joined and parsed by a shell there.

Examples:
  nimbus ssh head-0
  nimbus ssh --handle cluster-001 worker 'tail -f /var/log/syslog | grep nfs'

Options:
  --enter             go in without SSH, also where that would work
  --tty               give a command a terminal; a login has one anyway` + handleHelp + `
Exit codes: that of the command or the login; 255 ssh could not reach the node;
1 also wrong parameters; 2 also something else did not work.
`}

func (env *Env) sshCommand() *cli.Command {
	return &cli.Command{
		Name: "ssh",
		Flags: append(handleFlags(), &cli.BoolFlag{Name: "enter"},
			&cli.BoolFlag{Name: "tty", Aliases: []string{"t"}}),
		Action: func(c *cli.Context) error {
			args := c.Args().Slice()
			if len(args) == 0 {
				return &Failure{Code: exitUsage, Text: "ssh: into which machine?", Advice: "give a node, a role or a workspace, after the options: nimbus ssh head-0"}
			}
			words := args[1:]
			if len(words) > 0 && words[0] == "--" {
				words = words[1:]
			} else if len(words) > 0 && strings.HasPrefix(words[0], "-") {
				return &Failure{Code: exitUsage, Text: fmt.Sprintf("ssh: the option %s stands after the node", words[0]),
					Advice: "options come first; a command that begins with - comes after --"}
			}
			s, err := env.open(c)
			if err != nil {
				return err
			}
			return s.ssh(c.Context, c.String("handle"), args[0], strings.Join(words, " "), c.Bool("enter"), c.Bool("tty"))
		},
	}
}

func (s *session) ssh(ctx context.Context, handle, target, command string, enter, tty bool) error {
	record, err := s.inside(handle)
	if err != nil {
		return err
	}
	found, err := targets(record, target)
	if err != nil {
		return err
	}
	i := found[0]
	if len(found) > 1 {
		s.out.warn("%s, the first of %d\n", i.Node, len(found))
	}
	driver, err := s.cloudOf(record)
	if err != nil {
		return err
	}
	enterer, canEnter := driver.(cloud.Enterer)
	if enter && !canEnter {
		return &Failure{Code: exitUsage, Text: fmt.Sprintf("cloud %q has no way into its machines but SSH", record.Cloud), Advice: "leave out --enter"}
	}
	if !enter && !s.overSSH(record.Cloud) { // the driver knows the way to hosts, ssh may not
		problem := s.becomeSSH(record, i, command, tty)
		if problem == nil {
			return nil
		}
		if !canEnter {
			return &Failure{Code: exitFailed, Text: fmt.Sprintf("%s: %v", i.Node, problem)}
		}
	}
	return s.enter(ctx, enterer, i, command, tty)
}

// becomeSSH turns this process into ssh. It returns why that cannot be.
func (s *session) becomeSSH(record history.Record, i history.Instance, command string, tty bool) error {
	l, err := s.sshLogin(record, i)
	if err != nil {
		return err
	}
	path, err := s.env.FindProgram("ssh")
	if err != nil {
		return fmt.Errorf("there is no ssh program on this machine: %v", err)
	}
	l.terminal = tty
	return s.env.Become(path, l.argv(command))
}

// enter runs a login shell or a command in an instance, at this terminal if
// there is one.
func (s *session) enter(ctx context.Context, enterer cloud.Enterer, i history.Instance, command string, tty bool) error {
	p := cloud.Program{Stdin: s.env.Stdin, Stdout: s.env.Stdout, Stderr: s.env.Stderr}
	if command != "" {
		p.Command = []string{"/bin/sh", "-c", command}
	}
	if command == "" || tty {
		ctx2, terminal, restore, err := s.env.takeTerminal(ctx)
		if err != nil {
			return &Failure{Code: exitFailed, Text: fmt.Sprintf("this terminal: %v", err)}
		}
		defer restore()
		ctx, p.Terminal = ctx2, terminal
	}
	code, err := enterer.Enter(ctx, i.Instance, p)
	switch {
	case err != nil && ctx.Err() != nil:
		return &Failure{Code: exitInterrupted, Text: "interrupted"}
	case err != nil:
		return unreached(i, err)
	case code != 0:
		return &Failure{Code: code} // it said why itself
	}
	return nil
}
