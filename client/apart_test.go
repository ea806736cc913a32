package client

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nimbus/broker/wire"
	"nimbus/cloud"
)

// inApartWorld runs a story in a bubble with a cloud whose networks this machine
// has no part in.
func inApartWorld(t *testing.T, story func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.cloud.Apart = true
		w.cloud.Hosts = []netip.Addr{netip.MustParseAddr("10.78.0.1"), netip.MustParseAddr("10.78.4.1")}
		story(w)
	})
}

// Instances that reach no address of this machine are led to the broker's
// socket; nobody is told to log in where nobody can.
func TestRunApart(t *testing.T) {
	inApartWorld(t, func(w *world) {
		brokers := ""
		w.boot(allOK)
		started := w.cloud.Started
		w.cloud.Started = func(i cloud.Instance, r cloud.Request) {
			b, err := wire.ParseBootstrap(r.UserData)
			if err != nil {
				t.Error(err)
				return
			}
			brokers = strings.Join(b.Brokers, " ")
			started(i, r)
		}
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml")},
			"    https://10.78.0.1:8443\n    https://10.78.4.1:8443\n", "cluster-001: contextualized",
			"No SSH server runs", "  nimbus ssh --handle cluster-001 front-0\n")
		if brokers != "https://10.78.0.1:8443 https://10.78.4.1:8443" {
			t.Errorf("the instances know the brokers %q", brokers)
		}
		if len(w.broker.listening) > 0 {
			t.Errorf("the broker was asked to listen at %v", w.broker.listening)
		}
		if socket, ok := w.cloud.Forwarded(w.instances()[0].Launch); !ok || socket != w.path("state/broker/nodes.sock") {
			t.Errorf("connections are forwarded to %q", socket)
		}
		for _, word := range []string{"ssh root@", "To log in", "SSH trusts"} {
			if strings.Contains(w.stdout.String(), word) {
				t.Errorf("it says %q:\n%s", word, w.stdout.String())
			}
		}
		if _, err := os.Stat(w.path(".ssh/known_hosts")); err == nil {
			t.Errorf("known_hosts:\n%s", w.read(".ssh/known_hosts"))
		}
		w.expect(0, []string{"status", "--handle", "cluster-001"}, "front-0  running")
		w.expect(0, []string{"terminate", "--handle", "cluster-001"})
		w.nothingLeft()
	})
}

func TestRunApartInClassicWords(t *testing.T) {
	inApartWorld(t, func(w *world) {
		w.classic = true
		w.boot(allOK)
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml")}, "  bin/nimbus ssh --handle cluster-001 front-0\n")
	})
}

// A broker that dies is started again, and the instances are led to it anew.
func TestRunApartReopens(t *testing.T) {
	inApartWorld(t, func(w *world) {
		forwards := 0
		w.cloud.OnForward = func(context.Context, string, string) error { forwards++; return nil }
		var id string
		w.boot(func(string) *wire.Report { return nil })
		started := w.cloud.Started
		w.cloud.Started = func(i cloud.Instance, r cloud.Request) {
			started(i, r)
			b, _ := wire.ParseBootstrap(r.UserData)
			id = b.Context
		}
		w.broker.statusErr = errors.New("connection refused")
		time.AfterFunc(5*time.Second, func() {
			w.broker.mu.Lock()
			w.broker.statusErr = nil
			w.broker.mu.Unlock()
			for _, node := range []string{"front-0", "back-0", "back-1"} {
				w.broker.report(id, node, wire.Report{OK: true})
			}
		})
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml")}, "The broker does not answer", "contextualized")
		if forwards < 2 {
			t.Errorf("forwarded %d times, want again after the broker was lost", forwards)
		}
	})
}

func TestRunApartFails(t *testing.T) {
	inApartWorld(t, func(w *world) {
		w.cloud.OnForward = func(context.Context, string, string) error { return errors.New("no door") }
		w.expect(2, []string{"run", "--cluster", w.path("hello.xml")}, "nimbus: error: broker (your own): no door")
		w.nothingLeft()
		// A broker elsewhere cannot be reached from there.
		w.expect(1, []string{"run", "--cluster", w.path("hello.xml"), "--broker", "https://broker.example.org"},
			"reach this machine at 10.78.0.1 and nothing else", "nimbus: hint: ")
		w.nothingLeft()
	})
}

// hinted is an error with advice.
type hinted struct{}

func (hinted) Error() string { return "switched off" }
func (hinted) Hint() string  { return "switch it on" }

func TestAdviceOfTheCloud(t *testing.T) {
	inApartWorld(t, func(w *world) {
		w.cloud.OnPrepare = func(context.Context, cloud.Preparation) error { return hinted{} }
		w.expect(2, []string{"run", "--cluster", w.path("hello.xml")}, `nimbus: error: cloud "local": switched off`, "nimbus: hint: switch it on")
	})
}
