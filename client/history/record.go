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
	Expires    time.Time           `json:"expires"`
	Definition *cluster.Definition `json:"definition,omitempty"`
	Context    *Context            `json:"context,omitempty"`     // nil: no contextualization
	Instances  []Instance          `json:"instances,omitempty"`   // what was launched
	KnownHosts *KnownHosts         `json:"known_hosts,omitempty"` // what the run added
	State      string              `json:"state"`
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
