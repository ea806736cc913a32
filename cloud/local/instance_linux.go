package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"nimbus/cloud"
)

// setupPatience is how long a sandbox may take to build, on a bad day.
const setupPatience = time.Minute

// instance is a sandbox as its keeper sees it. The keeper's mu guards the
// embedded Instance; the rest is set before others may look at it.
type instance struct {
	cloud.Instance
	number int
	plugs  []plug
	life   context.Context // done when it shall end
	kill   context.CancelFunc
	up     chan struct{} // closed when it runs, or err is set
	err    error
	done   chan struct{} // closed when nothing of it runs, or ever did
	cmd    *exec.Cmd     // nil when it never ran
	conn   *net.UnixConn // with its first process; set with cmd
}

// plug is one NIC of an instance.
type plug struct {
	network *network
	nic     nic
	link    netlink.Link // the bridge's end, once there
}

// start brings an instance up, or removes it and leaves the reason in err.
func (k *keeper) start(ctx context.Context, i *instance, r request, c common) {
	began := time.Now()
	stop := context.AfterFunc(ctx, i.kill)
	err := k.bringUp(i, r, c)
	if !stop() {
		err = errors.New("not wanted any more")
	}
	if err == nil {
		k.log.Info("instance runs", "instance", i.ID, "took", time.Since(began))
		close(i.up)
		return
	}
	i.err = err
	if i.cmd == nil {
		close(i.done)
	}
	close(i.up)
	k.remove([]*instance{i})
}

// bringUp makes the sandbox's first process and leads it through its steps.
func (k *keeper) bringUp(i *instance, r request, c common) error {
	if err := i.life.Err(); err != nil {
		return err
	}
	key, err := newHostKey(r.Name)
	if err != nil {
		return err
	}
	if err := k.fork(i); err != nil {
		return err
	}
	s := setup{
		Name: r.Name, Root: r.Root, Scripts: r.Scripts, Own: r.Own, Scratch: k.dir, HostKey: key, Keys: r.PublicKeys,
		Hide: c.Hide, Files: c.Files, Links: c.Links,
	}
	for n := range i.plugs {
		p := &i.plugs[n]
		if err := k.connect(p, i.cmd.Process.Pid); err != nil {
			return err
		}
		s.NICs = append(s.NICs, p.nic)
	}
	steps := []any{s, service{
		ID: i.ID, Name: r.Name, Image: r.Image, Address: addressOf(i.Addresses),
		UserData: r.UserData, Keys: r.PublicKeys, Boot: c.Boot, SSHD: sshdFor(c.SSHD),
	}}
	last, err := k.lead(i, steps)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	i.HostKey = key.Public
	if !last.Login {
		i.Login = ""
	}
	if i.State == cloud.Starting {
		i.State = cloud.Running
	}
	return nil
}

// fork starts the sandbox's first process in new namespaces, where it waits to
// be told what to do.
func (k *keeper) fork(i *instance) error {
	out, err := newConsole(k.logPath(i))
	if err != nil {
		return limited(err)
	}
	ours, theirs, err := conversation()
	if err != nil {
		out.Close()
		return limited(err)
	}
	defer theirs.Close()
	cmd := &exec.Cmd{
		Path:       k.exe,
		Args:       []string{builder},
		Env:        []string{"PATH=" + standardPath, "GOMAXPROCS=1", "GOGC=50"},
		Dir:        "/",
		Stdout:     out,
		Stderr:     out,
		ExtraFiles: []*os.File{theirs}, // keeperFD
		WaitDelay:  5 * time.Second,
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS |
				syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC,
			Setsid:    true,
			Pdeathsig: syscall.SIGKILL,
		},
	}
	if err := k.forks.start(cmd); err != nil {
		ours.Close()
		out.Close()
		if errors.Is(err, syscall.EPERM) && !apart() {
			return errors.New("make namespaces: no permission: the local driver needs root with CAP_SYS_ADMIN (in a container: a privileged one)")
		}
		return fmt.Errorf("make namespaces: %w", limited(err))
	}
	i.cmd, i.conn = cmd, ours
	context.AfterFunc(i.life, func() { cmd.Process.Kill() })
	go k.attend(i, func() { ours.Close(); out.Close() })
	return nil
}

// lead tells the first process one step after the other, and returns what it
// said to the last.
func (k *keeper) lead(i *instance, steps []any) (last verdict, err error) {
	i.conn.SetDeadline(time.Now().Add(setupPatience))
	defer i.conn.SetDeadline(time.Time{})
	listen := newLine(i.conn, maxReply)
	for _, step := range steps {
		last = verdict{}
		err := send(i.conn, step)
		if err == nil {
			var files []*os.File
			files, err = listen.receive(&last)
			closeAll(files)
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return last, fmt.Errorf("the sandbox was not made in %v", setupPatience)
		case errors.Is(err, errTooMuch):
			return last, errors.New("the sandbox says too much while it is made")
		case err != nil:
			return last, fmt.Errorf("the sandbox ended while it was made: %s", k.lastWords(i))
		case last.Error != "":
			return last, errors.New(last.Error)
		}
	}
	return last, nil
}

// attend waits for the end of a sandbox and notes how it ended.
func (k *keeper) attend(i *instance, release func()) {
	err := i.cmd.Wait()
	release()
	k.mu.Lock()
	if err == nil {
		i.State = cloud.Ended
	} else {
		i.State, i.Reason = cloud.Failed, fmt.Sprintf("its first process ended: %v", err)
	}
	k.mu.Unlock()
	close(i.done)
}

// remove ends instances and forgets them, when they are gone with their links.
func (k *keeper) remove(instances []*instance) {
	for _, i := range instances {
		i.kill()
	}
	going := k.group | 1 // see newKeeper
	for _, i := range instances {
		<-i.up
		<-i.done
		for _, p := range i.plugs {
			if p.link != nil {
				netlink.LinkSetGroup(p.link, int(going))
			}
		}
		os.Remove(k.logPath(i))
	}
	if err := removeGroup(going); err != nil {
		k.log.Error("remove", "error", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, i := range instances {
		at := slices.Index(k.instances, i)
		if at < 0 {
			continue // another question was faster
		}
		k.instances = slices.Delete(k.instances, at, at+1)
		for _, p := range i.plugs {
			delete(p.network.used, p.nic.Prefix.Addr())
		}
	}
}

func (k *keeper) logPath(i *instance) string {
	return filepath.Join(k.dir, fmt.Sprintf("%d.log", i.number))
}

// lastWords is the end of what an instance printed, or how its first process
// ended, for an error. Who has let go of the connection is about to end: a kill
// would hide how.
func (k *keeper) lastWords(i *instance) string {
	select {
	case <-i.done:
	case <-time.After(time.Second):
	}
	i.kill()
	<-i.done
	text, _ := os.ReadFile(k.logPath(i))
	if len(text) > 500 {
		text = text[len(text)-500:]
	}
	if words := strings.TrimSpace(string(text)); words != "" {
		return words
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return i.Reason
}
