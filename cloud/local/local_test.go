//go:build linux

package local

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nimbus/cloud"
	"nimbus/cloud/cloudtest"
)

// This binary is its own keeper and its own first process in sandboxes.
func TestMain(m *testing.M) {
	if code, ok := Main(os.Args); ok {
		os.Exit(code)
	}
	if len(os.Args) > 1 && os.Args[1] == tryKeys {
		tryKeysMain()
		return
	}
	if os.Getenv(removedEnv) != "" {
		os.Remove(os.Args[0])
	}
	if os.Getenv(switchedOffEnv) != "" {
		switchOff()
	}
	os.Exit(run(m))
}

// run has the race detector, where it is in use, report on keepers as well.
func run(m *testing.M) int {
	races, err := os.MkdirTemp("", "nimbus-races-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(races)
	os.Setenv("GORACE", "atexit_sleep_ms=0 log_path="+races+"/race")
	code := m.Run()
	reports, _ := filepath.Glob(races + "/race.*")
	for _, r := range reports {
		text, _ := os.ReadFile(r)
		fmt.Fprintf(os.Stderr, "in a keeper:\n%s", text)
		code = 1
	}
	return code
}

func TestConformance(t *testing.T) {
	cloudtest.Run(t, func(t *testing.T) cloud.Driver { return open(t, Options{SSHD: "none"}) })
}

// open returns a driver with a directory of its own, that has nothing left
// when the test ends.
func open(t testing.TB, o Options) *Driver {
	t.Helper()
	if apart() {
		if p := Problems(); len(p) > 0 {
			t.Skipf("%s: %s (%s)", noSandboxes, p[0].Text, p[0].Advice)
		}
	}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.Background()
		all, err := d.List(ctx, "")
		if err != nil {
			t.Errorf("list: %v", err)
		}
		if err := d.Terminate(ctx, all); err != nil {
			t.Errorf("terminate: %v", err)
		}
		launches, _ := launchesIn(o.Dir)
		for _, l := range launches {
			if t.Failed() {
				text, _ := os.ReadFile(o.Dir + "/" + l + "/" + logFile)
				t.Logf("keeper of %s:\n%s", l, text)
			}
			if err := d.Release(ctx, l); err != nil {
				t.Errorf("release: %v", err)
			}
		}
	})
	return d
}

// wanted asks for one instance on networks.
func wanted(launch, name string, networks ...string) cloud.Request {
	return cloud.Request{Launch: launch, Token: cloudtest.Token(), Name: name, Networks: networks}
}

// started starts instances and expects that to work.
func started(t testing.TB, d *Driver, rs ...cloud.Request) []cloud.Instance {
	t.Helper()
	instances, err := d.Launch(t.Context(), rs)
	if err != nil {
		t.Fatal(err)
	}
	return instances
}

// in runs a shell script in an instance and returns what it prints. It enters
// the namespaces from outside, with all capabilities.
func in(t testing.TB, d *Driver, i cloud.Instance, script string) string {
	t.Helper()
	pid, err := d.Pid(t.Context(), i)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"-t", fmt.Sprint(pid), "-m", "-n", "-u", "-i", "-p", "-r", "-w"}
	if apart() {
		args = append(args, "-U", "--preserve-credentials")
	}
	cmd := exec.Command("nsenter", append(args, "/bin/sh", "-c", script)...)
	cmd.Env = []string{"PATH=" + standardPath, "HOME=/root"}
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("in %s: %s: %v: %s", i.Name, script, err, said.String())
	}
	return strings.TrimSpace(out.String())
}

// eventually waits for what other processes do in their own time.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("10 s have not been enough: %s", what)
		}
	}
}
