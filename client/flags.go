package client

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"nimbus/broker/cluster"
)

// helpText is what people read of a subcommand.
type helpText struct{ summary, help string }

// commonHelp explains commonFlags.
const commonHelp = `
  --conf FILE         settings (default ~/.config/nimbus/config.toml)
  --history-dir DIR   where launches are remembered
  --json              print one JSON document
`

// Flags that most commands have.
func commonFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "conf"},
		&cli.StringFlag{Name: "history-dir"},
		jsonFlag(),
	}
}

func stringFlags(names ...string) []cli.Flag {
	var flags []cli.Flag
	for _, name := range names {
		flags = append(flags, &cli.StringFlag{Name: name})
	}
	return flags
}

func jsonFlag() cli.Flag { return &cli.GenericFlag{Name: "json", Value: new(format)} }

// Set reads --json and --json=stream.
func (f *format) Set(text string) error {
	switch text {
	case "true", string(formatDocument):
		*f = formatDocument
	case string(formatStream):
		*f = formatStream
	case "false":
		*f = formatText
	default:
		return errors.New(`write --json or --json=stream`)
	}
	return nil
}

func (f *format) String() string { return string(*f) }

// IsBoolFlag lets --json stand without a value.
func (f *format) IsBoolFlag() bool { return true }

// formatOf is what --json says.
func formatOf(c *cli.Context) format {
	if f, ok := c.Generic("json").(*format); ok {
		return *f
	}
	return formatText
}

// formatBefore is what --json says when it stands before an option that could
// not be understood: the library has no values then.
func formatBefore(c *cli.Context) format {
	for _, flag := range c.Command.Flags {
		if g, ok := flag.(*cli.GenericFlag); ok && g.Name == "json" {
			if f, ok := g.Value.(*format); ok {
				return *f
			}
		}
	}
	return formatText
}

// noArguments refuses what stands after the options: it would be ignored, and
// so would every option behind it.
func noArguments(c *cli.Context) error {
	if c.Args().Len() == 0 {
		return nil
	}
	advice := "options are written --option VALUE; see --help"
	for _, option := range []string{"cluster", "handle"} {
		if slices.ContainsFunc(c.Command.Flags, func(f cli.Flag) bool { return f.Names()[0] == option }) && !strings.HasPrefix(c.Args().First(), "-") {
			advice = fmt.Sprintf("did you mean --%s %s?", option, c.Args().First())
			break
		}
	}
	return &Failure{Code: exitUsage, Text: fmt.Sprintf("%s: unexpected argument %q", c.Command.Name, c.Args().First()), Advice: advice}
}

// swallowed finds an option without a value, which took the option behind it
// for one.
func swallowed(c *cli.Context) error {
	known := map[string]bool{}
	for _, f := range c.Command.Flags {
		for _, name := range f.Names() {
			known["--"+name] = true
		}
	}
	for _, f := range c.Command.Flags {
		var values []string
		name := f.Names()[0]
		switch f.(type) {
		case *cli.StringFlag:
			values = []string{c.String(name)}
		case *cli.StringSliceFlag:
			values = c.StringSlice(name)
		}
		for _, value := range values {
			if option, _, _ := strings.Cut(value, "="); known[option] && name != "value" { // of data, which may be anything
				return &Failure{Code: exitUsage, Text: fmt.Sprintf("%s: --%s needs a value: behind it stands the option %s", c.Command.Name, name, option), Advice: "see --help"}
			}
		}
	}
	return nil
}

// badValue matches what the flag package says of a value that it cannot read.
var badValue = regexp.MustCompile(`^invalid (?:boolean )?value (".*") for (?:flag )?-+([a-z-]+): (.*)$`)

// usageError puts the flag package's complaint into our words.
func usageError(c *cli.Context, err error, _ bool) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: "); ok {
		var known []string
		for _, f := range c.Command.Flags {
			known = append(known, f.Names()...)
		}
		return unknownOption(c.Command.Name, strings.TrimLeft(name, "-"), known)
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: "); ok {
		text = "--" + strings.TrimLeft(name, "-") + " needs a value"
	}
	if m := badValue.FindStringSubmatch(text); m != nil {
		why := m[3]
		if strings.HasPrefix(why, "parse error") || strings.HasPrefix(why, "strconv.") {
			why = "this is no such value"
		}
		text = fmt.Sprintf("--%s %s: %s", m[2], m[1], why)
	}
	return &Failure{Code: exitUsage, Text: c.Command.Name + ": " + text, Advice: "see --help"}
}

func unknownOption(command, name string, known []string) error {
	f := &Failure{Code: exitUsage, Text: fmt.Sprintf("%s: unknown option --%s", command, name), Advice: "see --help"}
	if best := cluster.Nearest(name, known); best != "" {
		f.Advice = fmt.Sprintf("did you mean --%s?", best)
	}
	return f
}
