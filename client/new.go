package client

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"nimbus/broker/cluster"
	"nimbus/ctxscripts"
)

var newHelp = helpText{"begin a cluster of your own", `Usage:
  nimbus new NAME --role ROLE [--role ROLE ...]

Makes a directory NAME with a cluster definition, one workspace for each role
that requires all the others, and a script for each role that notes whom it was
told of; then it prints the command that launches it. The scripts travel with
the launch. An existing directory is left alone.

Example:
  nimbus new shop --role web --role database

Options:
  --role ROLE         a role, and the workspace that provides it; may be repeated
  --json              print one JSON document
`}

func (env *Env) newCommand() *cli.Command {
	return &cli.Command{
		Name:  "new",
		Flags: []cli.Flag{&cli.StringSliceFlag{Name: "role", KeepSpace: true}, jsonFlag()},
		Action: func(c *cli.Context) error {
			name, roles, err := newArguments(c.Args().Slice(), c.StringSlice("role"))
			if err != nil {
				return err
			}
			return env.newCluster(newOutput(env, formatOf(c)), name, roles)
		},
	}
}

// newArguments takes the name and the roles that follow it: "new NAME --role
// ROLE" is how one says it.
func newArguments(words, roles []string) (name string, all []string, err error) {
	example := "for example: nimbus new shop --role web --role database"
	for ; len(words) > 0; words = words[1:] {
		role, is := strings.CutPrefix(words[0], "--role=")
		switch {
		case is:
			roles = append(roles, role)
		case words[0] == "--role" && len(words) > 1:
			roles = append(roles, words[1])
			words = words[1:]
		case words[0] == "--role":
			return "", nil, &Failure{Code: exitUsage, Text: "new: --role needs a value", Advice: example}
		case strings.HasPrefix(words[0], "-"):
			return "", nil, &Failure{Code: exitUsage, Text: fmt.Sprintf("new: the option %s stands after the name, where only --role may", words[0]), Advice: "write it before the name"}
		case name != "":
			return "", nil, &Failure{Code: exitUsage, Text: fmt.Sprintf("new: unexpected argument %q", words[0]), Advice: example}
		default:
			name = words[0]
		}
	}
	if name == "" || len(roles) == 0 {
		return "", nil, &Failure{Code: exitUsage, Text: "new: give the name of a directory and at least one --role", Advice: example}
	}
	return name, roles, nil
}

// NewCluster is what --json prints of a cluster that was begun.
type NewCluster struct {
	Directory string   `json:"directory"`
	Files     []string `json:"files"` // below it
	Run       string   `json:"run"`   // the command that launches it
}

// A scaffold is a file to make, and what it is for.
type scaffold struct {
	name, text, meaning string
	mode                fs.FileMode
}

func (env *Env) newCluster(out *output, name string, roles []string) error {
	dir := filepath.Clean(env.expand(name))
	abs, err := filepath.Abs(dir)
	if err != nil {
		return &Failure{Code: exitFailed, Text: fmt.Sprintf("new: %v", err)}
	}
	definition := filepath.Join(dir, filepath.Base(abs)+".xml")
	session := &session{env: env}
	launch := session.command("run", "--cluster", definition, "--hours", "1")
	files, err := scaffolds(filepath.Base(abs), roles, launch)
	if err != nil {
		return &Failure{Code: exitUsage, Text: fmt.Sprintf("new: %v", err)}
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		f := &Failure{Code: exitUsage, Text: fmt.Sprintf("new: %v", err)}
		if errors.Is(err, fs.ErrExist) {
			f.Text, f.Advice = fmt.Sprintf("new: %s is there already, and is left as it is", dir), "choose another name"
		}
		return f
	}
	_, odd := cluster.ReadWith("", strings.NewReader(files[0].text), cluster.Changes{})
	for _, p := range odd {
		out.warn("Warning: %s; %s\n", p.Text, p.Fix)
	}
	made := NewCluster{Directory: abs, Run: launch}
	for _, file := range files {
		if err := file.write(dir); err != nil {
			_ = os.RemoveAll(dir) // nobody but us has put anything there
			return &Failure{Code: exitFailed, Text: fmt.Sprintf("new: %v", err)}
		}
		made.Files = append(made.Files, file.name)
	}
	if out.document(made) {
		return nil
	}
	width := 0
	for _, file := range files {
		width = max(width, len(file.name))
	}
	out.print("Made %s:\n", printable(dir))
	for _, file := range files {
		out.print("  - %-*s  %s\n", width, file.name, file.meaning)
	}
	out.print("\nTo launch it on this machine:\n  %s\n", printable(launch))
	return nil
}

func (f *scaffold) write(dir string) error {
	path := filepath.Join(dir, f.name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(f.text), f.mode); err != nil {
		return err
	}
	return os.Chmod(path, f.mode) // whatever the umask took away
}

// scaffolds are the files of a new cluster.
func scaffolds(name string, roles []string, launch string) ([]scaffold, error) {
	if err := cluster.CheckName(name); err != nil {
		return nil, err
	}
	for i, role := range roles {
		if err := cluster.CheckRole(role); err != nil {
			return nil, fmt.Errorf("--role: %w", err)
		}
		if slices.Contains(roles[:i], role) {
			return nil, fmt.Errorf("--role: %q is given twice; a role is provided by as many machines as its <quantity> says", role)
		}
	}
	text := newDefinition(name, roles)
	if _, problems := cluster.ReadWith("", bytes.NewReader(text), cluster.Changes{}); problems.Errors() > 0 {
		return nil, problems.Err()
	}
	hosts, err := fs.ReadFile(ctxscripts.FS(), "0-etchosts.all")
	if err != nil {
		return nil, err
	}
	files := []scaffold{
		{name + ".xml", string(text), "the cluster definition", 0o644},
		{"scripts/0-etchosts.all", string(hosts), "puts all nodes into /etc/hosts", 0o755},
	}
	for _, role := range roles {
		files = append(files, scaffold{"scripts/1-ipandhost/" + role, newScript, fmt.Sprintf("called where role %q is required", role), 0o755})
	}
	return append(files, scaffold{"README.md", fmt.Sprintf(newReadme, name, launch, name), "how to go on", 0o644}), nil
}

// newDefinition writes a definition. Names must not get into its comments:
// there two dashes would end them.
func newDefinition(name string, roles []string) []byte {
	var b bytes.Buffer
	b.WriteString(`<!-- One group of machines for each role; each is told of all others. What may
     stand here: docs/definition.md. "nimbus validate" finds mistakes, "nimbus
     graph" draws it. -->
<cluster>
`)
	for i, role := range roles {
		if i == 0 {
			b.WriteString("\n  <!-- scripts: a directory beside this file that travels with the launch. -->")
		}
		fmt.Fprintf(&b, "\n  <workspace scripts=\"scripts\">\n    <name>%s</name>\n    <image>%s</image>", role, name)
		if i == 0 {
			b.WriteString("  <!-- nimbus list: what there is; another name: this host -->")
		}
		quantity := 1
		if len(roles) == 1 {
			quantity = 2 // to have somebody to know
		}
		fmt.Fprintf(&b, "\n    <quantity>%d</quantity>", quantity)
		if i == 0 {
			b.WriteString("  <!-- as many as you like -->")
		}
		fmt.Fprintf(&b, "\n    <nic wantlogin=\"true\">public</nic>\n    <ctx>\n      <provides>\n        <identity/>\n        <role>%s</role>\n      </provides>\n      <requires>\n", role)
		if i == 0 {
			b.WriteString("        <!-- Be told all nodes, for /etc/hosts. -->\n")
		}
		b.WriteString("        <identity/>\n")
		if i == 0 {
			b.WriteString("        <!-- For each address that provides a required role, the script\n             scripts/1-ipandhost/ROLE is called with it. -->\n")
		}
		for _, other := range roles {
			if other != role || len(roles) == 1 {
				fmt.Fprintf(&b, "        <role name=\"%s\" hostname=\"true\"/>\n", other)
			}
		}
		b.WriteString("      </requires>\n    </ctx>\n  </workspace>\n")
	}
	b.WriteString("\n</cluster>\n")
	return b.Bytes()
}

// newScript is the script of every role; NIMBUS_ROLE tells it which.
const newScript = `#!/bin/sh
# Called on each node that requires this role, once for each address that
# provides it: IP SHORT FULL; a provider without a name: IP only. What it prints
# is in the node's log, /opt/nimbus/ctxlog.txt.
set -eu

told=/opt/nimbus/told.txt
line="$NIMBUS_ROLE is at $1, ${3:-a machine without a name}"

# It may be called again for the same one: after a reboot, say.
touch "$told"
grep -qxF -- "$line" "$told" || echo "$line" >>"$told"
echo "$NIMBUS_NODE was told: $line"
`

const newReadme = `# %s

Launch it with ` + "`%s`" + `, then log in as the run says and look at /opt/nimbus/told.txt.
Change what happens on each node in scripts/1-ipandhost/ROLE, the cluster itself in %s.xml.
Scripts for data, services and a node's own NICs: ctxscripts/ctx-scripts/README.md of Nimbus.
`
