package client

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// optionsAnywhere are the commands whose options may stand behind the words
// that they are about. Of others those words are a command, or its options.
var optionsAnywhere = []string{"validate", "graph", "logs", "rerun"}

// OptionsFirst puts the options of a command line before its other words, as
// the library wants it. A line that holds something else is left as it is, to
// be refused.
func OptionsFirst(args []string, commands []*cli.Command) []string {
	if len(args) == 0 || !slices.Contains(optionsAnywhere, args[0]) {
		return args
	}
	n := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.Name == args[0] })
	if n < 0 {
		return args
	}
	options, words := []string{args[0]}, []string{}
	for rest := args[1:]; len(rest) > 0; {
		word := rest[0]
		if word == "--" {
			words = append(words, rest[1:]...)
			break
		}
		if !strings.HasPrefix(word, "-") || word == "-" {
			words, rest = append(words, word), rest[1:]
			continue
		}
		takes, known := optionOf(commands[n], word)
		if !known || takes && len(rest) < 2 {
			return args
		}
		length := 1
		if takes {
			length = 2
		}
		options, rest = append(options, rest[:length]...), rest[length:]
	}
	if slices.ContainsFunc(words, func(word string) bool { return strings.HasPrefix(word, "-") && word != "-" }) {
		return args
	}
	return append(options, words...)
}

// optionOf finds what an option on a command line is, and whether the next word
// is its value.
func optionOf(c *cli.Command, word string) (takes, known bool) {
	name, _, has := strings.Cut(strings.TrimLeft(word, "-"), "=")
	if name == "help" || name == "h" {
		return false, true
	}
	for _, f := range c.Flags {
		if slices.Contains(f.Names(), name) {
			return takesValue(f) && !has, true
		}
	}
	return false, false
}
