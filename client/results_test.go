package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"nimbus/broker/wire"
	"nimbus/client/history"
	"nimbus/cloud"
)

// faulty is an output that takes nothing.
type faulty struct{ err error }

func (f faulty) Write([]byte) (int, error) { return 0, f.err }

// A result that could not be written is a failure; who stops reading has what
// he wants.
func TestOutputThatCannotBeWritten(t *testing.T) {
	inWorld(t, func(w *world) {
		for _, args := range [][]string{{"status"}, {"status", "--json"}, {"nodes", "--handle", "cluster-001"}, {"contexts"}, {"list"}, {"resume"}} {
			w.output = faulty{&os.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.ENOSPC}}
			w.expect(2, args, "the output could not be written: write /dev/stdout: no space left on device")
			w.output = faulty{&os.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.EPIPE}}
			w.expect(0, args)
		}
		// What programs in the machines print is a result, too.
		w.cloud.OnEnter = func(_ context.Context, _ cloud.Instance, p cloud.Program) (int, error) {
			fmt.Fprintln(p.Stdout, "hello")
			return 0, nil
		}
		w.output = faulty{&os.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.ENOSPC}}
		w.expect(2, []string{"exec", "--all", "--", "hello"}, "the output could not be written: write /dev/stdout: no space left on device")
		// The failure of the command counts more, and is told.
		w.output = faulty{errors.New("closed")}
		w.expect(1, []string{"status", "--handle", "x"}, "unknown handle")
		w.output = nil
		w.expect(0, []string{"status"}, "cluster-001  ok")
	})
}

// Whatever goes wrong, --json prints one document.
func TestErrorsAsJSON(t *testing.T) {
	inWorld(t, func(w *world) {
		for _, args := range [][]string{
			{"status", "--json", "--handle", "cluster-009"},
			{"nodes", "--json", "--handle", "x"},
			{"print-ctx-status", "--json", "--handle", "x"},
			{"release", "--json", "--handle", "cluster-001", "--node", ".."},
			{"terminate", "--json"},
			{"forget", "--json"},
			{"validate", "--json", w.path("none.xml")},
			{"list", "--json", "--cloud", "moon"},
			{"networks", "--json", "more"},
			{"contexts", "--json", "--broker", "http://x"},
			{"login", "--json"},
			{"resume", "--json", "--handle", "x"},
			{"status", "--json", "--odd"},
		} {
			if code := w.run(args...); code == 0 {
				t.Errorf("%v succeeded", args)
			}
			var result ErrorResult
			if err := json.Unmarshal(w.stdout.Bytes(), &result); err != nil || result.Error == "" || !strings.Contains(w.stderr.String(), result.Error) {
				t.Errorf("%v: %v\n%s%s", args, err, w.stdout.String(), w.stderr.String())
			}
			if result.Hint != "" && !strings.Contains(w.stderr.String(), "hint: "+result.Hint) {
				t.Errorf("%v: %q is not in %s", args, result.Hint, w.stderr.String())
			}
		}
		// What failed for one of several is in the command's own document.
		w.expect(1, []string{"terminate", "--json", "--handle", "cluster-009"})
		var list []Termination
		if err := json.Unmarshal(w.stdout.Bytes(), &list); err != nil || len(list) != 1 || list[0].Error == "" {
			t.Errorf("%v\n%s", err, w.stdout.String())
		}
		w.expect(0, []string{"release", "--json", "--handle", "cluster-001", "--node", "back-1"}, `"node": "back-1"`)
		w.expect(1, []string{"status", "--handle", "x"})
		if w.stdout.Len() > 0 {
			t.Errorf("without --json: %s", w.stdout.String())
		}
	})
}

func TestContexts(t *testing.T) {
	inWorld(t, func(w *world) {
		w.edit("cluster-001", func(*history.Record) {})
		time.Sleep(time.Hour) // of the bubble
		w.expect(0, []string{"contexts"}, "NAME         STATE  NODES  JOINED  OK  FAILED  AGE  TIME LEFT  ID\n",
			"cluster-001  ok     3      3       3   0       -    1 d 1 h    ctx1\n")
		w.expect(0, []string{"contexts", "--json"})
		var list []wire.Summary
		if err := json.Unmarshal(w.stdout.Bytes(), &list); err != nil || len(list) != 1 || list[0].Name != "cluster-001" {
			t.Errorf("%v\n%s", err, w.stdout.String())
		}
		w.expect(0, []string{"terminate", "--all"})
		w.expect(0, []string{"contexts", "--broker", "https://b.example.org"}, "There are no contexts at the broker (https://b.example.org).")
		w.runs = false
		w.expect(0, []string{"contexts"}, "No broker of yours runs")
		w.expect(0, []string{"contexts", "--json"})
		if w.stdout.String() != "[]\n" {
			t.Errorf("%q", w.stdout.String())
		}
		w.runs, w.reached = true, &slowBroker{}
		w.expect(2, []string{"contexts"}, "broker (your own): context deadline exceeded")
	})
}
