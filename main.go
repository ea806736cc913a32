// Nimbus launches one-click, self-configuring clusters. This one binary is the
// client, the broker and the agent: the name it is called by, or its first
// argument, says which.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"nimbus/agent"
	"nimbus/broker"
	"nimbus/broker/cluster"
	"nimbus/client"
	"nimbus/client/progress"
	"nimbus/cloud/local"
)

// applets are names that stand for a subcommand; install.sh and the Makefile
// make links of these names.
var applets = map[string]string{"ctx-broker": "broker", "ctx-agent": "agent", "launch.sh": "agent"}

// classic are the names that switch on the flags of the classic client.
var classic = []string{"cloud-client", "cloud-client.sh"}

func main() {
	// A cluster's keeper and a sandbox's first process are this binary, too.
	if code, ok := local.Main(os.Args); ok {
		os.Exit(code)
	}
	ctx, again, done := client.Interrupts(context.Background())
	code := run(ctx, again, os.Args, os.Stdin, os.Stdout, os.Stderr)
	done()
	os.Exit(code)
}

// run is the program; it returns the exit code.
func run(ctx context.Context, again <-chan struct{}, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	name := filepath.Base(args[0])
	command, rest := args[0], args[1:]
	isClassic := slices.Contains(classic, name)
	if !isClassic && len(rest) > 0 && slices.Contains(classic, rest[0]) {
		isClassic, command, rest = true, command+" "+rest[0], rest[1:]
	}
	if subcommand, ok := applets[name]; ok {
		rest = append([]string{subcommand}, rest...)
	}
	if !isClassic && len(rest) > 0 {
		rest = asOtherToolsSay(rest)
	}
	env, err := client.System(command, isClassic, stdin, stdout, stderr)
	if err != nil {
		return failed(stderr, err)
	}
	env.Again = again

	calls := [][]string{rest}
	if isClassic {
		var notes []string
		if calls, notes, err = client.Rewrite(rest); err != nil {
			return failed(stderr, err)
		}
		for _, note := range notes {
			fmt.Fprintln(stderr, "nimbus: note:", note)
		}
	}
	for _, call := range calls {
		app := application(env)
		err := app.RunContext(ctx, append([]string{"nimbus"}, client.OptionsFirst(call, app.Commands)...))
		if err == nil {
			err = env.Lost() // help comes from the library, which does not look
		}
		if err != nil {
			return failed(stderr, err)
		}
	}
	return 0
}

// asOtherToolsSay takes what people type by habit: "help", "help run",
// "--version".
func asOtherToolsSay(rest []string) []string {
	switch rest[0] {
	case "--version", "-v":
		return []string{"version"}
	case "help":
		return append(rest[1:len(rest):len(rest)], "--help")
	}
	return rest
}

// application is the tree of all commands. (A new one for each call: the
// library keeps what it parsed.)
func application(env *client.Env) *cli.App {
	commands := append(client.Commands(env), broker.Command(), agent.Command())
	return &cli.App{
		Name:                  "nimbus",
		Commands:              commands,
		CustomAppHelpTemplate: help,
		HideVersion:           true,
		HideHelpCommand:       true,
		Reader:                env.Stdin,
		Writer:                env.Results(),
		ErrWriter:             env.Stderr,
		// The library would end the process by itself, and split values at
		// commas.
		ExitErrHandler:            func(*cli.Context, error) {},
		DisableSliceFlagSeparator: true,
		OnUsageError:              func(_ *cli.Context, err error, _ bool) error { return usage(err, commands) },
		Action: func(c *cli.Context) error {
			if name := c.Args().First(); name != "" {
				return unknownCommand(name, c.App.Commands)
			}
			return cli.ShowAppHelp(c)
		},
	}
}

func unknownCommand(name string, commands []*cli.Command) error {
	var known []string
	for _, c := range commands {
		if !c.Hidden {
			known = append(known, c.Name)
		}
	}
	failure := &client.Failure{Code: 1, Text: fmt.Sprintf("there is no command %q", name), Advice: "nimbus --help lists the commands"}
	if best := cluster.Nearest(name, known); best != "" {
		failure.Advice = fmt.Sprintf("did you mean %q? nimbus --help lists the commands", best)
	}
	return failure
}

// usage is for an option before the command: there are none.
func usage(err error, commands []*cli.Command) error {
	failure := &client.Failure{Code: 1, Text: err.Error(), Advice: "nimbus --help lists the commands"}
	_, name, undefined := strings.Cut(failure.Text, "flag provided but not defined: -")
	if !undefined {
		return failure
	}
	name = strings.TrimLeft(name, "-")
	failure.Text = fmt.Sprintf("there is no option --%s before the command", name)
	var having []string
	for _, c := range commands {
		switch {
		case c.Hidden:
		case c.Name == name:
			failure.Advice = fmt.Sprintf("a command is written without dashes: nimbus %s", name)
			return failure
		case slices.ContainsFunc(c.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) }):
			having = append(having, c.Name)
		}
	}
	switch {
	case len(having) == 1:
		failure.Advice = fmt.Sprintf("the command comes first: nimbus %s --%s", having[0], name)
	case having != nil:
		failure.Advice = fmt.Sprintf("the command comes first: nimbus COMMAND --%s; nimbus --help lists the commands", name)
	}
	return failure
}

// failed prints an error, then what to do, and returns the exit code: the
// error's own, or 2 for what has none.
func failed(stderr io.Writer, err error) int {
	// What a broker or a machine said is in some errors: shown, not obeyed.
	if text := err.Error(); text != "" { // else the exit code says it all: another program's
		fmt.Fprintln(stderr, "nimbus: error:", progress.Printable(text))
	}
	var hint interface{ Hint() string }
	if errors.As(err, &hint) && hint.Hint() != "" {
		fmt.Fprintln(stderr, "nimbus: hint:", progress.Printable(hint.Hint()))
	}
	var code interface{ ExitCode() int }
	if errors.As(err, &code) {
		return code.ExitCode()
	}
	return 2
}

const help = `nimbus: clusters that configure themselves

  nimbus run --cluster FILE --hours 1    launch a cluster and wait until it is configured
  nimbus status                          what was launched, what runs
  nimbus terminate --handle HANDLE       end it

Before a launch:
  nimbus new NAME --role R --role S      begin a cluster of your own: definition, scripts
  nimbus validate FILE ...               check cluster definitions
  nimbus graph FILE                      draw who needs whom
  nimbus run --dry-run --cluster FILE    what would be launched
  nimbus networks | list                 network and image names of a cloud

Into the machines:
  nimbus ssh NODE                        log in, or run a command; also a role or workspace
  nimbus exec --all -- COMMAND           run a command on many at once
  nimbus cp FILE NODE:PATH               copy files there, or back
  nimbus logs --follow NODE              what its scripts print
  nimbus rerun --failed                  run the scripts again where they failed

Later:
  nimbus resume --handle HANDLE          finish a run whose client has died
  nimbus extend --hours 1                give a launch more time
  nimbus nodes                           addresses, roles and host keys of a cluster's nodes
  nimbus release                         let another machine take a node's place
  nimbus inject | lock                   data for a cluster launched with --no-ctx-lock
  nimbus forget --all-ended              remove what ended launches left in the history
  nimbus print-ctx-status                the context state of each address, for scripts

  nimbus doctor                          what would keep a launch from working here
  nimbus contexts | login URL            a broker's contexts; the key of a broker elsewhere
  nimbus completion bash | zsh | fish    completion for your shell
  nimbus broker                          serve contexts to others
  nimbus agent                           configure this machine as a node (run at boot)
  nimbus version

"nimbus COMMAND --help" says more. Called as cloud-client or cloud-client.sh, the
flags are those of the classic client: cloud-client --run --cluster FILE --hours 1

Try it:

  nimbus run --cluster samples/hello-cluster.xml --hours 1
`
