package phase

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nimbus/broker/cluster"
)

// newRunner makes a runner with an empty scripts directory; what it logs ends
// up in the buffer, a line for each message.
func newRunner(t *testing.T) (*Runner, *bytes.Buffer) {
	t.Helper()
	dir := t.TempDir()
	var logged bytes.Buffer
	self := compute0()
	self.DataDir = filepath.Join(dir, "state", "data")
	return &Runner{
		Dir: filepath.Join(dir, "ctx-scripts"), Limit: 10 * time.Second, Self: self, Manifest: torque(),
		Trust: TrustFiles{KnownHosts: filepath.Join(dir, "ssh_known_hosts")},
		Log: slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
				return slog.Attr{}
			}
			return a
		}})),
		Redact: func(s string) string { return strings.ReplaceAll(s, "s3cret-claim", "[secret]") },
	}, &logged
}

func role(name string, args ...string) Step {
	return Step{Kind: Script, Phase: IPAndHost, Script: IPAndHost + "/" + name, Args: args, Name: name, Role: name, Count: 2}
}

func script(t *testing.T, r *Runner, name, body string) {
	t.Helper()
	write(t, filepath.Join(r.Dir, name), body, 0o755)
}

func TestScriptSeesWhatIsPromised(t *testing.T) {
	r, _ := newRunner(t)
	r.Environ = []string{"http_proxy=http://proxy:3128", "NIMBUS_SITE=north", "NIMBUS_NODE=forged", "SECRET=x"}
	script(t, r, "1-ipandhost/db", `#!/bin/sh
{ for a in "$@"; do echo "arg <$a>"; done; pwd; cat; env | grep -E '^(NIMBUS|SECRET|http_proxy|HOME|PATH)' | sort; } >seen
`)
	if err := r.Run(t.Context(), role("db", "10.0.0.1", "a b; rm -rf $HOME", "*"), 3); err != nil {
		t.Fatal(err)
	}
	want := `arg <10.0.0.1>
arg <a b; rm -rf $HOME>
arg <*>
` + r.Dir + `
HOME=/root
NIMBUS_CONTEXT=ctx-1
NIMBUS_INDEX=0
NIMBUS_NODE=compute-0
NIMBUS_OWN_HOSTNAME=compute-0
NIMBUS_OWN_IP=10.78.0.3
NIMBUS_RETRY=3
NIMBUS_ROLE=db
NIMBUS_ROLE_COUNT=2
NIMBUS_SITE=north
NIMBUS_WORKSPACE=compute
PATH=` + searchPath + `
http_proxy=http://proxy:3128
`
	if got := read(t, filepath.Join(r.Dir, "seen")); got != want {
		t.Errorf("the script saw\n%s\nwant\n%s", got, want)
	}
}

// Scripts that were written on Windows fail for a reason that nobody sees.
func TestScriptWithWindowsLineEnds(t *testing.T) {
	r, _ := newRunner(t)
	for _, interpreter := range []string{"/bin/sh", "/usr/bin/env sh"} {
		script(t, r, "1-ipandhost/db", "#!"+interpreter+"\r\nexit 0\r\n")
		err := r.Run(t.Context(), role("db", "10.0.0.1"), 0)
		if err == nil || !strings.Contains(err.Error(), "its lines end as on Windows") || !strings.Contains(err.Error(), `sed -i 's/\r$//' `+filepath.Join(r.Dir, "1-ipandhost/db")) {
			t.Errorf("%s: %v", interpreter, err)
		}
	}
	script(t, r, "1-ipandhost/db", "#!/bin/no-such-shell\n")
	if err := r.Run(t.Context(), role("db", "10.0.0.1"), 0); err == nil || !strings.Contains(err.Error(), "the program that its #! line names does not exist") {
		t.Error(err)
	}
}

func TestMissingEtcHosts(t *testing.T) {
	r, _ := newRunner(t)
	script(t, r, "1-ipandhost/db", "#!/bin/sh\n")
	for _, s := range Plan(r.Manifest, r.Self, Scripts{}) {
		if s.Phase == EtcHosts {
			if err := r.Run(t.Context(), s, 0); err == nil || !strings.Contains(err.Error(), "copy 0-etchosts.all from ctxscripts/ctx-scripts") {
				t.Error(err)
			}
			return
		}
	}
	t.Error("the plan has no such step")
}

func TestAllReadsTheSetFromStdin(t *testing.T) {
	r, _ := newRunner(t)
	script(t, r, "1-ipandhost/torqueslave.all", "#!/bin/sh\ncut -f1,5 >seen\n")
	for _, s := range Plan(r.Manifest, r.Self, Scripts{IPAndHost: {"torqueslave.all"}}) {
		if s.Name == "torqueslave.all" {
			if err := r.Run(t.Context(), s, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := read(t, filepath.Join(r.Dir, "seen")); got != "10.78.0.3\t0\n10.78.0.4\t1\n" {
		t.Errorf("got %q", got)
	}
}

func TestFailures(t *testing.T) {
	r, logged := newRunner(t)
	outside := filepath.Join(t.TempDir(), "evil")
	write(t, outside, "#!/bin/sh\n", 0o755)
	script(t, r, "1-ipandhost/says-no", "#!/bin/sh\necho no such database >&2\nexit 7\n")
	script(t, r, "1-ipandhost/bare", "echo hello\n")
	script(t, r, "1-ipandhost/strange", "#!/no/such/shell\n")
	script(t, r, "1-ipandhost/killed", "#!/bin/sh\nkill -TERM $$\n")
	write(t, filepath.Join(r.Dir, "1-ipandhost/plain"), "#!/bin/sh\n", 0o644)
	if err := os.Symlink(outside, filepath.Join(r.Dir, "1-ipandhost/link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(r.Dir, "1-ipandhost/directory"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		code int
		text string
	}{
		"says-no":    {7, "script 1-ipandhost/says-no on node compute-0 ended with exit code 7"},
		"killed":     {128 + 15, "was ended: signal: terminated"},
		"bare":       {4, "has no #! line"},
		"strange":    {4, "the program that its #! line names does not exist"},
		"plain":      {4, "is not executable; run: chmod +x " + r.Dir + "/1-ipandhost/plain"},
		"link":       {4, "scripts must lie in"},
		"directory":  {4, "is not a regular file"},
		"missing":    {4, "does not exist"},
		"../../sh":   {4, "may hold only letters"},
		"..":         {4, "may hold only letters"},
		"a\nb":       {4, "may hold only letters"},
		"/bin/sh":    {4, "the name is empty"},
		"x/../../sh": {4, "may hold only letters"},
	} {
		err := r.Run(t.Context(), role(name, "10.0.0.1"), 0)
		var failure *Failure
		if !errors.As(err, &failure) {
			t.Errorf("%q: got %v", name, err)
			continue
		}
		if failure.Code != c.code || !strings.Contains(failure.Text, c.text) || failure.Step != "1-ipandhost/"+name+" 10.0.0.1" {
			t.Errorf("%q: got code %d, step %q, %q", name, failure.Code, failure.Step, failure.Text)
		}
	}
	if !strings.Contains(logged.String(), "1-ipandhost/says-no: no such database") {
		t.Errorf("what the script printed is not in the log:\n%s", logged)
	}
}

// A hostile broker cannot reach outside with the name of a value either.
func TestDataStaysInItsDirectory(t *testing.T) {
	r, _ := newRunner(t)
	r.Manifest.Data = []cluster.Data{{Name: "../../../etc/passwd", Value: "x"}}
	for _, s := range Plan(r.Manifest, r.Self, Scripts{DataDir: {"../../../etc/passwd"}}) {
		if s.Kind != Data {
			continue
		}
		err := r.Run(t.Context(), s, 0)
		if err == nil || !strings.Contains(err.Error(), "may hold only letters") {
			t.Errorf("got %v", err)
		}
	}
	if _, err := os.Stat(r.Self.DataDir); err == nil {
		t.Error("the data directory was made")
	}
}

func TestData(t *testing.T) {
	r, logged := newRunner(t)
	script(t, r, "3-data/gridmap", "#!/bin/sh\ncat \"$1\" >>seen\necho \"$#\" >>seen\n")
	for _, s := range Plan(r.Manifest, r.Self, Scripts{DataDir: {"gridmap"}}) {
		if s.Kind == Data {
			if err := r.Run(t.Context(), s, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := read(t, filepath.Join(r.Dir, "seen")); got != "a\nb\n1\nc\n1\n" {
		t.Errorf("the script saw %q", got)
	}
	empty := filepath.Join(r.Self.DataDir, "empty-0")
	if got := read(t, empty); got != "" {
		t.Errorf("an empty value became %q", got)
	}
	info, err := os.Stat(empty)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if !strings.Contains(logged.String(), "its value is in "+empty) {
		t.Errorf("the log does not say where a value without a script is:\n%s", logged)
	}
}

func TestTimeLimitEndsTheWholeGroup(t *testing.T) {
	r, _ := newRunner(t)
	r.Limit = 200 * time.Millisecond
	script(t, r, "1-ipandhost/slow", "#!/bin/sh\nsleep 600 &\necho $! >child\nwait\n")
	err := r.Run(t.Context(), role("slow"), 0)
	if err == nil || !strings.Contains(err.Error(), "ran longer than 200ms and was ended") {
		t.Fatalf("got %v", err)
	}
	var child int
	if _, err := fmt.Sscan(read(t, filepath.Join(r.Dir, "child")), &child); err != nil {
		t.Fatal(err)
	}
	gone(t, child)
}

// gone waits until a process is dead; a zombie that nobody reaped yet is.
func gone(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
	}
	t.Errorf("process %d is still there", pid)
	_ = syscall.Kill(pid, syscall.SIGKILL)
}

func TestStoppedAgentStopsItsScript(t *testing.T) {
	r, _ := newRunner(t)
	script(t, r, "1-ipandhost/slow", "#!/bin/sh\necho $$ >pid.new\nmv pid.new pid\nexec sleep 600\n")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for tick := time.Tick(5 * time.Millisecond); ctx.Err() == nil; <-tick {
			if _, err := os.Stat(filepath.Join(r.Dir, "pid")); err == nil {
				cancel()
			}
		}
	}()
	if err := r.Run(ctx, role("slow"), 0); err != context.Canceled {
		t.Errorf("got %v: to be stopped is no failure of the script", err)
	}
	var pid int
	if _, err := fmt.Sscan(read(t, filepath.Join(r.Dir, "pid")), &pid); err != nil {
		t.Fatal(err)
	}
	gone(t, pid)
}

func TestOutputIsBounded(t *testing.T) {
	r, logged := newRunner(t)
	script(t, r, "1-ipandhost/loud", "#!/bin/sh\nyes 'a line of a very talkative script' | head -c 10000000\necho\necho the end\n")
	if err := r.Run(t.Context(), role("loud"), 0); err != nil {
		t.Fatal(err)
	}
	if logged.Len() > 4*(headOutput+tailOutput) {
		t.Errorf("10 MB of output became %d bytes of log", logged.Len())
	}
	for _, part := range []string{"bytes left out", "1-ipandhost/loud: the end"} {
		if !strings.Contains(logged.String(), part) {
			t.Errorf("the log lacks %q", part)
		}
	}
}

func TestBackgroundChildDoesNotHangTheAgent(t *testing.T) {
	r, logged := newRunner(t)
	script(t, r, "1-ipandhost/daemon", "#!/bin/sh\necho starting\nsleep 600 &\necho $! >child\n")
	start := time.Now()
	if err := r.Run(t.Context(), role("daemon"), 0); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	if !strings.Contains(logged.String(), "left something in the background") {
		t.Errorf("log: %s", logged)
	}
	var child int
	if _, err := fmt.Sscan(read(t, filepath.Join(r.Dir, "child")), &child); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
		t.Errorf("what the script started is gone: %v", err)
	}
}

// A secret is hidden wherever the script's output happens to be cut.
func TestSecretsAreHiddenAcrossBreaks(t *testing.T) {
	const secret = "s3cret-claim"
	for at := range 2 * (longLine + overlap) {
		var lines []string
		o := &output{
			emit:   func(line string) { lines = append(lines, line) },
			redact: func(s string) string { return strings.ReplaceAll(s, secret, "[secret]") },
		}
		text := strings.Repeat("x", at) + secret + strings.Repeat("y", 3*longLine)
		for len(text) > 0 {
			n := min(len(text), 1<<10)
			if _, err := o.Write([]byte(text[:n])); err != nil {
				t.Fatal(err)
			}
			text = text[n:]
		}
		o.close()
		all := strings.Join(lines, "")
		if strings.Contains(all, "s3cret") || strings.Contains(all, "claim") || strings.Count(all, "[secret]") != 1 {
			t.Fatalf("at %d: the secret shows: %.80q", at, strings.Trim(all, "xy"))
		}
	}
}
