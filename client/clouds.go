package client

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"nimbus/broker/software"
	"nimbus/client/settings"
	"nimbus/cloud"
	"nimbus/cloud/command"
	"nimbus/cloud/local"
	"nimbus/cloud/ssh"
)

// The drivers, as the settings call them.
const (
	driverLocal   = "local"
	driverSSH     = "ssh"
	driverCommand = "command"
)

// openCloud makes the driver of a cloud.
func (env *Env) openCloud(name string, s settings.Settings) (cloud.Driver, error) {
	switch c := s.Clouds[name]; c.Driver {
	case driverLocal:
		o, err := env.localOptions(name, s)
		if err != nil {
			return nil, err
		}
		return local.New(o)
	case driverSSH:
		o, err := env.sshOptions(name, s)
		if err != nil {
			return nil, err
		}
		return ssh.New(o)
	case driverCommand:
		return command.New(env.commandOptions(name, c))
	default:
		return nil, fmt.Errorf("there is no driver %q", c.Driver)
	}
}

// commandOptions is what the settings say of a cloud that is a program of the
// user's own.
func (env *Env) commandOptions(name string, c settings.Cloud) command.Options {
	return command.Options{
		Program: env.expand(c.Command),
		Dir:     filepath.Join(env.StateDir, "command", name),
		User:    c.User,
		Log:     func(line string) { env.heardLog(name, line) },
	}
}

// systemKnownHosts has the keys of hosts that all users of this machine know.
const systemKnownHosts = "/etc/ssh/ssh_known_hosts"

// sshOptions is what the settings say of hosts that run already.
func (env *Env) sshOptions(name string, s settings.Settings) (ssh.Options, error) {
	c := s.Clouds[name]
	hosts, err := env.readHosts(c)
	if err != nil {
		return ssh.Options{}, err
	}
	known, err := env.knownHostsFile(s)
	if err != nil {
		return ssh.Options{}, err
	}
	acceptNew := c.HostKeys == settings.HostKeysAcceptNew
	switch {
	case known == "" && acceptNew:
		return ssh.Options{}, &hintedError{errors.New("new host keys are to be taken, and known_hosts is \"none\""), "give a file with --known-hosts, or leave host_keys strict"}
	case known == "": // nothing is written, but what ssh knows counts
		known = env.SSHKnownHosts
	}
	o := ssh.Options{
		Hosts: hosts, User: c.User, Dir: filepath.Join(env.StateDir, "hosts", name),
		KeyDir: filepath.Join(env.Home, ".ssh"), AgentSocket: os.Getenv("SSH_AUTH_SOCK"),
		KnownHosts: []string{known, systemKnownHosts}, AcceptNew: acceptNew,
		Program: env.programFor, KeepProgram: c.KeepAgent,
		// A broker of the user's own is reached through the connections, unless
		// hosts have a way to it.
		Forward: s.Broker == "" && c.BrokerAddress == "",
		Log:     env.heardLog, Said: env.heardNote, Copied: env.copies.note,
	}
	if c.Key != "" {
		if o.Key, err = filepath.Abs(env.expand(c.Key)); err != nil {
			return ssh.Options{}, fmt.Errorf("key: %v", err)
		}
	}
	if c.Jump != "" {
		jump, err := ssh.ParseHost(c.Jump)
		if err != nil {
			return ssh.Options{}, fmt.Errorf("jump: %v", err)
		}
		o.Jump = &jump
	}
	return o, nil
}

// programFor is the build of Nimbus for a host: this program, or one that lies
// beside it as a release does.
func (env *Env) programFor(sysname, machine string) (ssh.Program, error) {
	platform, err := software.Of(sysname, machine)
	if err != nil {
		return ssh.Program{}, err
	}
	env.builds.mu.Lock()
	defer env.builds.mu.Unlock()
	if p, ok := env.builds.open[platform]; ok {
		return p, nil
	}
	shelf, err := env.builds.shelf()
	if err != nil {
		return ssh.Program{}, err
	}
	f, err := shelf.File(platform)
	if err != nil {
		return ssh.Program{}, &hintedError{err, env.buildAdvice(platform)}
	}
	p := ssh.Program{Content: f, Size: f.Size, SHA256: f.SHA256} // open as long as this process lives
	if env.builds.open == nil {
		env.builds.open = map[string]ssh.Program{}
	}
	env.builds.open[platform] = p
	return p, nil
}

// builds are the programs for hosts, opened when they are needed.
type builds struct {
	mu   sync.Mutex
	open map[string]ssh.Program // by platform
	all  *software.Shelf
}

func (b *builds) shelf() (*software.Shelf, error) {
	if b.all != nil {
		return b.all, nil
	}
	var err error
	b.all, err = software.Open("")
	return b.all, err
}

// buildAdvice is how hosts of a platform get their program.
func (env *Env) buildAdvice(platform string) string {
	return fmt.Sprintf("put %s and %s of a release into %s (\"make release\" builds one)", software.Name(platform), software.SumsName, filepath.Dir(env.Executable))
}

// hasBuilds refuses, before anything is touched, a client that has nothing for
// hosts to run: one for macOS beside which no release lies. Which of several
// platforms a host is, it says itself.
func (env *Env) hasBuilds() error {
	env.builds.mu.Lock()
	defer env.builds.mu.Unlock()
	shelf, err := env.builds.shelf()
	if err != nil {
		return &Failure{Code: exitFailed, Text: err.Error()}
	}
	return refuseBuilds(shelf.Sums(), env.buildAdvice("linux-amd64"))
}

func refuseBuilds(sums map[string]string, advice string) error {
	for platform := range sums {
		if strings.HasPrefix(platform, "linux-") {
			return nil
		}
	}
	return &Failure{Code: exitUsage, Text: fmt.Sprintf("this program is for %s and has no build for Linux hosts beside it; nothing was launched", software.Own()), Advice: advice}
}
