package local

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// firstMain is a sandbox's first process once it is built: it serves user data,
// starts sshd and the boot command, and reaps what nobody else waits for.
func firstMain() error {
	end, err := answerKeeper()
	if err != nil {
		return err
	}
	conn, err := connection(end)
	if err != nil {
		return err
	}
	l := newLine(conn, anyLength)
	var s service
	if _, err := l.receive(&s); err != nil {
		return fmt.Errorf("sandbox: the keeper is gone: %w", err)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT, syscall.SIGPWR)
	ignore(syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	f := &first{children: map[int]func(unix.WaitStatus){}, visits: make(chan struct{}, mostVisits)}
	login, err := f.begin(s)
	if err != nil {
		send(conn, verdict{Error: err.Error()})
		return err
	}
	if err := send(conn, verdict{Login: login}); err != nil {
		return err
	}
	go f.reap()
	debug.FreeOSMemory() // it has nothing more to do than to be there

	gone := make(chan struct{})
	go func() {
		f.receive(l) // until the keeper is gone
		close(gone)
	}()
	select {
	case <-stop: // as root in the sandbox switches it off
	case <-gone:
	}
	return nil
}

// first is the first process of a sandbox.
type first struct {
	mu       sync.Mutex
	children map[int]func(unix.WaitStatus) // pid → who wants to know its end
	visits   chan struct{}                 // holds one for each that is here
}

// begin starts what an instance has running, and says whether it lets people
// in by SSH.
func (f *first) begin(s service) (login bool, err error) {
	if err := serveMetadata(s); err != nil {
		return false, err
	}
	sshd := findSSHD(s.SSHD)
	if sshd != "" {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			return false, err
		}
		if err := f.start("sshd", sshd, "-D", "-e", "-f", sshdConfigFile); err != nil {
			return false, err
		}
	}
	if len(s.Boot) > 0 {
		if err := f.start("boot command", s.Boot...); err != nil {
			return false, err
		}
	}
	// A machine that runs lets people in.
	return sshd != "" && awaitFile(sshdPidFile, sshdPatience), nil
}

// sshdPatience is how long the ssh server may take to listen. One that cannot
// is no reason to have no instance: its console says why.
const sshdPatience = 5 * time.Second

func awaitFile(path string, patience time.Duration) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return true
		}
	}
	return false
}

// start starts a child in a session of its own that prints to the console.
func (f *first) start(what string, argv ...string) error {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return fmt.Errorf("start %s: %w", what, err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	f.mu.Lock() // reap shall not see it before it is known
	defer f.mu.Unlock()
	p, err := os.StartProcess(path, argv, &os.ProcAttr{
		Dir: "/",
		Env: []string{"PATH=" + standardPath, "HOME=" + rootHome, "USER=root", "LOGNAME=root", "SHELL=/bin/sh",
			"LANG=C.UTF-8"},
		Files: []*os.File{null, os.Stdout, os.Stderr},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", what, err)
	}
	f.children[p.Pid] = func(s unix.WaitStatus) {
		fmt.Printf("nimbus: %s ended: %s\n", what, describe(s))
	}
	p.Release()
	return nil
}

// reap waits for every child, its own and those that lost their parent.
func (f *first) reap() {
	child := make(chan os.Signal, 1)
	signal.Notify(child, syscall.SIGCHLD)
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.ECHILD):
			<-child
		case err == nil:
			f.mu.Lock()
			if tell, ok := f.children[pid]; ok {
				delete(f.children, pid)
				tell(status)
			}
			f.mu.Unlock()
		}
	}
}

func describe(s unix.WaitStatus) string {
	if s.Signaled() {
		return s.Signal().String()
	}
	return fmt.Sprintf("exit code %d", s.ExitStatus())
}
