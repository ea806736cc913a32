package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"nimbus/broker/httpd"
	"nimbus/broker/pki"
	"nimbus/broker/software"
	"nimbus/broker/store/boltstore"
)

// In a broker's directory: the file of all contexts, and where an operator puts
// builds for other platforms.
const (
	storeName     = "contexts.db"
	downloadsName = "downloads"
)

// Run serves until ctx ends. What a broker holds is in its data directory, so
// the next one goes on where this one stopped. What it hands out is on the
// shelf.
func Run(ctx context.Context, c Config, shelf *software.Shelf, log *slog.Logger) error {
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
	urls := &addresses{}
	certificate, protos, err := certificates(c, authority, urls.list)
	if err != nil {
		return err
	}
	if err := lookInto(c, log); err != nil {
		return err
	}

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	service := &Service{Store: contexts, Secrets: secrets, Authority: authority, Software: shelf, Brokers: urls.list, Version: shelf.OwnSum(), Log: log,
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
	log.Info("serving", "urls", urls.list(), "broker", authority.BrokerID, "contexts", service.Alive(), "owner_key", secrets.OwnerKeyFile(),
		"hands_out", slices.Sorted(maps.Keys(service.agents())))
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

// lookInto makes the broker's own directory of downloads, so that it is found by
// whoever shall fill it. Another one is its operator's.
func lookInto(c Config, log *slog.Logger) error {
	if c.Downloads == filepath.Join(c.Data, downloadsName) {
		if err := os.Mkdir(c.Downloads, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("directory of downloads: %w", err)
		}
		return nil
	}
	if _, err := os.ReadDir(c.Downloads); err != nil {
		log.Warn("nothing is handed out from there now", "downloads", c.Downloads, "reason", err)
	}
	return nil
}
