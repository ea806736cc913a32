package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"nimbus/broker/cluster"
	"nimbus/broker/match"
	"nimbus/broker/wire"
	"nimbus/client"
	"nimbus/client/settings"
	"nimbus/cloud"
	"nimbus/cloud/cloudtest"
)

// simulated is the client of this program with a cloud and a broker in memory,
// whose machines take the next step when they are told to, over the socket in
// NIMBUS_SIMULATION: thousands of them cost nothing, and nothing is a matter of
// time.
func simulated() {
	ctx, again, done := client.Interrupts(context.Background())
	defer done()
	env, err := client.System("nimbus", false, os.Stdin, os.Stdout, os.Stderr)
	if err != nil {
		os.Exit(failed(os.Stderr, err))
	}
	s := &simulation{launch: make(chan struct{}), changed: make(chan struct{}), state: match.New()}
	s.cloud = &cloudtest.Fake{Slow: true, OnLaunch: func(ctx context.Context, _ int, _ cloud.Request) error {
		select {
		case <-s.launch:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
	env.Again = again
	env.OpenCloud = func(string, settings.Settings) (cloud.Driver, error) { return s.cloud, nil }
	env.EnsureBroker = func(context.Context, string, string) (client.Broker, error) { return s, nil }
	env.FindBroker = func(context.Context, string) (client.Broker, error) { return s, nil }
	test, err := net.Dial("unix", os.Getenv("NIMBUS_SIMULATION"))
	if err != nil {
		os.Exit(failed(os.Stderr, err))
	}
	go s.obey(test)
	if err := application(env).RunContext(ctx, append([]string{"nimbus"}, os.Args[1:]...)); err != nil {
		os.Exit(failed(os.Stderr, err))
	}
}

// simulation is a cloud and a broker. The broker's core is the real one.
type simulation struct {
	client.Broker // what is not simulated is not called
	cloud         *cloudtest.Fake
	launch        chan struct{} // closed: instances may start

	mu      sync.Mutex
	state   *match.State
	changed chan struct{}
	joined  int
	next    map[string]int // what is done and to which workspace → the next index
}

// obey does what the test says, line by line: "launch", or an action, a
// workspace, and how many of its nodes.
func (s *simulation) obey(test net.Conn) {
	for lines := bufio.NewScanner(test); lines.Scan(); {
		var action, workspace string
		var n int
		_, _ = fmt.Sscan(lines.Text(), &action, &workspace, &n)
		answer := "done"
		switch action {
		case "launch":
			close(s.launch)
		case "boot":
			s.cloud.Boot(workspace+"-", n)
		default:
			if err := s.nodes(action, workspace, n); err != nil {
				answer = err.Error()
			}
		}
		fmt.Fprintln(test, answer)
	}
}

// nodes has the next nodes of a workspace join, or report.
func (s *simulation) nodes(action, workspace string, n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		report := action
		if action == "fail" {
			report = "ok" // the next in the row of those that report
		}
		index := s.next[report+workspace]
		s.next[report+workspace]++
		who := match.Claimant{Workspace: workspace, Index: index, Claim: fmt.Sprint(workspace, "-", index)}
		e := match.Event{At: time.Now()}
		switch action {
		case "join":
			e.Joined = &match.Joined{Claimant: who, Identities: []cluster.Identity{{Interface: "public", Pubkey: "ssh-ed25519 AAAA",
				IP: netip.AddrFrom4([4]byte{10, 1, byte(s.joined >> 8), byte(s.joined)})}}}
			s.joined++
		case "ok":
			e.Reported = &match.Reported{Claimant: who, Report: match.Report{OK: true}}
		case "fail":
			e.Reported = &match.Reported{Claimant: who, Report: match.Report{Step: "2-thishost/worker", Code: 3, Log: "no space left\n"}}
		}
		if err := s.state.Apply(e); err != nil {
			return err
		}
	}
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

// Create makes the one context.
func (s *simulation) Create(_ context.Context, c wire.Create) (wire.Created, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return wire.Created{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return wire.Created{}, err
	}
	created := wire.Created{ID: "simulated", BrokerID: "broker", CA: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		Brokers: []string{"https://192.0.2.1:8443"}, Tokens: map[string][]string{}}
	for _, w := range c.Definition.Workspaces {
		for index := range w.Quantity {
			if w.Ctx != nil {
				created.Tokens[w.Name] = append(created.Tokens[w.Name], wire.Token{Workspace: w.Name, Index: index, MAC: "bWFj"}.String())
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = map[string]int{}
	return created, s.state.Apply(match.Event{At: time.Now(), Created: &match.Created{ID: created.ID, Definition: c.Definition, Expires: c.Expires}})
}

// Status holds the request until something has changed.
func (s *simulation) Status(ctx context.Context, _ string, after uint64) (wire.Status, error) {
	for {
		s.mu.Lock()
		status, changed := s.status(), s.changed
		s.mu.Unlock()
		if status.Seq > after {
			return status, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return wire.Status{}, ctx.Err()
		}
	}
}

func (s *simulation) status() wire.Status {
	status := wire.Status{Seq: s.state.Seq(), Locked: true, Summary: wire.Summary{State: wire.Working}}
	status.Expected, status.Joined, status.OK, status.Failed = s.state.Counts()
	switch {
	case s.state.Failing():
		status.State = wire.Failing
	case s.state.AllOK():
		status.State = wire.OK
	}
	for _, w := range s.state.Workspaces() {
		status.Workspaces = append(status.Workspaces, wire.WorkspaceStatus(w))
	}
	for _, n := range s.state.Failures(10) {
		status.Failures = append(status.Failures, wire.Failure{Node: n.Place.String(), Report: wire.Report(*n.Report)})
	}
	if n, any := s.state.Latest(); any {
		status.Latest = &wire.Latest{Node: n.Place.String(), State: nodeState(n)}
	}
	return status
}

func nodeState(n match.Node) wire.NodeState {
	switch {
	case n.Report != nil && n.Report.OK:
		return wire.NodeOK
	case n.Report != nil:
		return wire.NodeError
	case n.Identities != nil:
		return wire.NodeJoined
	}
	return wire.NodeExpected
}

// Nodes lists them all.
func (s *simulation) Nodes(context.Context, string) ([]wire.Node, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var nodes []wire.Node
	for _, n := range s.state.Nodes() {
		d := wire.Node{Node: n.Place.String(), Workspace: n.Place.Workspace, Index: n.Place.Index, State: nodeState(n), Identities: n.Identities}
		if d.State == wire.NodeError {
			report := wire.Report(*n.Report)
			d.Report = &report
		}
		nodes = append(nodes, d)
	}
	return nodes, nil
}

// Delete forgets the context.
func (s *simulation) Delete(context.Context, string) error { return nil }
