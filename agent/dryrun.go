package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"nimbus/agent/host"
	"nimbus/agent/phase"
	"nimbus/agent/source"
	"nimbus/broker/cluster"
	"nimbus/broker/wire"
	"nimbus/ctxscripts"
)

// maxManifest bounds a saved manifest in bytes.
const maxManifest = 512 << 20

// DryRun prints what Run would do, and changes nothing anywhere: it does not
// join. With a saved manifest it prints the steps, without one the scripts
// that exist.
func DryRun(ctx context.Context, cfg Config, manifest string, out io.Writer) error {
	if err := cfg.Validate(); err != nil {
		return &ExitError{CodeConfig, err}
	}
	var self phase.Self
	found, err := cfg.places(slog.New(slog.DiscardHandler)).Find(ctx)
	var none *source.NotFoundError
	switch {
	case err == nil:
		if self, err = describe(ctx, cfg, found, out); err != nil {
			return &ExitError{CodeFailed, err}
		}
	case errors.As(err, &none):
		fmt.Fprintln(out, none)
	default:
		return &ExitError{CodeFailed, err}
	}
	scripts, where, err := existing(cfg.ScriptsDir)
	if err != nil {
		return &ExitError{CodeEnvironment, fmt.Errorf("scripts directory: %w", err)}
	}
	if manifest == "" {
		fmt.Fprintf(out, "scripts: %s\n", where)
		for _, dir := range []string{".", phase.IPAndHost, phase.ThisHost, phase.DataDir, phase.Restarts, phase.Finalize} {
			for _, name := range scripts[dir] {
				if dir != "." || strings.HasPrefix(name, phase.EtcHosts) {
					fmt.Fprintf(out, "  %s\n", filepath.Join(dir, name))
				}
			}
		}
		return nil
	}
	m, err := readManifest(manifest)
	if err != nil {
		return &ExitError{CodeUsage, err}
	}
	for i, step := range phase.Plan(m, self, scripts) {
		fmt.Fprintf(out, "%3d %s\n", i+1, step)
	}
	return nil
}

// describe prints a bootstrap document but for its secrets, and who this
// machine would say it is.
func describe(ctx context.Context, cfg Config, found *source.Found, out io.Writer) (phase.Self, error) {
	token, err := wire.ParseToken(found.Token)
	if err != nil {
		return phase.Self{}, err
	}
	fmt.Fprintf(out, "bootstrap: %s\ncontext: %s\nworkspace: %s\n", found.Where, found.Context, token.Workspace)
	for _, broker := range found.Brokers {
		fmt.Fprintf(out, "broker: %s\n", broker)
	}
	self := phase.Self{
		Context: found.Context,
		Place:   cluster.Place{Workspace: token.Workspace, Index: max(0, token.Index)},
		DataDir: filepath.Join(cfg.StateDir, found.Context, "data"),
	}
	if self.Identities = readIdentities(filepath.Join(cfg.StateDir, found.Context)); self.Identities == nil {
		interfaces, err := cfg.machine.interfaces()
		if err != nil {
			return self, err
		}
		key := host.KeyFiles{Pattern: cfg.SSHHostKeys}.Read(ctx)
		self.Identities, err = host.Identities(found.NICs, interfaces, names(ctx, cfg, found, token), key)
		if err != nil {
			fmt.Fprintln(out, err) // Run would wait for it
		}
	}
	for _, i := range self.Identities {
		fmt.Fprintf(out, "identity: %s %s %s\n", i.Interface, i.IP, i.Hostname)
	}
	return self, nil
}

// existing lists the scripts that Run would have: an empty directory would be
// filled with those of Nimbus.
func existing(dir string) (phase.Scripts, string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, "", err
	}
	if len(entries) == 0 {
		scripts, err := phase.List(ctxscripts.FS())
		return scripts, "those of Nimbus, to be put into " + dir, err
	}
	scripts, err := phase.List(os.DirFS(dir))
	return scripts, dir, err
}

func readManifest(path string) (*cluster.Manifest, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	defer f.Close()
	var m cluster.Manifest
	if err := json.NewDecoder(io.LimitReader(f, maxManifest)).Decode(&m); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", path, err)
	}
	if err := m.Check(); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", path, err)
	}
	return &m, nil
}
