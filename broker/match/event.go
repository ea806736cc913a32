// Package match is the core of the broker: what a context knows, which events
// may happen to it, and what each node is told. It is a pure function of its
// events: no clock, lock, goroutine, network or disk, so a log of events is
// the whole truth about a context, and can be replayed as a test.
package match

import (
	"errors"
	"time"

	"nimbus/broker/cluster"
)

// Event is one thing that happened to a context. Exactly one of the pointers
// is set.
type Event struct {
	At time.Time `json:"at"`

	Created   *Created   `json:"created,omitempty"`
	Joined    *Joined    `json:"joined,omitempty"`
	DataAdded *DataAdded `json:"data_added,omitempty"`
	Locked    *Locked    `json:"locked,omitempty"`
	Reported  *Reported  `json:"reported,omitempty"`
	Retried   *Retried   `json:"retried,omitempty"`
	Released  *Released  `json:"released,omitempty"`
	Extended  *Extended  `json:"extended,omitempty"`
	Cancelled *Cancelled `json:"cancelled,omitempty"`
	Expired   *Expired   `json:"expired,omitempty"`
}

// Created is the first event of every context.
type Created struct {
	ID         string             `json:"id"`
	Owner      string             `json:"owner"` // account
	Name       string             `json:"name,omitempty"`
	Definition cluster.Definition `json:"definition"`
	Expires    time.Time          `json:"expires"`
	Open       bool               `json:"open,omitempty"` // not locked yet
	Scripts    map[string]Pack    `json:"scripts,omitempty"`
}

// Pack names scripts that the nodes of a workspace unpack before they run any.
type Pack struct {
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
}

// AnyIndex as an index stands for whichever place of the workspace is free.
const AnyIndex = -1

// Claimant is a machine that says which place is its own.
type Claimant struct {
	Workspace string `json:"workspace"`
	Index     int    `json:"index"` // or AnyIndex
	Claim     string `json:"claim"` // hash of the machine's secret
}

// Joined makes a node known, and its machine the holder of the place.
type Joined struct {
	Claimant
	Identities []cluster.Identity `json:"identities"`
}

// DataAdded gives one more value to the nodes that require its name.
type DataAdded struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Locked means that no more data will be added: the context may answer.
type Locked struct{}

// Reported is how a stage ended on a node. An error may come from a machine
// that could not join.
type Reported struct {
	Claimant
	Report
}

// Report says how a stage ended.
type Report struct {
	Stage int    `json:"stage"`
	OK    bool   `json:"ok"`
	Step  string `json:"step,omitempty"`
	Code  int    `json:"code,omitempty"`
	Log   string `json:"log,omitempty"`
}

// Retried takes a node's report back: its machine begins its work again, and
// will report anew.
type Retried struct {
	Claimant
}

// Released frees a place whose machine lost its claim.
type Released struct {
	Place cluster.Place `json:"place"`
}

// Extended moves the time at which a context expires.
type Extended struct {
	Expires time.Time `json:"expires"`
}

// Cancelled is the owner's end of a context.
type Cancelled struct{}

// Expired is the end of a context by time.
type Expired struct{}

// Why an event is refused. The texts that wrap them say the rest.
var (
	// ErrRepeated is no refusal: the context knows this already, the caller
	// may be told that all is well, and there is nothing to store.
	ErrRepeated = errors.New("nothing new")

	ErrInvalid      = errors.New("invalid")           // breaks a rule whatever the state
	ErrNoPlace      = errors.New("no such place")     // the definition has no such node
	ErrPlaceTaken   = errors.New("place taken")       // another machine claimed it
	ErrAddressTaken = errors.New("address taken")     // another node has it
	ErrNotJoined    = errors.New("not joined")        // only a node that joined may do this
	ErrReported     = errors.New("already reported")  // another report was stored
	ErrTold         = errors.New("others were told")  // the answer that names the node is out
	ErrLocked       = errors.New("context is locked") // no more data
	ErrEnded        = errors.New("context has ended") // cancelled or expired
)
