package client

import (
	"fmt"
	"time"

	"nimbus/broker/cluster"
	"nimbus/broker/wire"
	"nimbus/client/history"
	"nimbus/cloud"
)

// The states that a launch can be in beside those of the history.
const (
	stateExpired = "expired" // its hours are over
	stateGone    = "gone"    // its instances were ended by other means
	stateDamaged = "damaged" // its record cannot be read
	stateEmpty   = "empty"   // its client was stopped before it launched anything
)

// unknown stands for what could not be asked.
const unknown = "?"

// stateNow is the state of a launch after what its cloud lists of it.
func stateNow(record history.Record, instances []cloud.Instance, now time.Time) string {
	switch {
	case record.State == history.Terminated || record.State == history.Failed || len(instances) > 0:
		return record.State
	case record.Over(now):
		return stateExpired
	case record.State != history.Launching:
		return stateGone
	}
	return record.State
}

// outcome is what remains to be said of a launch when it is terminated.
func outcome(record history.Record, now time.Time) string {
	if record.State != history.Failed && record.Over(now) {
		return history.Expired
	}
	return record.State
}

// stateWords is a state for people: terminating a launch does not make what
// became of it another.
func stateWords(state, outcome string) string {
	if state == history.Terminated {
		switch outcome {
		case history.Failed, history.Kept:
			return "failed, terminated"
		case history.Expired:
			return "expired, terminated"
		}
	}
	return state
}

// phaseOf is how far a launch that runs has come; empty: it does not run.
// Without a summary the broker does not know its context any more.
func phaseOf(record history.Record, instances []cloud.Instance, context *wire.Summary) string {
	expected := len(record.Instances)
	if record.Definition != nil {
		expected = record.Definition.Instances()
	}
	running := countRunning(instances)
	switch {
	case record.State == history.Terminated || len(instances) == 0 && record.State != history.Launching:
		return ""
	case record.State == history.Launching && len(instances) < expected:
		return fmt.Sprintf("launching %d/%d", len(instances), expected)
	case context != nil && context.Failed > 0:
		return fmt.Sprintf("failed %d", context.Failed)
	case running < len(instances):
		return fmt.Sprintf("booting %d/%d", running, expected)
	case record.Context == nil || context == nil && record.State == history.OK:
		return "ok"
	case context == nil:
		return unknown
	}
	switch context.State {
	case wire.OK:
		return "ok"
	case wire.Open:
		return fmt.Sprintf("open %d/%d", context.Joined, context.Expected)
	case wire.Joining:
		return fmt.Sprintf("joining %d/%d", context.Joined, context.Expected)
	case wire.Working:
		return fmt.Sprintf("configuring %d/%d", context.OK, context.Expected)
	}
	return printable(string(context.State))
}

func countRunning(instances []cloud.Instance) (n int) {
	for _, i := range instances {
		if i.State == cloud.Running {
			n++
		}
	}
	return n
}

// NodeStatus is one node of a launch, after what its cloud and its broker say.
type NodeStatus struct {
	Node      string          `json:"node"`
	Workspace string          `json:"workspace"`
	State     string          `json:"state"` // of its instance; "gone": there is none
	Phase     string          `json:"phase,omitempty"`
	Reason    string          `json:"reason,omitempty"` // why the instance failed
	Name      string          `json:"name,omitempty"`   // full host name
	Addresses []cloud.Address `json:"addresses,omitempty"`
	Roles     []string        `json:"roles,omitempty"` // provided
	Created   time.Time       `json:"created,omitzero"`
}

// nodeStatuses lists the nodes of a definition in its order. Without nodes the
// broker was not asked, or could not say.
func nodeStatuses(def *cluster.Definition, instances []cloud.Instance, context *wire.Status, nodes []wire.Node) []NodeStatus {
	if def == nil {
		return nil
	}
	by := map[string]cloud.Instance{}
	for _, i := range instances {
		by[i.Token] = i
	}
	members := map[string]wire.NodeState{}
	for _, n := range nodes {
		members[n.Node] = n.State
	}
	waits := map[string]bool{}
	if context != nil {
		for _, w := range context.Workspaces {
			waits[w.Name] = len(w.Waiting) > 0
		}
	}
	var list []NodeStatus
	for _, w := range def.Workspaces {
		var roles []string
		if w.Ctx != nil {
			for _, r := range w.Ctx.Provides {
				roles = append(roles, r.Name)
			}
		}
		for index := range w.Quantity {
			n := NodeStatus{Node: cluster.Place{Workspace: w.Name, Index: index}.String(), Workspace: w.Name, State: stateGone, Roles: roles}
			if i, there := by[n.Node]; there {
				n.State, n.Reason, n.Name, n.Addresses, n.Created = string(i.State), i.Reason, i.Name, i.Addresses, i.Created
				n.Phase = nodePhase(i.State, w.Ctx != nil, members[n.Node], waits[w.Name])
			}
			list = append(list, n)
		}
	}
	return list
}

// nodePhase is how far one node has come; empty: it will come no further.
func nodePhase(instance cloud.State, member bool, state wire.NodeState, waits bool) string {
	switch {
	case state == wire.NodeError:
		return "failed"
	case instance == cloud.Starting:
		return "booting"
	case instance != cloud.Running:
		return ""
	case !member || state == wire.NodeOK:
		return "ok"
	case state == wire.NodeExpected:
		return "joining"
	case state == wire.NodeJoined && waits:
		return "waiting"
	case state == wire.NodeJoined:
		return "configuring"
	}
	return unknown
}
