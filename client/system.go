package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"nimbus/broker"
	"nimbus/broker/wire"
	"nimbus/client/settings"
	"nimbus/cloud/local"
	"nimbus/install"
)

// System is the environment of a program that somebody called: command is how,
// for hints.
func System(command string, classic bool, stdin io.Reader, stdout, stderr io.Writer) (*Env, error) {
	home := home()
	executable, err := os.Executable()
	if err != nil {
		f := &Failure{Code: exitFailed, Text: fmt.Sprintf("cannot find this program's own file: %v", err)}
		if runtime.GOOS == "linux" && errors.Is(err, fs.ErrNotExist) { // in a chroot, mostly
			f.Advice = "is /proc mounted here? mount -t proc proc /proc"
		}
		return nil, f
	}
	env := &Env{
		Command: command, Classic: classic, Home: home, Executable: executable,
		StateDir:  filepath.Join(xdg("XDG_STATE_HOME", home, ".local", "state"), "nimbus"),
		ConfigDir: filepath.Join(xdg("XDG_CONFIG_HOME", home, ".config"), "nimbus"),
		Stdin:     stdin, Stdout: stdout, Stderr: stderr,
		Terminal: terminal, NoColor: os.Getenv("NO_COLOR") != "", Unicode: unicodeLocale(os.Getenv), Leave: leaveSignals,
		FindProgram: exec.LookPath,
		Become:      func(path string, argv []string) error { return syscall.Exec(path, argv, os.Environ()) },
		Now:         time.Now, NewID: func() string { return strings.ToLower(rand.Text()) },
		EnsureBroker: func(ctx context.Context, dir, executable string) (Broker, error) {
			return opened(broker.Ensure(ctx, dir, executable))
		},
		NodesSocket: broker.NodesSocket,
		OpenBroker:  func(e wire.Endpoint) (Broker, error) { return opened(wire.NewClient(e)) },
	}
	env.SSHKnownHosts = filepath.Join(home, ".ssh", "known_hosts")
	if u, err := user.Current(); err == nil && u.HomeDir != "" {
		env.SSHKnownHosts = filepath.Join(u.HomeDir, ".ssh", "known_hosts")
	}
	env.FindBroker = func(ctx context.Context, dir string) (Broker, error) {
		b, err := opened(broker.Find(ctx, dir))
		if !errors.Is(err, broker.ErrNotRunning) {
			return b, err
		}
		if broker.Holds(dir) { // it was stopped with contexts in it, say by a reboot
			return env.EnsureBroker(ctx, dir, executable)
		}
		return nil, ErrNoBroker
	}
	env.OpenCloud = env.openCloud
	return env, nil
}

// home is the user's directory. Something started at boot may have no HOME, and
// need none.
func home() string {
	if dir := os.Getenv("HOME"); filepath.IsAbs(dir) {
		return dir
	}
	if u, err := user.Current(); err == nil && filepath.IsAbs(u.HomeDir) {
		return u.HomeDir
	}
	return "/"
}

// opened keeps a nil client from becoming a Broker that is not nil.
func opened(client *wire.Client, err error) (Broker, error) {
	if err != nil {
		return nil, err
	}
	return client, nil
}

// xdg is a base directory; the standard says to ignore relative ones.
func xdg(variable, home string, otherwise ...string) string {
	if dir := os.Getenv(variable); filepath.IsAbs(dir) {
		return dir
	}
	return filepath.Join(append([]string{home}, otherwise...)...)
}

func terminal(w io.Writer) (width, height int, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile || os.Getenv("TERM") == "dumb" || !term.IsTerminal(int(f.Fd())) {
		return 0, 0, false
	}
	width, height, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		return 80, 24, true
	}
	return width, height, true
}

// unicodeLocale tells whether the locale's characters are UTF-8, by the first
// variable that is set, as the C library does.
func unicodeLocale(getenv func(string) string) bool {
	for _, variable := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if value := getenv(variable); value != "" {
			charset := strings.ToLower(value)
			return strings.Contains(charset, "utf-8") || strings.Contains(charset, "utf8")
		}
	}
	return false
}

// Where sandboxes find this binary, and the names it has there.
const (
	binaryThere = "/opt/nimbus/bin/nimbus"
	launchThere = "/opt/nimbus/ctx/launch.sh"
)

// localOptions is what the settings say of a cloud on this machine. A sandbox
// runs the agent out of this binary, as an image with Nimbus installed would.
func (env *Env) localOptions(name string, s settings.Settings) (local.Options, error) {
	c := s.Clouds[name]
	hide, err := env.private(s)
	if err != nil {
		return local.Options{}, err
	}
	o := local.Options{
		Dir:    filepath.Join(env.StateDir, "local", name),
		Images: map[string]local.Image{},
		Files:  []local.File{{Source: env.Executable, Target: binaryThere, ReadOnly: true}},
		Links:  []local.Link{{Target: binaryThere, Name: launchThere}},
		Hide:   hide,
		Boot:   []string{launchThere},
	}
	if c.Subnets != "" {
		subnets, err := netip.ParsePrefix(c.Subnets)
		if err != nil {
			return local.Options{}, fmt.Errorf("subnets: %v", err)
		}
		o.Subnets = subnets
	}
	for image, i := range c.Images {
		o.Images[image] = local.Image{Root: i.Root, Scripts: i.Scripts, Description: i.Description, Own: ownAgent(i.Root)}
	}
	return o, nil
}

// ownAgent is the home of an agent that an image has itself: its sandboxes are
// configured by that one.
func ownAgent(root string) []string {
	if info, err := os.Lstat(filepath.Join(root, binaryThere)); root == "" || root == "/" || err != nil || !info.Mode().IsRegular() {
		return nil
	}
	return []string{"/" + install.Home}
}
