package history

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nimbus/broker/cluster"
	"nimbus/broker/wire"
	"nimbus/cloud"
)

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		found = append(found, e.Name())
	}
	return found
}

func text(t *testing.T, path ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestRunLogsAreKeptAndTimed(t *testing.T) {
	l := launch(t, open(t), "cluster")
	for range 3 {
		info, debug, err := l.RunLog()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(info, "Launching... ")
		fmt.Fprint(info, "done.\nnext\n")
		fmt.Fprint(debug, "unfinished")
		if err := errors.Join(info.Close(), debug.Close()); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"run-002-log.txt", "run-003-log.txt", "run-debug-002-log.txt", "run-debug-003-log.txt", "run-debug-log.txt", "run-log.txt",
	}
	if got := names(t, l.Dir); !slices.Equal(got, want) {
		t.Errorf("files: %v", got)
	}
	if m := mode(t, filepath.Join(l.Dir, "run-log.txt")); m != 0o600 {
		t.Errorf("mode %o", m)
	}
	var lines []string
	for line := range strings.Lines(text(t, l.Dir, "run-log.txt") + text(t, l.Dir, "run-debug-log.txt")) {
		stamp, rest, _ := strings.Cut(line, " ")
		if _, err := time.Parse(strings.TrimSpace(logTime), stamp); err != nil {
			t.Errorf("line %q: %v", line, err)
		}
		lines = append(lines, rest)
	}
	if want := []string{"Launching... done.\n", "next\n", "unfinished\n"}; !slices.Equal(lines, want) {
		t.Errorf("lines %q", lines)
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func TestLogLinesOfManyWritersStayWhole(t *testing.T) {
	var out strings.Builder
	f := &logFile{out: nopCloser{&out}, now: func() time.Time { return time.Unix(0, 0).UTC() }}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				fmt.Fprintln(f, "one whole line")
			}
		})
	}
	wg.Wait()
	if want := strings.Repeat("1970-01-01T00:00:00.000Z one whole line\n", 800); out.String() != want {
		t.Error("lines are mixed up")
	}
}

func TestVMReports(t *testing.T) {
	l := launch(t, open(t), "cluster")
	instances := []Instance{someInstance(0), someInstance(1)}
	instances[0].ID = "../a/b"
	instances[0].Addresses = append(instances[0].Addresses, cloud.Address{Network: "v6", IP: netip.MustParseAddr("2001:db8::1")}, cloud.Address{Network: "later"})
	instances[1].State, instances[1].Reason = cloud.Failed, "no\x1b[31m room"
	dir, err := l.WriteVMReports(instances)
	if err != nil {
		t.Fatal(err)
	}
	if dir != filepath.Join(l.Dir, "reports-vm") {
		t.Errorf("dir %s", dir)
	}
	if got := names(t, dir); !slices.Equal(got, []string{"FAILED-vm-2.txt", "RUNNING-vm-1.txt"}) {
		t.Errorf("reports: %v", got)
	}
	want := []string{"%2E.%2Fa%2Fb-10.78.0.2", "%2E.%2Fa%2Fb-2001:db8::1", "i-1-10.78.0.3"}
	if got := names(t, filepath.Join(l.Dir, "id-ip-dir")); !slices.Equal(got, want) {
		t.Errorf("id-ip-dir: %v", got)
	}
	report := text(t, dir, "RUNNING-vm-1.txt")
	for _, want := range []string{"Instance of head-0\n", "State: running\n", "ID: ../a/b\n", "public: 10.78.0.2\n", "v6: 2001:db8::1\n", "later: (not supplied)\n"} {
		if !strings.Contains(report, want) {
			t.Errorf("no %q in\n%s", want, report)
		}
	}
	if strings.Contains(report, "thead-0") {
		t.Errorf("the request's token is nobody's business:\n%s", report)
	}
	if failed := text(t, dir, "FAILED-vm-2.txt"); !strings.Contains(failed, "Reason: no [31m room\n") {
		t.Errorf("reason:\n%s", failed)
	}

	// They run now: nothing of the old set is left.
	instances[1].State = cloud.Running
	if _, err := l.WriteVMReports(instances[1:]); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); !slices.Equal(got, []string{"RUNNING-vm-1.txt"}) {
		t.Errorf("reports after the second call: %v", got)
	}
	if got := names(t, l.Dir); !slices.Equal(got, []string{"id-ip-dir", "reports-vm"}) {
		t.Errorf("left behind: %v", got)
	}
}

func TestIDsBecomeDistinctFileNames(t *testing.T) {
	long := strings.Repeat("/", 500)
	seen := map[string]string{}
	for _, id := range []string{"i-1", "i/1", "i%2F1", "i_1", ".", "..", "-x", "a\x00b", "ü", long, long + "x", long + "y"} {
		name := safeName(id)
		if len(name) > 160 || name[0] == '.' || name[0] == '-' || strings.ContainsAny(name, "/\x00") {
			t.Errorf("%.20q became %q", id, name)
		}
		if other, taken := seen[name]; taken {
			t.Errorf("%.20q and %.20q became %q", id, other, name)
		}
		seen[name] = id
	}
}

func node(index int, state wire.NodeState) wire.Node {
	place := cluster.Place{Workspace: "head", Index: index}
	return wire.Node{
		Node: place.String(), Workspace: "head", Index: index, State: state, Roles: []string{"web", "head"},
		Identities: []cluster.Identity{{Interface: "publicnic", IP: netip.MustParseAddr("10.78.0.2"), Hostname: "head-0.cluster-001", Pubkey: hostKey}},
	}
}

var at = time.Date(2026, 3, 1, 12, 30, 0, 0, time.UTC)

func TestReportsOfAContextThatIsOK(t *testing.T) {
	l := launch(t, open(t), "cluster")
	status := wire.Status{Locked: true, Summary: wire.Summary{State: wire.OK, Expected: 1, Joined: 1, OK: 1}}
	summary, err := l.WriteContextReports(status, []wire.Node{node(0, wire.NodeOK)}, at)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(l.Dir, "reports-ctx")
	if summary != filepath.Join(dir, "CTX-OK.txt") {
		t.Errorf("summary %s", summary)
	}
	want := "Context of cluster-001, " + at.Local().Format(time.UnixDate) + `

- [X] injects done
- [X] complete: 1 of 1 nodes joined
- [X] all OK: 1 of 1 nodes
- [ ] error present: 0 of 1 nodes
- Roles: head (1), web (1)
`
	if got := text(t, summary); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	want = "Report of head-0, " + at.Local().Format(time.UnixDate) + `

STATUS
------
Node exited: yes
Node OK: yes
Roles: web, head
Joined: (not supplied)
Reported: (not supplied)

IDENTITIES
----------
INTERFACE NAME: publicnic
IP ADDRESS: 10.78.0.2
HOSTNAME: head-0.cluster-001
SSH PUBLIC KEY: ` + hostKey + "\n"
	if got := text(t, dir, "OK-vm-1.txt"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if path, got, err := l.NodeReport("head-0"); err != nil || path != filepath.Join(dir, "OK-vm-1.txt") || got != want {
		t.Errorf("read back from %s: %v\n%s", path, err, got)
	}
	for _, node := range []string{"head-00", "head", "../x"} {
		if path, _, err := l.NodeReport(node); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is in %s: %v", node, path, err)
		}
	}
	for _, name := range []string{"CTX-OK.txt", "OK-vm-1.txt"} {
		if m := mode(t, filepath.Join(dir, name)); m != 0o600 {
			t.Errorf("%s has mode %o", name, m)
		}
	}
}

func TestReportsOfAContextThatFailed(t *testing.T) {
	l := launch(t, open(t), "cluster")
	var nodes []wire.Node
	for i := range 11 {
		nodes = append(nodes, node(i, wire.NodeJoined))
	}
	nodes[0].State = wire.NodeOK
	nodes[2].State, nodes[2].Report = wire.NodeError, &wire.Report{Step: "1-ipandhost/web 10.78.0.2", Code: 3, Log: "first\r\nlast \x1b]0;x\a words \xff\n\n"}
	nodes[3].State, nodes[3].Identities = wire.NodeError, nil
	nodes[4].State, nodes[4].Identities = wire.NodeExpected, []cluster.Identity{{}}
	status := wire.Status{
		Summary:    wire.Summary{State: wire.Failing, Expected: 11, Joined: 10, OK: 1, Failed: 2},
		Workspaces: []wire.WorkspaceStatus{{Name: "head", Expected: 11, Joined: 10, Waiting: []string{"1 node of head"}}},
		Refused:    []wire.Refusal{{Time: at, Node: "head-1", From: "10.9.9.9", Reason: "the place is taken"}},
	}
	summary, err := l.WriteContextReports(status, nodes, at)
	if err != nil {
		t.Fatal(err)
	}
	got := names(t, filepath.Dir(summary))
	want := []string{"CTX-ERR.txt", "DID-NOT-EXIT-vm-02.txt", "DID-NOT-EXIT-vm-05.txt", "ERROR-0-vm-04.txt", "ERROR-3-vm-03.txt", "OK-vm-01.txt"}
	for _, name := range want {
		if !slices.Contains(got, name) {
			t.Errorf("no %s among %v", name, got)
		}
	}
	for _, want := range []string{
		"- [ ] injects pending\n", "- [ ] complete: 10 of 11 nodes joined\n", "- [ ] all OK: 1 of 11 nodes\n", "- [X] error present: 2 of 11 nodes\n",
		"head-2 failed with code 3 at 1-ipandhost/web 10.78.0.2\n", "The context is failing.\n",
		"head: 10 of 11 joined, waits for 1 node of head\n", "refused 10.9.9.9 as head-1, ", ": the place is taken\n",
	} {
		if !strings.Contains(text(t, summary), want) {
			t.Errorf("no %q in\n%s", want, text(t, summary))
		}
	}
	dir := filepath.Dir(summary)
	failed := text(t, dir, "ERROR-3-vm-03.txt")
	for _, want := range []string{"Report of head-2, ", "Node exited: yes\nNode OK: no\nNode ERROR code: 3\nFailed step: 1-ipandhost/web 10.78.0.2\n"} {
		if !strings.Contains(failed, want) {
			t.Errorf("no %q in\n%s", want, failed)
		}
	}
	if want := "\nERROR TEXT\n----------\nfirst\nlast \uFFFD]0;x\uFFFD words \uFFFD\n"; !strings.HasSuffix(failed, want) {
		t.Errorf("no %q at the end of\n%s", want, failed)
	}
	if text := text(t, dir, "ERROR-0-vm-04.txt"); !strings.Contains(text, "----------\n(not supplied)\n\nERROR TEXT\n----------\n(not supplied)\n") {
		t.Errorf("a node without anything:\n%s", text)
	}
	if text := text(t, dir, "DID-NOT-EXIT-vm-05.txt"); !strings.Contains(text, "Node exited: no\nNode OK: no\n") || !strings.Contains(text, "SSH PUBLIC KEY: (not supplied)\n") {
		t.Errorf("a node that never came:\n%s", text)
	}

	// Resumed, and well at last: the old set goes as a whole.
	if _, err := l.WriteContextReports(wire.Status{Summary: wire.Summary{State: wire.OK}}, nodes[:1], at); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); !slices.Equal(got, []string{"CTX-OK.txt", "OK-vm-1.txt"}) {
		t.Errorf("after the second call: %v", got)
	}
	if got := names(t, l.Dir); !slices.Equal(got, []string{"reports-ctx"}) {
		t.Errorf("left behind: %v", got)
	}
}

func TestNumbersArePaddedAsBefore(t *testing.T) {
	for _, c := range []struct {
		i, count int
		want     string
	}{{0, 1, "1"}, {9, 10, "10"}, {0, 10, "1"}, {0, 11, "01"}, {0, 100, "01"}, {0, 101, "001"}, {0, 1001, "0001"}} {
		if got := number(c.i, c.count); got != c.want {
			t.Errorf("number(%d, %d) = %s, want %s", c.i, c.count, got, c.want)
		}
	}
}

func TestAFullDiskKeepsTheOldReports(t *testing.T) {
	l := launch(t, open(t), "cluster")
	dir, err := l.writeSet("reports-vm", []report{{"old.txt", "old"}})
	if err != nil {
		t.Fatal(err)
	}
	// A name that cannot be written stands for a disk that is full.
	if _, err := l.writeSet("reports-vm", []report{{"new.txt", "new"}, {strings.Repeat("x", 300), ""}}); err == nil {
		t.Fatal("written")
	}
	if got := names(t, dir); !slices.Equal(got, []string{"old.txt"}) {
		t.Errorf("reports: %v", got)
	}
}
