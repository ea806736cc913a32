package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"nimbus/agent/phase"
)

const help = `Usage:
  nimbus agent [--bootstrap FILE] [--config FILE]
  nimbus agent --dry-run [--manifest FILE]
  nimbus agent --rerun [--from PHASE]
  nimbus agent install [--root DIR]

Configures this machine as a node of a cluster: finds its bootstrap document,
joins the context, waits for the answer, runs the role scripts and reports.
Meant to be started at every boot; on a machine that is no part of a cluster it
says so in one line, changes nothing and ends with 0. Also called ctx-agent and
launch.sh.

The log is /opt/nimbus/ctxlog.txt, the scripts are in /opt/nimbus/ctx-scripts;
their README.md says how to write one. "nimbus agent install --help" explains
how the agent gets into a machine or an image.

Examples:
  nimbus agent --dry-run
  nimbus agent --dry-run --manifest /var/lib/nimbus/CONTEXT/manifest.json
  nimbus agent --rerun --from 3-data

Options:
  --bootstrap FILE    read the bootstrap document from FILE and look nowhere
                      else, but for this machine's names
  --config FILE       settings (TOML; default /opt/nimbus/ctx/ctx.conf)
  --dry-run           print what was found and which scripts are there; change
                      nothing
  --manifest FILE     with --dry-run: print the steps of a saved manifest
  --rerun             begin again on a machine that failed, or is done: the broker
                      is told, and all scripts are run anew
  --from PHASE        with --rerun: leave out the phases before this one; a
                      number, or a name such as 1-ipandhost
  --poweroff          after a failure, run the problem script and let it power
                      off
  --quiet             log warnings and errors only
  --verbose           log more

The options of the original agent (-z -r -a -s -c -b -p -q -v -t) are taken, too.

Exit codes: 0 done, or nothing to do; 1 bad arguments; 2 bad configuration;
3 this machine does not let the agent work; 4 it failed; 5 another agent is at
work here; 42 internal mistake.
`

// Command is "nimbus agent", also reached as ctx-agent and launch.sh.
func Command() *cli.Command {
	return &cli.Command{
		Name:               "agent",
		Usage:              "configure this machine as a node of a cluster",
		CustomHelpTemplate: help,
		HideHelpCommand:    true,
		Subcommands:        []*cli.Command{installCommand()},
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "bootstrap", Aliases: []string{"b", "bootstrap-path"}},
			&cli.StringFlag{Name: "config", Aliases: []string{"c", "configpath"}, Value: ConfigFile},
			&cli.BoolFlag{Name: "dry-run"},
			&cli.StringFlag{Name: "from"},
			&cli.StringFlag{Name: "manifest"},
			&cli.BoolFlag{Name: "rerun"},
			&cli.BoolFlag{Name: "poweroff", Aliases: []string{"p"}},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v", "t", "trace"}},
			// Of the original, without a meaning today.
			&cli.BoolFlag{Name: "tryall", Aliases: []string{"z"}, Hidden: true},
			&cli.BoolFlag{Name: "regular", Aliases: []string{"r"}, Hidden: true},
			&cli.BoolFlag{Name: "amazon", Aliases: []string{"a"}, Hidden: true},
			&cli.StringFlag{Name: "polltime", Aliases: []string{"s"}, Hidden: true},
		},
		OnUsageError: func(_ *cli.Context, err error, _ bool) error {
			return exitf(CodeUsage, "agent: %v; see nimbus agent --help", err)
		},
		Action: action,
	}
}

func action(c *cli.Context) error {
	if c.Args().Present() {
		return exitf(CodeUsage, "agent: unexpected argument %q; see nimbus agent --help", c.Args().First())
	}
	if c.IsSet("manifest") && !c.Bool("dry-run") {
		return exitf(CodeUsage, "agent: --manifest only goes with --dry-run")
	}
	if c.Bool("rerun") && c.Bool("dry-run") {
		return exitf(CodeUsage, "agent: --rerun does not go with --dry-run")
	}
	if c.IsSet("from") && !c.Bool("rerun") {
		return exitf(CodeUsage, "agent: --from only goes with --rerun")
	}
	path := c.String("config")
	cfg, warning, err := Load(path)
	if errors.Is(err, fs.ErrNotExist) && !c.IsSet("config") {
		cfg, err = Default(), nil
	}
	if err != nil {
		return exitf(CodeConfig, "agent configuration: %w", err)
	}
	if warning != "" {
		fmt.Fprintln(c.App.ErrWriter, warning)
	}
	cfg.Bootstrap, cfg.Rerun = c.String("bootstrap"), c.Bool("rerun")
	if c.IsSet("from") {
		if cfg.From, err = phase.Find(c.String("from")); err != nil {
			return exitf(CodeUsage, "agent: --from: %w", err)
		}
	}
	if c.Bool("poweroff") {
		cfg.PowerOff = true
		if cfg.ProblemScript == "" {
			cfg.ProblemScript = filepath.Join(cfg.ScriptsDir, "problem.sh")
		}
	}
	if c.Bool("quiet") {
		cfg.LogLevel = "warn"
	}
	if c.Bool("verbose") {
		cfg.LogLevel = "debug"
		if old := ignored(c); old != "" {
			fmt.Fprintln(c.App.ErrWriter, "ignored, without a meaning today: "+old)
		}
	}
	if c.Bool("dry-run") {
		return DryRun(c.Context, cfg, c.String("manifest"), c.App.Writer)
	}
	// The agent waits most of its life, on machines that are there for
	// something else: memory is worth more than its time.
	debug.SetGCPercent(25)
	ctx, stop := untilStopped(c.Context)
	defer stop()
	return Run(ctx, cfg, c.App.ErrWriter)
}

// untilStopped ends with the signals that ask a program to stop: the agent
// then ends its script, and the next start goes on. A hang-up that somebody
// had ignored (nohup) stays so.
func untilStopped(ctx context.Context) (context.Context, context.CancelFunc) {
	signals := []os.Signal{syscall.SIGTERM, syscall.SIGINT}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signal.NotifyContext(ctx, signals...)
}

// ignored names the options of the original that were given.
func ignored(c *cli.Context) string {
	var given []string
	for _, name := range []string{"tryall", "regular", "amazon", "polltime"} {
		if c.IsSet(name) {
			given = append(given, "--"+name)
		}
	}
	return strings.Join(given, " ")
}
