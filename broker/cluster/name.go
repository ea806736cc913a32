package cluster

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// CheckName tells whether a workspace, role, data or label name is safe to
// become a file name, a host name or an argument: a letter or digit, then up
// to 127 letters, digits, dots, dashes and underscores.
func CheckName(name string) error {
	if name == "" {
		return errors.New("the name is empty")
	}
	if len(name) > 128 {
		return fmt.Errorf("the name %q… is longer than 128 characters", name[:20])
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && (i == 0 || c != '.' && c != '_' && c != '-') {
			return fmt.Errorf("the name %q may hold only letters, digits, and after the first character '.', '_' and '-'", name)
		}
	}
	return nil
}

// CheckRole is CheckName, and no role ends in ".all": that ending marks the
// script which is called once for the whole set.
func CheckRole(name string) error {
	if strings.HasSuffix(name, ".all") {
		return fmt.Errorf("the role name %q must not end in \".all\": that ending is for scripts called once for all providers", name)
	}
	return CheckName(name)
}

// Identity is one network face of a node.
type Identity struct {
	Interface string     `json:"interface,omitempty"`
	IP        netip.Addr `json:"ip"`
	Hostname  string     `json:"hostname,omitempty"` // full name
	Pubkey    string     `json:"pubkey,omitempty"`   // line of the SSH host's public key file
}

// MaxIdentities of one node, and the longest public key line in bytes: more
// than a 16384-bit RSA key needs.
const (
	MaxIdentities = MaxNICs
	maxPubkey     = 4 << 10
)

// Check tells what of an identity cannot be passed on to other nodes.
func (i Identity) Check() error {
	if i.Interface != "" {
		if err := CheckName(i.Interface); err != nil {
			return fmt.Errorf("interface label: %w", err)
		}
	}
	if !i.IP.IsValid() || !i.IP.IsGlobalUnicast() || i.IP.Zone() != "" {
		return fmt.Errorf("%q is not an address other nodes can use", i.IP)
	}
	if i.Hostname != "" {
		if len(i.Hostname) > 253 {
			return errors.New("the host name is longer than 253 characters")
		}
		for label := range strings.SplitSeq(i.Hostname, ".") {
			if err := CheckName(label); err != nil {
				return fmt.Errorf("host name %q: %w", i.Hostname, err)
			}
		}
		// These names mean something on every machine already.
		if _, err := netip.ParseAddr(i.Hostname); err == nil || strings.EqualFold(Short(i.Hostname), "localhost") {
			return fmt.Errorf("host name %q: it cannot be a node's", i.Hostname)
		}
	}
	return checkPubkey(i.Pubkey)
}

// checkPubkey accepts "type base64 [comment]" in one printable line.
func checkPubkey(line string) error {
	if line == "" {
		return nil
	}
	if len(line) > maxPubkey {
		return fmt.Errorf("the SSH host key is longer than %d bytes", maxPubkey)
	}
	if !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return errors.New("the SSH host key holds characters that cannot be printed")
	}
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return errors.New("the SSH host key must read: type, base64, comment")
	}
	for _, c := range fields[0] {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789@.-", c) {
			return fmt.Errorf("the SSH host key has an odd type %q", fields[0])
		}
	}
	if _, err := base64.StdEncoding.DecodeString(fields[1]); err != nil {
		return errors.New("the SSH host key is not base64")
	}
	return nil
}

// Short is a host name up to its first dot, as scripts are given it.
func Short(hostname string) string {
	short, _, _ := strings.Cut(hostname, ".")
	return short
}
