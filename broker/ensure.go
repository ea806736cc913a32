package broker

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"nimbus/broker/pki"
	"nimbus/broker/store/boltstore"
	"nimbus/broker/wire"
)

// ErrNotRunning says that this user has no broker on this machine now.
var ErrNotRunning = errors.New("no broker of this user is running on this machine")

// Find returns a client for the broker whose state is in dir, or
// ErrNotRunning.
func Find(ctx context.Context, dir string) (*wire.Client, error) {
	client := wire.NewLocalClient(filepath.Join(dir, socketName))
	if _, err := client.Info(ctx); err != nil {
		return nil, fmt.Errorf("%w (%v)", ErrNotRunning, err)
	}
	return client, nil
}

// Holds tells whether a broker that is not running left contexts in dir: a
// client that looks for one of them must start it again.
func Holds(dir string) bool {
	path := filepath.Join(dir, storeName)
	if _, err := os.Stat(path); err != nil {
		return false
	}
	held, err := boltstore.Peek(path)
	return held || err != nil
}

// NodesSocket is where the running broker whose state is in dir answers nodes
// that can reach no address of this machine.
func NodesSocket(dir string) (string, error) {
	path := filepath.Join(dir, nodesName)
	if _, err := os.Lstat(path); err != nil {
		return "", fmt.Errorf("the broker that runs has no socket for nodes: an older version, which ends with its last context: %w", err)
	}
	return path, nil
}

// Ensure returns a client for the broker whose state is in dir, and starts one
// when none runs: a process of its own that outlives the caller. A running one
// of another version is replaced when it has nothing to do.
func Ensure(ctx context.Context, dir, executable string) (*wire.Client, error) {
	if err := pki.MakeDir(dir); err != nil {
		return nil, fmt.Errorf("broker directory: %w", err)
	}
	// One client at a time looks and starts.
	lock, err := lockFile(ctx, filepath.Join(dir, startLock))
	if err != nil {
		return nil, fmt.Errorf("start the broker: %w", err)
	}
	defer lock.Close()
	client, err := Find(ctx, dir)
	if err == nil {
		if keep, err := keepRunning(ctx, client, executable); err != nil || keep {
			return client, err
		}
	}
	if err := start(ctx, dir, executable); err != nil {
		return nil, fmt.Errorf("start the broker: %w", err)
	}
	return Find(ctx, dir)
}

// keepRunning tells whether a running broker will do. One of another version
// that holds contexts is left alone: they are worth more than the version.
func keepRunning(ctx context.Context, client *wire.Client, executable string) (bool, error) {
	info, err := client.Info(ctx)
	if err != nil {
		return false, err
	}
	if version, err := Version(executable); err != nil || version == info.Version {
		return true, err
	}
	contexts, err := client.Contexts(ctx)
	if err != nil || len(contexts) > 0 {
		return true, err
	}
	return false, client.Stop(ctx)
}

// Version is what tells one build from another: the SHA-256 of the executable.
func Version(executable string) (string, error) {
	f, err := os.Open(executable)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// start runs a broker detached from the caller's terminal and session, and
// returns when it serves.
func start(ctx context.Context, dir, executable string) error {
	logPath := filepath.Join(dir, logName)
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	if info, err := log.Stat(); err == nil && info.Size() > 8<<20 {
		_ = log.Truncate(0)
	}
	ready, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	// The pipe is the child's fourth file. Its name is ours, whatever the
	// executable's file is called: cloud-client.sh would read other flags.
	cmd := &exec.Cmd{Path: executable, Args: []string{"nimbus", "broker", "--data", dir, "--personal", "--ready-fd", "3"}}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // no zombie, if the caller stays

	stop := context.AfterFunc(ctx, func() { ready.SetReadDeadline(time.Now()) })
	defer stop()
	line, err := bufio.NewReader(io.LimitReader(ready, 1<<10)).ReadString('\n')
	if line == "ready\n" {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("it ended at once (%v): %s", err, lastLine(logPath))
}

// lastLine is what the broker said last.
func lastLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}

// lockFile waits for a lock that the kernel gives back when its holder dies.
func lockFile(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		}
	}
}
