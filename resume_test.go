package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// killed starts a client, and kills it as soon as something is so.
func killed(t *testing.T, client *exec.Cmd, what string, so func() bool) {
	t.Helper()
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	within(t, 20*time.Second, what, so)
	if err := client.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = client.Wait()
}

// A cluster whose client and broker both died is finished by the next client:
// the broker is started again where the nodes look for it.
func TestResumeAfterClientAndBrokerDied(t *testing.T) {
	home := newHome(t)
	args, letGo := slowCluster(t, home)
	killed(t, nimbus(home, args...), "the node has joined", func() bool { _, s := state(home, "cluster-001"); return s == "[CTX_CHECKED_IN_PENDING]" })
	address, _ := state(home, "cluster-001")
	killBroker(t, home)
	resume := nimbus(home, "resume", "--conf", args[2])
	var out bytes.Buffer
	resume.Stdout, resume.Stderr = &out, &out
	if err := resume.Start(); err != nil {
		t.Fatal(err)
	}
	letGo(address)
	if err := resume.Wait(); err != nil || !strings.Contains(out.String(), "cluster-001: contextualized") {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if out := ok(t, home, "status", "--conf", args[2]); !strings.Contains(out, "cluster-001  ok ") {
		t.Error(out)
	}
}

// Whenever a client dies while it launches: the next one brings the cluster up,
// or ends what there is of it. Nothing is left in between.
func TestResumeAfterDeathDuringLaunch(t *testing.T) {
	for moment, sign := range map[string]string{
		"first":   `"state": "launching"`,
		"context": `"broker_id"`,
		"waiting": `"state": "waiting"`,
	} {
		t.Run(moment, func(t *testing.T) {
			home := newHome(t)
			record := filepath.Join(home, ".local/state/nimbus/history/cluster-001/launch.json")
			killed(t, nimbus(home, "run", "--cluster", sample(t, "hello-cluster.xml")), sign, func() bool {
				text, err := os.ReadFile(record)
				return err == nil && (bytes.Contains(text, []byte(sign)) || bytes.Contains(text, []byte(`"state": "ok"`)))
			})
			out, err := nimbus(home, "resume", "--handle", "cluster-001").CombinedOutput()
			text := string(out)
			switch {
			case err == nil && (strings.Contains(text, "cluster-001: contextualized") || strings.Contains(text, "is ok already")):
				if out, err := ssh(home, addresses(t, home, "cluster-001")["head-0"], "true"); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			case err != nil && strings.Contains(text, "its run ended ") && strings.Contains(text, "Destroyed 'cluster-001'"):
				if out := ok(t, home, "status"); !strings.Contains(out, "cluster-001  failed") {
					t.Error(out)
				}
			default:
				t.Errorf("%v\n%s", err, text)
			}
		})
	}
}
