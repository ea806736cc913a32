package client

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"nimbus/broker/wire"
	"nimbus/cloud"
)

var (
	sum        = strings.Repeat("0a", 32)
	someAgents = map[string]string{"linux-amd64": sum, "linux-arm64": sum, "darwin-arm64": sum}
)

// userData notes what each instance gets.
func (w *world) userData() map[string]string {
	got := map[string]string{}
	before := w.cloud.Started
	w.cloud.Started = func(i cloud.Instance, r cloud.Request) {
		got[r.Token] = string(r.UserData)
		before(i, r)
	}
	return got
}

// Stock images get the script, prepared ones the document; where the cloud
// brings the agent all do.
func TestUserDataOfImages(t *testing.T) {
	inClouds := map[string]struct {
		stock   bool
		agent   string
		fetches bool
	}{
		"the cloud brings it":         {false, "", false},
		"whatever the settings say":   {false, `"install"`, false},
		"whichever is the case":       {true, "", true},
		"to be installed":             {true, `"install"`, true},
		"prepared, the settings say":  {true, `"prepared"`, false},
		"prepared, and a fetching OS": {false, `"prepared"`, false},
	}
	for name, c := range inClouds {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.cloud.Stock, w.broker.agents = c.stock, someAgents
				w.boot(allOK)
				got := w.userData()
				w.write("conf", "")
				if c.agent != "" {
					w.write("conf", "[clouds.local.images.demo-image]\nagent = "+c.agent+"\n")
				}
				w.expect(0, []string{"run", "--conf", w.path("conf"), "--cluster", w.path("hello.xml")}, "all members are Running")
				if nodes := slices.Sorted(maps.Keys(got)); len(nodes) != 3 {
					t.Errorf("launched %v", nodes)
				}
				for node, data := range got {
					b, err := wire.ParseBootstrap([]byte(data))
					if err != nil {
						t.Fatal(err)
					}
					if strings.HasPrefix(data, "#!/bin/sh\n") != c.fetches || (len(b.Agents) == 2) != c.fetches {
						t.Errorf("%s gets %v\n%s", node, b.Agents, data)
					}
				}
			})
		})
	}
}

// A broker without an agent for the machines is found out before there are any.
func TestNoAgentForTheMachines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.cloud.Stock, w.broker.agents = true, map[string]string{"darwin-arm64": sum}
		w.boot(allOK)
		w.expect(2, []string{"run", "--cluster", w.path("hello.xml")},
			`the broker has no agent for Linux machines (it has darwin-arm64), and instances of image "demo-image" fetch it there: nothing was launched`,
			"put nimbus-linux-amd64 and SHA256SUMS of a release (make release) into "+w.path("state/broker/downloads")+", or say that the image has its agent: agent = \"prepared\" in [clouds.local.images.demo-image] of the settings")
		w.nothingLeft()
		w.write("conf", "broker = \"https://b.example.org\"\n")
		w.reached = informing{w.broker}
		w.change = func(env *Env) {
			env.OpenBroker = func(wire.Endpoint) (Broker, error) { return informing{w.broker}, nil }
		}
		for _, dry := range []string{"--dry-run", "--json=stream"} {
			w.expect(2, []string{"run", dry, "--conf", w.path("conf"), "--cluster", w.path("hello.xml")},
				"the broker has no agent for Linux machines", "have its operator put nimbus-linux-amd64 and SHA256SUMS of a release (make release) into its downloads directory")
			w.nothingLeft()
		}
		// A machine outside of the context needs none, and a prepared one has it.
		w.expect(0, []string{"run", "--cluster", w.path("plain.xml")})
		w.write("conf", "[clouds.local.images.demo-image]\nagent = \"prepared\"\n")
		w.expect(0, []string{"run", "--conf", w.path("conf"), "--cluster", w.path("hello.xml")})
	})
}

// A dry run says what is fetched, and how large the user data is with it.
func TestDryRunOfStockImages(t *testing.T) {
	w := newWorld(t)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w.change = func(env *Env) { env.Executable = program }
	w.cloud.Stock, w.runs = true, false
	args := []string{"run", "--dry-run", "--cluster", w.path("hello.xml")}
	const fetches = "  - fetches its agent from the broker, unless the image has the same one\n"
	w.expect(0, args, "  - user data: about 5", fetches)
	w.expect(0, append(args, "--json"), `"fetches_agent": true`)
	w.cloud.Stock = false
	w.expect(0, args, "  - user data: about 1")
	if strings.Contains(w.stdout.String(), fetches) {
		t.Error(w.stdout.String())
	}
}
