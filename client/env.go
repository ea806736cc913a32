// Package client is the side of Nimbus that a person calls: it reads a cluster
// definition, launches its instances, watches them become a cluster, and ends
// them again. One file for each subcommand; what they share is here, in
// session.go and in output.go.
package client

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"nimbus/broker/wire"
	"nimbus/client/settings"
	"nimbus/cloud"
)

// Env is everything that the client takes from the world around it.
type Env struct {
	Command string // how this program is called, for hints: "nimbus", "bin/cloud-client.sh"
	Classic bool   // hints use the classic flags
	Home    string
	// SSHKnownHosts is the file that ssh reads for this user, whatever HOME is.
	SSHKnownHosts string
	StateDir      string // $XDG_STATE_HOME/nimbus
	ConfigDir     string // $XDG_CONFIG_HOME/nimbus
	Executable    string // this binary: a broker is started from it, and instances run it

	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Terminal tells the size of the terminal that a writer leads to, if it
	// leads to one.
	Terminal func(io.Writer) (width, height int, ok bool)
	NoColor  bool
	Unicode  bool // the terminal's character set is UTF-8

	// FindProgram returns the path of a program of this machine; Become turns
	// this process into one, and returns only when that fails.
	FindProgram func(name string) (path string, err error)
	Become      func(path string, argv []string) error

	Now   func() time.Time
	NewID func() string // random, for a launch

	// Again is closed when the user interrupts a second time; the first time
	// the command's context ends. Nil: never.
	Again <-chan struct{}

	// Leave tells of signals that end the client and leave its launch alone,
	// until stop is called. Nil: there are none.
	Leave func() (signals <-chan os.Signal, stop func())

	// EnsureBroker finds or starts this user's own broker with its state in
	// dir; FindBroker returns ErrNoBroker when none runs.
	EnsureBroker func(ctx context.Context, dir, executable string) (Broker, error)
	FindBroker   func(ctx context.Context, dir string) (Broker, error)
	// NodesSocket is where that broker answers instances that reach no address
	// of this machine.
	NodesSocket func(dir string) (string, error)
	OpenBroker  func(wire.Endpoint) (Broker, error)
	OpenCloud   func(name string, s settings.Settings) (cloud.Driver, error)

	results *results // Stdout, as the commands write to it
	machine machine  // that a doctor looks at; nil: this one
}

// Broker is what the client asks of a broker; *wire.Client is one.
type Broker interface {
	Create(ctx context.Context, create wire.Create) (wire.Created, error)
	Status(ctx context.Context, id string, after uint64) (wire.Status, error)
	Nodes(ctx context.Context, id string) ([]wire.Node, error)
	Delete(ctx context.Context, id string) error
	Release(ctx context.Context, id, node string) error
	Contexts(ctx context.Context) ([]wire.Summary, error)
	AddData(ctx context.Context, id string, data wire.AddData) error
	Lock(ctx context.Context, id string) error
	Extend(ctx context.Context, id string, expires time.Time) error
	PutPack(ctx context.Context, id string, pack wire.Pack, content io.Reader) error
	NodeLog(ctx context.Context, id, node string, offset int64) (wire.NodeLog, error)
	Listen(ctx context.Context, address string) (url string, err error)
}

// ErrNoBroker says that no broker of this user runs on this machine.
var ErrNoBroker = errors.New("no broker runs")

// Failure is an error with the exit code that belongs to it, and what to do.
type Failure struct {
	Code   int
	Text   string
	Advice string
}

func (f *Failure) Error() string { return f.Text }

// ExitCode is what the program ends with.
func (f *Failure) ExitCode() int { return f.Code }

// Hint says what to do; it may be empty.
func (f *Failure) Hint() string { return f.Advice }

// The exit codes, those of the classic client and the shell's for Ctrl-C.
const (
	exitUsage       = 1 // wrong parameters
	exitCluster     = 1 // a node failed, or did not get ready in time
	exitFailed      = 2 // something else did not work
	exitNotAllOK    = 6 // print-ctx-status: not every node is ok
	exitInterrupted = 130
)

// expand reads the ~ of a path.
func (env *Env) expand(path string) string {
	if path == "~" {
		return env.Home
	}
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		return filepath.Join(env.Home, rest)
	}
	return path
}

// brokerDir has the state of this user's own broker.
func (env *Env) brokerDir() string { return filepath.Join(env.StateDir, "broker") }
