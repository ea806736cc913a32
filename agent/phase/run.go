package phase

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"nimbus/broker/cluster"
)

// pipeDelay is how long the output of a script is still read after its end,
// when something that it left in the background holds it open.
const pipeDelay = 300 * time.Millisecond

// noExitCode is reported for steps that failed without one: the agent's own.
const noExitCode = 4

// Runner runs steps on this machine.
type Runner struct {
	Dir      string        // the scripts directory
	Limit    time.Duration // for each script
	Self     Self
	Manifest *cluster.Manifest
	Trust    TrustFiles
	Log      *slog.Logger
	Redact   func(string) string // takes secrets out of what scripts print
	Environ  []string            // the agent's own environment; a part of it is passed on
	Started  func(Group)         // is told of each script that began; may be nil
}

// Failure is a step that did not end well.
type Failure struct {
	Step string
	Code int    // exit code of the script, else the agent's
	Text string // what happened, and what to do
}

func (f *Failure) Error() string { return f.Text }

// errLimit is the cause of a script's end when its time is up.
var errLimit = errors.New("time limit")

// Run does a step. Retry counts how often it was begun before. The error is a
// *Failure, or the context's when that ended first.
func (r *Runner) Run(ctx context.Context, s Step, retry int) error {
	var err error
	switch s.Kind {
	case Absent:
		r.Log.Info(s.String())
		return nil
	case Trust:
		r.Log.Info(s.String())
		err = r.Trust.write(r.Manifest)
	case Data:
		if err = r.writeData(s); err == nil && s.Script == "" {
			r.Log.Warn(fmt.Sprintf("data %q has no script %s/%s; its value is in %s", s.Name, s.Phase, s.Name, s.Args[0]))
			return nil
		}
	}
	if err == nil && s.Script != "" {
		err = r.script(ctx, s, retry)
	}
	if err == nil {
		return nil
	}
	if ctx.Err() != nil { // the agent is told to stop: that is no fault of the script
		return ctx.Err()
	}
	failure := &Failure{Step: s.String(), Code: noExitCode, Text: err.Error()}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if failure.Code = exit.ExitCode(); failure.Code < 0 { // a signal: as a shell says it
			failure.Code = 128 + int(exit.Sys().(syscall.WaitStatus).Signal())
		}
	}
	return failure
}

// writeData makes the file of a value: one line end after it, none in an empty
// file. Only root may read it, a value may be a password.
func (r *Runner) writeData(s Step) error {
	if err := cluster.CheckName(s.Name); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	if err := os.MkdirAll(r.Self.DataDir, 0o700); err != nil {
		return err
	}
	value := r.Manifest.Data[s.Value].Value
	if value != "" {
		value += "\n"
	}
	return os.WriteFile(s.Args[0], []byte(value), 0o600)
}

// script runs the script of a step.
func (r *Runner) script(ctx context.Context, s Step, retry int) error {
	if err := r.examine(s); err != nil {
		return err
	}
	var stdin io.Reader // nil: nothing to read
	if s.Stdin != "" {
		stdin = strings.NewReader(s.Stdin)
	}
	r.Log.Info(s.String())
	return r.call(ctx, s.Script, filepath.Join(r.Dir, s.Script), s.Args, r.environment(s, retry), stdin)
}

// Outside runs a program that belongs to no step, such as the problem script,
// under the same rules.
func (r *Runner) Outside(ctx context.Context, path string, args, environment []string) error {
	return r.call(ctx, filepath.Base(path), path, args, append(r.environment(Step{}, 0), environment...), nil)
}

// call runs a command in a process group of its own, its output into the log.
func (r *Runner) call(ctx context.Context, name, path string, args, environment []string, stdin io.Reader) error {
	out := &output{
		emit:   func(line string) { r.Log.Info(name + ": " + line) },
		redact: r.Redact,
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.Limit, errLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Env, cmd.Stdin = r.Dir, environment, stdin
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = attributes()
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = pipeDelay
	// A script must not outlive the agent, and what the kernel watches is the
	// thread that started it: it is kept for as long as the script runs.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Start()
	if err == nil {
		if r.Started != nil {
			r.Started(groupOf(cmd.Process.Pid))
		}
		err = cmd.Wait()
	}
	out.close()
	return r.explain(ctx, name, path, err)
}

// explain says why a script did not end well, or could not begin.
func (r *Runner) explain(ctx context.Context, name, path string, err error) error {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, exec.ErrWaitDelay):
		r.Log.Info(name + ": left something in the background that holds its output; not waiting for it")
		return nil
	case context.Cause(ctx) == errLimit:
		return fmt.Errorf("script %s on node %s ran longer than %v and was ended; raise script_time_limit in the agent's configuration if it needs more", name, r.Self.Place, r.Limit)
	case errors.As(err, &exit) && exit.ExitCode() < 0:
		return fmt.Errorf("script %s on node %s was ended: %w", name, r.Self.Place, exit)
	case (errors.As(err, &exit) || errors.Is(err, fs.ErrNotExist)) && hasCarriageReturn(path):
		return fmt.Errorf("script %s on node %s cannot run: its lines end as on Windows, with a carriage return, which is taken for a part of the program's name; run: sed -i 's/\\r$//' %s%w", name, r.Self.Place, path, silent{err})
	case errors.As(err, &exit):
		return fmt.Errorf("script %s on node %s ended with exit code %d%w", name, r.Self.Place, exit.ExitCode(), silent{exit})
	case errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("script %s is no program for this machine", name)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("script %s cannot begin: the program that its #! line names does not exist", name)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("script %s cannot begin: permission denied; is %s mounted noexec?", name, r.Dir)
	}
	return fmt.Errorf("script %s: %v", name, err)
}

// hasCarriageReturn tells whether the #! line of a script ends with one.
func hasCarriageReturn(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, 256)) // longer than the kernel reads
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return bytes.HasPrefix(line, []byte("#!")) && bytes.HasSuffix(line, []byte("\r"))
}

// silent keeps an error for errors.As without repeating its text.
type silent struct{ error }

func (silent) Error() string   { return "" }
func (s silent) Unwrap() error { return s.error }

// examine refuses what cannot or must not be run: names that are no plain
// names, links that lead out of the scripts directory, files without the
// right to be executed or without a #! line.
func (r *Runner) examine(s Step) error {
	if err := s.check(); err != nil {
		return err
	}
	root, err := os.OpenRoot(r.Dir)
	if err != nil {
		return fmt.Errorf("scripts directory: %w", err)
	}
	defer root.Close()
	f, err := root.Open(s.Script)
	if errors.Is(err, fs.ErrNotExist) && s.Phase == EtcHosts {
		return fmt.Errorf("script %s does not exist in %s; every node needs it to know the others' names: copy 0-etchosts.all from ctxscripts/ctx-scripts of Nimbus", s.Script, r.Dir)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("script %s does not exist in %s", s.Script, r.Dir)
	}
	if err != nil {
		return fmt.Errorf("script %s: %w; scripts must lie in %s itself", s.Script, err, r.Dir)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("script %s: %w", s.Script, err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("script %s is not a regular file", s.Script)
	}
	path := filepath.Join(r.Dir, s.Script)
	if info.Mode()&0o111 == 0 {
		return fmt.Errorf("script %s is not executable; run: chmod +x %s", s.Script, path)
	}
	magic := make([]byte, 4)
	n, err := io.ReadFull(f, magic)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return fmt.Errorf("script %s: %w", s.Script, err)
	}
	if magic = magic[:n]; !bytes.HasPrefix(magic, []byte("#!")) && string(magic) != "\x7fELF" {
		return fmt.Errorf("script %s has no #! line; let it begin with #!/bin/sh", s.Script)
	}
	return nil
}
