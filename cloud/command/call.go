package command

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"time"

	"nimbus/cloud"
)

// What a program may say by its exit code, besides 0 (done) and anything else
// (failed).
const (
	exitCannot = 3 // this verb it does not have
	exitFull   = 4 // there is no room or quota for a launch
)

// errCannot is a verb that the program does not have.
var errCannot = errors.New("the program cannot do that (exit code 3)")

// maxOutput is the longest answer that is taken, in bytes: a hundred thousand
// instances fit in.
const maxOutput = 16 << 20

// call runs the program and returns what it printed. It has so long; when that
// is over, or ctx is, its process group is ended.
func (d *Driver) call(ctx context.Context, limit time.Duration, args ...string) ([]byte, error) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	answer, said := &bounded{most: maxOutput}, &lines{log: d.o.Log}
	cmd := exec.CommandContext(limited, d.o.Program, args...)
	cmd.Dir = d.o.home()
	cmd.Stdout, cmd.Stderr = answer, said
	// A group of its own: a Ctrl-C in the terminal reaches the client alone,
	// which then decides.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = d.limits.grace
	err := cmd.Run()
	if limited.Err() != nil && cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // those that did not heed; mostly there are none
	}
	said.end()
	// A machine that was started in the background may hold the output of a
	// program that has ended well.
	if errors.Is(err, exec.ErrWaitDelay) && limited.Err() == nil {
		err = nil
	}
	if err != nil {
		return answer.kept, fmt.Errorf("%s %s: %w", d.o.Program, args[0], reason(ctx, limited, limit, err, said.last()))
	}
	if answer.over {
		return nil, fmt.Errorf("%s %s: it printed more than %d MiB", d.o.Program, args[0], maxOutput>>20)
	}
	return answer.kept, nil
}

// reason says why a call failed, and what the program said last.
func reason(ctx, limited context.Context, limit time.Duration, err error, last string) error {
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil:
		err = fmt.Errorf("it was ended after %v", limit)
	case errors.As(err, &exit) && exit.ExitCode() == exitCannot:
		err = errCannot
	case errors.As(err, &exit) && exit.ExitCode() == exitFull:
		err = cloud.ErrNoCapacity
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		err = fmt.Errorf("exit code %d", exit.ExitCode())
	case exit == nil:
		err = beginning(err)
	}
	if last == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, last)
}
