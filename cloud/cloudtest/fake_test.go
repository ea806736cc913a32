package cloudtest

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"nimbus/cloud"
)

func TestFake(t *testing.T) {
	Run(t, func(*testing.T) cloud.Driver { return &Fake{OnEnter: runHere} })
}

// runHere runs a program on this machine, as if it were the instance; "root"
// is whoever runs the test.
func runHere(ctx context.Context, _ cloud.Instance, p cloud.Program) (int, error) {
	command := p.Command
	switch {
	case command == nil:
		command = []string{"sh"}
	case command[0] == "id":
		command = []string{"echo", "0"}
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.Stdin, p.Stdout, p.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case errors.Is(err, exec.ErrNotFound):
		fmt.Fprintln(p.Stderr, err)
		return 127, nil
	case errors.As(err, &exit):
		if s := exit.Sys().(syscall.WaitStatus); s.Signaled() {
			return 128 + int(s.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	return 0, err
}

func TestFakeFailsNth(t *testing.T) {
	broken := errors.New("broken")
	f := &Fake{OnLaunch: FailNth(2, broken)}
	b := &bench{Driver: f}
	rs := b.requests(t, b.launch(t), "a", "b", "c")
	started, err := f.Launch(t.Context(), rs)
	if !errors.Is(err, broken) {
		t.Errorf("error is %v, want %v", err, broken)
	}
	if len(started) != 2 || started[0].Token != rs[0].Token || started[1].Token != rs[2].Token {
		t.Errorf("started %v, want the first and the third", started)
	}
	again, err := f.Launch(t.Context(), rs)
	if err != nil || len(again) != 3 || again[0].ID != started[0].ID {
		t.Errorf("second try: %v, %v", again, err)
	}
}

func TestFakeBlocks(t *testing.T) {
	f := &Fake{OnLaunch: func(ctx context.Context, n int, _ cloud.Request) error {
		if n < 2 {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}}
	b := &bench{Driver: f}
	rs := b.requests(t, b.launch(t), "a", "b")
	ctx, cancel := context.WithCancel(t.Context())
	f.Started = func(cloud.Instance, cloud.Request) { cancel() }
	started, err := f.Launch(ctx, rs)
	if !errors.Is(err, context.Canceled) || len(started) != 1 {
		t.Errorf("canceled launch: %v, %v, want one instance", started, err)
	}
}
