package client

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nimbus/broker/wire"
)

// inWorld runs a story in a bubble with a cluster that is up.
func inWorld(t *testing.T, story func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot(allOK)
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml"), "--hours", "2"})
		story(w)
	})
}

func TestTerminate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot(allOK)
		w.write(".ssh/known_hosts", "example.org "+hostKey(9)+"\n")
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml")}, "SSH trusts")
		w.expect(0, []string{"terminate", "--handle", "cluster-001"}, "Terminating cluster-001.", "ended 3 instances", "Terminated 'cluster-001'")
		w.nothingLeft()
		if got := w.read(".ssh/known_hosts"); got != "example.org "+hostKey(9)+"\n" {
			t.Errorf("known_hosts: %q", got)
		}
		w.expect(0, []string{"terminate", "--handle", "cluster-001"}, "cluster-001 was terminated already.")
		w.expect(0, []string{"status", "--handle", "cluster-001"}, "cluster-001: terminated")
		w.expect(2, []string{"nodes", "--handle", "cluster-001"}, "the context of cluster-001 is gone")
		w.expect(1, []string{"terminate", "--handle", "cluster-002"}, `unknown handle "cluster-002": known in`, "cluster-001")
		w.expect(1, []string{"terminate", "--handle", "../../etc"}, `unknown handle "../../etc"`)
		w.expect(1, []string{"terminate"}, "give either --handle HANDLE or --all")
	})
}

// A known_hosts file that the run made goes with it; the user's stays, were it
// empty.
func TestTerminateAndKnownHosts(t *testing.T) {
	inWorld(t, func(w *world) {
		w.expect(0, []string{"terminate", "--handle", "cluster-001"})
		if _, err := os.Stat(w.path(".ssh/known_hosts")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the file was not there before: %v", err)
		}
		w.write(".ssh/known_hosts", "")
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml")}, "SSH trusts")
		w.expect(0, []string{"terminate", "--handle", "cluster-002"})
		if got := w.read(".ssh/known_hosts"); got != "" {
			t.Errorf("%q", got)
		}
	})
}

// The file that the first of several launches made goes with the last of them,
// in whatever order they end.
func TestKnownHostsGoesWithTheLast(t *testing.T) {
	for _, order := range [][]string{
		{"--all"},
		{"--handle", "cluster-003", "--handle", "cluster-001", "--handle", "cluster-002"},
		{"--handle", "cluster-001", "--handle", "cluster-003", "--handle", "cluster-002"},
	} {
		inWorld(t, func(w *world) {
			w.expect(0, []string{"run", "--cluster", w.path("hello.xml")})
			w.expect(0, []string{"run", "--cluster", w.path("hello.xml"), "--known-hosts", w.path("others")})
			w.expect(0, []string{"run", "--cluster", w.path("hello.xml")})
			w.expect(0, append([]string{"terminate"}, order...))
			w.expect(0, []string{"terminate", "--all"})
			for _, file := range []string{".ssh/known_hosts", "others"} {
				if _, err := os.Stat(w.path(file)); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%v: %s: %v", order, file, err)
				}
			}
		})
	}
	// The time of the first is over, then the user makes an empty file.
	inWorld(t, func(w *world) {
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml"), "--hours", "9"})
		time.Sleep(3 * time.Hour) // of the bubble
		w.expect(0, []string{"status"})
		if got := w.read(".ssh/known_hosts"); strings.Contains(got, "cluster-001") || !strings.Contains(got, "cluster-002") {
			t.Errorf("%s", got)
		}
		w.expect(0, []string{"terminate", "--all"})
		if _, err := os.Stat(w.path(".ssh/known_hosts")); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		w.write(".ssh/known_hosts", "")
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml")})
		w.expect(0, []string{"terminate", "--all"})
		if got := w.read(".ssh/known_hosts"); got != "" {
			t.Errorf("%q", got)
		}
	})
}

// The keys of a launch whose time is over are not trusted any longer, though
// nobody terminated it.
func TestExpiredKeysAreForgotten(t *testing.T) {
	inWorld(t, func(w *world) {
		if !strings.Contains(w.read(".ssh/known_hosts"), "front-0.cluster-001") {
			t.Fatal("the keys are not trusted")
		}
		time.Sleep(3 * time.Hour) // of the bubble
		w.expect(0, []string{"status"}, "cluster-001")
		if _, err := os.Stat(w.path(".ssh/known_hosts")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("known_hosts: %q", w.read(".ssh/known_hosts"))
		}
	})
}

func TestHintsForArguments(t *testing.T) {
	inWorld(t, func(w *world) {
		w.expect(1, []string{"run", "hello.xml"}, "did you mean --cluster hello.xml?")
		w.expect(1, []string{"status", "cluster-001"}, "did you mean --handle cluster-001?")
		w.expect(1, []string{"run", "--cluster", "--hours", "1"}, "run: --cluster needs a value: behind it stands the option --hours")
		w.expect(1, []string{"exec", "--role", "--node=x", "true"}, "exec: --role needs a value: behind it stands the option --node")
		w.expect(1, []string{"run", "--json", "--cluster", "--keep"}, `"error": "run: --cluster needs a value`)
		w.expect(1, []string{"status", "--handle", "--odd"}, `unknown handle "--odd"`)
		w.expect(1, []string{"status", "--json=foo"}, `status: --json "foo": write --json or --json=stream`)
		w.expect(1, []string{"exec", "--parallel", "x", "true"}, `exec: --parallel "x": this is no such value`)
	})
}

func TestRelease(t *testing.T) {
	inWorld(t, func(w *world) {
		w.expect(0, []string{"release", "--handle", "cluster-001", "--node", "back-1"}, "Released back-1 of cluster-001")
		w.expect(6, []string{"print-ctx-status", "--handle", "cluster-001"}, "CTX_NOT_CHECKED_IN")
		w.expect(2, []string{"release", "--handle", "cluster-001", "--node", "back-7"}, "there is no node back-7")
		w.expect(1, []string{"release", "--handle", "cluster-001", "--node", "../.."}, "is not a node name")
		w.expect(1, []string{"release", "--handle", "cluster-009", "--node", "back-1"}, "unknown handle")
	})
}

func TestTerminateWorksWhenHalfOfItIsGone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.runs = false // the broker ended
		if err := w.cloud.Terminate(w.t.Context(), w.instances()[:1]); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(w.path(".ssh/known_hosts")); err != nil {
			t.Fatal(err)
		}
		w.expect(0, []string{"terminate", "--handle", "cluster-001"}, "ended 2 instances")
		if w.stderr.Len() > 0 {
			t.Errorf("stderr: %s", w.stderr.String())
		}
	})
}

func TestTerminateThatFailsCanBeRepeated(t *testing.T) {
	inWorld(t, func(w *world) {
		w.cloud.OnList = func(context.Context, string) error { return errors.New("the API is down") }
		w.expect(2, []string{"terminate", "--handle", "cluster-001"}, "terminate cluster-001: the API is down", "the same command tries the rest again")
		w.cloud.OnList = nil
		w.expect(0, []string{"terminate", "--handle", "cluster-001"}, "Terminated")
		w.nothingLeft()
	})
}

func TestTerminateSeveral(t *testing.T) {
	inWorld(t, func(w *world) {
		w.expect(0, []string{"run", "--name", "debian"})
		w.expect(1, []string{"terminate", "--handle", "vm-009", "--handle", "vm-001"}, `unknown handle "vm-009"`, "Terminated 'vm-001'")
		w.expect(0, []string{"terminate", "--all"}, "Terminated 'cluster-001'")
		w.nothingLeft()
		w.expect(0, []string{"terminate", "--all"}, "Nothing to terminate.")
	})
}

// A record that cannot be read is no reason to leave the others running, nor
// to say that all is well.
func TestTerminateAllWithADamagedRecord(t *testing.T) {
	inWorld(t, func(w *world) {
		w.expect(0, []string{"run", "--name", "debian"})
		w.expect(0, []string{"run", "--name", "debian"})
		w.write("state/history/vm-001/launch.json", "{")
		if err := os.Mkdir(w.path("state/history/vm-003"), 0o700); err != nil { // never launched
			t.Fatal(err)
		}
		w.expect(2, []string{"terminate", "--all"}, "Terminated 'cluster-001'", "Terminated 'vm-002'", "vm-001/launch.json: this is no record of a launch")
		if left := w.instances(); len(left) != 1 || strings.Contains(w.stdout.String()+w.stderr.String(), "vm-003") {
			t.Errorf("%v\n%s", left, w.stderr.String())
		}
		w.expect(2, []string{"terminate", "--all", "--json"}, `"handle": "vm-001"`, `"error": "`)
	})
}

func TestStatus(t *testing.T) {
	inWorld(t, func(w *world) {
		time.Sleep(30 * time.Minute) // of the bubble's clock
		w.expect(0, []string{"status"}, "HANDLE       STATE  PHASE  AGE     TIME LEFT   RUNNING  SOURCE\n", "cluster-001  ok     ok     30 min  1 h 30 min  3        "+w.path("hello.xml"))
		w.expect(0, []string{"status", "--handle", "cluster-001"},
			"cluster-001: ok, launched 30 min ago, ends in 1 h 30 min\n\nNODE     STATE    PHASE  AGE     ADDRESSES  ROLES\nfront-0  running  ok     30 min  192.0.2.1  head\n",
			"  - back: 2 of 2 joined, 2 ok, 0 failed\n")
		w.expect(0, []string{"status", "--json"})
		var list []LaunchStatus
		if err := json.Unmarshal(w.stdout.Bytes(), &list); err != nil || len(list) != 1 || list[0].Running != 3 {
			t.Errorf("%v: %s", err, w.stdout.String())
		}
		if err := w.cloud.Terminate(w.t.Context(), w.instances()); err != nil {
			t.Fatal(err)
		}
		w.expect(0, []string{"status"}, "cluster-001  gone")
		time.Sleep(2 * time.Hour)
		w.expect(0, []string{"status"}, "cluster-001  expired")
		w.cloud.OnList = func(context.Context, string) error { return errors.New("the API is down") }
		w.expect(2, []string{"status"}, "cluster-001  ok     ?", `what runs in cloud "local" could not be asked: the API is down`, "the status is not complete: 1 cloud or broker could not be asked")
		w.expect(2, []string{"status", "--handle", "cluster-001"}, "cluster-001: ok (?)", "the API is down")
	})
}

func TestStatusOfNothing(t *testing.T) {
	w := newWorld(t)
	w.expect(0, []string{"status"}, "Nothing was launched yet")
	w.expect(1, []string{"status", "--handle", "cluster-001"}, "unknown handle", "there is no launch in")
}

// A client that was killed while it waited left a cluster that came up.
func TestStatusAsksTheBrokerForTheKilledClient(t *testing.T) {
	inWorld(t, func(w *world) {
		file := "state/history/cluster-001/launch.json"
		w.write(file, strings.Replace(w.read(file), `"state": "ok"`, `"state": "waiting"`, 1))
		w.expect(0, []string{"status"}, "cluster-001  waiting  ok ")
	})
}

func TestNodes(t *testing.T) {
	inWorld(t, func(w *world) {
		w.expect(0, []string{"nodes", "--handle", "cluster-001"},
			"back-1: ok\n  - publicnic: 192.0.2.3 [ back-1.cluster-001 ]\n      "+hostKey(3)+"\n")
		w.expect(0, []string{"nodes", "--json", "--handle", "cluster-001"}, `"pubkey": "ssh-ed25519 `)
		w.expect(0, []string{"run", "--cluster", w.path("plain.xml")})
		for _, command := range []string{"nodes", "lock", "print-ctx-status"} {
			w.expect(1, []string{command, "--handle", "cluster-002"}, "cluster-002 has no context")
		}
	})
}

func TestPrintCtxStatus(t *testing.T) {
	inWorld(t, func(w *world) {
		w.expect(0, []string{"print-ctx-status", "--handle", "cluster-001"})
		if want := "192.0.2.1    [CTX_SUCCESS]\n192.0.2.2    [CTX_SUCCESS]\n192.0.2.3    [CTX_SUCCESS]\n"; w.stdout.String() != want {
			t.Errorf("%s", w.stdout.String())
		}
		for i, state := range []wire.NodeState{wire.NodeError, wire.NodeJoined, wire.NodeExpected} {
			w.broker.contexts["ctx1"].nodes[i].State = state
		}
		w.expect(6, []string{"print-ctx-status", "--handle", "cluster-001"}, "not every node is ok")
		if want := "192.0.2.1    [CTX_ERROR]\n192.0.2.2    [CTX_CHECKED_IN_PENDING]\n192.0.2.3    [CTX_NOT_CHECKED_IN]\n"; w.stdout.String() != want {
			t.Errorf("%s", w.stdout.String())
		}
	})
}

func TestListings(t *testing.T) {
	w := newWorld(t)
	w.expect(0, []string{"networks"}, "NETWORK  DESCRIPTION\npublic   fake\n")
	w.expect(0, []string{"list"}, "IMAGE  DESCRIPTION\nfake   nothing at all\n")
	w.expect(0, []string{"list", "--json"}, `"name": "fake"`)
}

func TestValidate(t *testing.T) {
	w := newWorld(t)
	w.write("bad.xml", strings.Replace(hello, `<role name="head"/>`, `<role name="haed"/>`, 1))
	w.expect(0, []string{"validate", w.path("hello.xml")}, "hello.xml: ok: 2 workspaces, 3 instances, 3 of them in the context\n")
	w.expect(1, []string{"validate", w.path("bad.xml")}, `bad.xml:10: error: workspace "back" requires the role "haed", which nobody provides; did you mean "head"?`, "bad.xml has 1 error")
	w.expect(1, []string{"validate", "--json", w.path("bad.xml")}, `"ok": false`, `"line": 10`)
	w.expect(1, []string{"validate"}, "give a cluster definition")
	w.expect(0, []string{"validate", w.path("hello.xml"), "--json"}, `"ok": true`)
	w.expect(1, []string{"validate", w.path("hello.xml"), "--odd"}, "there is no option --odd")
	w.expect(0, []string{"validate", w.path("hello.xml"), w.path("plain.xml")}, "hello.xml: ok: 2 workspaces", "plain.xml: ok: 1 workspace")
	several := []string{"validate", w.path("bad.xml"), w.path("none.xml"), w.path("hello.xml")}
	w.expect(1, several, "bad.xml:10: error: ", "none.xml: error: cannot read the cluster definition", "hello.xml: ok: ", "2 of 3 files cannot be launched")
	w.expect(1, append(several, "--json"))
	var list []Validation
	if err := json.Unmarshal(w.stdout.Bytes(), &list); err != nil || len(list) != 3 || list[0].OK || list[1].OK || !list[2].OK || len(list[1].Problems) != 1 {
		t.Errorf("%v: %s", err, w.stdout.String())
	}
	w.expect(1, []string{"validate", w.home}, "nimbus: error:")
}

// ownCodes are the commands whose exit codes mean more than that it worked, that
// the parameters were wrong, or that something did not work.
var ownCodes = []string{"run", "resume", "status", "ssh", "exec", "cp", "logs", "rerun", "extend", "terminate", "forget", "validate", "print-ctx-status", "doctor"}

func TestHelp(t *testing.T) {
	w := newWorld(t)
	for _, c := range Commands(&Env{}) {
		if c.Hidden {
			continue
		}
		w.expect(0, []string{c.Name, "--help"}, c.CustomHelpTemplate)
		if c.Usage == "" || !strings.Contains(c.CustomHelpTemplate, "Example") {
			t.Errorf("%s: no summary or no example", c.Name)
		}
		// Codes of a command's own are all said in one place.
		codes := regexp.MustCompile(`(?i)exit code|\b(6|124|129|130|143|255)\b`)
		before, _, said := strings.Cut(c.CustomHelpTemplate, "\nExit codes: ")
		if own := slices.Contains(ownCodes, c.Name); codes.MatchString(before) || own && !said {
			t.Errorf("%s: the help speaks of exit codes elsewhere than in its section \"Exit codes:\", or has none", c.Name)
		}
		for _, f := range c.Flags {
			if name := f.Names()[0]; name != "help" && !strings.Contains(c.CustomHelpTemplate, "  --"+name) {
				t.Errorf("%s: the help does not explain --%s", c.Name, name)
			}
		}
	}
	for name, text := range classicTexts {
		w.expect(0, []string{classicHelp, name}, text)
	}
}

// Two commands do not change one launch at once.
func TestTerminateWaitsForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot(func(string) *wire.Report { return nil })
		other := *w
		ended := make(chan int, 1)
		time.AfterFunc(time.Minute, func() { ended <- other.run("terminate", "--handle", "cluster-001") })
		w.expect(1, []string{"run", "--cluster", w.path("hello.xml"), "--timeout", "3"})
		if code := <-ended; code != 2 || !strings.Contains(other.stderr.String(), "cluster-001 is in use by process ") {
			t.Errorf("exit code %d\n%s", code, other.stderr.String())
		}
	})
}
