package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"nimbus/client/history"
	"nimbus/cloud"
)

var cpHelp = helpText{"copy files to and from the machines of a cluster", `Usage:
  nimbus cp [OPTIONS] FILE... TARGET:PATH
  nimbus cp [OPTIONS] TARGET:PATH... FILE

Copies files and whole directories, with their permissions; symbolic links in
directories stay links. TARGET is a node, a role or a workspace: to a role or a
workspace means to all of its nodes, and from several nodes each gets a
directory of its name below FILE. As with cp -r, what is copied gets into a
directory that exists, or a new name in one; of DIR/. it is what is in DIR. A
PATH without / in front is below root's home. A local name with a colon is
written ./a:b.

A file gets its name when it has arrived as a whole.

Examples:
  nimbus cp job.sh data/ worker:/srv/
  nimbus cp --handle cluster-001 worker:/var/log/syslog logs

Options:
  --parallel N        with so many machines at the same time (default 32)
  --json              print one JSON document: node, files, bytes, error` + handleHelp + `
Exit codes: 0 all of it was copied; 1 wrong parameters; 2 something was not
copied; 130 interrupted; 143 and 129 ended by SIGTERM and SIGHUP.
`}

func (env *Env) cpCommand() *cli.Command {
	return &cli.Command{
		Name:  "cp",
		Flags: append(handleFlags(), jsonFlag(), &cli.IntFlag{Name: "parallel", Value: mostAtOnce}),
		Action: func(c *cli.Context) error {
			plan, err := parseCopy(c.Args().Slice())
			if err != nil {
				return err
			}
			plan.parallel = max(1, c.Int("parallel"))
			s, err := env.open(c)
			if err != nil {
				return err
			}
			return env.tidied(c.Context, func(ctx context.Context) error { return s.cp(ctx, c.String("handle"), plan) })
		},
	}
}

// side is one of a copy's two: a path here, or on what target means.
type side struct {
	target string // empty: here
	path   string
}

// copying is what cp is asked for.
type copying struct {
	from     []side
	to       side
	parallel int
}

// parseSide reads TARGET:PATH, or a local path. A colon behind a slash is
// part of a name.
func parseSide(text string) side {
	target, path, ok := strings.Cut(text, ":")
	if !ok || target == "" || strings.Contains(target, "/") {
		return side{path: text}
	}
	return side{target, path}
}

// parseCopy reads the arguments of cp.
func parseCopy(args []string) (copying, error) {
	var c copying
	const usage = "for example: nimbus cp FILE NODE:PATH, or nimbus cp NODE:PATH FILE"
	if len(args) < 2 {
		return c, &Failure{Code: exitUsage, Text: "cp: give what to copy, and where to", Advice: usage}
	}
	remote := 0
	for n, arg := range args {
		if arg == "" {
			return c, &Failure{Code: exitUsage, Text: "cp: an empty name", Advice: usage}
		}
		if strings.HasPrefix(arg, "-") && arg != "-" {
			return c, &Failure{Code: exitUsage, Text: fmt.Sprintf("cp: the option %s stands after the files", arg), Advice: "options come first; a file of this name is written ./" + arg}
		}
		p := parseSide(arg)
		if n == len(args)-1 {
			c.to = p
			break
		}
		c.from = append(c.from, p)
		if p.target != "" {
			remote++
		}
	}
	switch {
	case remote == 0 && c.to.target == "":
		return c, &Failure{Code: exitUsage, Text: "cp: neither side is a machine", Advice: usage}
	case remote > 0 && c.to.target != "":
		return c, &Failure{Code: exitUsage, Text: "cp: both sides are machines", Advice: "copy to this machine first"}
	case remote > 0 && remote < len(c.from):
		return c, &Failure{Code: exitUsage, Text: "cp: copy either from machines or from here, not both at once", Advice: usage}
	}
	return c, nil
}

// Copy is how copying went with one node, as --json prints it.
type Copy struct {
	Node  string `json:"node"`
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"`
	Error string `json:"error,omitempty"`
}

func (s *session) cp(ctx context.Context, handle string, c copying) error {
	record, err := s.inside(handle)
	if err != nil {
		return err
	}
	var results []Copy
	if c.to.target != "" {
		results, err = s.upload(ctx, record, c)
	} else {
		results, err = s.download(ctx, record, c)
	}
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return &Failure{Code: exitInterrupted, Text: "interrupted: what was not complete was not kept"}
	}
	s.out.document(results)
	var failed []Execution
	for _, r := range results {
		if r.Error != "" {
			failed = append(failed, Execution{Node: r.Node, Code: exitFailed, Error: r.Error})
		}
	}
	return execFailure(failed)
}

// upload copies files to all machines that the target means.
func (s *session) upload(ctx context.Context, record history.Record, c copying) ([]Copy, error) {
	instances, err := targets(record, c.to.target)
	if err != nil {
		return nil, err
	}
	var paths []string
	seen := map[string]bool{}
	for _, p := range c.from {
		path := p.path
		if _, err := os.Stat(path); err != nil {
			return nil, &Failure{Code: exitUsage, Text: fmt.Sprintf("cp: %v", err)}
		}
		names, err := namesOf(path)
		if err != nil {
			return nil, &Failure{Code: exitUsage, Text: fmt.Sprintf("cp: %v", err)}
		}
		for _, name := range names {
			if seen[name] {
				return nil, &Failure{Code: exitUsage, Text: fmt.Sprintf("cp: two of the files are called %q", name)}
			}
			seen[name] = true
		}
		paths = append(paths, path)
	}
	many := fmt.Sprint(len(paths))
	if len(paths) == 1 && unnamed(paths[0]) {
		many = "."
	}
	results := make([]Copy, len(instances))
	onEach(instances, c.parallel, func(n int, i history.Instance) {
		r := &results[n]
		r.Node = i.Node
		reader, writer := io.Pipe()
		packed := make(chan error, 1)
		go func() {
			p := packer{}
			err := p.pack(writer, paths)
			r.Files, r.Bytes = p.files, p.bytes
			writer.CloseWithError(err)
			packed <- err
		}()
		err := s.script(ctx, record, i, receiveScript, []string{c.to.path, many}, reader, io.Discard)
		reader.CloseWithError(errNotTaken)
		// What kept us from sending is the reason of all else.
		if sent := <-packed; sent != nil && !errors.Is(sent, errNotTaken) {
			err = sent
		}
		if err != nil {
			r.Error = err.Error()
		}
	})
	return results, nil
}

// errNotTaken says that the other side did not want to have the rest.
var errNotTaken = errors.New("it was not taken")

// unnamed tells whether a path is a directory's that is not called by its name:
// then what is in it is meant, as with cp -r.
func unnamed(path string) bool {
	path = "/" + strings.TrimRight(path, "/")
	return strings.HasSuffix(path, "/.") || strings.HasSuffix(path, "/..")
}

// nameOf is the name of a local file or directory there; empty: that of what is
// in it.
func nameOf(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if abs == "/" {
		return "", errors.New("/ as a whole cannot be copied: name what is in it")
	}
	if unnamed(path) {
		return "", nil
	}
	return filepath.Base(abs), nil
}

// namesOf are the names that a local file or directory, or what is in it, gets
// in one place.
func namesOf(path string) ([]string, error) {
	name, err := nameOf(path)
	if err != nil || name != "" {
		return []string{name}, err
	}
	entries, err := os.ReadDir(path)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// download copies from machines to a path here.
func (s *session) download(ctx context.Context, record history.Record, c copying) ([]Copy, error) {
	type job struct {
		history.Instance
		path, to string
	}
	var jobs []job
	into := isDir(c.to.path)
	if (len(c.from) > 1 || strings.HasSuffix(c.to.path, "/")) && !into {
		return nil, &Failure{Code: exitUsage, Text: fmt.Sprintf("cp: there is no directory %s", c.to.path), Advice: "make it first"}
	}
	if parent := filepath.Dir(filepath.Clean(c.to.path)); !isDir(parent) {
		return nil, &Failure{Code: exitUsage, Text: fmt.Sprintf("cp: there is no directory %s", parent), Advice: "make it first"}
	}
	seen := map[string]bool{}
	for _, p := range c.from {
		instances, err := targets(record, p.target)
		if err != nil {
			return nil, err
		}
		name := path.Base(path.Clean("/" + p.path))
		if name == "/" || unnamed(p.path) {
			name = "" // no name of its own: what is in it
		}
		for _, i := range instances {
			to := c.to.path
			if len(instances) > 1 {
				to = filepath.Join(to, i.Node, name)
			} else if into {
				to = filepath.Join(to, name)
			}
			if real, err := filepath.EvalSymlinks(to); err == nil && name == "" {
				to = real // the user's own link
			}
			if seen[to] {
				return nil, &Failure{Code: exitUsage, Text: fmt.Sprintf("cp: two of the files would become %s", to)}
			}
			seen[to] = true
			jobs = append(jobs, job{i, p.path, to})
			if len(instances) > 1 {
				if err := os.MkdirAll(filepath.Join(c.to.path, i.Node), 0o755); err != nil {
					return nil, &Failure{Code: exitFailed, Text: fmt.Sprintf("cp: %v", err)}
				}
			}
		}
	}
	var instances []history.Instance
	for _, j := range jobs {
		instances = append(instances, j.Instance)
	}
	results := make([]Copy, len(jobs))
	onEach(instances, c.parallel, func(n int, i history.Instance) {
		reader, writer := io.Pipe()
		sent := make(chan error, 1)
		go func() {
			err := s.script(ctx, record, i, sendScript, []string{jobs[n].path}, nil, writer)
			writer.CloseWithError(err)
			sent <- err
		}()
		u := unpacker{}
		// The whole stream, up to the end of the program: one that failed sent
		// less than there is.
		err := u.receive(reader, jobs[n].to)
		reader.CloseWithError(errNotTaken)
		if other := <-sent; other != nil && (err == nil || errors.Is(err, other)) {
			err = other
		}
		results[n] = Copy{Node: i.Node, Files: u.files, Bytes: u.bytes}
		if err != nil {
			results[n].Error = err.Error()
		}
	})
	return results, nil
}

func isDir(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.IsDir()
}

// script runs a shell script with arguments in an instance. What it says on
// its standard error is its error.
func (s *session) script(ctx context.Context, record history.Record, i history.Instance, script string, args []string, stdin io.Reader, stdout io.Writer) error {
	var said beginningOf
	command := append([]string{"/bin/sh", "-c", script, "nimbus-cp"}, args...)
	code, err := s.runIn(ctx, record, i, cloud.Program{Command: command, Stdin: stdin, Stdout: stdout, Stderr: &said})
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), i.Node+": "))
	}
	if code == 0 {
		return nil
	}
	text := strings.TrimSpace(said.text.String())
	if text == "" {
		text = fmt.Sprintf("copying ended with exit code %d", code)
	}
	return errors.New(text[:min(len(text), 1000)])
}
