// Package knownhosts makes a user's known_hosts file trust new machines, and
// takes back what it added. The file belongs to the user: whatever is in it
// for other hosts survives byte for byte.
//
// What becomes of a text is a pure function (edit.go, line.go); what becomes
// of the file is in file.go.
package knownhosts

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"nimbus/broker/cluster"
)

// Entry is a host and the key by which it is known.
type Entry struct {
	Hosts []string // host name, IP, in this order
	Key   string   // "type base64 comment"
	Label string   // what to call it in print, "head [[ head ]]"; not written
}

// The longest key line and host name, in bytes.
const (
	maxKey  = 4 << 10
	maxHost = 253
)

// Add makes the file trust the entries, or changes nothing. A missing file is
// created. Lines that give one of exactly these host names another key of the
// same type are commented out, or lose that name when they have others; hashed
// names are understood. [host]:port, patterns and @markers are left alone.
//
// It returns what to give to Remove later: the lines it added, and those it
// would have added had it not done so before (an entry that the user's own
// lines say already needs none); and whether it created the file.
func Add(file string, entries []Entry) (added []string, created bool, err error) {
	wanted, err := normalize(entries)
	if err != nil {
		return nil, false, err
	}
	if len(wanted) == 0 {
		return nil, false, nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, false, fmt.Errorf("known_hosts: %v", err)
	}
	created, err = update(file, create, func(text string) string {
		text, added = add(text, wanted)
		return text
	})
	if err != nil {
		return nil, created, fmt.Errorf("known_hosts %s: %v", file, err)
	}
	return added, created, nil
}

// Missing tells whether Add would create the file.
func Missing(file string) bool {
	_, err := os.Stat(file)
	return errors.Is(err, os.ErrNotExist)
}

// Lines are what Add would write for the entries into an empty file. Who
// remembers them first can take back what an Add did that had no time to tell.
func Lines(entries []Entry) ([]string, error) {
	hosts, err := normalize(entries)
	var lines []string
	for i := range hosts {
		lines = append(lines, hosts[i].line())
	}
	return lines, err
}

// Remove takes exactly these lines out again, each with the comment above it.
// Lines that are not there any more, and a file that is not, are success. A
// file that Add created goes when nothing is left in it.
func Remove(file string, lines []string, created bool) error {
	if len(lines) == 0 {
		return nil
	}
	how := existing
	if created {
		how = removable
	}
	_, err := update(file, how, func(text string) string { return remove(text, lines) })
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("known_hosts %s: %v", file, err)
	}
	return nil
}

// A host is an entry as it is written.
type host struct {
	names   []string
	keyType string
	key     string // base64
	comment string
}

func (h *host) line() string {
	fields := []string{strings.Join(h.names, ","), h.keyType, h.key}
	if h.comment != "" {
		fields = append(fields, h.comment)
	}
	return strings.Join(fields, " ")
}

// normalize checks all entries before anything is changed for one of them.
func normalize(entries []Entry) ([]host, error) {
	hosts := make([]host, 0, len(entries))
	keys := map[[2]string]string{} // host name and key type → key
	seen := map[string]bool{}
	for _, e := range entries {
		h, err := e.host()
		if err != nil {
			return nil, fmt.Errorf("known_hosts entry %.80q: %v", strings.Join(e.Hosts, ","), err)
		}
		for _, name := range h.names {
			at := [2]string{name, h.keyType}
			if other, taken := keys[at]; taken && other != h.key {
				return nil, fmt.Errorf("known_hosts entry %q: two machines claim this name with different keys", name)
			}
			keys[at] = h.key
		}
		if line := h.line(); !seen[line] {
			seen[line] = true
			hosts = append(hosts, h)
		}
	}
	return hosts, nil
}

func (e *Entry) host() (h host, err error) {
	if len(e.Hosts) == 0 {
		return host{}, errors.New("it names no host")
	}
	for _, name := range e.Hosts {
		if name, err = normalizeName(name); err != nil {
			return host{}, err
		}
		if !slices.Contains(h.names, name) {
			h.names = append(h.names, name)
		}
	}
	if len(e.Key) > maxKey {
		return host{}, fmt.Errorf("its key is longer than %d bytes", maxKey)
	}
	if !utf8.ValidString(e.Key) || strings.ContainsFunc(e.Key, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }) {
		return host{}, errors.New("its key holds characters that cannot be printed")
	}
	fields := strings.Fields(e.Key)
	if len(fields) < 2 {
		return host{}, errors.New("its key must read: type, base64, comment")
	}
	h.keyType, h.key, h.comment = fields[0], fields[1], strings.Join(fields[2:], " ")
	return h, checkKey(h.keyType, h.key)
}

// checkKey: a key blob begins with its own type, so a line that is no key, or
// says another type than it has, is found without knowing all types.
func checkKey(keyType, key string) error {
	if strings.Trim(keyType, "abcdefghijklmnopqrstuvwxyz0123456789@.-") != "" {
		return fmt.Errorf("its key has an odd type %.40q", keyType)
	}
	blob, err := base64.StdEncoding.Strict().DecodeString(key)
	if err != nil {
		return errors.New("its key is not base64")
	}
	if len(blob) < 4 {
		return errors.New("its key is cut off")
	}
	length, rest := binary.BigEndian.Uint32(blob), blob[4:]
	if uint64(length) >= uint64(len(rest)) || string(rest[:length]) != keyType {
		return fmt.Errorf("its key is not of type %s", keyType)
	}
	return nil
}

// normalizeName writes a name as ssh looks it up: small letters, addresses in
// their shortest form. Nothing that means more than itself in the file passes.
func normalizeName(name string) (string, error) {
	if ip, err := netip.ParseAddr(name); err == nil && ip.Zone() == "" {
		return ip.Unmap().String(), nil
	}
	if len(name) > maxHost {
		return "", fmt.Errorf("a host name is longer than %d characters", maxHost)
	}
	for label := range strings.SplitSeq(name, ".") {
		if err := cluster.CheckName(label); err != nil {
			return "", fmt.Errorf("host name %q: %v", name, err)
		}
	}
	return strings.ToLower(name), nil
}
