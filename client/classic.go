package client

import (
	"fmt"
	"slices"
	"strings"
)

// classicHelp is the hidden subcommand that prints the classic help texts.
const classicHelp = "classic-help"

// A classicOption is an option of the classic command line and what becomes of
// it. One with a fate means nothing here; one without belongs to the
// subcommands that it names.
type classicOption struct {
	name     string
	value    bool   // it takes one
	now      string // what the subcommands call it; empty: the same
	commands string // that have it
	fate     fate
}

type fate int

const (
	kept    fate = iota
	ignored      // it changed nothing that matters
	noted        // it is ignored, and the user should know
	missing      // not in this version
)

// everywhere are the subcommands that read settings and history.
const everywhere = "networks list status terminate run print-ctx-status"

// classicActions are the actions in the order in which several of them in one
// call are done.
var classicActions = []string{"networks", "list", "status", "terminate", "run", "print-ctx-status"}

// missingActions are actions of the classic client that this version has not.
var missingActions = []string{"hash-print", "print-file-URL", "print-service-URL", "security", "save", "transfer", "init-context", "download", "delete"}

var classicOptions = []classicOption{
	{name: "conf", value: true, commands: everywhere},
	{name: "history-dir", value: true, commands: everywhere},
	{name: "handle", value: true, commands: "status terminate print-ctx-status"},
	{name: "name", value: true, commands: "run"},
	{name: "cluster", value: true, commands: "run"},
	{name: "hours", value: true, commands: "run"},
	{name: "timeout", value: true, commands: "run"},
	{name: "broker-url", value: true, now: "broker", commands: "run"},
	{name: "broker-id", value: true, fate: ignored},
	{name: "ssh-pubkey", value: true, now: "ssh-key", commands: "run"},
	{name: "no-ctx-lock", commands: "run"},

	// New ones work here as well.
	{name: "all", commands: "terminate"},
	{name: "forget-unreachable", commands: "terminate"},
	{name: "keep", commands: "run"},
	{name: "dry-run", commands: "run"},
	{name: "no-wait", commands: "run"},
	{name: "quantity", value: true, commands: "run"},
	{name: "scripts", value: true, commands: "run"},
	{name: "data", value: true, commands: "run"},
	{name: "set", value: true, commands: "run"},
	{name: "expires", value: true, commands: "run"},
	{name: "cloud", value: true, commands: "networks list run"},
	{name: "hosts", value: true, commands: "run"},
	{name: "host-keys", value: true, commands: "run"},
	{name: "keep-agent", commands: "run"},
	{name: "broker", value: true, commands: "run"},
	{name: "ssh-key", value: true, commands: "run"},
	{name: "known-hosts", value: true, commands: "run"},
	{name: "json", commands: everywhere},

	{name: "debug", fate: ignored},
	{name: "debuggerhang", fate: ignored},
	{name: "nospinner", fate: ignored},
	{name: "notifications", fate: ignored},
	{name: "poll-interval", value: true, fate: ignored},

	{name: "factory", value: true, fate: noted},
	{name: "factory-id", value: true, fate: noted},
	{name: "gridftp", value: true, fate: noted},
	{name: "gridftp-id", value: true, fate: noted},
	{name: "cahash", value: true, fate: noted},
	{name: "append-cadir", value: true, fate: noted},
	{name: "kernel", value: true, fate: noted},
	{name: "hostkeydir", fate: noted},
	{name: "common", fate: noted},
	{name: "imagedesc", value: true, fate: noted},
	{name: "targetdir", value: true, fate: noted},
	{name: "localfile", value: true, fate: noted},
	{name: "newname", value: true, fate: noted},

	{name: "ec2script", value: true, fate: missing},
	{name: "sourcefile", value: true, fate: missing},
	{name: "epr-file", value: true, fate: missing},
	{name: "history-subdir", value: true, fate: missing},
}

// Rewrite turns a classic command line, without the program's name, into the
// command lines of subcommands, in the order in which they are to be run. The
// notes are for standard error. It stops at the first thing it does not
// understand, before anything is done.
func Rewrite(args []string) (calls [][]string, notes []string, err error) {
	if len(args) > 0 && args[0] == completeName { // a shell asks, nobody else
		return [][]string{args}, nil, nil
	}
	p := classicParser{actions: map[string]bool{}}
	for len(args) > 0 && err == nil {
		args, err = p.next(args)
	}
	if err != nil {
		return nil, nil, err
	}
	switch {
	case p.help != "":
		return [][]string{{classicHelp, p.help}}, p.notes, nil
	case len(p.actions) == 0:
		return nil, nil, &Failure{Code: exitUsage, Text: "Give at least one action.", Advice: "see help (-h)"}
	}
	if p.actions["run"] {
		for _, other := range []string{"terminate", "status", "print-ctx-status"} {
			if p.actions[other] {
				return nil, nil, &Failure{Code: exitUsage, Text: fmt.Sprintf("--run cannot be combined with --%s", other), Advice: "give them in two commands"}
			}
		}
	}
	for _, action := range classicActions {
		if p.actions[action] {
			calls = append(calls, p.call(action))
		}
	}
	return calls, p.notes, nil
}

// classicParser collects what a command line says.
type classicParser struct {
	actions map[string]bool
	help    string // which text is asked for
	given   []givenOption
	notes   []string
}

type givenOption struct {
	option classicOption
	words  []string
}

// next takes one option off the front.
func (p *classicParser) next(args []string) ([]string, error) {
	word, rest := args[0], args[1:]
	long, isLong := strings.CutPrefix(word, "--")
	if !isLong || long == "" {
		return rest, p.short(word)
	}
	name, value, hasValue := strings.Cut(long, "=")
	switch {
	case slices.Contains([]string{"help", "usage", "extrahelp"}, name):
		p.askHelp(name)
		return rest, nil
	case slices.Contains(classicActions, name):
		p.actions[name] = true
		return rest, nil
	case slices.Contains(missingActions, name):
		return nil, notHere(name)
	}
	i := slices.IndexFunc(classicOptions, func(o classicOption) bool { return o.name == name })
	if i < 0 {
		return nil, unknownOption("cloud-client", name, classicNames())
	}
	o := classicOptions[i]
	if o.value && !hasValue {
		if len(rest) == 0 || strings.HasPrefix(rest[0], "--") {
			return nil, &Failure{Code: exitUsage, Text: fmt.Sprintf("--%s needs a value", name), Advice: "see help (-h)"}
		}
		value, hasValue, rest = rest[0], true, rest[1:]
	}
	switch o.fate {
	case missing:
		return nil, notHere(name)
	case noted:
		p.notes = append(p.notes, fmt.Sprintf("--%s has no effect any more: clouds and what they need are in the settings (see --extrahelp)", name))
	case kept:
		p.given = append(p.given, givenOption{o, o.words(value, hasValue)})
	}
	return rest, nil
}

// words is how the subcommand is given the option.
func (o *classicOption) words(value string, hasValue bool) []string {
	name := o.now
	if name == "" {
		name = o.name
	}
	switch {
	case o.value:
		return []string{"--" + name, value}
	case hasValue:
		return []string{"--" + name + "=" + value}
	}
	return []string{"--" + name}
}

// short reads one word of single letters, -h, -d or -hd.
func (p *classicParser) short(word string) error {
	letters, ok := strings.CutPrefix(word, "-")
	if !ok || letters == "" || letters == "-" {
		return &Failure{Code: exitUsage, Text: fmt.Sprintf("unexpected word %q", word), Advice: "options are written --option VALUE; see help (-h)"}
	}
	for _, letter := range letters {
		switch letter {
		case 'h':
			p.askHelp("help")
		case 'u':
			p.askHelp("usage")
		case 'd':
		default:
			return unknownOption("cloud-client", letters, classicNames())
		}
	}
	return nil
}

func (p *classicParser) askHelp(name string) {
	if p.help == "" {
		p.help = name
	}
}

// call is the command line of one subcommand: it gets the options that it has.
func (p *classicParser) call(action string) []string {
	call := []string{action}
	for _, g := range p.given {
		if slices.Contains(strings.Fields(g.option.commands), action) {
			call = append(call, g.words...)
		}
	}
	return call
}

func notHere(name string) error {
	return &Failure{Code: exitUsage, Text: fmt.Sprintf("this version does not have --%s", name), Advice: "--extrahelp explains all options that there are"}
}

func classicNames() []string {
	names := slices.Concat(classicActions, missingActions, []string{"help", "usage", "extrahelp"})
	for _, o := range classicOptions {
		names = append(names, o.name)
	}
	return names
}
