package client

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"nimbus/client/manual"
)

var manHelp = helpText{"write the manual pages", `Usage:
  nimbus man DIR

Writes a manual page for this program and one for each of its commands into a
directory, nimbus.1, nimbus-run.1 and so on, out of the same texts that --help
prints. "make install" puts them where man(1) looks.

Example:
  nimbus man /usr/local/share/man/man1
`}

func (env *Env) manCommand() *cli.Command {
	return &cli.Command{
		Name:   "man",
		Hidden: true,
		Action: func(c *cli.Context) error {
			if c.Args().Len() != 1 || strings.HasPrefix(c.Args().First(), "-") {
				return &Failure{Code: exitUsage, Text: "man: give one directory", Advice: "for example: nimbus man man"}
			}
			pages, err := manPages(c.App.Commands)
			if err != nil {
				return &Failure{Code: exitFailed, Text: "man: " + err.Error()}
			}
			dir := env.expand(c.Args().First())
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return &Failure{Code: exitFailed, Text: fmt.Sprintf("man: %v", err), Advice: "give a directory that you may write to"}
			}
			for name, text := range pages {
				if err := os.WriteFile(filepath.Join(dir, name+".1"), []byte(text), 0o644); err != nil {
					return &Failure{Code: exitFailed, Text: fmt.Sprintf("man: %v", err), Advice: "give a directory that you may write to"}
				}
			}
			return nil
		},
	}
}

// manPages writes a page for each command that people are told of, and one for
// the program.
func manPages(commands []*cli.Command) (map[string]string, error) {
	pages := map[string]string{}
	program := overview()
	var all []manual.Term
	see := []string{}
	write := func(name string, c *cli.Command, see ...string) error {
		page, err := manual.Parse(c.CustomHelpTemplate)
		if err != nil {
			return fmt.Errorf("help of %s: %v", name, err)
		}
		pages[name] = page.Roff(manual.Title{Name: name, Summary: c.Usage, SeeAlso: see})
		return nil
	}
	for _, c := range commands {
		if c.Hidden {
			continue
		}
		name, around := "nimbus-"+c.Name, []string{"nimbus"}
		for _, sub := range c.Subcommands {
			if err := write(name+"-"+sub.Name, sub, name); err != nil {
				return nil, err
			}
			around = append(around, name+"-"+sub.Name)
		}
		if err := write(name, c, around...); err != nil {
			return nil, err
		}
		all = append(all, manual.Term{Name: c.Name, Text: c.Usage})
		see = append(see, name)
	}
	program.Sections[1].Blocks = []manual.Block{{Terms: all}}
	pages["nimbus"] = program.Roff(manual.Title{Name: "nimbus", Summary: "clusters that configure themselves", SeeAlso: see})
	return pages, nil
}

// overview is the page of the program; its commands are filled in.
func overview() manual.Page {
	return manual.Page{
		Usage: []string{"nimbus COMMAND [OPTIONS] [ARGUMENTS]", "cloud-client ACTION [OPTIONS]"},
		Sections: []manual.Section{
			{Blocks: []manual.Block{
				{Text: "Launches a cluster with one command: its machines find out, after boot, who all the others are (addresses, host names, SSH host keys, roles, data), configure themselves by small role scripts, and report back. A broker brings the exchange about, an agent in each machine calls the scripts, and the client launches, shows progress and ends the machines again. All three are this program."},
				{Text: `"nimbus COMMAND --help" says what each page here says. Called as cloud-client or cloud-client.sh the options are those of the classic client; "cloud-client --help" explains them.`},
			}},
			{Title: "Commands"},
			{Title: "Examples", Blocks: []manual.Block{{Lines: []string{
				"nimbus run --cluster samples/hello-cluster.xml --hours 1", "nimbus status", "nimbus terminate --handle cluster-001",
			}}}},
			{Title: "Exit codes", Blocks: []manual.Block{{Text: "0 it worked; 1 wrong parameters, or a node failed; 2 something else did not work; 6 print-ctx-status: not every node is ok; 130 interrupted; 143 and 129 ended by SIGTERM and SIGHUP, and what was launched goes on. ssh and exec end with the code of the command they ran; 124 it took too long, 255 its node could not be reached."}}},
			{Title: "Environment", Blocks: []manual.Block{{Terms: []manual.Term{
				{Name: "XDG_CONFIG_HOME", Text: "its directory nimbus has the settings and stored logins (default ~/.config)"},
				{Name: "XDG_STATE_HOME", Text: "its directory nimbus has the history, and what belongs to your own broker (default ~/.local/state)"},
				{Name: "HTTPS_PROXY, NO_PROXY", Text: "the proxy by which a configured broker is reached, and which hosts are reached without it"},
				{Name: "NO_COLOR", Text: "when it is set, the output has no colours"},
			}}}},
			{Title: "Files", Blocks: []manual.Block{{Terms: []manual.Term{
				{Name: "~/.config/nimbus/config.toml", Text: "settings"},
				{Name: "~/.config/nimbus/logins", Text: "keys of accounts at brokers"},
				{Name: "~/.local/state/nimbus/history", Text: "a directory for each launch"},
				{Name: "~/.local/state/nimbus/broker", Text: "your own broker, with its log broker.log"},
			}}}},
		},
	}
}
