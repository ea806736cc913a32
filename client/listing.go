package client

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"nimbus/cloud"
)

var networksHelp = helpText{"list the network names that a cloud knows", `Usage:
  nimbus networks [--cloud NAME] [OPTIONS]

Example:
  nimbus networks

Options:
  --cloud NAME        cloud to ask, by its name in the settings` + commonHelp}

func (env *Env) networksCommand() *cli.Command {
	return env.listing("networks", func(c *cli.Context, s *session, driver cloud.Driver) error {
		networker, ok := driver.(cloud.Networker)
		if !ok {
			return &Failure{Code: exitFailed, Text: fmt.Sprintf("cloud %q cannot list its networks", s.settings.Cloud), Advice: "its operator knows them"}
		}
		networks, err := networker.Networks(c.Context)
		if err != nil {
			return &Failure{Code: exitFailed, Text: fmt.Sprintf("networks of cloud %q: %v", s.settings.Cloud, err), Advice: s.doctorAdvice("--cloud", s.settings.Cloud)}
		}
		var rows [][2]string
		for _, n := range networks {
			rows = append(rows, [2]string{n.Name, n.Description})
		}
		return s.table(networks, "NETWORK", rows)
	})
}

var listHelp = helpText{"list the images that a cloud knows", `Usage:
  nimbus list [--cloud NAME] [OPTIONS]

Example:
  nimbus list

Options:
  --cloud NAME        cloud to ask, by its name in the settings` + commonHelp}

func (env *Env) listCommand() *cli.Command {
	return env.listing("list", func(c *cli.Context, s *session, driver cloud.Driver) error {
		imager, ok := driver.(cloud.Imager)
		if !ok {
			return &Failure{Code: exitFailed, Text: fmt.Sprintf("cloud %q cannot list its images", s.settings.Cloud), Advice: "its operator knows them"}
		}
		images, err := imager.Images(c.Context)
		if err != nil {
			return &Failure{Code: exitFailed, Text: fmt.Sprintf("images of cloud %q: %v", s.settings.Cloud, err), Advice: s.doctorAdvice("--cloud", s.settings.Cloud)}
		}
		var rows [][2]string
		for _, i := range images {
			rows = append(rows, [2]string{i.Name, i.Description})
		}
		return s.table(images, "IMAGE", rows)
	})
}

// listing is a command that asks a cloud what it has.
func (env *Env) listing(name string, list func(*cli.Context, *session, cloud.Driver) error) *cli.Command {
	return &cli.Command{
		Name:  name,
		Flags: append(commonFlags(), stringFlags("cloud")...),
		Action: env.inSession(func(c *cli.Context, s *session) error {
			driver, err := s.cloud(s.settings.Cloud)
			if err != nil {
				return err
			}
			return list(c, s, driver)
		}),
	}
}

// table prints names and descriptions.
func (s *session) table(document any, title string, rows [][2]string) error {
	if s.out.document(document) {
		return nil
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s\tDESCRIPTION\n", title)
	for _, row := range rows {
		fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
	}
	if err := w.Flush(); err != nil {
		return err
	}
	s.out.print("%s", printable(b.String()))
	return nil
}
