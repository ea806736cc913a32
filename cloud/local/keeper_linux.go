package local

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// What a keeper says on its standard error once it is sure of itself.
const (
	saysReady = "ready"
	saysBusy  = "busy"   // another process has this launch
	saysHint  = "hint: " // on a second line: what to do about the error on the first
)

// idle is how long a keeper waits for its first question: the client that
// started it may have died.
const idle = time.Minute

// keeper owns what a launch has on this machine.
type keeper struct {
	launch  string
	dir     string
	subnets netip.Prefix
	group   uint32 // of all links of the launch
	exe     string // what sandboxes run
	log     *slog.Logger
	forks   *forker
	life    context.Context // done when the launch ends
	kill    context.CancelFunc
	talks   sync.WaitGroup // questions that are being answered
	work    sync.WaitGroup // those of them that make something
	wake    chan struct{}  // something has a new deadline
	ended   chan struct{}  // closed when nothing of the launch is left

	netMu sync.Mutex // held while networks are made
	relay *relay

	mu        sync.Mutex
	networks  map[string]*network
	instances []*instance
	count     int // of instances so far: numbers are not used again
	making    int // questions under way that make something
	expires   time.Time
	asked     bool // there was such a question
	prepared  bool // the networks stay without instances
	ending    bool
}

// keeperMain is the whole life of a keeper.
func keeperMain() error {
	var b beginning
	if err := json.NewDecoder(os.Stdin).Decode(&b); err != nil {
		return fmt.Errorf("keeper: read what to keep: %w", err)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	ignore(syscall.SIGHUP)
	syscall.Umask(0o022)
	// What the client's parent left open for it is not for the sandboxes.
	unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)

	if err := settle(); err != nil {
		return err
	}
	dir := filepath.Join(b.Dir, b.Launch)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	lock, err := lockDir(dir)
	if errors.Is(err, errBusy) || errors.Is(err, os.ErrNotExist) {
		return errors.New(saysBusy)
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	ready := false
	defer func() {
		if !ready {
			os.RemoveAll(dir)
		}
	}()
	// A keeper of the same launch may have been killed here.
	if err := empty(dir); err != nil {
		return err
	}
	sweepLinks()
	owner, err := claim(b.Launch)
	if errors.Is(err, unix.EADDRINUSE) {
		return errors.New(saysBusy)
	}
	if err != nil {
		return err
	}
	defer owner.Close()

	k := newKeeper(b, dir)
	if k.exe, err = readOnlySelf(); err != nil {
		return err
	}
	listener, err := listen(dir)
	if err != nil {
		return err
	}
	defer listener.Close()
	if err := turnToLog(filepath.Join(dir, logFile)); err != nil {
		return err
	}
	ready = true
	k.log.Info("keeper began", "launch", k.launch, "pid", os.Getpid())
	go k.serve(listener)
	go k.watch()
	go func() {
		k.log.Info("told to end", "signal", (<-stop).String())
		k.end()
	}()
	<-k.ended
	k.talks.Wait()
	return nil
}

// ignore ignores signals in this process, but not in those that it starts:
// these have them as if nobody ever ignored them, also if the one that started
// this process did.
func ignore(signals ...os.Signal) {
	signal.Notify(make(chan os.Signal, 1), signals...)
}

func newKeeper(b beginning, dir string) *keeper {
	var r [4]byte
	rand.Read(r[:])
	k := &keeper{
		launch:  b.Launch,
		dir:     dir,
		subnets: b.Subnets,
		// Far from the small numbers that people give to groups of links.
		// The next odd number is for links that are about to go.
		group:    1<<30 | binary.NativeEndian.Uint32(r[:])>>2&^1,
		log:      slog.New(slog.NewTextHandler(os.Stderr, nil)),
		forks:    newForker(),
		wake:     make(chan struct{}, 1),
		ended:    make(chan struct{}),
		networks: map[string]*network{},
		relay:    newRelay(),
	}
	k.life, k.kill = context.WithCancel(context.Background())
	return k
}

// readOnlySelf returns a path to this binary on a mount of its own that cannot
// be written through. Root in a sandbox can reach the file of its first process
// (/proc/1/exe), and that shall not be a way to change the host's.
func readOnlySelf() (string, error) {
	self := "/proc/self/exe"
	if apart() {
		path, sealed, err := ownBinary()
		if err != nil || sealed {
			return path, err
		}
		self = path
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, self, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err == nil {
		err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{
			Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID,
		})
	}
	switch err {
	case nil:
		return fmt.Sprintf("/proc/self/fd/%d", fd), nil
	case unix.ENOSYS: // a kernel before 5.12
		return self, nil
	case unix.EPERM:
		if apart() {
			return "", fmt.Errorf("mount own executable: %w", explained(err))
		}
		return "", errors.New("no permission to mount: the local driver needs root with CAP_SYS_ADMIN (in a container: a privileged one)")
	default:
		return "", fmt.Errorf("mount own executable: %w", err)
	}
}

// listen opens the keeper's socket.
func listen(dir string) (l *net.UnixListener, err error) {
	err = atSocket(dir, func(addr *net.UnixAddr) error {
		l, err = net.ListenUnix("unix", addr)
		return err
	})
	if err == nil {
		l.SetUnlinkOnClose(false) // it goes with its directory
	}
	return l, err
}

// turnToLog tells the client that all is well and lets go of it.
func turnToLog(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	fmt.Fprintln(os.Stderr, saysReady)
	return os.NewSyscallError("dup3", unix.Dup3(int(f.Fd()), 2, 0))
}

// empty removes what is in a directory.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return err
}

// watch ends instances and the launch when their time has come. It looks at
// the wall clock at least once a minute, since timers stand still while the
// machine sleeps.
func (k *keeper) watch() {
	began := time.Now()
	for {
		now := time.Now().Round(0)
		next := now.Add(time.Minute)
		sooner := func(t time.Time) bool { // says whether t has come
			if !t.IsZero() && t.Before(next) {
				next = t
			}
			return !t.IsZero() && !now.Before(t)
		}
		k.mu.Lock()
		over := sooner(k.expires) || !k.asked && sooner(began.Add(idle))
		var late []*instance
		for _, i := range k.instances {
			if sooner(i.Expires) {
				late = append(late, i)
			}
		}
		k.mu.Unlock()
		if over {
			k.log.Info("the launch's time is over")
			k.end()
			return
		}
		if len(late) > 0 {
			k.remove(late)
			if k.endIfEmpty() {
				return
			}
			continue
		}
		select {
		case <-time.After(max(next.Sub(now), time.Millisecond)):
		case <-k.wake:
		case <-k.life.Done():
			return
		}
	}
}

// look makes watch see a new deadline.
func (k *keeper) look() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}
