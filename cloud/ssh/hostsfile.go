package ssh

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
)

// Bounds of a hosts file.
const (
	maxHostsLine = 4 << 10
	maxHosts     = 10_000
)

// ParseHostsFile reads a file that says which hosts a group gets, in the way of
// an Ansible inventory:
//
//	# for any workspace
//	ann@10.0.0.9
//
//	[head]
//	10.0.0.1
//
//	[worker]
//	node-a  address=10.0.0.2  user=debian  port=2222
//
// Hosts before the first section, and those of section [*], are for any group.
// Errors name the file and the line.
func ParseHostsFile(name string, r io.Reader) (map[string][]Host, error) {
	hosts := map[string][]Host{}
	seen := map[string]int{} // group and host → line
	group, count, number := AnyGroup, 0, 0
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, maxHostsLine), maxHostsLine)
	for lines.Scan() {
		number++
		line, _, _ := strings.Cut(lines.Text(), "#")
		line = strings.TrimSpace(strings.TrimPrefix(line, "\ufeff"))
		if line == "" || strings.HasPrefix(line, ";") {
			continue
		}
		if isSection(line) {
			if group = strings.TrimSpace(line[1 : len(line)-1]); !isGroup(group) {
				return nil, fmt.Errorf("%s:%d: section %q: want the name of a workspace, or %s", name, number, group, AnyGroup)
			}
			continue
		}
		h, err := parseHostsLine(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, number, err)
		}
		key := group + " " + h.with("").dial()
		if first, twice := seen[key]; twice {
			return nil, fmt.Errorf("%s:%d: host %s is in line %d already", name, number, h.Address, first)
		}
		if seen[key] = number; count == maxHosts {
			return nil, fmt.Errorf("%s:%d: more than %d hosts", name, number, maxHosts)
		}
		count++
		hosts[group] = append(hosts[group], h)
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return nil, fmt.Errorf("%s:%d: line longer than %d bytes", name, number+1, maxHostsLine)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return hosts, nil
}

// isSection tells [name] from an IPv6 address in brackets.
func isSection(line string) bool {
	if !strings.HasPrefix(line, "[") || !strings.HasSuffix(line, "]") {
		return false
	}
	_, err := netip.ParseAddr(line[1 : len(line)-1])
	return err != nil
}

// isGroup leaves it to others which names workspaces may have, but for what
// would be a mistake in this file.
func isGroup(name string) bool {
	return name == AnyGroup || name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r == 0x7f || strings.ContainsRune(`[]:=*"`, r)
	})
}

// parseHostsLine reads a host and the words about it.
func parseHostsLine(line string) (Host, error) {
	words := strings.Fields(line)
	var h Host
	given := map[string]string{}
	for _, word := range words[1:] {
		key, value, found := strings.Cut(word, "=")
		key = strings.TrimPrefix(key, "ansible_")
		if key == "host" {
			key = "address"
		}
		if !found || key != "address" && key != "user" && key != "port" {
			return Host{}, fmt.Errorf("%q: after a host there may be address=, user= and port=", word)
		}
		if _, twice := given[key]; twice {
			return Host{}, fmt.Errorf("%q: %s is given twice", word, key)
		}
		given[key] = value
	}
	var err error
	if address, found := given["address"]; found {
		// What stands first is no more than a name.
		if !hostName.MatchString(words[0]) {
			return Host{}, fmt.Errorf("%q: with address= this is the name of the host: letters, digits, dots, hyphens and underscores", words[0])
		}
		if err := checkAddress(address); err != nil {
			return Host{}, err
		}
		h = Host{Name: words[0], Address: address}
	} else if h, err = ParseHost(words[0]); err != nil {
		return Host{}, err
	}
	if user, found := given["user"]; found {
		if err := checkUser(user); err != nil {
			return Host{}, err
		}
		if h.User != "" {
			return Host{}, fmt.Errorf("%q: user is given twice", words[0])
		}
		h.User = user
	}
	if port, found := given["port"]; found {
		if h.Port != 0 {
			return Host{}, fmt.Errorf("%q: port is given twice", words[0])
		}
		if h.Port, err = parsePort(port); err != nil {
			return Host{}, err
		}
	}
	return h, nil
}
