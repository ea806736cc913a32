package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"nimbus/install"
)

const installHelp = `Usage:
  nimbus agent install [--root DIR] [--binary FILE] [--keep-state] [--no-boot]
  nimbus agent install --uninstall [--root DIR]

Puts this program as the agent into this machine, or into an image that is
mounted at DIR: the program and its names to /opt/nimbus/bin, launch.sh to
/opt/nimbus/ctx, the scripts to /opt/nimbus/ctx-scripts, and what calls it at
boot, by the init that the system has: systemd, OpenRC, SysV, rc.local or that
of busybox. Scripts that were changed stay as they are. What an earlier cluster
left on the machine goes, unless --keep-state says otherwise: an image with a
claim in it would give all its machines the same secret.

Run it again at will: what is right is left alone. It does all or nothing, and
follows no symbolic link out of DIR. /opt/nimbus/installed.json says what was
put there.

Examples:
  nimbus agent install
  nimbus agent install --root /mnt/image
  nimbus agent install --root /mnt/image --binary bin/release/nimbus-linux-arm64
  nimbus agent install --uninstall

Options:
  --root DIR          the root of an image, instead of this machine
  --binary FILE       install this program instead of the one that runs: an image
                      may be for another processor
  --keep-state        keep what an earlier cluster left, and replace the program
                      even while an agent is at work
  --no-boot           nothing calls the agent at boot
  --uninstall         take all of it back, and what clusters have left

Exit codes: 0 done; 1 bad arguments; 2 bad configuration; 3 it could not be
written; 5 an agent is at work on this machine.
`

func installCommand() *cli.Command {
	return &cli.Command{
		Name:               "install",
		Usage:              "put the agent into this machine or an image",
		CustomHelpTemplate: installHelp,
		HideHelpCommand:    true,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "root"},
			&cli.StringFlag{Name: "binary"},
			&cli.BoolFlag{Name: "keep-state"},
			&cli.BoolFlag{Name: "no-boot"},
			&cli.BoolFlag{Name: "uninstall"},
		},
		OnUsageError: func(_ *cli.Context, err error, _ bool) error {
			return exitf(CodeUsage, "agent install: %v; see nimbus agent install --help", err)
		},
		Action: installAction,
	}
}

func installAction(c *cli.Context) (err error) {
	if c.Args().Present() {
		return exitf(CodeUsage, "agent install: unexpected argument %q; see nimbus agent install --help", c.Args().First())
	}
	for _, name := range []string{"root", "binary"} {
		if c.IsSet(name) && c.String(name) == "" {
			return exitf(CodeUsage, "agent install: --%s is empty; leave it out, or give a path", name)
		}
	}
	root := c.String("root")
	if c.Bool("uninstall") && (c.IsSet("binary") || c.Bool("keep-state") || c.Bool("no-boot")) {
		return exitf(CodeUsage, "agent install: only --root goes with --uninstall")
	}
	if root == "" && runtime.GOOS != "linux" {
		return exitf(CodeUsage, "agent install: the agent runs on Linux; with --root it is installed into an image")
	}
	tree, err := install.OpenTree(root)
	if err != nil {
		return exitf(CodeEnvironment, "agent install: %w", err)
	}
	defer tree.Close()
	left, err := leftIn(tree)
	if err != nil {
		return exitf(CodeConfig, "agent configuration: %w", err)
	}
	if root == "" && !c.Bool("keep-state") {
		free, err := alone(left.State)
		if err != nil {
			return exitf(CodeBusy, "agent install: %w", err)
		}
		defer free()
	}
	var gone []string
	if c.Bool("uninstall") {
		gone = []string{install.AgentUnit}
		err = takeOut(tree, left, c.App.Writer)
	} else {
		err = putIn(tree, left, c.String("binary"), !c.Bool("no-boot"), c.Bool("keep-state"), c.App.Writer)
	}
	if err != nil {
		return exitf(CodeEnvironment, "agent install: %w", err)
	}
	if err := tree.Reload(gone...); err != nil {
		fmt.Fprintln(c.App.ErrWriter, "nimbus: note:", err)
	}
	return nil
}

// leftIn says where the agent of a tree leaves what belongs to a context.
func leftIn(tree *install.Tree) (install.Left, error) {
	cfg := Default()
	content, err := tree.Read(strings.TrimPrefix(ConfigFile, "/"))
	if err == nil {
		cfg, _, err = parse(tree.Name(strings.TrimPrefix(ConfigFile, "/")), content)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return install.Left{}, err
	}
	return install.Left{
		State: cfg.StateDir, Bootstrap: cfg.BootstrapFile, Log: cfg.LogFile, Scripts: cfg.ScriptsDir,
		Hosts: "/etc/hosts", KnownHosts: cfg.KnownHosts, HostsEquiv: cfg.HostsEquiv,
	}, nil
}

// alone makes sure that no agent is at work here, until free is called.
func alone(stateDir string) (free func(), err error) {
	path := filepath.Join(stateDir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return func() {}, nil // none was ever, or it can be written to no more than the rest
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		f.Close()
		return nil, &install.Problem{Text: fmt.Sprintf("%v: %s is locked", errBusy, path),
			Fix: "wait until it is done (tail /opt/nimbus/ctxlog.txt); --keep-state replaces the program alone"}
	}
	return func() { f.Close() }, nil
}

// putIn installs the agent and says what was done.
func putIn(tree *install.Tree, left install.Left, binary string, boot, keep bool, out io.Writer) error {
	program, err := install.OpenProgram(binary)
	if err != nil {
		return err
	}
	defer program.Close()
	if err := program.ForLinux(tree, binary != ""); err != nil {
		return err
	}
	plan, called, err := install.Agent(tree, program, boot)
	if err != nil {
		return err
	}
	report, err := tree.Put(plan)
	if err != nil {
		return err
	}
	var wiped []string
	if !keep {
		if wiped, err = tree.Wipe(left); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "Installed in %s.\n", tree.Name(install.Home))
	report.Print(out)
	printWiped(out, wiped)
	switch {
	case called.Init != "":
		fmt.Fprintf(out, "  - called at boot by %s\n", called.Init)
	case boot:
		fmt.Fprintf(out, "There is no known init here: have %s called at boot, when the network is up.\n", install.Launch)
	default:
		fmt.Fprintf(out, "Nothing calls it at boot; call %s when the network is up.\n", install.Launch)
	}
	fmt.Fprintln(out, "On a machine that is no part of a cluster it says so and does nothing.")
	return nil
}

// takeOut removes the agent and says what was done.
func takeOut(tree *install.Tree, left install.Left, out io.Writer) error {
	wiped, err := tree.Wipe(left)
	if err != nil {
		return err
	}
	report, err := tree.Remove(install.AgentRecord)
	if err == nil {
		err = tree.RemoveKept()
	}
	if err != nil {
		return err
	}
	if !report.Changed() && len(report.Kept) == 0 {
		fmt.Fprintf(out, "There is no agent in %s that was installed by this command.\n", tree.Name(install.Home))
	} else {
		fmt.Fprintf(out, "Removed from %s.\n", tree.Name(install.Home))
	}
	report.Print(out)
	printWiped(out, wiped)
	return nil
}

func printWiped(out io.Writer, wiped []string) {
	for _, name := range wiped {
		fmt.Fprintf(out, "  - cleaned of an earlier cluster: /%s\n", printable(name))
	}
}
