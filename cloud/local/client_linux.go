package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// errNoKeeper says that a launch has no keeper, and hence nothing else.
var errNoKeeper = errors.New("no such launch on this machine")

// Times of patience with other processes.
const (
	startPatience  = 20 * time.Second // for a keeper to begin, or an older one to go
	quickPatience  = 10 * time.Second // for an answer that takes no work
	workPatience   = 5 * time.Minute  // for one that does
	cancelPatience = 20 * time.Second // for the answer to a question that was given up
	endPatience    = 10 * time.Second // for a keeper that said good-bye
	poll           = 10 * time.Millisecond
)

// demand asks the keeper of a launch and starts one where there is none.
func (d *Driver) demand(ctx context.Context, launch string, q question) (answer, error) {
	if !launchID.MatchString(launch) {
		return answer{}, fmt.Errorf("launch id %q: want letters, digits, '.', '_' or '-', at most 64", launch)
	}
	patience, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		a, err := d.ask(ctx, launch, q)
		if !errors.Is(err, errNoKeeper) {
			return a, err
		}
		busy, err := d.spawn(patience, launch)
		if err != nil {
			return answer{}, fmt.Errorf("start the keeper: %w", err)
		}
		if !busy {
			continue
		}
		// Another process starts this keeper, or one is just about to end.
		select {
		case <-patience.Done():
			return answer{}, fmt.Errorf("start the keeper: another one holds %s: %w", d.o.Dir, patience.Err())
		case <-time.After(poll):
		}
	}
}

// spawn starts a keeper and waits until it takes questions; busy says that
// there is one already.
func (d *Driver) spawn(ctx context.Context, launch string) (busy bool, err error) {
	begin, err := json.Marshal(beginning{Launch: launch, Dir: d.o.Dir, Subnets: d.o.Subnets})
	if err != nil {
		return false, err
	}
	// The keeper's errors until it is ready; then it turns to its own log.
	r, w, err := os.Pipe()
	if err != nil {
		return false, err
	}
	defer r.Close()
	stdin, err := filled(begin)
	if err != nil {
		w.Close()
		return false, err
	}
	cmd := &exec.Cmd{
		Path:        d.o.Executable,
		Args:        []string{keeperName, launch},
		Env:         keeperEnv(),
		Dir:         "/",
		Stdin:       stdin,
		Stderr:      w,
		SysProcAttr: keeperAttr(),
	}
	err = cmd.Start()
	stdin.Close()
	w.Close()
	if err != nil {
		return false, explained(err)
	}
	go cmd.Wait() // it outlives this process, or becomes no zombie of it
	if deadline, ok := ctx.Deadline(); ok {
		r.SetReadDeadline(deadline)
	}
	var said bytes.Buffer
	if _, err := said.ReadFrom(r); err != nil {
		return false, fmt.Errorf("wait for it: %w", err)
	}
	switch text := strings.TrimSpace(said.String()); text {
	case saysReady:
		return false, nil
	case saysBusy:
		return true, nil
	case "":
		return false, fmt.Errorf("it ended without a word (does %s call local.Main?)", d.o.Executable)
	default:
		text, advice, _ := strings.Cut(text, "\n"+saysHint)
		return false, &problemError{Problem{text, advice}, nil}
	}
}

// keeperEnv is what a keeper gets of this process's environment: nothing, as
// there may be passwords in it, but what tells the Go runtime how to behave.
func keeperEnv() []string {
	env := []string{"PATH=" + standardPath}
	for _, name := range []string{"GOTRACEBACK", "GODEBUG", "GORACE", "GOCOVERDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// filled returns a file to read data from: nothing of it is on a disk.
func filled(data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("nimbus", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "memfd")
	if _, err := f.WriteAt(data, 0); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
