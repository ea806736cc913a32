package client

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/urfave/cli/v2"

	"nimbus/client/manual"
)

// completeName is the hidden subcommand that shells ask.
const completeName = "complete"

var completeHelp = helpText{"answer a shell that completes a command", `Usage:
  nimbus complete -- WORD...

Prints what the last word may become, one candidate in each line, with a tab and
what it means. The scripts of "nimbus completion" call it.

Example:
  nimbus complete -- status --handle ''
`}

// completeCommand answers with what is on the disk: it asks no cloud and no
// broker, makes nothing, and is silent about whatever goes wrong.
func (env *Env) completeCommand() *cli.Command {
	return &cli.Command{
		Name:            completeName,
		Hidden:          true,
		SkipFlagParsing: true,
		Action: func(c *cli.Context) error {
			words := c.Args().Slice()
			if len(words) > 0 && words[0] == "--" {
				words = words[1:]
			}
			if env.Classic {
				words = append([]string{"cloud-client"}, words...)
			}
			for _, w := range candidates(c.App.Commands, words, env.valuesOf) {
				fmt.Fprintf(env.Stdout, "%s\t%s\n", w.word, w.text)
			}
			return nil
		},
	}
}

// A candidate is what a word may become, and what that means.
type candidate struct{ word, text string }

// A line is what was typed before the word that is to be completed.
type line struct {
	command string
	options map[string][]string
	args    int // words that are no options
}

func (l line) option(name string) string {
	if values := l.options[name]; len(values) > 0 {
		return values[len(values)-1]
	}
	return ""
}

// values are what an option or argument may be; word is what it begins with.
type values func(k kind, l line, word string) []candidate

// most is how many candidates a person might read.
const most = 1000

// candidates completes the last of words.
func candidates(tree []*cli.Command, words []string, look values) []candidate {
	if len(words) == 0 {
		return nil
	}
	word := words[len(words)-1]
	var all []candidate
	switch {
	case len(words) > 1 && (words[0] == "cloud-client" || words[0] == "cloud-client.sh"):
		all = classicCandidates(words[1:], look)
	case len(words) == 1 || len(words) == 2 && words[0] == "help":
		all = commandNames(tree)
	default:
		i := slices.IndexFunc(tree, func(c *cli.Command) bool { return c.Name == words[0] })
		if i < 0 {
			return nil
		}
		all = ofCommand(tree[i], words[1:], look)
	}
	var fit []candidate
	for _, c := range all {
		// A name with such characters could not be typed, and would steer
		// the terminal.
		if strings.HasPrefix(c.word, word) && !strings.ContainsFunc(c.word+c.text, unicode.IsControl) && len(fit) < most {
			fit = append(fit, c)
		}
	}
	return fit
}

func commandNames(tree []*cli.Command) (all []candidate) {
	for _, c := range tree {
		if !c.Hidden {
			all = append(all, candidate{c.Name, c.Usage})
		}
	}
	return append(all, candidate{"help", "say what a command does"}, candidate{"--help", "say what there is"})
}

// An option as completion sees it.
type option struct {
	name, text string
	value      bool // it takes one
	again      bool // it may be given several times
}

// ofCommand completes the last word after a command's name.
func ofCommand(c *cli.Command, words []string, look values) []candidate {
	help, _ := manual.Parse(c.CustomHelpTemplate) // without it there are no texts
	texts := help.Options()
	var options []option
	for _, f := range c.Flags {
		if v, ok := f.(cli.VisibleFlag); ok && !v.IsVisible() {
			continue
		}
		for i, name := range f.Names() {
			if len(name) > 1 && (i == 0 || texts[name] != "") { // the others are of earlier versions
				options = append(options, option{name, texts[name], takesValue(f), isSlice(f)})
			}
		}
	}
	options = append(options, option{name: "help", text: "say what it does"})
	return complete(line{command: c.Name, options: map[string][]string{}}, options, words, look)
}

func takesValue(f cli.Flag) bool {
	if g, ok := f.(*cli.GenericFlag); ok {
		b, is := g.Value.(interface{ IsBoolFlag() bool })
		return !is || !b.IsBoolFlag()
	}
	d, ok := f.(cli.DocGenerationFlag)
	return ok && d.TakesValue()
}

func isSlice(f cli.Flag) bool {
	s, ok := f.(cli.DocGenerationSliceFlag)
	return ok && s.IsSliceFlag()
}

// complete reads all words but the last, and says what that one may become.
func complete(l line, options []option, words []string, look values) []candidate {
	last := len(words) - 1
	for i := 0; i < last; i++ {
		name, value, given := strings.Cut(strings.TrimLeft(words[i], "-"), "=")
		switch {
		case words[i] == "--":
			return nil // what follows is none of ours: a command for a machine
		case !strings.HasPrefix(words[i], "-"):
			l.args++
			continue
		}
		at := slices.IndexFunc(options, func(o option) bool { return o.name == name })
		if at >= 0 && options[at].value && !given {
			if i+1 == last {
				return look(kindOf(l.command, name), l, words[last])
			}
			i++
			value = words[i]
		}
		l.options[name] = append(l.options[name], value)
	}
	word := words[last]
	if name, value, given := strings.Cut(word, "="); given && strings.HasPrefix(word, "-") {
		all := look(kindOf(l.command, strings.TrimLeft(name, "-")), l, value)
		for i := range all {
			all[i].word = name + "=" + all[i].word
		}
		return all
	}
	var all []candidate
	if k := argumentOf(l); !strings.HasPrefix(word, "-") && k != nothing {
		all = look(k, l, word)
	}
	if l.args > 0 { // options behind arguments mean nothing
		return all
	}
	if len(all) == 0 || strings.HasPrefix(word, "-") {
		for _, o := range options {
			if o.again || l.options[o.name] == nil {
				all = append(all, candidate{"--" + o.name, o.text})
			}
		}
	}
	return all
}

// classicCandidates completes the flags of the classic client.
func classicCandidates(words []string, look values) []candidate {
	help, _ := manual.Parse("Usage:\n  cloud-client ACTION [OPTIONS]\n\n" + classicTexts["extrahelp"])
	texts := help.Options()
	var options []option
	for _, action := range classicActions {
		options = append(options, option{name: action, text: texts[action]})
	}
	for _, name := range []string{"help", "usage", "extrahelp"} {
		options = append(options, option{name: name, text: texts[name]})
	}
	for _, o := range classicOptions {
		if o.fate == kept {
			options = append(options, option{name: o.name, text: texts[o.name], value: o.value, again: o.name == "handle"})
		}
	}
	// The action says what a handle is for.
	l := line{options: map[string][]string{}}
	for _, action := range classicActions {
		if slices.Contains(words, "--"+action) {
			l.command = action
		}
	}
	return complete(l, options, words, look)
}
