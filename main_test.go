package main

import (
	"net"
	"os"
	"os/exec"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"nimbus/cloud/local"
)

// The test binary is every program that the scripts call, a keeper and a
// sandbox's first process included.
func TestMain(m *testing.M) {
	if code, ok := local.Main(os.Args); ok {
		os.Exit(code)
	}
	// What was copied to a host installs itself, under a name of its own.
	if len(os.Args) > 2 && os.Args[1] == "agent" && os.Args[2] == "install" {
		main()
		return
	}
	commands := map[string]func(){}
	for _, name := range []string{"nimbus", "cloud-client", "cloud-client.sh", "ctx-broker", "ctx-agent", "launch.sh"} {
		commands[name] = main
	}
	commands["nimbus-simulated"] = simulated
	testscript.Main(m, commands)
}

// TestScripts runs the sessions in testdata/scripts, as a person would type
// them, each with a home of its own.
func TestScripts(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	program, err := exec.LookPath("nimbus")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/scripts",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"port": port, "hosts": hosts},
		Setup: func(e *testscript.Env) error {
			home := e.WorkDir + "/home"
			e.Setenv("HOME", home)
			e.Setenv("NIMBUS", program)
			e.Setenv("SAMPLES", here+"/samples")
			e.Setenv("STATE", home+"/.local/state/nimbus")
			running := new(*runningHosts)
			e.Values[hostsOfSession{}] = running
			e.Defer(func() { // after the launches that use them
				if *running != nil {
					if err := (*running).end(); err != nil {
						t.Error(err)
					}
				}
			})
			// No script leaves anything running, also when it fails.
			e.Defer(func() { terminateAll(t, home) })
			return os.MkdirAll(home, 0o700)
		},
	})
}

// port sets a variable to a port of this machine that nobody listens at now.
func port(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: port VARIABLE")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	_, number, err := net.SplitHostPort(l.Addr().String())
	ts.Check(err)
	ts.Check(l.Close())
	ts.Setenv(args[0], number)
}
