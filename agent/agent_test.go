package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nimbus/agent/host"
	"nimbus/broker/cluster"
	"nimbus/broker/wire"
)

func code(err error) int {
	var exit *ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}

const allCalls = `|0-etchosts.all 
|1-ipandhost/worker 10.78.0.3 work-0 work-0
|1-ipandhost/worker 10.78.0.4 work-1 work-1
|3-data/greeting STATE/ctx-1/data/greeting-0
|4-restarts/worker 
`

func (m *testMachine) calls() string {
	return strings.ReplaceAll(m.read("calls"), m.cfg.StateDir, "STATE")
}

func TestAllGoesWell(t *testing.T) {
	b := newBroker(t)
	m := newMachine(t, b)
	if err := m.run(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, m.console.String())
	}
	if m.calls() != allCalls {
		t.Errorf("scripts:\n%s\nwant:\n%s", m.calls(), allCalls)
	}
	if len(b.joins) != 1 || len(b.reports) != 1 || !b.reports[0].OK {
		t.Fatalf("joins %+v, reports %+v", b.joins, b.reports)
	}
	i := b.joins[0].Identities
	if len(i) != 1 || i[0].Interface != "publicnic" || i[0].IP.String() != "10.78.0.2" || i[0].Hostname != "head-0" {
		t.Errorf("joined as %+v", i)
	}
	if got := m.read("var/nimbus/ctx-1/data/greeting-0"); got != "hello\n" {
		t.Errorf("data: %q", got)
	}
	m.logs(t, "## auto-generated @ ", "INFO: joined node=head-0", "INFO: 1-ipandhost/worker 10.78.0.3 work-0 work-0", "INFO: reported: ok")

	// The next boots find that all is done, and ask nobody.
	if err := m.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.logs(t, "already contextualized")
	if b.asked["join"] != 1 || m.calls() != allCalls {
		t.Errorf("the second boot did something: %v\n%s", b.asked, m.calls())
	}
}

func TestSecretsStaySecret(t *testing.T) {
	b := newBroker(t)
	m := newMachine(t, b)
	// A script that shows everything it can get at.
	m.script(t, "3-data/greeting", "env; cat "+m.root+"/bootstrap "+m.root+"/var/nimbus/ctx-1/claim; exit 1")
	if err := m.run(t.Context()); code(err) != CodeFailed {
		t.Fatalf("got %v", err)
	}
	claim := strings.TrimSpace(m.read("var/nimbus/ctx-1/claim"))
	if len(claim) != 64 || !b.claims[claim] || len(b.claims) != 1 {
		t.Errorf("claim %q, sent %v", claim, b.claims)
	}
	_, mac, _ := strings.Cut(token, "0:")
	for where, text := range m.said(b) {
		if strings.Contains(text, claim) || strings.Contains(text, mac) {
			t.Errorf("a secret is in the %s:\n%s", where, text)
		}
		if !strings.Contains(text, "[secret]") {
			t.Errorf("nothing was hidden in the %s:\n%s", where, text)
		}
	}
	for name, want := range map[string]fs.FileMode{"var/nimbus": 0o700, "var/nimbus/ctx-1": 0o700, "var/nimbus/ctx-1/claim": 0o600, "var/nimbus/ctx-1/identities.json": 0o600, "var/nimbus/ctx-1/manifest.json": 0o600, "var/nimbus/ctx-1/data/greeting-0": 0o600, "opt/ctxlog.txt": 0o600} {
		info, err := os.Stat(filepath.Join(m.root, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

// A script that traces its commands shows its value, however long that is.
func TestValuesStaySecret(t *testing.T) {
	b := newBroker(t)
	var long strings.Builder
	for i := range 4000 {
		fmt.Fprintf(&long, "%d-", i*i)
	}
	values := []string{"it's a pass phrase", "-----BEGIN KEY-----\n\tc2VjcmV0LWtleQ==\nshort\n-----END KEY-----\n", long.String(), "tiny"}
	m := newMachine(t, b)
	b.manifest = func(int) any {
		manifest := helloManifest()
		for _, v := range values {
			manifest.Data = append(manifest.Data, cluster.Data{Name: "password", Value: v})
		}
		return manifest
	}
	m.script(t, "3-data/password", "set -x\nv=$(cat \"$1\")\n: \"$v\"\ncat \"$1\"; echo tiny words")
	m.script(t, "4-restarts/worker", "cat "+m.cfg.StateDir+"/ctx-1/data/password-*; exit 1")
	if err := m.run(t.Context()); code(err) != CodeFailed {
		t.Fatalf("got %v", err)
	}
	for where, text := range m.said(b) {
		for _, secret := range []string{"pass phrase", "c2VjcmV0", "BEGIN KEY", values[2][:40], values[2][5000:5040], values[2][len(values[2])-40:]} {
			if strings.Contains(text, secret) {
				t.Errorf("%q is in the %s:\n%s", secret, where, text)
			}
		}
		if !strings.Contains(text, "tiny") {
			t.Errorf("an ordinary word is hidden in the %s:\n%s", where, text)
		}
	}
}

// said is all that a run lets people see.
func (m *testMachine) said(b *broker) map[string]string {
	return map[string]string{"log": m.read("opt/ctxlog.txt"), "console": m.console.String(), "report": b.reports[0].Log}
}

func TestHeldThenComplete(t *testing.T) {
	b := newBroker(t)
	b.manifest = func(n int) any {
		return []any{held{"role worker: 1 of 2"}, held{"role worker: 1 of 2"}, helloManifest()}[n]
	}
	m := newMachine(t, b)
	if err := m.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(m.read("opt/ctxlog.txt"), "waiting for role worker: 1 of 2"); n != 1 {
		t.Errorf("said %d times what it waits for", n)
	}
}

func TestStages(t *testing.T) {
	b := newBroker(t)
	b.manifest = func(n int) any {
		m := helloManifest()
		m.Stage, m.Last = n, n == 1
		return m
	}
	m := newMachine(t, b)
	if err := m.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(b.reports) != 2 || b.reports[0].Stage != 0 || b.reports[1].Stage != 1 || m.calls() != allCalls {
		t.Errorf("reports %+v, scripts:\n%s", b.reports, m.calls())
	}
}

func TestBrokerSaysNo(t *testing.T) {
	for name, c := range map[string]struct {
		join, manifest *wire.Error
		reported       bool
	}{
		"another node failed": {nil, wire.Errorf(wire.ContextFailing, "node work-1 failed"), false},
		"cancelled":           {nil, wire.Errorf(wire.ContextGone, "the context was cancelled"), false},
		"unknown":             {wire.Errorf(wire.NotFound, "no such context"), nil, false},
		"released":            {nil, wire.Errorf(wire.NotJoined, "node head-0 must join first"), false},
		"place taken":         {wire.Errorf(wire.PlaceTaken, "another machine holds head-0"), nil, false},
		"address taken":       {wire.Errorf(wire.AddressTaken, "work-0 has 10.78.0.2"), nil, true},
		"not understood":      {wire.Errorf(wire.BadRequest, "no identity has the label localnic"), nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t)
			message := ""
			if c.join != nil {
				b.join, message = func(int) any { return c.join }, c.join.Message
			} else {
				b.manifest, message = func(int) any { return c.manifest }, c.manifest.Message
			}
			m := newMachine(t, b)
			if err := m.run(t.Context()); code(err) != CodeFailed || !strings.Contains(err.Error(), message) {
				t.Errorf("got %v", err)
			}
			m.logs(t, message)
			if (len(b.reports) == 1) != c.reported {
				t.Errorf("reports: %+v", b.reports)
			}
			if m.calls() != "" {
				t.Errorf("scripts ran:\n%s", m.calls())
			}
			// Who is no node here may describe itself anew at the next start.
			stranger := name == "released" || name == "place taken"
			if stranger != (m.read("var/nimbus/ctx-1/identities.json") == "") {
				t.Errorf("identities: %s", m.read("var/nimbus/ctx-1/identities.json"))
			}
		})
	}
}

func TestNetworkErrorsAreRetried(t *testing.T) {
	b := newBroker(t)
	join, manifest := b.join, b.manifest
	b.join = func(n int) any {
		if n == 0 {
			return nil
		}
		return join(n)
	}
	b.manifest = func(n int) any {
		if n == 0 {
			return wire.Errorf(wire.Unavailable, "starting")
		}
		return manifest(n)
	}
	b.report = func(n int) any {
		if n < 2 {
			return nil
		}
		return done{}
	}
	m := newMachine(t, b)
	if err := m.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(b.reports) != 1 || b.asked["report"] != 3 || m.calls() != allCalls {
		t.Errorf("%v, scripts:\n%s", b.asked, m.calls())
	}
	m.logs(t, "WARN: report: no answer yet, trying again", "the broker answers again")
}

func TestFailingScript(t *testing.T) {
	b := newBroker(t)
	m := newMachine(t, b)
	m.script(t, "1-ipandhost/worker", "echo 'no route to worker' >&2; exit 7")
	m.script(t, "problem.sh", `echo "$1|$2|$NIMBUS_NODE" >`+m.root+"/problem")
	m.cfg.ProblemScript = filepath.Join(m.cfg.ScriptsDir, "problem.sh")
	if err := m.run(t.Context()); code(err) != CodeFailed || !strings.Contains(err.Error(), "script 1-ipandhost/worker on node head-0 ended with exit code 7") {
		t.Fatalf("got %v", err)
	}
	if len(b.reports) != 1 {
		t.Fatalf("reports %+v", b.reports)
	}
	r := b.reports[0]
	if r.OK || r.Code != 7 || r.Step != "1-ipandhost/worker 10.78.0.3 work-0 work-0" || !strings.Contains(r.Log, "1-ipandhost/worker: no route to worker") {
		t.Errorf("report %+v", r)
	}
	if err := r.Check(); err != nil || len(r.Log) > maxTail {
		t.Errorf("%d bytes of log, %v", len(r.Log), err)
	}
	if got := m.read("problem"); got != "1-ipandhost/worker 10.78.0.3 work-0 work-0|7|head-0\n" {
		t.Errorf("the problem script saw %q", got)
	}
	// A script that said no is not asked again.
	if err := m.run(t.Context()); code(err) != CodeFailed || len(b.reports) != 1 || strings.Count(m.read("calls"), "\n") != 1 {
		t.Errorf("the second boot: %v, %d reports, calls:\n%s", err, len(b.reports), m.calls())
	}
}

func TestContextGoneBeforeTheReport(t *testing.T) {
	b := newBroker(t)
	b.report = func(int) any { return wire.Errorf(wire.ContextGone, "the context was cancelled") }
	m := newMachine(t, b)
	if err := m.run(t.Context()); code(err) != CodeFailed || !strings.Contains(err.Error(), "cancelled") {
		t.Errorf("got %v", err)
	}
	if b.asked["report"] != 1 {
		t.Errorf("reported %d times", b.asked["report"])
	}
}

func TestEmptyScriptsDirectoryIsFilled(t *testing.T) {
	b := newBroker(t)
	b.manifest = func(int) any { return &cluster.Manifest{Last: true} } // nothing to run
	m := newMachine(t, b)
	m.cfg.ScriptsDir = filepath.Join(m.root, "empty")
	if err := m.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m.read("empty/0-etchosts.all") == "" {
		t.Error("no scripts")
	}
	if got := m.read("opt/ctx-test/thishost-publicnic"); got != "10.78.0.2 head-0 head-0\n" {
		t.Errorf("the sample noted %q", got)
	}
}

func TestAnotherContextBefore(t *testing.T) {
	b := newBroker(t)
	m := newMachine(t, b)
	m.put(t, "var/nimbus/context", "ctx-0\n")
	m.put(t, "var/nimbus/ctx-0/claim", "old secret\n")
	m.script(t, "clean.sh", `echo "$NIMBUS_OLD_CONTEXT $NIMBUS_CONTEXT" >`+m.root+"/cleaned")
	if err := m.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := m.read("cleaned"); got != "ctx-0 ctx-1\n" {
		t.Errorf("clean.sh saw %q", got)
	}
	if m.read("var/nimbus/ctx-0/claim") != "" || m.read("var/nimbus/context") != "ctx-1\n" {
		t.Error("the old context is still there")
	}
}

func TestMissingInterfaceIsReported(t *testing.T) {
	b := newBroker(t)
	m := newMachine(t, b)
	m.cfg.NetworkWait = 0
	m.cfg.machine.interfaces = func() ([]host.Interface, error) { return nil, nil }
	if err := m.run(t.Context()); code(err) != CodeFailed {
		t.Fatalf("got %v", err)
	}
	if len(b.reports) != 1 || !strings.Contains(b.reports[0].Log, `no interface with an address for publicnic (network "public")`) {
		t.Errorf("reports %+v", b.reports)
	}
}

func TestOneAgentAtATime(t *testing.T) {
	b := newBroker(t)
	m := newMachine(t, b)
	s, err := openState(m.cfg.StateDir, "ctx-1")
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := m.run(t.Context()); code(err) != CodeBusy || !strings.Contains(err.Error(), "another agent is at work") {
		t.Errorf("got %v", err)
	}
	if len(b.asked) != 0 {
		t.Errorf("the second agent spoke for the first: %v", b.asked)
	}
}

func TestNoBootstrapChangesNothing(t *testing.T) {
	m := newMachine(t, nil)
	other := httptest.NewServer(http.NotFoundHandler()) // a cloud that has no user data for us
	defer other.Close()
	m.cfg.MetadataURL = other.URL
	if err := m.run(t.Context()); err != nil {
		t.Fatalf("got %v", err)
	}
	if entries, err := os.ReadDir(m.root); err != nil || len(entries) != 0 {
		t.Errorf("left %v, %v", entries, err)
	}
	out := m.console.String()
	if strings.Count(out, "\n") != 1 || !strings.Contains(out, "metadata server URL path '"+m.cfg.MetadataURLFile+"' does not exist on filesystem") {
		t.Errorf("said %q", out)
	}
}

func TestBootstrapFromMetadata(t *testing.T) {
	b := newBroker(t)
	m := newMachine(t, b)
	document := m.read("bootstrap")
	if err := os.Remove(filepath.Join(m.root, "bootstrap")); err != nil {
		t.Fatal(err)
	}
	values := map[string]string{
		"/2007-01-19/user-data": document, "/2007-01-19/meta-data/local-hostname": "ip-10-78-0-2.internal",
		"/2007-01-19/meta-data/public-hostname": "head.example.org", "/2007-01-19/meta-data/public-ipv4": "10.78.0.2",
	}
	metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(values[r.URL.Path]))
	}))
	defer metadata.Close()
	m.put(t, "metadata-url", metadata.URL)
	if err := m.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if i := b.joins[0].Identities; i[0].Hostname != "head.example.org" {
		t.Errorf("joined as %+v", i)
	}
}
