package client

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"nimbus/broker"
	"nimbus/broker/wire"
	"nimbus/client/settings"
	"nimbus/cloud"
	"nimbus/cloud/local"
	"nimbus/cloud/ssh"
)

// A machine is what a doctor looks at beyond files: this one, or one of a test.
type machine interface {
	variable(name string) string         // of the environment
	program(name string) (string, error) // where it is
	writable(path string) error          // nil when this user may write there
	free(dir string) (bytes uint64, err error)
	addresses() ([]netip.Addr, error) // of this machine, that others may reach
	proxy(address string) (*url.URL, error)
	ownBroker(ctx context.Context, dir, executable string) ownBroker
	cloud(ctx context.Context, name string, s settings.Settings) []cloud.Finding
}

// ownBroker is what can be seen of this user's broker without waking it.
type ownBroker struct {
	broker  Broker // nil: none answers
	info    wire.Info
	holds   bool   // it left contexts
	hangs   bool   // something is there, and does not answer
	version string // of this program, to compare
}

// thisMachine is the one that this program runs on.
type thisMachine struct{ env *Env }

func (thisMachine) variable(name string) string { return os.Getenv(name) }

func (thisMachine) program(name string) (string, error) { return exec.LookPath(name) }

func (thisMachine) writable(path string) error {
	if err := unix.Access(path, unix.W_OK); err != nil {
		return &os.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}

func (thisMachine) free(dir string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return uint64(s.Bavail) * uint64(s.Bsize), nil
}

func (thisMachine) addresses() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var found []netip.Addr
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().IsGlobalUnicast() {
			found = append(found, p.Addr())
		}
	}
	return found, nil
}

func (thisMachine) proxy(address string) (*url.URL, error) { return wire.ProxyFor(address) }

// lookPatience is how long a doctor waits for a broker's answer.
const lookPatience = 5 * time.Second

func (thisMachine) ownBroker(ctx context.Context, dir, executable string) (own ownBroker) {
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	own.version, _ = broker.Version(executable) // without one nothing is compared
	found, err := broker.Find(ctx, dir)
	if err != nil {
		own.hangs = ctx.Err() != nil
		own.holds = broker.Holds(dir)
		return own
	}
	own.broker = found
	own.info, err = found.Info(ctx)
	own.hangs = err != nil
	return own
}

// cloud asks the driver. That of this machine is looked at even where it
// cannot be opened: why not is what the doctor is asked.
func (m thisMachine) cloud(ctx context.Context, name string, s settings.Settings) []cloud.Finding {
	if s.Clouds[name].Driver == "local" {
		o, err := m.env.localOptions(name, s)
		if err != nil {
			return fail("correct the settings; docs/settings.md explains each", "cloud %q: %v", name, err)
		}
		return local.Check(o)
	}
	if s.Clouds[name].Driver == driverSSH {
		findings, err := m.hosts(ctx, name, s)
		if err != nil {
			return nil // as below
		}
		return findings
	}
	driver, err := m.env.OpenCloud(name, s)
	if err != nil {
		return nil // said by whoever opens it
	}
	if checker, ok := driver.(cloud.Checker); ok {
		return checker.Check(ctx)
	}
	return nil
}

// hosts looks at hosts that run already. Keys that a launch would take as they
// are go into a file that is thrown away: a doctor changes nothing.
func (m thisMachine) hosts(ctx context.Context, name string, s settings.Settings) ([]cloud.Finding, error) {
	o, err := m.env.sshOptions(name, s)
	if err != nil {
		return nil, err
	}
	if o.AcceptNew {
		dir, err := os.MkdirTemp("", "nimbus-doctor-*")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		o.KnownHosts = append([]string{filepath.Join(dir, "known_hosts")}, o.KnownHosts...)
	}
	driver, err := ssh.New(o)
	if err != nil {
		return nil, err
	}
	defer driver.Close()
	return driver.Check(ctx), nil
}

// nearestDir is a directory itself or, where it does not exist yet, the one
// above it that does.
func nearestDir(dir string) (string, error) {
	for {
		info, err := os.Stat(dir)
		switch {
		case err == nil && !info.IsDir():
			return dir, &os.PathError{Op: "open", Path: dir, Err: unix.ENOTDIR}
		case err == nil:
			return dir, nil
		case !errors.Is(err, os.ErrNotExist) || dir == filepath.Dir(dir):
			return dir, err
		}
		dir = filepath.Dir(dir)
	}
}
