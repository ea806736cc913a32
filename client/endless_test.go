package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"nimbus/broker/wire"
	"nimbus/client/settings"
	"nimbus/cloud"
)

// endlessCloud is a driver whose instances never end by themselves.
type endlessCloud struct {
	cloud.Driver
	cloud.Preparer
	cloud.Forwarder
	cloud.Consoler
	cloud.Enterer
	cloud.Equipper
}

// inEndlessWorld runs a story in a bubble with such a cloud.
func inEndlessWorld(t *testing.T, story func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.cloud.Hosts = []netip.Addr{netip.MustParseAddr("10.78.0.1")}
		w.driver = endlessCloud{w.cloud, w.cloud, w.cloud, w.cloud, w.cloud, w.cloud}
		started := make(chan cloud.Request, 10)
		w.boot(allOK)
		boot := w.cloud.Started
		w.cloud.Started = func(i cloud.Instance, r cloud.Request) {
			started <- r
			boot(i, r)
		}
		w.cloud.OnPrepare = func(_ context.Context, p cloud.Preparation) error {
			if !p.Expires.IsZero() {
				return errors.New("it was told an end")
			}
			return nil
		}
		story(w)
		close(started)
		for r := range started {
			if !r.Expires.IsZero() {
				t.Errorf("%s was told an end: %v", r.Name, r.Expires)
			}
		}
	})
}

// without fails for words that the last command must not have said.
func (w *world) without(words ...string) {
	w.t.Helper()
	for _, word := range words {
		if all := w.stdout.String() + w.stderr.String(); strings.Contains(all, word) {
			w.t.Errorf("it says %q:\n%s", word, all)
		}
	}
}

// Nothing says of machines that go on that they will end, a year later
// neither, and what gets into them goes on getting in.
func TestLaunchWithoutAnEnd(t *testing.T) {
	inEndlessWorld(t, func(w *world) {
		began := time.Now()
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml")}, "\ncluster-001 goes on until you end it:\n  nimbus terminate --handle cluster-001\n")
		w.without("ends by itself", "0001-01-01", "--hours")
		if got := w.broker.contexts["ctx1"].create.Expires; !got.Equal(began.Add(30 * 24 * time.Hour)) {
			t.Errorf("the context ends at %v, want 30 days from %v", got, began)
		}
		if text := w.read("state/history/cluster-001/launch.json"); strings.Contains(text, `"expires"`) {
			t.Errorf("the record tells an end:\n%s", text)
		}
		if !w.end("cluster-001").IsZero() {
			t.Error("the record has an end")
		}
		time.Sleep(365 * 24 * time.Hour)
		w.expect(0, []string{"status"}, "cluster-001  ok     ok     365 d  no end     3        ")
		w.without("extend")
		w.expect(0, []string{"status", "--handle", "cluster-001"}, "cluster-001: ok, launched 365 d ago, goes on until you end it\n", "front-0")
		w.expect(0, []string{"status", "--json"})
		w.without(`"expires": "0001`)
		var entered atomic.Int32 // all at once
		w.cloud.OnEnter = func(context.Context, cloud.Instance, cloud.Program) (int, error) { entered.Add(1); return 0, nil }
		w.expect(0, []string{"exec", "--all", "--", "true"})
		if n := entered.Load(); n != 3 {
			t.Errorf("entered %d machines, want 3", n)
		}
		w.expect(0, []string{"resume"}, "cluster-001 is ok already.", "goes on until you end it")
		w.expect(1, []string{"forget", "--handle", "cluster-001"}, "has 3 instances: it is not forgotten")
		w.expect(0, []string{"terminate", "--all"}, "Terminated 'cluster-001'")
		w.nothingLeft()
		w.expect(0, []string{"status"}, "terminated")
	})
}

// A run of one machine without a context, and one that fails and is kept.
func TestKeptWithoutAnEnd(t *testing.T) {
	inEndlessWorld(t, func(w *world) {
		w.boot(func(node string) *wire.Report {
			return &wire.Report{OK: node != "back-1", Code: 1, Step: "1-ipandhost/head"}
		})
		w.expect(1, []string{"run", "--cluster", w.path("hello.xml"), "--keep"}, "cluster-001 stays as it is (--keep), until you end it. To see why")
		time.Sleep(100 * time.Hour)
		w.expect(0, []string{"status"}, "cluster-001  kept ", "no end")
		w.expect(0, []string{"run", "--name", "debian"}, "vm-001 goes on until you end it")
		w.expect(1, []string{"extend", "--hours", "1", "--handle", "vm-001"}, `there is nothing to extend: cloud "local" never ends instances by itself: vm-001 goes on until you end it`,
			"nimbus terminate --handle vm-001")
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml"), "--no-wait"}, "To wait for them:\n  nimbus resume --handle cluster-002\nIt goes on until you end it:\n  nimbus terminate --handle cluster-002\n")
	})
}

func TestHoursThatDoNotApply(t *testing.T) {
	inEndlessWorld(t, func(w *world) {
		began := time.Now()
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml"), "--hours", "0.1", "--expires", "48"},
			`--hours does not apply: cloud "local" never ends instances by itself. cluster-001 goes on until you end it.`)
		w.without("Everything ends after")
		if got := w.broker.contexts["ctx1"].create.Expires; !got.Equal(began.Add(48 * time.Hour)) {
			t.Errorf("the context ends at %v", got)
		}
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml"), "--dry-run"}, "Ends: when you end it; hours do not apply to this cloud; the broker forgets it at "+clock(began.Add(720*time.Hour)))
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml"), "--dry-run", "--json"})
		w.without(`"expires"`)
	})
}

// The hours of extend are the context's.
func TestExtendWithoutAnEnd(t *testing.T) {
	inEndlessWorld(t, func(w *world) {
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml"), "--expires", "2"})
		want := time.Now().Add(5 * time.Hour)
		w.expect(0, []string{"extend", "--hours", "5"}, `Cloud "local" never ends instances by itself: cluster-001 goes on until you end it.`,
			"Its context at the broker lives until "+clock(want)+", in 5 h.\n")
		if got := w.broker.contexts["ctx1"].create.Expires; !got.Equal(want) {
			t.Errorf("the context ends at %v, want %v", got, want)
		}
		w.expect(0, []string{"extend", "--hours", "1"}, clock(want)) // it lives longer already
		w.expect(0, []string{"extend", "--hours", "9", "--json"})
		var e Extension
		if err := json.Unmarshal(w.stdout.Bytes(), &e); err != nil || !e.Expires.IsZero() || !e.Context.Equal(time.Now().Add(9*time.Hour)) {
			t.Errorf("%v: %s", err, w.stdout.String())
		}
		w.runs = false
		w.expect(2, []string{"extend", "--hours", "20"}, "cluster-001 goes on until you end it, but its context was not extended")
		if !w.end("cluster-001").IsZero() {
			t.Error("the record has an end")
		}
	})
}

// Who waits for somebody to lock the context waits as long as that lives.
func TestOpenWithoutAnEnd(t *testing.T) {
	o := runOptions{open: true, hours: time.Hour}
	o.settle(endlessCloud{})
	if o.timeout != lifeOfContext || o.expires != lifeOfContext || !o.end(time.Now()).IsZero() {
		t.Errorf("%+v", o)
	}
}

// When the context is gone, the machines may well be there.
func TestContextGoneWithoutAnEnd(t *testing.T) {
	inEndlessWorld(t, func(w *world) {
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml")})
		w.broker.forget("ctx1")
		w.expect(2, []string{"nodes"}, "the context of cluster-001 is gone", "its machines go on")
		w.without("its time was over")
		w.expect(0, []string{"terminate", "--all"})
	})
}

// Without a way from the machines to this one, a broker of the user's own is
// no use: that is said while nothing is launched yet.
func TestNoWayToTheOwnBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot(allOK)
		w.driver = narrow{w.cloud}
		for _, args := range [][]string{{"run", "--cluster", w.path("hello.xml")}, {"run", "--cluster", w.path("hello.xml"), "--dry-run"}} {
			w.expect(1, args, `cloud "local" does not tell at which address its instances reach this machine`,
				`broker_address = "ADDRESS" under [clouds.local]`, "--broker URL")
		}
		w.nothingLeft()
		if _, err := os.Stat(w.path("state/history/cluster-001")); err == nil {
			t.Error("it has a place in the history")
		}
		// Machines without a context need none; a broker elsewhere is theirs to
		// find; the settings may tell the address.
		w.expect(0, []string{"run", "--cluster", w.path("plain.xml")})
		w.driver = struct {
			cloud.Driver
			cloud.Equipper
		}{w.cloud, w.cloud}
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml"), "--broker", "https://broker.example.org"})
		w.write("c.toml", "[clouds.local]\nbroker_address = \"192.0.2.7\"\n")
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml"), "--conf", w.path("c.toml")}, "Context Broker:\n    https://192.0.2.7:")
		if got := strings.Join(w.broker.listening, " "); got != "192.0.2.7" {
			t.Errorf("the broker listens at %q", got)
		}
	})
}

func TestBrokerHosts(t *testing.T) {
	made := cloud.Prepared{Hosts: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}
	told := settings.Cloud{BrokerAddress: "192.0.2.7"}
	if got := brokerHosts(made, told); len(got) != 1 || got[0].String() != "10.0.0.1" {
		t.Error(got)
	}
	if got := brokerHosts(cloud.Prepared{}, told); len(got) != 1 || got[0].String() != "192.0.2.7" {
		t.Error(got)
	}
	if got := brokerHosts(cloud.Prepared{}, settings.Cloud{}); got != nil {
		t.Error(got)
	}
}
