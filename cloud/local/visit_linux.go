package local

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of the programs that clients have run in a sandbox.
const (
	mostVisits    = 100                  // at the same time
	maxCommand    = 128 << 10            // bytes in all words, and one more for each
	maxVisit      = 4*maxCommand + 4<<10 // the same as JSON: "YQ==", for a word of one byte
	visitPatience = 10 * time.Second
	hangUpTime    = 2 * time.Second // between SIGHUP and SIGKILL
)

// receive takes in visits until the keeper is gone.
func (f *first) receive(l *line) {
	for {
		var v visit
		files, err := l.receive(&v)
		if err != nil {
			return
		}
		for _, file := range files {
			if conn, err := connection(file); err == nil {
				go f.visit(newLine(conn, maxVisit))
			}
		}
	}
}

// visit runs the program that a client asks for, and tells how it ended.
func (f *first) visit(l *line) {
	defer l.conn.Close()
	select {
	case f.visits <- struct{}{}:
		defer func() { <-f.visits }()
	default:
		send(l.conn, verdict{Error: fmt.Sprintf("%d programs run in it from outside already", mostVisits)})
		return
	}
	l.conn.SetDeadline(time.Now().Add(visitPatience))
	var p program
	files, err := l.receive(&p)
	if err != nil {
		return
	}
	v, err := f.launch(p, files)
	closeAll(files)
	if err != nil {
		send(l.conn, verdict{Error: err.Error()})
		return
	}
	if v.terminal == nil {
		err = send(l.conn, verdict{})
	} else {
		err = control(v.terminal, func(fd int) error { return sendFDs(l.conn, verdict{}, fd) })
		v.terminal.Close() // the client's is the only one: without it the program hangs up
	}
	l.conn.SetDeadline(time.Time{})
	code := v.wait(l.conn)
	if err == nil {
		l.conn.SetDeadline(time.Now().Add(visitPatience))
		send(l.conn, ending{Code: code})
	}
}

// visitor is a program that a client had started.
type visitor struct {
	pid      int // and session
	ended    chan unix.WaitStatus
	terminal *os.File // the master; nil: none
	refused  int      // exit code when it could not be started
}

// launch starts a program. One that cannot be started says so on its standard
// error and has an exit code, as in a shell.
func (f *first) launch(p program, files []*os.File) (*visitor, error) {
	v := &visitor{ended: make(chan unix.WaitStatus, 1)}
	sys := &syscall.SysProcAttr{Setsid: true}
	if t := p.Terminal; t != nil {
		master, slave, err := openTerminal(*t)
		if err != nil {
			return nil, err
		}
		defer slave.Close()
		v.terminal, files = master, []*os.File{slave, slave, slave}
		sys.Setctty = true
	}
	if len(files) != mostFiles {
		return nil, errors.New("enter: standard input, output and errors are missing")
	}
	shell := loginShell()
	path, argv, err := lookUp(p.Command, shell)
	if err == nil {
		f.mu.Lock() // reap shall not see it before it is known
		defer f.mu.Unlock()
		var process *os.Process
		process, err = os.StartProcess(path, argv, &os.ProcAttr{Dir: home(), Env: environment(p, shell), Files: files, Sys: sys})
		if err == nil {
			v.pid = process.Pid
			f.children[v.pid] = func(s unix.WaitStatus) { v.ended <- s }
			process.Release()
			return v, nil
		}
	}
	v.refused = 126
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		v.refused = 127
	}
	fmt.Fprintf(files[2], "nimbus: %s\n", refusal(err))
	return v, nil
}

// refusal is why a program could not be started.
func refusal(err error) string {
	var look *exec.Error
	var start *os.PathError
	switch {
	case errors.As(err, &look):
		return fmt.Sprintf("%s: %v", look.Name, reason(look.Err))
	case errors.As(err, &start):
		return fmt.Sprintf("%s: %v", start.Path, reason(start.Err))
	}
	return err.Error()
}

func reason(err error) error {
	if errors.Is(err, exec.ErrNotFound) {
		return errors.New("command not found")
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// wait returns the exit code. When the client goes first, the program hangs
// up as if its terminal went, and is killed if that does not impress it.
func (v *visitor) wait(client io.Reader) int {
	if v.refused != 0 {
		return v.refused
	}
	gone := make(chan struct{})
	go func() {
		io.Copy(io.Discard, client) // it has nothing more to say
		close(gone)
	}()
	var s unix.WaitStatus
	select {
	case s = <-v.ended:
	case <-gone:
		signalSession(v.pid, unix.SIGHUP)
		signalSession(v.pid, unix.SIGCONT)
		select {
		case s = <-v.ended:
		case <-time.After(hangUpTime):
			// More than once: new ones may just be born.
			for end := time.Now().Add(hangUpTime); signalSession(v.pid, unix.SIGKILL) > 0 && time.Now().Before(end); {
				time.Sleep(poll)
			}
			s = <-v.ended
		}
	}
	return exitCode(s)
}

func exitCode(s unix.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}

// signalSession sends a signal to all processes of a session, whatever group
// and terminal they have, and returns how many live in it.
func signalSession(session int, signal unix.Signal) (living int) {
	stats, _ := filepath.Glob("/proc/[1-9]*/stat")
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue // it just ended
		}
		state, s := parseStat(string(text))
		if s != session || state == "Z" || state == "X" {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(stat))); err == nil {
			unix.Kill(pid, signal)
			living++
		}
	}
	return living
}

// parseStat reads a process's state and session. Its name, in brackets, may
// have brackets and spaces of its own.
func parseStat(text string) (state string, session int) {
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 4 {
		return "", 0
	}
	session, _ = strconv.Atoi(fields[3])
	return fields[0], session
}

// lookUp finds the file of a command and its arguments; without a command
// they are those of a login shell.
func lookUp(command [][]byte, shell string) (path string, argv []string, err error) {
	if len(command) == 0 {
		return shell, []string{"-" + filepath.Base(shell)}, nil
	}
	for _, word := range command {
		argv = append(argv, string(word))
	}
	name := argv[0]
	if strings.Contains(name, "/") && !filepath.IsAbs(name) {
		name = filepath.Join(home(), name) // where it will be
	}
	path, err = exec.LookPath(name)
	return path, argv, err
}

// home is where programs start: root's, or the root directory of an image
// without one.
func home() string {
	if fi, err := os.Stat(rootHome); err == nil && fi.IsDir() {
		return rootHome
	}
	return "/"
}

// terminalType is what TERM may be.
var terminalType = regexp.MustCompile(`^[A-Za-z0-9._+-]{1,64}$`)

// environment is what a login has.
func environment(p program, shell string) []string {
	env := []string{"PATH=" + standardPath, "HOME=" + rootHome, "USER=root", "LOGNAME=root", "SHELL=" + shell, "LANG=C.UTF-8"}
	if t := p.Terminal; t != nil {
		kind := t.Type
		if !terminalType.MatchString(kind) {
			kind = "dumb"
		}
		env = append(env, "TERM="+kind)
	}
	return env
}

// loginShell is what /etc/passwd says of root, if it is there.
func loginShell() string {
	const otherwise = "/bin/sh"
	f, err := os.Open("/etc/passwd")
	if err != nil {
		return otherwise
	}
	defer f.Close()
	shell := rootShell(io.LimitReader(f, 1<<20))
	if !filepath.IsAbs(shell) {
		return otherwise
	}
	if _, err := exec.LookPath(shell); err != nil {
		return otherwise
	}
	return shell
}

// rootShell finds root's shell in the text of a passwd file.
func rootShell(passwd io.Reader) string {
	lines := bufio.NewScanner(passwd)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) == 7 && fields[0] == "root" {
			return fields[6]
		}
	}
	return ""
}
