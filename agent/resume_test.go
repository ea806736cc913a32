package agent

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"nimbus/agent/host"
)

// TestMain can be an agent of its own, so that a test may kill it.
func TestMain(m *testing.M) {
	if root := os.Getenv("NIMBUS_AGENT_UNDER_TEST"); root != "" {
		os.Exit(max(0, code(Run(context.Background(), testConfig(root), os.Stderr))))
	}
	os.Exit(m.Run())
}

// stopWhen ends the context when a file appears.
func stopWhen(t *testing.T, path string) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for tick := time.Tick(5 * time.Millisecond); ctx.Err() == nil; <-tick {
			if _, err := os.Stat(path); err == nil {
				cancel()
			}
		}
	}()
	return ctx
}

func TestStoppedInTheMiddleOfAScript(t *testing.T) {
	b := newBroker(t)
	m := newMachine(t, b)
	marker := filepath.Join(m.root, "begun")
	m.script(t, "3-data/greeting", `echo "$NIMBUS_RETRY|greeting" >>`+m.root+`/calls
[ -e `+marker+` ] || { touch `+marker+`; sleep 600; }`)
	if err := m.run(stopWhen(t, marker)); code(err) != CodeFailed || len(b.reports) != 0 {
		t.Fatalf("got %v, reports %+v", err, b.reports)
	}
	if err := m.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := "|0-etchosts.all \n|1-ipandhost/worker 10.78.0.3 work-0 work-0\n|1-ipandhost/worker 10.78.0.4 work-1 work-1\n|greeting\n1|greeting\n|4-restarts/worker \n"
	if m.calls() != want {
		t.Errorf("scripts:\n%s\nwant:\n%s", m.calls(), want)
	}
	if len(b.claims) != 1 || len(b.reports) != 1 || !b.reports[0].OK {
		t.Errorf("claims %v, reports %+v", b.claims, b.reports)
	}
}

func TestReportSurvivesAReboot(t *testing.T) {
	b := newBroker(t)
	m := newMachine(t, b)
	m.script(t, "4-restarts/worker", "exit 9")
	ctx, cancel := context.WithCancel(t.Context())
	b.report = func(int) any { cancel(); return nil }
	if err := m.run(ctx); code(err) != CodeFailed || len(b.reports) != 0 {
		t.Fatalf("got %v, %+v", err, b.reports)
	}
	b.report = func(int) any { return done{} }
	calls := m.calls()
	if err := m.run(t.Context()); code(err) != CodeFailed || len(b.reports) != 1 || b.reports[0].Code != 9 {
		t.Errorf("got %v, %+v", err, b.reports)
	}
	if m.calls() != calls || b.asked["join"] != 1 {
		t.Errorf("more than the report: %v\n%s", b.asked, m.calls())
	}
}

func TestDamagedProgressMeansFromTheStart(t *testing.T) {
	b := newBroker(t)
	m := newMachine(t, b)
	m.put(t, "var/nimbus/ctx-1/progress.json", `{"steps": 3, "done": 9}`)
	if err := m.run(t.Context()); err != nil || m.calls() != allCalls {
		t.Errorf("%v, scripts:\n%s", err, m.calls())
	}
}

// A script may give the machine another name, or its cloud another address.
// The broker knows the node by those it joined with, and so do the others.
func TestMachineChangesBeforeItIsStartedAgain(t *testing.T) {
	b := newBroker(t)
	m := newMachine(t, b)
	marker := filepath.Join(m.root, "begun")
	m.script(t, "2-thishost/publicnic", `echo "thishost $*" >>`+m.root+`/calls`)
	m.script(t, "3-data/greeting", `[ -e `+marker+` ] || { touch `+marker+`; sleep 600; }`)
	m.script(t, "5-thishost-finalize/publicnic", `echo "finalize $* $NIMBUS_OWN_IP" >>`+m.root+`/calls`)
	if err := m.run(stopWhen(t, marker)); code(err) != CodeFailed {
		t.Fatalf("got %v", err)
	}
	m.cfg.machine.hostname = func() (string, error) { return "renamed.example.org", nil }
	m.cfg.machine.interfaces = func() ([]host.Interface, error) {
		return []host.Interface{{Name: "eth0", Addrs: []netip.Addr{netip.MustParseAddr("10.78.0.99")}, Default: true}}, nil
	}
	m.put(t, "ssh/ssh_host_ed25519_key.pub", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE1hZGVVcEtleUZvclRlc3RzT25seTEyMzQ1Njc4 late\n")
	if err := m.run(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, m.console.String())
	}
	if len(b.joins) != 2 || !slices.Equal(b.joins[0].Identities, b.joins[1].Identities) {
		t.Errorf("joins %+v", b.joins)
	}
	if calls := m.calls(); strings.Count(calls, "thishost 10.78.0.2 head-0 head-0\n") != 1 || !strings.HasSuffix(calls, "finalize 10.78.0.2 head-0 head-0 10.78.0.2\n") {
		t.Errorf("scripts:\n%s", calls)
	}
}

// A killed agent takes its script with it, and what the script had started is
// ended before the step is done again.
func TestKilledInTheMiddleOfAScript(t *testing.T) {
	b := newBroker(t)
	m := newMachine(t, b)
	at := func(name string) string { return filepath.Join(m.root, name) }
	m.script(t, "3-data/greeting", `if [ -e `+at("pids")+` ]; then
    for pid in $(cat `+at("pids")+`); do
        case $(cat /proc/$pid/stat 2>/dev/null) in
        "" | *") Z "*) echo "$NIMBUS_RETRY|$pid is gone" >>`+at("calls")+` ;;
        *) echo "$NIMBUS_RETRY|$pid is beside me" >>`+at("calls")+` ;;
        esac
    done
    exit
fi
sleep 600 &
echo $$ $! >`+at("pids.new")+`
until grep -q group `+at("var/nimbus/ctx-1/progress.json")+`; do sleep 0.01; done # the agent notes it a moment later
mv `+at("pids.new")+" "+at("pids")+`
wait`)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var console bytes.Buffer
	agent := exec.Command(self)
	agent.Env, agent.Stderr = append(os.Environ(), "NIMBUS_AGENT_UNDER_TEST="+m.root), &console
	agent.WaitDelay = time.Millisecond // what the script started holds the console
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	<-stopWhen(t, at("pids")).Done()
	if err := agent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := agent.Wait(); err == nil {
		t.Fatalf("the agent ended well:\n%s", console.String())
	}
	var script, child int
	if _, err := fmt.Sscan(m.read("pids"), &script, &child); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); alive(script); {
		if time.Now().After(end) {
			t.Fatal("the script outlives its agent")
		}
	}
	if !alive(child) {
		t.Error("what the script started is gone already")
	}
	if err := m.run(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, m.console.String())
	}
	if got := m.read("calls"); strings.Count(got, "is gone") != 2 || strings.Contains(got, "beside") {
		t.Errorf("scripts:\n%s", got)
	}
	m.logs(t, "the agent before was killed")
}

func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestStoppedBySignals(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		t.Run(s.String(), func(t *testing.T) {
			if s == syscall.SIGHUP && signal.Ignored(s) {
				return // by whoever runs the tests with nohup
			}
			ctx, stop := untilStopped(t.Context())
			defer stop()
			if err := syscall.Kill(os.Getpid(), s); err != nil {
				t.Fatal(err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Second):
				t.Error("not stopped")
			}
		})
	}
}
