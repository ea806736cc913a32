package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nimbus/broker/cluster"
	"nimbus/broker/wire"
	"nimbus/cloud"
)

// fakeBroker keeps contexts in memory.
type fakeBroker struct {
	ca        string
	createErr error
	agents    map[string]string // that it hands out
	deleteErr error
	statusErr error // as long as it is set
	packErr   error
	listening []string

	mu        sync.Mutex
	changed   chan struct{} // closed at each change
	contexts  map[string]*fakeContext
	deleted   int
	logs      map[string]string // node → its log
	extendErr error
	away      int // so many calls for a log get no answer
}

type fakeContext struct {
	create wire.Create
	seq    uint64
	nodes  []wire.Node
	added  []wire.AddData
	packs  map[string]int // how often each was sent
}

func newFakeBroker(t *testing.T) *fakeBroker {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &fakeBroker{ca: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), contexts: map[string]*fakeContext{}}
}

func (b *fakeBroker) change(c *fakeContext) {
	c.seq++
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
}

func (b *fakeBroker) Create(_ context.Context, create wire.Create) (wire.Created, error) {
	if b.createErr != nil {
		return wire.Created{}, b.createErr
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	id := fmt.Sprintf("ctx%d", len(b.contexts)+1)
	c := &fakeContext{create: create, seq: 1}
	created := wire.Created{ID: id, BrokerID: "broker1", CA: b.ca, Brokers: []string{"https://127.0.0.1:8443"}, Tokens: map[string][]string{}, Agents: b.agents}
	for _, w := range create.Definition.Workspaces {
		for index := range w.Quantity {
			if w.Ctx != nil {
				place := cluster.Place{Workspace: w.Name, Index: index}
				created.Tokens[w.Name] = append(created.Tokens[w.Name], wire.Token{Workspace: w.Name, Index: index, MAC: "bWFj"}.String())
				c.nodes = append(c.nodes, wire.Node{Node: place.String(), Workspace: w.Name, Index: index, State: wire.NodeExpected})
			}
		}
	}
	b.contexts[id] = c
	return created, nil
}

// informing is that broker when it says which agents it has.
type informing struct{ *fakeBroker }

func (b informing) Info(context.Context) (wire.Info, error) { return wire.Info{Agents: b.agents}, nil }

func (b *fakeBroker) find(id string) (*fakeContext, error) {
	if c := b.contexts[id]; c != nil {
		return c, nil
	}
	return nil, wire.Errorf(wire.NotFound, "there is no context %q", id)
}

func (b *fakeBroker) Status(ctx context.Context, id string, after uint64) (wire.Status, error) {
	hold := time.After(wire.MaxHold)
	for {
		b.mu.Lock()
		c, err := b.find(id)
		if b.statusErr != nil {
			err = b.statusErr
		}
		if err != nil || c.seq > after {
			defer b.mu.Unlock()
			if err != nil {
				return wire.Status{}, err
			}
			return c.status(), nil
		}
		if b.changed == nil {
			b.changed = make(chan struct{})
		}
		changed := b.changed
		b.mu.Unlock()
		select {
		case <-changed:
		case <-hold:
			return wire.Status{Seq: after}, nil
		case <-ctx.Done():
			return wire.Status{}, ctx.Err()
		}
	}
}

func (c *fakeContext) status() wire.Status {
	s := wire.Status{Seq: c.seq, Locked: !c.create.Open, Summary: wire.Summary{Expires: c.create.Expires}}
	by := map[string]*wire.WorkspaceStatus{}
	for _, w := range c.create.Definition.Workspaces {
		if w.Ctx != nil {
			s.Workspaces = append(s.Workspaces, wire.WorkspaceStatus{Name: w.Name})
		}
	}
	for i := range s.Workspaces {
		by[s.Workspaces[i].Name] = &s.Workspaces[i]
	}
	for _, n := range c.nodes {
		w := by[n.Workspace]
		w.Expected++
		s.Expected++
		switch n.State {
		case wire.NodeOK:
			w.OK, w.Joined = w.OK+1, w.Joined+1
			s.OK, s.Joined = s.OK+1, s.Joined+1
		case wire.NodeError:
			w.Failed, w.Joined = w.Failed+1, w.Joined+1
			s.Failed, s.Joined = s.Failed+1, s.Joined+1
			s.Failures = append(s.Failures, wire.Failure{Node: n.Node, Report: *n.Report})
		case wire.NodeJoined:
			w.Joined++
			s.Joined++
		}
	}
	for i := range s.Workspaces {
		if s.Joined < s.Expected {
			s.Workspaces[i].Waiting = []string{`role "head": front-0 to join`}
		}
	}
	s.State = cmp.Or(
		map[bool]wire.State{true: wire.Failing}[s.Failed > 0],
		map[bool]wire.State{true: wire.OK}[s.OK == s.Expected],
		map[bool]wire.State{true: wire.Joining}[s.Joined < s.Expected],
		wire.Working)
	return s
}

func (b *fakeBroker) Nodes(_ context.Context, id string) ([]wire.Node, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, err := b.find(id)
	if err != nil {
		return nil, err
	}
	return slices.Clone(c.nodes), nil
}

func (b *fakeBroker) Delete(_ context.Context, id string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.deleteErr != nil {
		return b.deleteErr
	}
	c, err := b.find(id)
	if err != nil {
		return err
	}
	delete(b.contexts, id)
	b.deleted++
	b.change(c)
	return nil
}

func (b *fakeBroker) Release(_ context.Context, id, node string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, err := b.find(id)
	if err != nil {
		return err
	}
	for i := range c.nodes {
		if c.nodes[i].Node == node {
			c.nodes[i] = wire.Node{Node: node, State: wire.NodeExpected}
			b.change(c)
			return nil
		}
	}
	return wire.Errorf(wire.Forbidden, "there is no node %s", node)
}

func (b *fakeBroker) Contexts(context.Context) (list []wire.Summary, err error) {
	if b.createErr != nil {
		return nil, b.createErr
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(b.contexts)) {
		c := b.contexts[id]
		summary := c.status().Summary
		summary.ID, summary.Name, summary.Expires = id, c.create.Name, c.create.Expires
		list = append(list, summary)
	}
	return list, nil
}

func (b *fakeBroker) AddData(_ context.Context, id string, data wire.AddData) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, err := b.find(id)
	if err != nil {
		return err
	}
	if !c.create.Open {
		return wire.Errorf(wire.Locked, "context is locked")
	}
	c.added = append(c.added, data)
	b.change(c)
	return nil
}

func (b *fakeBroker) Lock(_ context.Context, id string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, err := b.find(id)
	if err == nil && c.create.Open {
		c.create.Open = false
		b.change(c)
	}
	return err
}

func (b *fakeBroker) Extend(_ context.Context, id string, expires time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, err := b.find(id)
	if err == nil {
		err = b.extendErr
	}
	if err == nil {
		c.create.Expires = expires
		b.change(c)
	}
	return err
}

// PutPack counts packs that are as they were announced.
func (b *fakeBroker) PutPack(_ context.Context, id string, pack wire.Pack, content io.Reader) error {
	if b.packErr != nil {
		return b.packErr
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	c, err := b.find(id)
	if err != nil {
		return err
	}
	h := sha256.New()
	n, err := io.Copy(h, content)
	if err != nil || n != pack.Size || hex.EncodeToString(h.Sum(nil)) != pack.SHA256 || pack.Check() != nil {
		return wire.Errorf(wire.BadRequest, "%+v is not what was sent: %d bytes, %v", pack, n, err)
	}
	if c.packs == nil {
		c.packs = map[string]int{}
	}
	c.packs[pack.SHA256]++
	return nil
}

// NodeLog returns what logs has of a node; it holds no request.
func (b *fakeBroker) NodeLog(_ context.Context, id, node string, offset int64) (wire.NodeLog, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, err := b.find(id); err != nil {
		return wire.NodeLog{}, err
	}
	_, n := b.node(id, node)
	if b.away > 0 {
		b.away--
		return wire.NodeLog{}, errors.New("connection refused")
	}
	text := b.logs[node]
	offset = min(max(0, offset), int64(len(text)))
	return wire.NodeLog{Offset: offset, Next: int64(len(text)), Text: text[offset:], State: n.State}, nil
}

func (b *fakeBroker) Listen(_ context.Context, address string) (string, error) {
	b.listening = append(b.listening, address)
	return "https://" + address + ":8443", nil
}

func (b *fakeBroker) node(id, name string) (*fakeContext, *wire.Node) {
	c := b.contexts[id]
	for i := range c.nodes {
		if c.nodes[i].Node == name {
			return c, &c.nodes[i]
		}
	}
	panic("no node " + name)
}

func (b *fakeBroker) join(id string, i cloud.Instance, label string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, n := b.node(id, i.Token)
	n.State = wire.NodeJoined
	n.Identities = []cluster.Identity{{Interface: label, IP: i.Addresses[0].IP, Hostname: i.Name, Pubkey: hostKey(i.Addresses[0].IP.As4()[3])}}
	b.change(c)
}

func (b *fakeBroker) report(id, node string, report wire.Report) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, n := b.node(id, node)
	n.State, n.Reported = wire.NodeOK, time.Unix(int64(c.seq), 0)
	if !report.OK {
		n.State, n.Report = wire.NodeError, &report
	}
	b.change(c)
}

// hostKey is a public key line that sshd could have made.
func hostKey(n byte) string {
	var blob []byte
	for _, part := range [][]byte{[]byte("ssh-ed25519"), bytes.Repeat([]byte{n}, 32)} {
		blob = binary.BigEndian.AppendUint32(blob, uint32(len(part)))
		blob = append(blob, part...)
	}
	return "ssh-ed25519 " + base64.StdEncoding.EncodeToString(blob)
}

// What a broker elsewhere says is shown, and steers no terminal.
func TestHostileBroker(t *testing.T) {
	w := newWorld(t)
	w.boot(allOK)
	w.expect(0, []string{"run", "--cluster", w.path("hello.xml")})
	w.broker.deleteErr = wire.Errorf(wire.Internal, "\x1b]0;owned\a\x1b[2J")
	w.expect(0, []string{"terminate", "--all"}, "the broker still has the context", "?]0;owned??[2J")
	if all := w.stdout.String() + w.stderr.String(); strings.Contains(all, "\x1b") {
		t.Errorf("%q", all)
	}
}

// forget loses a context, as when its time is over.
func (b *fakeBroker) forget(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.contexts, id)
}
