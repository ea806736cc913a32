package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"nimbus/broker/cluster"
	"nimbus/broker/wire"
	"nimbus/ctxscripts/pack"
)

// Both name the same bound.
var _ [wire.MaxPack - pack.MaxSize]struct{} = [0]struct{}{}

// Scripts are a tree of role scripts that travels with a launch, as --json
// prints it.
type Scripts struct {
	Directory  string   `json:"directory"`
	Workspaces []string `json:"workspaces"` // whose nodes are brought it
	Files      int      `json:"files"`
	Bytes      int64    `json:"bytes"` // of the files
	SHA256     string   `json:"sha256"`
	LeftOut    []string `json:"left_out,omitempty"` // files that are no scripts
	pack       *pack.Pack
}

// announced is what the broker is told of them.
func (s *Scripts) announced() wire.Pack {
	return wire.Pack{SHA256: s.SHA256, Size: int64(len(s.pack.Content))}
}

// scriptsDir is where the scripts of a workspace are, and how that was said:
// beside the definition, as it says itself, or else where the option says.
func (s *session) scriptsDir(w *cluster.Workspace, o *runOptions) (dir, path string) {
	switch {
	case w.Ctx == nil:
		return "", ""
	case w.Scripts != "":
		dir = s.env.beside(o.file, w.Scripts)
		return dir, dir
	case o.scripts != "":
		return o.scripts, s.env.expand(o.scripts)
	}
	return "", ""
}

// beside is a path that a definition names, as seen from here.
func (env *Env) beside(definition, path string) string {
	if path = env.expand(path); filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(env.expand(definition)), path)
}

// packScripts packs all scripts that travel with a launch, each tree once, in
// the order of the definition.
func (s *session) packScripts(ctx context.Context, def *cluster.Definition, o *runOptions) (all []*Scripts, err error) {
	known := map[string]*Scripts{}
	for i := range def.Workspaces {
		w := &def.Workspaces[i]
		dir, path := s.scriptsDir(w, o)
		if path == "" {
			continue
		}
		if known[path] == nil {
			scripts, err := packDir(ctx, dir, path)
			if err != nil {
				return nil, &Failure{Code: exitUsage, Text: fmt.Sprintf("%s: %s: %s", scriptsOption(w), dir, scriptsError(path, err)), Advice: scriptsAdvice + "; nothing was launched"}
			}
			known[path] = scripts
			all = append(all, scripts)
		}
		if u := known[path].unfit(w); u != nil {
			return nil, &Failure{Code: exitUsage, Text: fmt.Sprintf("%s: %s: %q, a script for workspace %q, cannot run: %s", scriptsOption(w), dir, u.Name, w.Name, u.Why), Advice: u.Fix + "; nothing was launched"}
		}
		known[path].Workspaces = append(known[path].Workspaces, w.Name)
	}
	if all == nil && o.scripts != "" && def.Nodes() == 0 {
		return nil, &Failure{Code: exitUsage, Text: fmt.Sprintf("--scripts: %s has no context: none of its workspaces has <ctx>", o.file), Advice: "leave --scripts out"}
	}
	return all, nil
}

// scriptsOption is what says where a workspace's scripts are.
func scriptsOption(w *cluster.Workspace) string {
	if w.Scripts == "" {
		return "--scripts"
	}
	return fmt.Sprintf("scripts of workspace %q", w.Name)
}

// unfit is the first script that the nodes of a workspace would be asked to
// run and cannot; nil: there is none. Others may be anything: a text, say.
func (s *Scripts) unfit(w *cluster.Workspace) *pack.Unfit {
	names := map[string]bool{}
	for _, role := range w.Ctx.Requires.Roles {
		names["1-ipandhost/"+role.Name], names["1-ipandhost/"+role.Name+".all"], names["4-restarts/"+role.Name] = true, true, true
	}
	for _, label := range w.Ctx.Identities {
		names["2-thishost/"+label], names["5-thishost-finalize/"+label] = true, true
	}
	for _, data := range w.Ctx.Requires.Data {
		names["3-data/"+data.Name] = true
	}
	i := slices.IndexFunc(s.pack.Unfit, func(u pack.Unfit) bool { return names[u.Name] || u.Name == "0-etchosts" || u.Name == "0-etchosts.all" })
	if i < 0 {
		return nil
	}
	return &s.pack.Unfit[i]
}

// scriptsAdvice is what a directory of scripts has to be.
const scriptsAdvice = `give a directory with scripts as in ctxscripts/ctx-scripts/README.md: 1-ipandhost/ROLE and so on`

func packDir(ctx context.Context, dir, path string) (*Scripts, error) {
	p, err := reading(ctx, func() (*pack.Pack, error) { return pack.Make(path) })
	if err != nil {
		return nil, err
	}
	return &Scripts{Directory: dir, Files: len(p.Files), Bytes: p.Bytes, SHA256: p.SHA256, LeftOut: p.LeftOut, pack: p}, nil
}

// scriptsError is why the directory at a path cannot travel.
func scriptsError(path string, err error) string {
	var refusal *pack.Refusal
	var p *fs.PathError
	switch {
	case errors.As(err, &refusal):
		return refusal.Error()
	case errors.Is(err, fs.ErrNotExist):
		return "there is no such directory"
	case errors.As(err, &p):
		if p.Path == path {
			return p.Err.Error()
		}
		return fmt.Sprintf("%s: %v", p.Path, p.Err)
	}
	return err.Error()
}

// scriptsOf finds what the nodes of a workspace are brought; nil: nothing.
func scriptsOf(all []*Scripts, workspace string) *Scripts {
	i := slices.IndexFunc(all, func(s *Scripts) bool { return slices.Contains(s.Workspaces, workspace) })
	if i < 0 {
		return nil
	}
	return all[i]
}

// has tells whether there is one of some scripts.
func (s *Scripts) has(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return s.pack.Has(name) })
}

// meant points to a script for no role of the definition whose name is almost
// that of one.
func (s *Scripts) meant(def *cluster.Definition, role string) string {
	roles := map[string]bool{}
	for i := range def.Workspaces {
		if c := def.Workspaces[i].Ctx; c != nil {
			for _, r := range c.Requires.Roles {
				roles[r.Name] = true
			}
			for _, r := range c.Provides {
				roles[r.Name] = true
			}
		}
	}
	var odd []string
	for _, script := range s.pack.Scripts() {
		dir, name := path.Split(script)
		if name = strings.TrimSuffix(name, ".all"); (dir == "1-ipandhost/" || dir == "4-restarts/") && !roles[name] {
			odd = append(odd, name)
		}
	}
	best := cluster.Nearest(role, odd)
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; %q in it is for no role here: did you mean %q?", best, role)
}

// text is one tree in a line.
func (s *Scripts) text() string {
	return fmt.Sprintf("%s, %s, %d KB", s.Directory, count(s.Files, "file"), (s.Bytes+1023)/1024)
}

// scriptsText says what travels: to whom only where that are not all nodes.
func scriptsText(all []*Scripts, def *cluster.Definition) string {
	var b strings.Builder
	everybody := 0
	for i := range def.Workspaces {
		if def.Workspaces[i].Ctx != nil {
			everybody++
		}
	}
	for _, s := range all {
		whose := ""
		if len(s.Workspaces) < everybody {
			whose = " of " + few(s.Workspaces)
		}
		fmt.Fprintf(&b, "Scripts%s: %s\n", whose, s.text())
		if len(s.LeftOut) > 0 {
			fmt.Fprintf(&b, "  - left out: %s\n", few(s.LeftOut))
		}
	}
	return b.String()
}

// bare is a definition as others are told of it: where its scripts were on this
// machine is nobody's business.
func bare(def *cluster.Definition) cluster.Definition {
	d := cluster.Definition{Workspaces: slices.Clone(def.Workspaces)}
	for i := range d.Workspaces {
		d.Workspaces[i].Scripts = ""
	}
	return d
}

// announcedScripts are the packs of a new context, by workspace.
func announcedScripts(all []*Scripts) map[string]wire.Pack {
	if len(all) == 0 {
		return nil
	}
	packs := map[string]wire.Pack{}
	for _, s := range all {
		for _, w := range s.Workspaces {
			packs[w] = s.announced()
		}
	}
	return packs
}

// sendScripts brings the packs to the broker, each different one once.
func (r *run) sendScripts(ctx context.Context, id string) error {
	sent := map[string]bool{}
	for _, s := range r.scripts {
		if sent[s.SHA256] {
			continue
		}
		sent[s.SHA256] = true
		err := r.broker.PutPack(ctx, id, s.announced(), bytes.NewReader(s.pack.Content))
		if wire.CodeOf(err) == wire.NotFound {
			return &Failure{Code: exitFailed, Text: fmt.Sprintf("broker (%s): it does not take scripts along: %s", brokerName(r.settings.Broker), brokerText(err)),
				Advice: "it may be older than this program: have it replaced, or put the scripts into the image"}
		}
		if err != nil {
			return r.brokerError(fmt.Errorf("scripts from %s: %w", s.Directory, err))
		}
	}
	return nil
}

// scriptsProblems are what is wrong with the directories of scripts that a
// definition names, as warnings (the launch may be elsewhere), or that an option
// names.
func (env *Env) scriptsProblems(ctx context.Context, file, option string, def *cluster.Definition) (list cluster.Problems) {
	known := map[string]*Scripts{}
	for i := range def.Workspaces {
		w := &def.Workspaces[i]
		dir := env.expand(option)
		if w.Scripts != "" {
			dir = env.beside(file, w.Scripts)
		}
		if dir == "" || w.Ctx == nil {
			continue
		}
		add := func(why, fix string) {
			list = append(list, cluster.Problem{File: file, Line: w.Line, Warning: w.Scripts != "",
				Text: fmt.Sprintf("workspace %q: scripts from %s: %s", w.Name, dir, why), Fix: fix})
		}
		scripts, seen := known[dir]
		if !seen {
			var err error
			if scripts, err = packDir(ctx, dir, dir); err != nil {
				add(scriptsError(dir, err), scriptsAdvice)
			}
			known[dir] = scripts
		}
		if scripts == nil {
			continue
		}
		if u := scripts.unfit(w); u != nil {
			add(fmt.Sprintf("%q cannot run: %s", u.Name, u.Why), u.Fix)
		}
	}
	return list
}
