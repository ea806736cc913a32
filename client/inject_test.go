package client

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nimbus/broker/wire"
	"nimbus/cloud"
)

const wanting = `<cluster>
  <workspace>
    <name>front</name><image>demo-image</image><quantity>1</quantity><nic>public</nic>
    <ctx><provides><identity/></provides><requires><identity/><data name="gridmap"/></requires></ctx>
  </workspace>
</cluster>`

// bootOpen makes nodes join, and report only when the context is locked.
func (w *world) bootOpen() (locked func()) {
	var started []cloud.Instance
	w.cloud.Started = func(i cloud.Instance, r cloud.Request) {
		b, err := wire.ParseBootstrap(r.UserData)
		if err != nil {
			w.t.Error(err)
			return
		}
		w.broker.join(b.Context, i, b.NICs[0].Label)
		started = append(started, i)
	}
	return func() {
		for _, i := range started {
			w.broker.report("ctx1", i.Token, wire.Report{OK: true})
		}
	}
}

// One terminal launches and waits, another injects and locks.
func TestOpenContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		locked := w.bootOpen()
		w.write("w.xml", wanting)
		w.write("map", "a b\n")
		other := *w
		ended := make(chan struct{})
		// Somebody comes back after longer than a run usually waits.
		time.AfterFunc(50*time.Minute, func() {
			defer close(ended)
			other.expect(1, []string{"inject", "--name", "girdmap", "--value", "x"}, `nobody in cluster-001 requires data "girdmap"`, `did you mean "gridmap"?`)
			other.expect(1, []string{"inject", "--name", "gridmap", "--file", other.path("none")}, "--file: open")
			other.expect(1, []string{"inject", "--name", "gridmap", "--file", "/dev/zero"}, "--file: the value is larger than 1024 KiB")
			other.expect(1, []string{"inject", "--name", "gridmap"}, "give either --file FILE or --value VALUE")
			other.expect(1, []string{"inject", "--value", "x"}, "No --name is given")
			other.expect(0, []string{"inject", "--handle", "cluster-001", "--name", "gridmap", "--file", other.path("map")}, `Added data "gridmap" (3 bytes) to cluster-001.`)
			other.expect(0, []string{"inject", "--name", "gridmap", "--value", "", "--json"}, `"bytes": 0`)
			if added := w.broker.contexts["ctx1"].added; len(added) != 2 || added[0] != (wire.AddData{Name: "gridmap", Value: "a b"}) {
				t.Errorf("%+v", added)
			}
			other.expect(0, []string{"lock"}, "Locked the context of cluster-001")
			other.expect(0, []string{"lock"}, "locked already")
			other.expect(0, []string{"lock", "--json"}, `"already": true`)
			other.expect(2, []string{"inject", "--name", "gridmap", "--value", "late"}, "the context of cluster-001 is locked: no more data can be added", "hint: ")
			locked()
		})
		w.expect(0, []string{"run", "--no-ctx-lock", "--cluster", w.path("w.xml"), "--hours", "1"},
			"The context is open", "  nimbus inject --handle cluster-001 --name gridmap --file FILE\n  nimbus lock --handle cluster-001\n", "cluster-001: contextualized")
		<-ended
	})
}

// Nobody comes: the run ends with the hours, or when it is told to.
func TestOpenContextIsNotWaitedForForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.bootOpen()
		w.write("w.xml", wanting)
		begin := time.Now()
		w.expect(1, []string{"run", "--no-ctx-lock", "--timeout", "5", "--cluster", w.path("w.xml")}, "was not ready after 5 min", "Destroyed")
		if took := time.Since(begin); took > 6*time.Minute {
			t.Errorf("it took %v", took)
		}
		w.nothingLeft()
	})
}

// With --no-wait one terminal does.
func TestNoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		locked := w.bootOpen()
		w.write("w.xml", wanting)
		w.expect(0, []string{"run", "--no-ctx-lock", "--no-wait", "--cluster", w.path("w.xml")},
			"The context is open", "cluster-001 is launched; its nodes go on by themselves", "  nimbus resume --handle cluster-001\n")
		if strings.Contains(w.stdout.String(), "contextualized") || !strings.Contains(w.read("state/history/cluster-001/launch.json"), `"state": "waiting"`) {
			t.Errorf("%s", w.stdout.String())
		}
		w.expect(0, []string{"inject", "--name", "gridmap", "--value", "x"})
		w.expect(0, []string{"lock"})
		locked()
		w.expect(0, []string{"status"}, "cluster-001  waiting  ok")
		w.expect(0, []string{"terminate", "--handle", "cluster-001"})
		w.nothingLeft()
		w.expect(1, []string{"lock"}, "nothing runs")
		w.expect(2, []string{"inject", "--handle", "cluster-001", "--name", "gridmap", "--value", "x"}, "the context of cluster-001 is gone")
	})
}

// The classic option does the same; what it hints at has no classic word.
func TestClassicNoCtxLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.classic = true
		w.bootOpen()
		w.write("w.xml", wanting)
		calls, _, err := Rewrite([]string{"--run", "--no-ctx-lock", "--no-wait", "--cluster", w.path("w.xml")})
		if err != nil || len(calls) != 1 {
			t.Fatal(calls, err)
		}
		w.expect(0, calls[0], "  bin/nimbus inject --handle cluster-001 --name gridmap --file FILE\n", "bin/cloud-client.sh --terminate --handle cluster-001")
	})
}
