package history

import (
	"time"

	"nimbus/broker/cluster"
	"nimbus/cloud"
)

// Record is what the client must know about a launch to act on it later. The
// cloud is the truth about what runs; this is where to ask.
type Record struct {
	Handle     string              `json:"handle"`
	Launch     string              `json:"launch"` // random id given to the driver
	Cloud      string              `json:"cloud"`  // name in the config
	Source     string              `json:"source"` // definition file
	Created    time.Time           `json:"created"`
	Expires    time.Time           `json:"expires,omitzero"` // zero: it does not end by itself
	Definition *cluster.Definition `json:"definition,omitempty"`
	Context    *Context            `json:"context,omitempty"`     // nil: no contextualization
	Instances  []Instance          `json:"instances,omitempty"`   // what was launched
	KnownHosts *KnownHosts         `json:"known_hosts,omitempty"` // what the run added
	// Unreachable are instances that were given up when the launch was
	// terminated: should their machines come back, something is left there.
	Unreachable []Instance `json:"unreachable,omitempty"`
	State       string     `json:"state"`
	Outcome     string     `json:"outcome,omitempty"` // the state before it was terminated, or "expired"
	Ended       time.Time  `json:"ended,omitzero"`    // when a command had ended all of it
	Run         *Run       `json:"run,omitempty"`     // nil: not recorded
}

// Over tells whether the time of the launch is over, so that it has ended by
// itself.
func (r *Record) Over(now time.Time) bool {
	return !r.Expires.IsZero() && !r.Expires.After(now)
}

// Run is what the command line and the settings of a run said, as far as
// somebody who goes on with it must know.
type Run struct {
	Timeout    Span   `json:"timeout"` // for all to be ready
	Keep       bool   `json:"keep,omitempty"`
	KnownHosts string `json:"known_hosts,omitempty"` // file for new host keys; empty: none
	SSHKey     string `json:"ssh_key,omitempty"`     // private key that ssh must be told of; empty: it finds its own
	// Hosts that the launch may have, where its cloud is hosts that run
	// already: workspace or "*" → user@address:port.
	Hosts     map[string][]string `json:"hosts,omitempty"`
	HostsFile string              `json:"hosts_file,omitempty"` // that said so
	KeepAgent bool                `json:"keep_agent,omitempty"` // the agent stays on them
}

// Span is a length of time, written as "20m0s".
type Span time.Duration

// MarshalText writes a span.
func (s Span) MarshalText() ([]byte, error) { return []byte(time.Duration(s).String()), nil }

// UnmarshalText reads a span.
func (s *Span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	*s = Span(d)
	return err
}

// The states of a launch as its last command left it.
const (
	Launching  = "launching"
	Waiting    = "waiting" // for the context
	OK         = "ok"
	Failed     = "failed"
	Terminated = "terminated"
	Kept       = "kept" // failed, and left running as asked
)

// Expired is an outcome: its hours were over when it was terminated.
const Expired = "expired"

// Context is where the launch's context is found.
type Context struct {
	ID       string `json:"id"`
	Broker   string `json:"broker,omitempty"` // URL; empty: this user's own broker
	BrokerID string `json:"broker_id"`
}

// Instance is an instance and its place in the definition.
type Instance struct {
	Node      string `json:"node"` // workspace-index
	Workspace string `json:"workspace"`
	Index     int    `json:"index"`
	cloud.Instance
}

// KnownHosts are the lines that a run added to a known_hosts file.
type KnownHosts struct {
	File    string   `json:"file"`
	Created bool     `json:"created,omitempty"` // by the run: it goes with its last line
	Lines   []string `json:"lines"`
}
