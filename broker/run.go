package broker

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"nimbus/broker/httpd"
	"nimbus/broker/pki"
	"nimbus/broker/store/boltstore"
)

// storeName is the file of all contexts in a broker's directory.
const storeName = "contexts.db"

// Run serves until ctx ends. What a broker holds is in its data directory, so
// the next one goes on where this one stopped.
func Run(ctx context.Context, c Config, version string, log *slog.Logger) error {
	if err := pki.MakeDir(c.Data); err != nil {
		return fmt.Errorf("broker directory: %w", err)
	}
	contexts, err := boltstore.Open(filepath.Join(c.Data, storeName))
	if err != nil {
		return err
	}
	defer contexts.Close()
	authority, err := pki.OpenAuthority(c.Data, time.Now())
	if err != nil {
		return err
	}
	secrets, err := pki.OpenSecrets(c.Data)
	if err != nil {
		return err
	}
	certificate, protos, err := certificates(c, authority)
	if err != nil {
		return err
	}

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	urls := &addresses{}
	service := &Service{Store: contexts, Secrets: secrets, Authority: authority, Brokers: urls.list, Version: version, Log: log,
		Packs: filepath.Join(c.Data, packsName)}
	if err := service.Start(ctx); err != nil {
		return err
	}
	defer service.Stop()
	server := &httpd.Server{Service: service, Guard: secrets, Log: log, Certificate: certificate, NextProtos: protos, Shutdown: stop}
	server.Start()
	defer server.Stop()

	var personal *personal
	if c.personal {
		personal = newPersonal(c, urls)
		server.Listening = personal.listening
		c.Listen = personal.listen(service)
	}
	port := 0
	for _, address := range c.Listen {
		bound, err := server.Listen(address)
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		port = bound.(*net.TCPAddr).Port
		if len(c.Advertise) == 0 {
			if err := urls.bound(bound); err != nil {
				return err
			}
		}
	}
	for _, url := range c.Advertise {
		urls.add(url)
	}
	socket := filepath.Join(c.Data, socketName)
	if err := server.Socket(socket); err != nil {
		return err
	}
	defer os.Remove(socket)
	if personal != nil {
		nodes := filepath.Join(c.Data, nodesName)
		if err := server.NodeSocket(nodes); err != nil {
			return err
		}
		defer os.Remove(nodes)
	}
	log.Info("serving", "urls", urls.list(), "broker", authority.BrokerID, "contexts", service.Alive(), "owner_key", secrets.OwnerKeyFile())
	if personal != nil {
		return personal.serve(ctx, port, service, server)
	}
	select {
	case <-ctx.Done():
		log.Info("stopping")
		return nil
	case err := <-server.Failed():
		return fmt.Errorf("listener: %w", err)
	}
}
