// Package deploy turns a cluster definition into requests for instances, and
// gets a driver to fulfil them. Plan decides; everything else does what it
// says, or undoes it.
package deploy

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"nimbus/broker/cluster"
	"nimbus/broker/wire"
	"nimbus/cloud"
)

// Deployment is what a definition does not say about a launch.
type Deployment struct {
	Handle     string
	Launch     string   // random id, the tag of all instances
	PublicKeys []string // authorized_keys lines
	Issued     time.Time
	Expires    time.Time
	Context    *wire.Created // nil: nobody takes part in one
	// Installs tells of an image whether its instances fetch their agent from
	// the broker where they lack it; nil: all have it.
	Installs func(image string) bool
}

// Item is one instance of a plan.
type Item struct {
	Node    cluster.Place
	Request cloud.Request
}

// Plan makes one request for each instance, in the order of the definition. A
// node's request carries its bootstrap document; an instance that takes no
// part in the context gets no user data. The error is a *NoAgentError when
// nodes could not get their agent.
func Plan(def *cluster.Definition, d Deployment) ([]Item, error) {
	if d.Context != nil {
		if err := CheckAgents(def, d.Installs, d.Context.Agents); err != nil {
			return nil, err
		}
	}
	plan := make([]Item, 0, def.Instances())
	for i := range def.Workspaces {
		w := &def.Workspaces[i]
		for index := range w.Quantity {
			place := cluster.Place{Workspace: w.Name, Index: index}
			userData, err := d.bootstrap(w, index)
			if err != nil {
				return nil, fmt.Errorf("plan %s: %v", place, err)
			}
			networks := make([]string, 0, len(w.NICs))
			for _, n := range w.NICs {
				networks = append(networks, n.Network)
			}
			plan = append(plan, Item{place, cloud.Request{
				Launch:     d.Launch,
				Token:      place.String(),
				Name:       HostName(place.String(), d.Handle),
				Group:      w.Name,
				Index:      index,
				Image:      w.Image,
				Networks:   networks,
				UserData:   userData,
				PublicKeys: d.PublicKeys,
				Expires:    d.Expires,
			}})
		}
	}
	return plan, nil
}

// HostName is the full host name that a launch gives to a node.
func HostName(node, handle string) string { return node + "." + handle }

// bootstrap writes the user data of one node, or nothing for an instance that
// is none.
func (d *Deployment) bootstrap(w *cluster.Workspace, index int) ([]byte, error) {
	if w.Ctx == nil {
		return nil, nil
	}
	if d.Context == nil {
		return nil, errors.New("there is no context for it")
	}
	tokens := d.Context.Tokens[w.Name]
	if index >= len(tokens) {
		return nil, errors.New("the broker gave no token for it")
	}
	b := wire.Bootstrap{
		Version:  wire.BootstrapVersion,
		Brokers:  d.Context.Brokers,
		BrokerID: d.Context.BrokerID,
		CA:       d.Context.CA,
		Context:  d.Context.ID,
		Token:    tokens[index],
		Issued:   d.Issued,
		Agents:   LinuxAgents(d.Context.Agents),
	}
	for _, n := range w.NICs {
		b.NICs = append(b.NICs, wire.BootstrapNIC{Label: n.Interface, Network: n.Network})
	}
	return userData(&b, d.Installs != nil && d.Installs(w.Image))
}

// UserDataSize tells about how many bytes the user data of each node of a
// workspace will have. What only the broker knows (the context, its token) is
// as long as a broker of this version makes it; agents are nil where instances
// bring theirs.
func UserDataSize(w *cluster.Workspace, brokers []string, ca string, agents map[string]string) int {
	if w.Ctx == nil {
		return 0
	}
	b := wire.Bootstrap{
		Version: wire.BootstrapVersion, Brokers: brokers, CA: ca,
		BrokerID: strings.Repeat("x", 33), Context: strings.Repeat("x", 36),
		Token:  wire.Token{Workspace: w.Name, Index: w.Quantity - 1, MAC: strings.Repeat("x", 43)}.String(),
		Agents: LinuxAgents(agents),
	}
	for _, n := range w.NICs {
		b.NICs = append(b.NICs, wire.BootstrapNIC{Label: n.Interface, Network: n.Network})
	}
	document, err := json.Marshal(b)
	if err != nil {
		return 0 // a document of texts only can always be written
	}
	if len(b.Agents) == 0 {
		return len(document)
	}
	return len(userDataBefore) + len(document) + len(userDataAfter)
}

// Demand is what a definition needs of a cloud in all.
func Demand(def *cluster.Definition) cloud.Demand {
	d := cloud.Demand{Groups: map[string]int{}, Networks: Networks(def)}
	for _, w := range def.Workspaces {
		d.Groups[w.Name] += w.Quantity
	}
	return d
}

// Networks counts the NICs that each network of a definition gets.
func Networks(def *cluster.Definition) map[string]int {
	count := map[string]int{}
	for _, w := range def.Workspaces {
		for _, n := range w.NICs {
			count[n.Network] += w.Quantity
		}
	}
	return count
}
