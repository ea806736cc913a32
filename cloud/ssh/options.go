package ssh

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
)

// Options of a Driver.
type Options struct {
	// Hosts are the machines that there are: group → hosts in order, by which
	// the instance with index 0 gets the first. Those of group AnyGroup are for
	// instances whose group has no host left.
	Hosts map[string][]Host
	// User is whom to log in as where a host does not say. Empty: root. Others
	// than root need sudo that asks for no password.
	User string
	// Dir keeps notes on launches: which hosts they have, and where hosts reach
	// this machine. Mode 0700.
	Dir string

	// Key is a private key file, the only key then. It may be encrypted where
	// the agent has it. Empty: the keys of the agent, then those in KeyDir.
	Key string
	// KeyDir has id_ed25519, id_ecdsa and id_rsa. Empty: none.
	KeyDir string
	// AgentSocket is SSH_AUTH_SOCK. Empty: no agent.
	AgentSocket string
	// Jump is a host that all connections go through. Nil: none.
	Jump *Host

	// KnownHosts are the files that say which key a host has; those that do not
	// exist are empty. Names in them may be hashed.
	KnownHosts []string
	// AcceptNew adds the keys of hosts that no file knows to the first of them.
	// A key that is another than the known one is refused all the same.
	AcceptNew bool

	// Program is the build of Nimbus for a host, by what "uname -s" and
	// "uname -m" print there.
	Program func(sysname, machine string) (Program, error)
	// Forward has hosts reach a socket of this machine through their
	// connections: Prepare answers with an address then, and Forward works. It
	// is for brokers that hosts cannot reach by themselves.
	Forward bool
	// KeepProgram leaves what was installed on hosts when a launch ends: the
	// next one has nothing to copy, and one without this takes it away.
	KeepProgram bool
	// Log gets what agents log, line by line, while the driver lives; host is
	// as in Host.String. It may be called by several goroutines at once. The
	// line is what the host says: not fit for a terminal. Nil: not wanted.
	Log func(host, line string)
	// Said gets what happens in the background: a connection that broke, one
	// that is there again. Nil: not wanted.
	Said func(host, line string)
	// Copied is called when a launch has found out what a host needs: whether
	// the program has to be copied there. Nil: not wanted.
	Copied func(host string, copied bool)
}

// Program is an executable for a host.
type Program struct {
	Content io.ReaderAt // read by several goroutines at once
	Size    int64
	SHA256  string // of the content, in hex
}

// AcceptNewSetting is how hints call Options.AcceptNew: a setting of the cloud.
const AcceptNewSetting = `host_keys = "accept-new"`

// AnyGroup is the group of hosts that instances of every group may get.
const AnyGroup = "*"

// complete fills in what zero values mean and checks the rest.
func (o *Options) complete() error {
	if !filepath.IsAbs(o.Dir) {
		return fmt.Errorf("dir %q: want an absolute path", o.Dir)
	}
	if o.Program == nil {
		return errors.New("nobody says which program hosts get")
	}
	if o.User == "" {
		o.User = "root"
	}
	if err := checkUser(o.User); err != nil {
		return err
	}
	if o.Jump != nil {
		jump := o.Jump.with(o.User)
		o.Jump = &jump
	}
	hosts := map[string][]Host{}
	for group, list := range o.Hosts {
		list = slices.Clone(list)
		for i, h := range list {
			list[i] = h.with(o.User)
			if err := list[i].check(); err != nil {
				return fmt.Errorf("hosts of %q: %w", group, err)
			}
		}
		hosts[group] = list
	}
	o.Hosts = hosts
	return nil
}
