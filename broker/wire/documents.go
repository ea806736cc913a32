// Package wire holds every document that crosses the network, how it is
// written down and read back, and the client side of the broker's interface.
// docs/protocol.md describes the same for people.
package wire

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"nimbus/broker/cluster"
)

// Create asks for a new context. The caller must have an account.
type Create struct {
	Name       string             `json:"name,omitempty"` // for people: the handle of the launch
	Definition cluster.Definition `json:"definition"`
	Expires    time.Time          `json:"expires"`        // the broker forgets the context then
	Open       bool               `json:"open,omitempty"` // data may be added until it is locked
	// Scripts are packs of role scripts that the nodes of a workspace unpack
	// over their own: workspace → pack. The owner sends each pack (PutPack)
	// before the first node asks for it.
	Scripts map[string]Pack `json:"scripts,omitempty"`
}

// Pack names a pack of scripts by its content.
type Pack struct {
	SHA256 string `json:"sha256"` // hex
	Size   int64  `json:"size"`   // bytes, at most MaxPack
}

// MaxPack is the largest pack of scripts in bytes.
const MaxPack = 16 << 20

// Check tells whether this can be the name of a pack. What is not in lower case
// is none: a pack has one name.
func (p Pack) Check() error {
	raw, err := hex.DecodeString(p.SHA256)
	switch {
	case err != nil || len(raw) != sha256.Size || hex.EncodeToString(raw) != p.SHA256:
		return fmt.Errorf("%.80q is no SHA-256 in hex", p.SHA256)
	case p.Size < 1 || p.Size > MaxPack:
		return fmt.Errorf("a pack of %d bytes: 1 to %d MiB are allowed", p.Size, MaxPack>>20)
	}
	return nil
}

// Created is a new context, and what its nodes need to find it.
type Created struct {
	ID       string              `json:"id"`
	BrokerID string              `json:"broker_id"` // name to verify the broker's certificate by
	CA       string              `json:"ca"`        // PEM
	Brokers  []string            `json:"brokers"`   // URLs by which nodes reach the broker
	Tokens   map[string][]string `json:"tokens"`    // workspace → token of each index
	Expires  time.Time           `json:"expires"`
	Now      time.Time           `json:"now"` // the broker's clock
	// Agents are the programs that this broker hands out: platform
	// ("linux-amd64") → SHA-256 in hex.
	Agents map[string]string `json:"agents,omitempty"`
}

// State of a context, the worst thing that can be said of it.
type State string

// The states of a context. Open, Joining and Working can still become OK.
const (
	Open      State = "open"      // not locked yet
	Joining   State = "joining"   // not all nodes are there
	Working   State = "working"   // all are there, not all have reported
	OK        State = "ok"        // every expected node has reported ok
	Failing   State = "failing"   // a node has reported an error
	Cancelled State = "cancelled" // its owner ended it
	Expired   State = "expired"
)

// Summary is a context in a list.
type Summary struct {
	ID       string    `json:"id"`
	Name     string    `json:"name,omitempty"`
	State    State     `json:"state"`
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires"`
	Expected int       `json:"expected"` // nodes
	Joined   int       `json:"joined"`
	OK       int       `json:"ok"`
	Failed   int       `json:"failed"`
}

// Status is how far a context has come. It does not grow with the number of
// nodes; Node has the rest.
type Status struct {
	Summary
	Seq        uint64            `json:"seq"` // grows with every change
	Locked     bool              `json:"locked"`
	Workspaces []WorkspaceStatus `json:"workspaces"`
	Failures   []Failure         `json:"failures,omitempty"` // the first few
	Refused    []Refusal         `json:"refused,omitempty"`  // the last few
	Latest     *Latest           `json:"latest,omitempty"`
}

// Latest is the node of which something was heard last, and what.
type Latest struct {
	Node  string    `json:"node"`
	State NodeState `json:"state"`
}

// WorkspaceStatus sums up the nodes of one workspace.
type WorkspaceStatus struct {
	Name     string   `json:"name"`
	Expected int      `json:"expected"`
	Joined   int      `json:"joined"`
	OK       int      `json:"ok"`
	Failed   int      `json:"failed"`
	Waiting  []string `json:"waiting,omitempty"` // what its nodes' answer still lacks; empty: it is complete
}

// Failure is a node's error report.
type Failure struct {
	Node string `json:"node"`
	Report
}

// Refusal is a request that was turned down though its token was good: a
// second machine in one place, say.
type Refusal struct {
	Time   time.Time `json:"time"`
	Node   string    `json:"node"`
	From   string    `json:"from"` // address of the caller
	Reason string    `json:"reason"`
}

// NodeState is how far one node has come.
type NodeState string

// The states of a node.
const (
	NodeExpected NodeState = "expected" // nothing heard from it
	NodeJoined   NodeState = "joined"   // waits, or runs its scripts
	NodeOK       NodeState = "ok"
	NodeError    NodeState = "error"
)

// Node is one node as the broker knows it.
type Node struct {
	Node       string             `json:"node"`
	Workspace  string             `json:"workspace"`
	Index      int                `json:"index"`
	State      NodeState          `json:"state"`
	Roles      []string           `json:"roles,omitempty"` // provided
	Identities []cluster.Identity `json:"identities,omitempty"`
	Joined     time.Time          `json:"joined,omitzero"`
	Reported   time.Time          `json:"reported,omitzero"`
	Report     *Report            `json:"report,omitempty"` // of an error
}

// Join is how a node makes itself known.
type Join struct {
	Identities []cluster.Identity `json:"identities"`
}

// Joined is a node's place in the context.
type Joined struct {
	cluster.Place
	Node    string   `json:"node"`
	Context string   `json:"context"`
	Stages  int      `json:"stages"`            // how many answers there will be
	Roles   []string `json:"roles,omitempty"`   // provided by this node
	Scripts *Pack    `json:"scripts,omitempty"` // to be unpacked before the first script; nil: none
}

// Waiting says what the answer of a node still lacks.
type Waiting struct {
	For []string `json:"for"`
}

// Report is how a stage ended on a node.
type Report struct {
	Stage int    `json:"stage"`
	OK    bool   `json:"ok"`
	Step  string `json:"step,omitempty"` // what failed: "1-ipandhost/rabbitmq-head 10.78.0.2"
	Code  int    `json:"code,omitempty"` // its exit code, or the agent's
	Log   string `json:"log,omitempty"`  // the end of the log, MaxLog bytes at most
}

// Limits of what a node may send, in bytes.
const (
	MaxLog    = 64 << 10
	MaxStep   = 1 << 10
	MaxJoin   = 256 << 10
	MaxReport = 512 << 10 // JSON may need six bytes for one of the log
)

// Check tells whether a report is within its limits.
func (r *Report) Check() error {
	switch {
	case len(r.Log) > MaxLog:
		return fmt.Errorf("the log is longer than %d KiB: send its end", MaxLog>>10)
	case len(r.Step) > MaxStep || strings.ContainsFunc(r.Step, func(c rune) bool { return !unicode.IsPrint(c) }):
		return fmt.Errorf("the step must be one printable line of at most %d bytes", MaxStep)
	case r.Stage < 0:
		return errors.New("the stage is negative")
	}
	return nil
}

// AddData is one more value for the nodes that require its name.
type AddData struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Release frees a place whose machine lost its claim.
type Release struct {
	Node string `json:"node"`
}

// Extend moves the time at which the broker forgets a context.
type Extend struct {
	Expires time.Time `json:"expires"`
}

// LogText is a piece of a node's log, sent while its scripts run.
type LogText struct {
	Offset int64  `json:"offset"` // of the piece in all that the node logged in this run, in bytes
	Text   string `json:"text"`   // MaxLog bytes at most
}

// maxOffset is more than any node logs.
const maxOffset = 1 << 50

// Check tells whether a piece of a log is within its limits.
func (l *LogText) Check() error {
	switch {
	case len(l.Text) > MaxLog:
		return fmt.Errorf("the piece of the log is longer than %d KiB: send its end", MaxLog>>10)
	case l.Offset < 0 || l.Offset > maxOffset:
		return errors.New("the offset is no place in a log")
	}
	return nil
}

// NodeLog is what the broker has of a node's log from some offset on: the end
// of it, where more was written than is kept. What is missing is noted in the
// text, so Next is not always Offset and the text's length.
type NodeLog struct {
	Offset int64     `json:"offset"` // of Text
	Next   int64     `json:"next"`   // where to ask on
	Text   string    `json:"text"`
	State  NodeState `json:"state"` // ok and error: nothing more will come
}

// Listen asks a broker of this machine to answer at one more address.
type Listen struct {
	Address string `json:"address"` // an IP; the port is the broker's own
}

// Info says who answers.
type Info struct {
	Version  string    `json:"version"`
	BrokerID string    `json:"broker_id"`
	CA       string    `json:"ca"` // PEM
	Brokers  []string  `json:"brokers"`
	Now      time.Time `json:"now,omitzero"` // the broker's clock
	// Agents are the programs that it hands out, as in Created.
	Agents map[string]string `json:"agents,omitempty"`
}
