package host

import (
	"context"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"nimbus/broker/cluster"
)

// KeyFiles is where the public keys of this machine's SSH server lie.
type KeyFiles struct {
	Pattern string        // such as /etc/ssh/ssh_host_*_key.pub
	Server  string        // the SSH server; where it is installed, a key is waited for
	Wait    time.Duration // it may be made while the machine boots
}

// Read returns the line of the best key, or nothing: a machine without an SSH
// server has none.
func (k KeyFiles) Read(ctx context.Context) string {
	key := k.best()
	if key != "" || !exists(k.Server) || !exists(filepath.Dir(k.Pattern)) {
		return key
	}
	ctx, cancel := context.WithTimeout(ctx, k.Wait)
	defer cancel()
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for key == "" {
		select {
		case <-ctx.Done():
			return k.best()
		case <-ticker.C:
			key = k.best()
		}
	}
	return key
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// best reads the key of the type that SSH clients like best. One that is only
// half written is passed over.
func (k KeyFiles) best() string {
	files, _ := filepath.Glob(k.Pattern)
	slices.SortFunc(files, func(a, b string) int {
		if d := keyRank(a) - keyRank(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for _, file := range files {
		if line := readLine(file); line != "" {
			probe := cluster.Identity{IP: netip.IPv4Unspecified().Next(), Pubkey: line}
			if probe.Check() == nil {
				return line
			}
		}
	}
	return ""
}

func keyRank(file string) int {
	for rank, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		if strings.Contains(filepath.Base(file), "_"+kind+"_") {
			return rank
		}
	}
	return 3
}

// readLine is a file's only line, or nothing if it is none or too long.
func readLine(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, 32<<10))
	line := strings.TrimSpace(string(content))
	if err != nil || !strings.HasSuffix(string(content), "\n") || strings.Contains(line, "\n") {
		return ""
	}
	return line
}
