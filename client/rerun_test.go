package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"nimbus/agent/phase"
	"nimbus/broker/wire"
	"nimbus/cloud"
)

// failed is a cluster that was kept: one node has failed, the others wait.
func failed(t *testing.T, story func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot(func(node string) *wire.Report {
			if node == "back-1" {
				return &wire.Report{Step: "1-ipandhost/head", Code: 7, Log: "no\n"}
			}
			return nil
		})
		w.expect(1, []string{"run", "--cluster", w.path("hello.xml"), "--keep"}, "back-1: 1-ipandhost/head failed with exit code 7")
		story(w)
	})
}

// agents plays those of the nodes; report is what each will say, nil: nothing.
// It returns which commands were run where.
func (w *world) agents(report func(node string) (*wire.Report, int)) (ran func() []string) {
	var mu sync.Mutex
	var calls []string
	w.cloud.OnEnter = func(_ context.Context, i cloud.Instance, p cloud.Program) (int, error) {
		mu.Lock()
		calls = append(calls, i.Token+": "+strings.Join(p.Command, " "))
		mu.Unlock()
		fmt.Fprintf(p.Stderr, "the agent of %s\n", i.Token)
		answer, code := report(i.Token)
		if answer != nil {
			w.broker.report("ctx1", i.Token, *answer)
		}
		return code, nil
	}
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(calls)
		return calls
	}
}

func TestRerun(t *testing.T) {
	failed(t, func(w *world) {
		ran := w.agents(func(string) (*wire.Report, int) { return &wire.Report{OK: true}, 0 })
		w.expect(0, []string{"rerun", "back-1"}, "Running the scripts of 1 node again.\n  - back-1: ok\n", "cluster-001: 1 of 3 nodes are ok")
		if got := ran(); !slices.Equal(got, []string{"back-1: /opt/nimbus/ctx/launch.sh --rerun"}) {
			t.Errorf("ran %q", got)
		}
		w.expect(0, []string{"rerun", "--handle", "cluster-001", "--from", "3-data", "head", "back"}, "Running the scripts of 3 nodes again.",
			"cluster-001: all nodes are ok. To finish it (reports, known_hosts):\n  nimbus resume --handle cluster-001\n")
		if got := ran(); len(got) != 4 || got[3] != "front-0: /opt/nimbus/ctx/launch.sh --rerun --from 3-data" {
			t.Errorf("ran %q", got)
		}
		w.expect(0, []string{"rerun", "--failed"}, "No node of cluster-001 has failed.")
		w.expect(0, []string{"rerun", "--failed", "--json"}, "[]\n")
	})
}

// Those that waited for the one that failed were told so, and have ended.
func TestRerunOfAllThatFailed(t *testing.T) {
	failed(t, func(w *world) {
		ran := w.agents(func(node string) (*wire.Report, int) {
			if node == "front-0" {
				return nil, agentBusy
			}
			return &wire.Report{OK: true}, 0
		})
		w.expect(0, []string{"rerun", "--failed"}, "again.\n  - ", "front-0: its agent is at work already\n", "cluster-001: 2 of 3 nodes are ok")
		if len(ran()) != 3 {
			t.Errorf("ran %q", ran())
		}
		w.expect(1, []string{"rerun", "front-0"}, "nimbus: error: front-0: its agent is at work already")
	})
}

func TestRerunThatFails(t *testing.T) {
	failed(t, func(w *world) {
		w.agents(func(node string) (*wire.Report, int) {
			switch node {
			case "back-1":
				return &wire.Report{Step: "3-data/x", Code: 9, Log: "still \x1b no\n"}, 4
			case "back-0":
				return nil, 3
			}
			return nil, 0 // it found nothing to do
		})
		w.expect(1, []string{"rerun", "--failed"},
			"  - back-1: 3-data/x failed with exit code 9\n    its log ends with:\n      | still ? no\n",
			"  - back-0: its agent ended with exit code 3\n    it said:\n      | the agent of back-0\n",
			"  - front-0: its agent ended well, but the broker has no report of it\n",
			"nimbus: error: back-1: 3-data/x failed with exit code 9 (and 2 other nodes)", "nimbus rerun --handle cluster-001 --failed")
		w.expect(1, []string{"rerun", "--json", "back-1"})
		var list []Rerun
		if err := json.Unmarshal(w.stdout.Bytes(), &list); err != nil || len(list) != 1 || list[0].Step != "3-data/x" || list[0].Code != 9 || list[0].OK {
			t.Errorf("%v: %s", err, w.stdout.String())
		}
		// What was reported before is not the failure of this time.
		w.agents(func(string) (*wire.Report, int) { return nil, 1 })
		w.expect(1, []string{"rerun", "--from", "3", "back-1"}, "  - back-1: its agent ended with exit code 1\n    it said:\n      | the agent of back-1\n")
		w.cloud.OnEnter = func(context.Context, cloud.Instance, cloud.Program) (int, error) { return 0, errors.New("it is gone") }
		w.expect(1, []string{"rerun", "back-1"}, "  - back-1: back-1: it is gone")
	})
}

func TestRerunRefused(t *testing.T) {
	failed(t, func(w *world) {
		ran := w.agents(func(string) (*wire.Report, int) { return nil, 0 })
		for _, c := range []struct {
			code int
			args []string
			want string
		}{
			{1, []string{"rerun"}, "give either nodes or --failed"},
			{1, []string{"rerun", "--failed", "back-1"}, "give either nodes or --failed"},
			{1, []string{"rerun", "back-1", "--odd", "1"}, "there is no option --odd"},
			{1, []string{"rerun", "--from", "../x", "back-1"}, `--from "../x" is no phase`},
			{1, []string{"rerun", "--from", "", "back-1"}, `--from "" is no phase`},
			{1, []string{"rerun", "--from", "9", "back"}, "give a number from 0 to 5, or one of 0-etchosts, sshd, 1-ipandhost,"},
			{1, []string{"rerun", "back-9"}, `no node, workspace or role "back-9"`},
			{1, []string{"rerun", "--handle", "cluster-009", "back-1"}, "unknown handle"},
		} {
			w.expect(c.code, c.args, c.want)
		}
		w.runs = false
		w.expect(2, []string{"rerun", "back-1"}, "the context of cluster-001 is gone")
		w.runs = true
		w.expect(0, []string{"terminate", "--handle", "cluster-001"})
		w.expect(1, []string{"rerun", "--handle", "cluster-001", "back-1"}, "nothing of cluster-001 runs any more: it is terminated")
		if len(ran()) != 0 {
			t.Errorf("ran %q", ran())
		}
	})
}

// Ctrl-C stops the agents, and says so.
func TestRerunInterrupted(t *testing.T) {
	failed(t, func(w *world) {
		ctx, cancel := context.WithCancel(w.t.Context())
		w.cloud.OnEnter = func(ctx context.Context, _ cloud.Instance, _ cloud.Program) (int, error) {
			cancel()
			<-ctx.Done()
			return 0, ctx.Err()
		}
		w.expectContext(ctx, 130, []string{"rerun", "back-1"}, "interrupted: the agents were stopped", "the same command begins again")
	})
}

func TestLastWords(t *testing.T) {
	var l lastWords
	for i := range 10_000 {
		fmt.Fprintf(&l, "line %d\n", i)
	}
	text := l.String()
	if len(text) > maxWords || len(text) < maxWords-100 || !strings.HasPrefix(text, "line ") || !strings.HasSuffix(text, "line 9999\n") {
		t.Errorf("%d bytes: %.40q", len(text), text)
	}
	if n, err := l.Write(make([]byte, 10*maxWords)); n != 10*maxWords || err != nil || len(l.String()) > maxWords {
		t.Errorf("%d, %v, %d bytes", n, err, len(l.String()))
	}
}

// The client and the agent know the same phases.
func TestPhases(t *testing.T) {
	words := []string{"", "6", "9", "01", "1-", "data", "../1", "-1"}
	for n := range 6 {
		words = append(words, fmt.Sprint(n))
	}
	for _, word := range append(words, fixed[phases]...) {
		if _, err := phase.Find(word); isPhase(word) != (err == nil) {
			t.Errorf("%q: the client says %v, the agent %v", word, isPhase(word), err)
		}
	}
}
