package broker

import (
	"fmt"
	"io"
	"runtime"

	"github.com/urfave/cli/v2"

	"nimbus/install"
)

const installHelp = `Usage:
  nimbus broker install [--root DIR] [--binary FILE] [--no-boot]
  nimbus broker install --uninstall [--root DIR]

Puts this program into this machine as a broker that starts at boot, or into an
image that is mounted at DIR: the program and its names to /usr/local/bin, the
service nimbus-broker of systemd, and /etc/nimbus/broker.toml to begin with,
unless there is one. The service runs as a user of its own, who owns the data
in /var/lib/nimbus-broker.

Run it again at will: what is right is left alone, and a changed broker.toml
stays. Taking it back leaves the data: contexts, the CA and the owner's key.

Examples:
  nimbus broker install
  nimbus broker install --root /mnt/image --no-boot
  nimbus broker install --uninstall

Options:
  --root DIR          the root of an image, instead of this machine
  --binary FILE       install this program instead of the one that runs: an image
                      may be for another processor
  --no-boot           the service is there, but not started at boot
  --uninstall         take all of it back, but not the data

Exit codes: 0 done; 1 wrong parameters; 2 it could not be written.
`

func installCommand() *cli.Command {
	return &cli.Command{
		Name:               "install",
		Usage:              "put a broker into this machine or an image",
		CustomHelpTemplate: installHelp,
		HideHelpCommand:    true,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "root"},
			&cli.StringFlag{Name: "binary"},
			&cli.BoolFlag{Name: "no-boot"},
			&cli.BoolFlag{Name: "uninstall"},
		},
		OnUsageError: func(_ *cli.Context, err error, _ bool) error {
			return advisedUsage{usageError{fmt.Errorf("broker install: %w", err)}}
		},
		Action: func(c *cli.Context) error {
			wrong := func(format string, args ...any) error {
				return advisedUsage{usageError{fmt.Errorf("broker install: "+format, args...)}}
			}
			root := c.String("root")
			switch {
			case c.Args().Present():
				return wrong("unexpected argument %q", c.Args().First())
			case c.IsSet("root") && root == "", c.IsSet("binary") && c.String("binary") == "":
				return wrong("--root and --binary need a path, or are left out")
			case c.Bool("uninstall") && (c.IsSet("binary") || c.Bool("no-boot")):
				return wrong("only --root goes with --uninstall")
			case root == "" && runtime.GOOS != "linux":
				return wrong("it is a service of Linux; \"nimbus broker\" itself runs here, too")
			}
			tree, err := install.OpenTree(root)
			if err != nil {
				return err
			}
			defer tree.Close()
			var gone []string
			if c.Bool("uninstall") {
				gone = []string{install.BrokerUnit}
				err = takeOut(tree, c.App.Writer)
			} else {
				err = putIn(tree, c.String("binary"), !c.Bool("no-boot"), root == "", c.App.Writer)
			}
			if err == nil {
				err = tree.Reload(gone...)
			}
			return err
		},
	}
}

// advisedUsage is a mistake of whoever called the installer.
type advisedUsage struct{ usageError }

func (advisedUsage) Hint() string { return "nimbus broker install --help" }

func putIn(tree *install.Tree, binary string, boot, here bool, out io.Writer) error {
	program, err := install.OpenProgram(binary)
	if err != nil {
		return err
	}
	defer program.Close()
	if err := program.ForLinux(tree, binary != ""); err != nil {
		return err
	}
	plan, systemd := install.Broker(tree, program, boot)
	report, err := tree.Put(plan)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Installed as %s.\n", tree.Name("usr/local/bin/nimbus"))
	report.Print(out)
	fmt.Fprintf(out, "Say in %s where it is to answer.\n", tree.Name("etc/nimbus/broker.toml"))
	switch {
	case !systemd:
		fmt.Fprintln(out, "There is no systemd here: have this called at boot, as a user who owns /var/lib/nimbus-broker:\n  /usr/local/bin/nimbus broker --config /etc/nimbus/broker.toml")
	case here:
		fmt.Fprintln(out, "Then start it:\n  systemctl restart nimbus-broker")
	case boot:
		fmt.Fprintln(out, "It starts at boot.")
	}
	return nil
}

func takeOut(tree *install.Tree, out io.Writer) error {
	report, err := tree.Remove(install.BrokerRecord)
	if err != nil {
		return err
	}
	if !report.Changed() && len(report.Kept) == 0 {
		fmt.Fprintf(out, "There is no broker in %s that was installed by this command.\n", tree.Name(""))
		return nil
	}
	fmt.Fprintln(out, "Removed.")
	report.Print(out)
	fmt.Fprintf(out, "What it has stored stays in %s; a broker that runs goes on until it is stopped.\n", tree.Name("var/lib/nimbus-broker"))
	return nil
}
