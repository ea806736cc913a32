package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"nimbus/client/history"
	"nimbus/cloud"
)

// inside finds the launch whose machines a command wants to get into.
func (s *session) inside(handle string) (history.Record, error) {
	_, record, err := s.current(handle)
	if err != nil {
		return record, err
	}
	why := ""
	switch {
	case record.State == history.Terminated:
		why = "it was terminated"
	case record.Over(s.env.Now()):
		why = "its time is over"
	case len(record.Instances) == 0:
		why = "it has no machines"
	default:
		return record, nil
	}
	return record, &Failure{Code: exitUsage, Text: fmt.Sprintf("nothing of %s runs: %s", record.Handle, why),
		Advice: fmt.Sprintf("%q lists all launches", s.command("status"))}
}

// runIn runs a program as root in an instance of a launch and returns its exit
// code: directly where the cloud can do that, else by the ssh program of this
// machine.
func (s *session) runIn(ctx context.Context, record history.Record, i history.Instance, p cloud.Program) (int, error) {
	driver, err := s.cloudOf(record)
	if err != nil {
		return 0, err
	}
	var code int
	if enterer, ok := driver.(cloud.Enterer); ok {
		code, err = enterer.Enter(ctx, i.Instance, p)
	} else {
		code, err = s.runBySSH(ctx, record, i, p)
	}
	if err != nil {
		return 0, unreached(i, err)
	}
	return code, nil
}

// unreached is why nothing could be done in an instance, which people know by
// its node.
func unreached(i history.Instance, err error) error {
	text := strings.TrimPrefix(err.Error(), "instance "+i.ID+": ")
	return &Failure{Code: exitFailed, Text: i.Node + ": " + text}
}

// sshFailed is the exit code of ssh for its own failures.
const sshFailed = 255

func (s *session) runBySSH(ctx context.Context, record history.Record, i history.Instance, p cloud.Program) (int, error) {
	l, err := s.sshLogin(record, i)
	if err != nil {
		return 0, err
	}
	path, err := s.env.FindProgram("ssh")
	if err != nil {
		return 0, errors.New("there is no ssh program on this machine, and no other way in")
	}
	l.batch, l.terminal = true, p.Terminal != nil
	cmd := exec.CommandContext(ctx, path)
	cmd.Args = l.argv(rootCommand(l.user, p.Command))
	cmd.Stdin, cmd.Stdout = p.Stdin, p.Stdout
	var said lastWords
	cmd.Stderr = &said
	if p.Stderr != nil {
		cmd.Stderr = io.MultiWriter(p.Stderr, &said)
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case errors.As(err, &exit) && exit.ExitCode() == sshFailed:
		return 0, fmt.Errorf("ssh to %s failed: %s", l.destination(), cmp.Or(said.line(), "it did not say why"))
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode(), nil
	case errors.Is(err, exec.ErrWaitDelay):
		return 0, nil // it ended well, and left something behind
	}
	return 0, err
}

// sshLogin is how the ssh program gets into an instance.
type sshLogin struct {
	user       string
	address    netip.Addr
	key        string // file; empty: ssh knows
	knownHosts string // file that has the host's key; empty: ssh knows
	strict     bool   // the host's key must be known
	batch      bool   // nobody is there to be asked
	terminal   bool   // the program gets one
}

// sshLogin finds out what a launch did for logging in to an instance.
func (s *session) sshLogin(record history.Record, i history.Instance) (sshLogin, error) {
	l := sshLogin{user: i.Login, address: loginAddress(record, i), strict: true}
	if l.user == "" {
		return l, errors.New("nobody can log in to it by SSH")
	}
	if !l.address.IsValid() {
		return l, errors.New("its address is not known")
	}
	if record.Run != nil {
		l.key, l.knownHosts = record.Run.SSHKey, record.Run.KnownHosts
	}
	switch {
	case l.knownHosts == "":
		l.strict = false // the user sees to it himself
	case record.KnownHosts == nil || !names(record.KnownHosts.Lines, l.address):
		return l, errors.New("its SSH host key is not trusted: no NIC of it has wantlogin, or the launch is not complete")
	}
	if l.knownHosts == s.env.SSHKnownHosts {
		l.knownHosts = ""
	}
	return l, nil
}

// names tells whether lines of a known_hosts file have the key of an address.
func names(lines []string, address netip.Addr) bool {
	for _, line := range lines {
		hosts, _, _ := strings.Cut(line, " ")
		if slices.Contains(strings.Split(hosts, ","), address.String()) {
			return true
		}
	}
	return false
}

// loginAddress is where somebody wants to log in to an instance, else its
// first address.
func loginAddress(record history.Record, i history.Instance) netip.Addr {
	var wanted []bool
	if record.Definition != nil {
		if w, _ := record.Definition.Find(i.Workspace); w != nil {
			for _, nic := range w.NICs {
				wanted = append(wanted, nic.WantLogin)
			}
		}
	}
	var first netip.Addr
	for n, a := range i.Addresses {
		switch {
		case !a.IP.IsValid():
		case n < len(wanted) && wanted[n]:
			return a.IP
		case !first.IsValid():
			first = a.IP
		}
	}
	return first
}

func (l sshLogin) destination() string { return l.user + "@" + l.address.String() }

// argv is the command line of ssh that runs a command there, which a shell
// will parse; empty means a login. People's own settings of ssh count: a way
// through other hosts may be among them.
func (l sshLogin) argv(command string) []string {
	argv := []string{"ssh"}
	if l.key != "" {
		argv = append(argv, "-i", l.key)
	}
	if l.knownHosts != "" {
		argv = append(argv, "-o", knownHostsOption(l.knownHosts))
	}
	if l.strict || l.batch {
		argv = append(argv, "-o", "StrictHostKeyChecking=yes")
	}
	if l.batch {
		argv = append(argv, "-o", "BatchMode=yes")
	}
	switch {
	case l.terminal:
		argv = append(argv, "-tt")
	case command != "":
		argv = append(argv, "-T")
	}
	argv = append(argv, "--", l.destination())
	if command != "" {
		argv = append(argv, command)
	}
	return argv
}

// knownHostsOption is ssh's option for a file, in the quotes of ssh_config.
func knownHostsOption(file string) string {
	return `UserKnownHostsFile="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%").Replace(file) + `"`
}

// rootCommand makes the words of a command one that the other side's shell
// parses into the same words, run by root.
func rootCommand(user string, words []string) string {
	root := user == "root"
	switch {
	case len(words) == 0 && root:
		return ""
	case len(words) == 0:
		return "exec sudo -n -i"
	case root:
		return "exec " + shellWords(words)
	}
	return "exec sudo -n -H -- " + shellWords(words)
}

// shellWords quotes words for a shell, each of them: some mean something to it
// that look harmless.
func shellWords(words []string) string {
	var quoted []string
	for _, word := range words {
		quoted = append(quoted, "'"+strings.ReplaceAll(word, "'", `'\''`)+"'")
	}
	return strings.Join(quoted, " ")
}
