package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"nimbus/cloud"
)

// ask puts a question to the keeper of a launch. A canceled context is told to
// the keeper, whose answer still counts: it says what was done by then.
func (d *Driver) ask(ctx context.Context, launch string, q question) (answer, error) {
	if !launchID.MatchString(launch) {
		return answer{}, errNoKeeper
	}
	conn, err := dial(filepath.Join(d.o.Dir, launch))
	if err != nil {
		return answer{}, err
	}
	defer conn.Close()
	keeper, err := peer(conn)
	if err != nil {
		return answer{}, err
	}
	defer unix.Close(keeper.fd)

	patience := d.patience(q)
	conn.SetDeadline(time.Now().Add(patience))
	asked := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		conn.SetDeadline(time.Now().Add(min(patience, cancelPatience)))
		<-asked
		send(conn, "cancel")
	})
	defer stop()
	err = send(conn, q, q.files...)
	close(asked)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return answer{}, errNoKeeper // it ended between dial and here
	}
	var a answer
	if err == nil {
		err = json.NewDecoder(conn).Decode(&a)
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return answer{}, d.hangs(ctx, launch, keeper.pid)
	case err != nil && ctx.Err() != nil:
		return answer{}, ctx.Err()
	case err != nil:
		return answer{}, fmt.Errorf("the keeper of launch %s ended: %v", launch, err)
	case a.Ending:
		return answer{}, errNoKeeper
	case a.Ended && !gone(ctx, keeper.fd):
		return answer{}, d.hangs(ctx, launch, keeper.pid)
	case a.Full:
		return a, noCapacity(a.Error)
	case a.Error != "" && ctx.Err() != nil:
		return a, fmt.Errorf("%s: %w", a.Error, ctx.Err())
	case a.Error != "":
		return a, errors.New(a.Error)
	}
	return a, nil
}

// noCapacity is a keeper's error that says so, and is cloud.ErrNoCapacity.
type noCapacity string

func (e noCapacity) Error() string { return string(e) }
func (noCapacity) Unwrap() error   { return cloud.ErrNoCapacity }

// hangs is the error about a keeper that is there, but does not answer.
func (d *Driver) hangs(ctx context.Context, launch string, pid int) error {
	err := fmt.Errorf("the keeper of launch %s, process %d, does not answer: \"kill -KILL %d\" ends it with its instances, and the next command cleans up (its log: %s)",
		launch, pid, pid, filepath.Join(d.o.Dir, launch, logFile))
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %v", ctx.Err(), err)
	}
	return err
}

// patience is how long the answer to a question may take. Some of it is that
// much longer than a keeper ever needs: only one that hangs gets there.
func (d *Driver) patience(q question) time.Duration {
	switch q.Op {
	case opList, opPid, opForward, opExtend, opEnter:
		return d.quick
	case opLaunch:
		return workPatience + setupPatience*time.Duration(len(q.Requests)/atOnce)
	}
	return workPatience
}

// dial connects to the keeper whose directory this is.
func dial(dir string) (*net.UnixConn, error) {
	var conn *net.UnixConn
	err := atSocket(dir, func(addr *net.UnixAddr) (err error) {
		conn, err = net.DialUnix("unix", nil, addr)
		return err
	})
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, errNoKeeper
	}
	return conn, err
}

// process is another process, by its number and by a handle.
type process struct{ pid, fd int }

// peer returns the process at the other end.
func peer(conn *net.UnixConn) (p process, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return p, err
	}
	if e := raw.Control(func(s uintptr) {
		var cred *unix.Ucred
		if cred, err = unix.GetsockoptUcred(int(s), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			if p.pid = int(cred.Pid); p.pid == 0 { // it has no number here
				err = errors.New(errStranger)
				return
			}
			p.fd, err = unix.PidfdOpen(p.pid, 0)
		}
	}); e != nil {
		return p, e
	}
	if err == unix.ESRCH {
		return p, errNoKeeper
	}
	return p, err
}

// gone waits for a process that said that it is about to exit; false means
// that it does not.
func gone(ctx context.Context, pidfd int) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for end := time.Now().Add(endPatience); ctx.Err() == nil; {
		if n, err := unix.Poll(fds, 100); n > 0 || err != nil && err != unix.EINTR {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
	return true // nobody wants to know any more
}
