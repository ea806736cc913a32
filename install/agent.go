package install

import (
	"errors"
	"io/fs"
	"path"
	"strings"

	"nimbus/ctxscripts"
)

// Names are the links beside the program by which it is called, too.
var Names = []string{"ctx-agent", "ctx-broker", "cloud-client", "cloud-client.sh"}

// Home is where the agent is, AgentRecord what says so.
const (
	Home        = "opt/nimbus"
	AgentRecord = Home + "/installed.json"
	scriptsDir  = Home + "/ctx-scripts"
	// A launch on this host, over SSH, put the agent there and left it: then
	// this says whether Home was there before.
	keptMark = Home + "/kept-by-launch"
)

// RemoveKept removes what a launch leaves beside an agent that it left, and the
// directories that were made for that one.
func (t *Tree) RemoveKept() error {
	text, err := t.Read(keptMark)
	if err == nil {
		err = t.remove(keptMark)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &Problem{Text: "remove " + t.Name(keptMark), Err: err}
	}
	dirs := []string{Home + "/bin"}
	if strings.TrimSpace(string(text)) == "top no" {
		dirs = append(dirs, Home)
	}
	for _, dir := range dirs {
		if real, err := t.real(dir, false); err == nil && t.isDir(real) {
			_ = t.root.Remove(real) // only when it is empty
		}
	}
	return nil
}

// Agent is the plan of a machine with the agent, and how that is called at
// boot; with boot false it is not.
func Agent(t *Tree, program *Program, boot bool) (Plan, Boot, error) {
	items := programItems(Home+"/bin", program)
	// A script, as it always was: people write "sh launch.sh" into rc.local.
	items = append(items, Item{Path: Home + "/ctx/launch.sh", Mode: 0o755, Text: bootFile("launch.sh")})
	scripts, err := scriptItems(scriptsDir)
	if err != nil {
		return Plan{}, Boot{}, err
	}
	plan := Plan{AgentRecord, append(items, scripts...)}
	if !boot {
		return plan, Boot{}, nil
	}
	called := bootOf(t)
	plan.Items = append(plan.Items, called.Items...)
	return plan, called, nil
}

// programItems are the program and its names in a directory.
func programItems(dir string, program *Program) []Item {
	items := []Item{{Path: dir + "/nimbus", Mode: 0o755, Program: program}}
	for _, name := range Names {
		items = append(items, Item{Path: dir + "/" + name, Link: "nimbus"})
	}
	return items
}

func scriptItems(dir string) (items []Item, err error) {
	scripts := ctxscripts.FS()
	err = fs.WalkDir(scripts, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(scripts, name)
		mode := fs.FileMode(0o755)
		if path.Ext(name) == ".md" {
			mode = 0o644
		}
		items = append(items, Item{Path: path.Join(dir, name), Mode: mode, Text: text, Yours: true})
		return err
	})
	return items, err
}
