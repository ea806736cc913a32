package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"nimbus/broker/httpd"
)

// What a personal broker leaves in its directory for the next one, and for
// the clients that look for it.
const (
	socketName   = "broker.sock"
	nodesName    = "nodes.sock"
	logName      = "broker.log"
	reachName    = "reach.json"
	startLock    = "start.lock"
	patience     = 3 * time.Second // how long it stays when it has nothing to do
	idleInterval = 200 * time.Millisecond
)

// A personal broker belongs to one user of this machine. It listens on
// loopback and, when a client asks, at the addresses of networks made for its
// nodes; it keeps both across restarts, because nodes go on asking there. When
// its last context has ended it ends, too.
type personal struct {
	config Config
	urls   *addresses
	reach  reach
}

// reach is where nodes were told to look for the broker.
type reach struct {
	Port      int      `json:"port"`
	Addresses []string `json:"addresses"`
}

func newPersonal(c Config, urls *addresses) *personal {
	p := &personal{config: c, urls: urls}
	if data, err := os.ReadFile(filepath.Join(c.Data, reachName)); err == nil {
		_ = json.Unmarshal(data, &p.reach) // a damaged one is as good as none
	}
	return p
}

// portPatience is how long the port of last time is waited for, when nodes go
// on asking there.
const portPatience = 5 * time.Second

// listen chooses the port: the one of last time, if it can be had.
func (p *personal) listen(service *Service) []string {
	if p.reach.Port > 0 {
		address := fmt.Sprintf("127.0.0.1:%d", p.reach.Port)
		for end := time.Now().Add(portPatience); ; time.Sleep(idleInterval) {
			l, err := net.Listen("tcp", address)
			if err == nil {
				l.Close()
				return []string{address}
			}
			if service.Alive() == 0 {
				break
			}
			if time.Now().After(end) {
				service.Log.Error("the port is taken: nodes that were told of it will not find this broker", "address", address, "error", err)
				break
			}
		}
	}
	return []string{"127.0.0.1:0"}
}

// listening remembers an address that a client asked for.
func (p *personal) listening(address, url string) {
	p.urls.add(url)
	if !slices.Contains(p.reach.Addresses, address) {
		p.reach.Addresses = append(p.reach.Addresses, address)
	}
	p.save()
}

// forget takes back addresses whose networks are gone.
func (p *personal) forget(gone []string) {
	for _, address := range gone {
		p.urls.remove(address)
		p.reach.Addresses = slices.DeleteFunc(p.reach.Addresses, func(a string) bool { return a == address })
	}
	if len(gone) > 0 {
		p.save()
	}
}

func (p *personal) save() {
	if data, err := json.Marshal(p.reach); err == nil {
		_ = os.WriteFile(filepath.Join(p.config.Data, reachName), data, 0o600)
	}
}

// serve goes on until nothing is left to do.
func (p *personal) serve(ctx context.Context, port int, service *Service, server *httpd.Server) error {
	before := p.reach.Addresses
	p.reach = reach{Port: port}
	if service.Alive() > 0 {
		// An address whose network is gone is forgotten.
		for _, address := range before {
			_, _ = server.AddListener(address)
		}
	}
	p.save()
	if p.config.ready != nil {
		if _, err := fmt.Fprintln(p.config.ready, "ready"); err != nil {
			return fmt.Errorf("tell the client: %w", err)
		}
		p.config.ready.Close()
	}
	looked := time.Now()
	idle := time.NewTicker(idleInterval)
	defer idle.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-server.Failed():
			return fmt.Errorf("listener: %w", err)
		case <-idle.C:
			if time.Since(looked) > patience {
				looked = time.Now()
				p.forget(server.Forget())
			}
			if service.Alive() == 0 && server.Quiet() > patience {
				service.Log.Info("nothing left to do")
				return nil
			}
		}
	}
}
