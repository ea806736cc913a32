package client

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"nimbus/broker/wire"
	"nimbus/cloud"
)

// silent is a cluster whose nodes have joined and report nothing.
func silent(t *testing.T, story func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot(func(string) *wire.Report { return nil })
		w.expect(1, []string{"run", "--cluster", w.path("hello.xml"), "--timeout", "1", "--keep"})
		w.broker.logs = map[string]string{}
		story(w)
	})
}

// log lets a node log something.
func (b *fakeBroker) log(node, text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.logs[node] += text
}

func TestLogs(t *testing.T) {
	silent(t, func(w *world) {
		w.expect(0, []string{"logs", "front-0"}, "front-0 has joined and has sent no log yet")
		w.broker.log("front-0", "one\n\x1b[31mtwo\n")
		w.expect(0, []string{"logs", "front-0"})
		if w.stdout.String() != "one\n?[31mtwo\n" || w.stderr.Len() > 0 {
			t.Errorf("%q, %q", w.stdout.String(), w.stderr.String())
		}
		w.expect(0, []string{"logs", "--handle", "cluster-001", "front"}, "one\n")
		w.expect(0, []string{"logs", "head"}, "one\n") // the role of one node
		w.expect(0, []string{"logs", "--json", "front-0"})
		var log NodeLog
		if err := json.Unmarshal(w.stdout.Bytes(), &log); err != nil || log.Node != "front-0" || log.State != wire.NodeJoined || log.Source != "broker" || !strings.HasPrefix(log.Text, "one\n") {
			t.Errorf("%v: %s", err, w.stdout.String())
		}
		w.expect(1, []string{"logs", "back"}, `"back" means 2 nodes of cluster-001`, "name one: back-0, back-1")
		w.expect(1, []string{"logs", "bakc"}, `no node, workspace or role "bakc"`, `did you mean "back"?`)
		w.expect(1, []string{"logs"}, "give one node")
		w.expect(1, []string{"logs", "front-0", "--odd"}, "there is no option --odd")
		w.expect(1, []string{"logs", "--follow", "--console", "front-0"}, "--console cannot be followed")
		w.expect(1, []string{"logs", "--follow", "--json", "front-0"}, "use --json=stream")
		w.expect(1, []string{"logs", "--handle", "cluster-007", "front-0"}, "unknown handle")
		w.expect(0, []string{"logs", "--console", "back-1"}, "console of back-1.cluster-001\n")

		w.broker.contexts["ctx1"].nodes[1].State = wire.NodeExpected
		w.expect(0, []string{"logs", "back-0"}, "back-0 has not joined the context", "nimbus logs --handle cluster-001 --console back-0")

		// When the broker has forgotten it, the history has not.
		w.runs = false
		w.expect(0, []string{"logs", "back-1"}, "the context of cluster-001 is gone; this is from ", "DID-NOT-EXIT-vm-3.txt", "Report of back-1, ")
		w.expect(0, []string{"logs", "--follow", "back-1"}, "the context of cluster-001 is gone; this is from ")
	})
}

func TestLogsOfWhatHasNone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.expect(0, []string{"logs", "front-0"}, "front-0 has finished, and the broker has nothing of its log")
		w.expect(0, []string{"logs", "-f", "front-0"}, "front-0 has finished")
		w.cloud.OnEnter = func(_ context.Context, i cloud.Instance, p cloud.Program) (int, error) {
			fmt.Fprintf(p.Stdout, "%s %s\n", i.Token, strings.Join(p.Command, " "))
			return 0, nil
		}
		for _, args := range [][]string{{"logs", "front-0"}, {"logs", "-f", "front-0"}} {
			w.expect(0, args)
			if got := w.stdout.String(); got != "front-0 tail -c 16384 /opt/nimbus/ctxlog.txt\n" || w.stderr.Len() > 0 {
				t.Errorf("%v: %q, %q", args, got, w.stderr.String())
			}
		}
		w.expect(0, []string{"run", "--cluster", w.path("plain.xml")})
		w.expect(1, []string{"logs", "--handle", "cluster-002", "box-0"}, "box-0 takes no part in the context of cluster-002", "logs --handle cluster-002 --console box-0")
		w.expect(1, []string{"logs", "front-0"}, "which launch? There are cluster-001, cluster-002")
		w.expect(0, []string{"logs", "--handle", "cluster-002", "--console", "box-1"}, "console of box-1.cluster-002")
	})
}

func TestFollow(t *testing.T) {
	silent(t, func(w *world) {
		at := func(second int, f func()) { time.AfterFunc(time.Duration(second)*time.Second, f) }
		at(1, func() { w.broker.log("back-0", "begins\n") })
		at(5, func() {
			w.broker.log("back-0", "is lost\n")
			w.broker.mu.Lock()
			w.broker.away = 20
			w.broker.mu.Unlock()
		})
		at(50, func() {
			w.broker.log("back-0", "ends\n")
			w.broker.report("ctx1", "back-0", wire.Report{OK: true})
		})
		began := time.Now()
		w.expect(0, []string{"logs", "-f", "back-0"})
		if w.stdout.String() != "begins\nis lost\nends\n" || strings.Count(w.stderr.String(), "does not answer: connection refused. Trying again.") != 1 || time.Since(began) > 52*time.Second {
			t.Errorf("after %v:\n%s%s", time.Since(began), w.stdout.String(), w.stderr.String())
		}
		at(2, func() {
			w.broker.log("back-1", "no\n")
			w.broker.report("ctx1", "back-1", wire.Report{Step: "3-data/x", Code: 7})
		})
		w.expect(1, []string{"logs", "--json=stream", "--follow", "back-1"}, `"text":"no\n"`, `"event":"node-failed","handle":"cluster-001","node":"back-1","failure":{"node":"back-1","stage":0,"ok":false,"step":"3-data/x","code":7}}`, "node back-1: 3-data/x failed with exit code 7", "nimbus rerun --handle cluster-001 back-1")
	})
}

func TestFollowEnds(t *testing.T) {
	silent(t, func(w *world) {
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
		defer cancel()
		w.expectContext(ctx, 130, []string{"logs", "-f", "back-0"}, "interrupted")

		w.broker.log("back-0", "words\n")
		time.AfterFunc(time.Second, func() { _ = w.broker.Delete(ctx, "ctx1") })
		w.expect(2, []string{"logs", "-f", "back-0"}, "words\n", "the context of cluster-001 is gone")
	})
	silent(t, func(w *world) {
		w.broker.away = 1 << 20
		began := time.Now()
		w.expect(2, []string{"logs", "-f", "back-0"}, "broker: connection refused", "it has not answered for 1 min")
		if took := time.Since(began); took < away || took > 2*away {
			t.Errorf("gave up after %v", took)
		}
	})
}

// Who follows a log ends when nobody reads what it prints.
func TestFollowUnread(t *testing.T) {
	for _, args := range [][]string{{"logs", "-f", "back-0"}, {"logs", "-f", "--json=stream", "back-0"}} {
		silent(t, func(w *world) {
			head := &headOf{lines: 2}
			w.output = head
			for n := range 5 {
				time.AfterFunc(time.Duration(n+1)*time.Second, func() { w.broker.log("back-0", fmt.Sprintf("line %d\n", n)) })
			}
			time.AfterFunc(time.Minute, func() { w.broker.report("ctx1", "back-0", wire.Report{OK: true}) })
			began := time.Now()
			w.expect(141, args)
			if took := time.Since(began); took > 4*time.Second || !strings.Contains(head.text, "line 1") || strings.Contains(w.stderr.String(), "hint") {
				t.Errorf("after %v: %s%s", took, head.text, w.stderr.String())
			}
		})
	}
}

// headOf reads some lines, and no more.
type headOf struct {
	lines int
	text  string
}

func (h *headOf) Write(b []byte) (int, error) {
	if h.lines--; h.lines < 0 {
		return 0, syscall.EPIPE
	}
	h.text += string(b)
	return len(b), nil
}

// A launch whose machines are gone has the consoles that were kept.
func TestConsoleThatWasKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot(func(string) *wire.Report { return nil })
		w.expect(1, []string{"run", "--cluster", w.path("hello.xml"), "--timeout", "1"})
		w.cloud.OnConsole = func(cloud.Instance) error { return context.DeadlineExceeded }
		w.expect(0, []string{"logs", "--handle", "cluster-001", "--console", "back-0"}, "this was kept when the run failed:\n", "console of back-0.cluster-001\n")
		w.expect(0, []string{"logs", "--handle", "cluster-001", "back-0"}, "DID-NOT-EXIT-vm-2.txt")
	})
}
