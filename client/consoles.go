package client

import (
	"context"

	"nimbus/broker/wire"
	"nimbus/cloud"
)

// mostConsoles is how many are kept of a launch that failed: the cause is
// seen on the first few.
const mostConsoles = 50

// keepConsoles saves what the instances of nodes that are not ok have printed,
// as long as they exist: a node that never joined has said nowhere else what
// it lacks. It returns the texts by node.
func (r *run) keepConsoles(ctx context.Context) map[string]string {
	consoler, ok := r.driver.(cloud.Consoler)
	if !ok {
		return nil
	}
	done := map[string]bool{}
	for _, n := range r.nodes {
		done[n.Node] = n.State == wire.NodeOK
	}
	texts := map[string]string{}
	for _, m := range r.machines {
		node := m.Node.String()
		if done[node] || len(texts) >= mostConsoles {
			continue
		}
		if text, err := consoler.Console(ctx, m.Instance); err == nil && len(text) > 0 {
			texts[node] = string(text)
		}
	}
	if len(texts) > 0 {
		if dir, err := r.launch.WriteConsoles(texts); err != nil {
			r.out.warn("The consoles were not kept: %v\n", err)
		} else {
			r.out.say("  - wrote consoles to '%s'\n", dir)
		}
	}
	return texts
}
