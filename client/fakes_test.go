package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"nimbus/broker/wire"
	"nimbus/client/settings"
	"nimbus/cloud"
	"nimbus/cloud/cloudtest"
)

const hello = `<cluster>
  <workspace>
    <name>front</name><image>demo-image</image><quantity>1</quantity>
    <nic wantlogin="true">public</nic>
    <ctx><provides><identity/><role>head</role></provides><requires><role name="worker"/></requires></ctx>
  </workspace>
  <workspace>
    <name>back</name><image>demo-image</image><quantity>2</quantity>
    <nic wantlogin="true">public</nic>
    <ctx><provides><identity/><role>worker</role></provides><requires><role name="head"/></requires></ctx>
  </workspace>
</cluster>`

const plain = `<cluster>
  <workspace><name>box</name><image>demo-image</image><quantity>2</quantity><nic>public</nic></workspace>
</cluster>`

// A world is a user's machine with a cloud and a broker that are in memory.
type world struct {
	t      *testing.T
	home   string
	cloud  *cloudtest.Fake
	driver cloud.Driver // nil: cloud
	broker *fakeBroker
	again  chan struct{}
	stdout bytes.Buffer
	stderr bytes.Buffer

	output  io.Writer // in the place of stdout
	sshDir  string    // where ssh looks, if not in home
	runs    bool      // the broker is up
	reached Broker    // is found in its place

	programs map[string]string // of this machine: name → path
	became   []string          // what the process turned into

	classic bool
	change  func(*Env) // what is unusual about this world; nil: nothing
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, home: t.TempDir(), again: make(chan struct{}), runs: true, cloud: &cloudtest.Fake{}, broker: newFakeBroker(t)}
	if err := os.MkdirAll(filepath.Join(w.home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.write(".ssh/id_ed25519.pub", hostKey(1)+" me\n")
	w.write(".ssh/id_ed25519", "private\n")
	w.write("hello.xml", hello)
	w.write("plain.xml", plain)
	return w
}

func (w *world) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(w.path(name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) read(name string) string {
	w.t.Helper()
	text, err := os.ReadFile(w.path(name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

func (w *world) path(name string) string { return filepath.Join(w.home, name) }

// run calls the client as main does, and returns the exit code.
func (w *world) run(args ...string) int {
	w.t.Helper()
	return w.runContext(w.t.Context(), args...)
}

func (w *world) runContext(ctx context.Context, args ...string) int {
	w.t.Helper()
	w.stdout.Reset()
	w.stderr.Reset()
	env := &Env{
		Command: "nimbus", Home: w.home, StateDir: w.path("state"), SSHKnownHosts: filepath.Join(w.home, ".ssh", "known_hosts"), ConfigDir: w.path("config"), Executable: "/bin/true",
		Stdin: strings.NewReader(""), Stdout: &w.stdout, Stderr: &w.stderr, Again: w.again,
		Terminal: func(io.Writer) (int, int, bool) { return 0, 0, false },
		Now:      time.Now,
		FindProgram: func(name string) (string, error) {
			if path, ok := w.programs[name]; ok {
				return path, nil
			}
			return "", exec.ErrNotFound
		},
		Become: func(path string, argv []string) error {
			w.became = append([]string{path}, argv...)
			return nil
		},
		NewID: func() string { return strings.ToLower(rand.Text()) },
		EnsureBroker: func(context.Context, string, string) (Broker, error) {
			w.runs = true
			return w.broker, nil
		},
		FindBroker: func(context.Context, string) (Broker, error) {
			if !w.runs {
				return nil, ErrNoBroker
			}
			if w.reached != nil {
				return w.reached, nil
			}
			return w.broker, nil
		},
		NodesSocket: func(dir string) (string, error) { return filepath.Join(dir, "nodes.sock"), nil },
		OpenBroker:  func(wire.Endpoint) (Broker, error) { return w.broker, nil },
		OpenCloud: func(string, settings.Settings) (cloud.Driver, error) {
			if w.driver != nil {
				return w.driver, nil
			}
			return w.cloud, nil
		},
	}
	if w.classic {
		env.Command, env.Classic = "bin/cloud-client.sh", true
	}
	if w.sshDir != "" {
		env.SSHKnownHosts = filepath.Join(w.sshDir, "known_hosts")
	}
	if w.output != nil {
		env.Stdout = w.output
	}
	if w.change != nil {
		w.change(env)
	}
	commands := Commands(env)
	app := &cli.App{Name: "nimbus", Commands: commands, Writer: &w.stdout, ErrWriter: &w.stderr, DisableSliceFlagSeparator: true,
		ExitErrHandler: func(*cli.Context, error) {}}
	err := app.RunContext(ctx, append([]string{"nimbus"}, OptionsFirst(args, commands)...))
	if err == nil {
		return 0
	}
	fmt.Fprintf(&w.stderr, "nimbus: error: %v\n", err)
	f, ok := err.(*Failure)
	if !ok {
		w.t.Fatalf("%v: not a Failure: %v", args, err)
	}
	if f.Advice != "" {
		fmt.Fprintf(&w.stderr, "nimbus: hint: %v\n", f.Advice)
	}
	return f.Code
}

// expect runs a command that must end with a code and print these parts on
// either stream.
func (w *world) expect(code int, args []string, parts ...string) {
	w.t.Helper()
	w.expectContext(w.t.Context(), code, args, parts...)
}

func (w *world) expectContext(ctx context.Context, code int, args []string, parts ...string) {
	w.t.Helper()
	got := w.runContext(ctx, args...)
	all := w.stdout.String() + w.stderr.String()
	if got != code {
		w.t.Fatalf("%v: exit code %d, want %d\n%s", args, got, code, all)
	}
	for _, part := range parts {
		if !strings.Contains(all, part) {
			w.t.Errorf("%v: %q is missing from\n%s", args, part, all)
		}
	}
}

func (w *world) instances() []cloud.Instance {
	w.t.Helper()
	list, err := w.cloud.List(w.t.Context(), "")
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

func (w *world) nothingLeft() {
	w.t.Helper()
	if list := w.instances(); len(list) > 0 {
		w.t.Errorf("instances are left: %+v", list)
	}
	if len(w.broker.contexts) > 0 {
		w.t.Errorf("a context is left")
	}
}

// boot makes instances behave as nodes: each joins, and reports ok when all
// are there. What the hook returns is reported instead, nil is silence.
func (w *world) boot(report func(node string) *wire.Report) {
	w.cloud.Started = func(i cloud.Instance, r cloud.Request) {
		if r.UserData == nil {
			return
		}
		b, err := wire.ParseBootstrap(r.UserData)
		if err != nil {
			w.t.Errorf("%s: %v", i.Name, err)
			return
		}
		w.broker.join(b.Context, i, b.NICs[0].Label)
		if answer := report(i.Token); answer != nil {
			w.broker.report(b.Context, i.Token, *answer)
		}
	}
}

func allOK(string) *wire.Report { return &wire.Report{OK: true} }
