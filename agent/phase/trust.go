package phase

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"nimbus/broker/cluster"
)

// TrustFiles are the files by which this machine's SSH knows the others.
type TrustFiles struct {
	KnownHosts string
	HostsEquiv string // written only with HostBased
	HostBased  bool
}

// Comments around what is ours in a file that others write, too.
const (
	beginOurs = "# nimbus begin\n"
	endOurs   = "# nimbus end\n"
)

func (t TrustFiles) write(m *cluster.Manifest) error {
	known, equiv := hostKeys(m)
	if err := writeBlock(t.KnownHosts, known); err != nil {
		return fmt.Errorf("SSH host keys: %w", err)
	}
	if !t.HostBased || equiv == "" {
		return nil
	}
	// What was there before the first context is kept, not what we wrote; an
	// empty file says that there was none.
	kept := t.HostsEquiv + ".before-nimbus"
	if _, err := os.Lstat(kept); errors.Is(err, fs.ErrNotExist) {
		old, err := os.ReadFile(t.HostsEquiv)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			err = writeFile(kept, old)
		}
		if err != nil {
			return fmt.Errorf("host based trust: %w", err)
		}
	}
	if err := writeFile(t.HostsEquiv, []byte(equiv)); err != nil {
		return fmt.Errorf("host based trust: %w", err)
	}
	return nil
}

// hostKeys are the lines of ssh_known_hosts and hosts.equiv. Identities
// without a name or key are left out.
func hostKeys(m *cluster.Manifest) (known, equiv string) {
	var k, e strings.Builder
	for _, node := range m.Nodes {
		for _, i := range node.Identities {
			fields := strings.Fields(i.Pubkey)
			if i.Hostname == "" || len(fields) < 2 {
				continue
			}
			key := fields[0] + " " + fields[1] // the comment says nothing to anybody here
			fmt.Fprintf(&k, "%s,%s %s\n", i.Hostname, i.IP, key)
			if short := cluster.Short(i.Hostname); short != i.Hostname {
				fmt.Fprintf(&k, "%s,%s %s\n", short, i.IP, key)
			}
			fmt.Fprintf(&e, "%s\n%s\n", i.Hostname, i.IP)
		}
	}
	return k.String(), e.String()
}

// writeBlock puts our lines into a file and leaves all others as they are.
func writeBlock(path, lines string) error {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	content := withBlock(old, lines)
	if bytes.Equal(content, old) {
		return nil
	}
	return writeFile(path, content)
}

// withBlock replaces our block, or appends one. A begin without its end is not
// ours to guess about: a lost end must not take the lines of others with it.
func withBlock(old []byte, lines string) []byte {
	content := string(old)
	if begin := strings.LastIndex("\n"+content, "\n"+beginOurs); begin >= 0 {
		if _, after, ended := strings.Cut(content[begin:], endOurs); ended {
			content = content[:begin] + after
		}
	}
	if lines == "" {
		return []byte(content)
	}
	if content != "" && !strings.HasSuffix(content, "\n") {
		content += "\n"
	}
	return []byte(content + beginOurs + lines + endOurs)
}

// writeFile replaces a file as a whole. Where that cannot be done (a file
// that is mounted by itself, as in some containers), it is written in place.
func writeFile(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	if os.Rename(f.Name(), path) == nil {
		return nil
	}
	return os.WriteFile(path, content, 0o644)
}
