package ssh

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// Host is a machine that can be logged in to.
type Host struct {
	Name    string // for people; empty: its address
	User    string // empty: Options.User
	Address string // IP address or host name
	Port    int    // 0: 22
}

// String is user@address:port, as it stands in IDs and errors.
func (h Host) String() string { return h.User + "@" + h.dial() }

// dial is where to connect to.
func (h Host) dial() string { return net.JoinHostPort(h.Address, strconv.Itoa(h.Port)) }

// with fills in what zero values mean.
func (h Host) with(user string) Host {
	h.User, h.Port = cmp.Or(h.User, user), cmp.Or(h.Port, 22)
	return h
}

func (h Host) check() error {
	if err := checkUser(h.User); err != nil {
		return err
	}
	if h.Port < 0 || h.Port > 65535 {
		return fmt.Errorf("port %d: want 1 to 65535", h.Port)
	}
	return checkAddress(h.Address)
}

var (
	userName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)
	hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\.?$`)
)

func checkUser(user string) error {
	if !userName.MatchString(user) {
		return fmt.Errorf("user %q: want letters, digits, dots, hyphens and underscores", user)
	}
	return nil
}

func checkAddress(address string) error {
	if ip, err := netip.ParseAddr(address); err == nil {
		if ip.IsUnspecified() || ip.IsMulticast() {
			return fmt.Errorf("address %s is no address of a host", address)
		}
		if zone := ip.Zone(); zone != "" && !hostName.MatchString(zone) {
			return fmt.Errorf("address %q: want the name of an interface after the %%", address)
		}
		return nil
	}
	if !hostName.MatchString(address) {
		return fmt.Errorf("address %q: want an IP address or a host name", address)
	}
	return nil
}

// ParseHost reads [user@]address[:port]. An IPv6 address with a port stands in
// brackets.
func ParseHost(text string) (Host, error) {
	var h Host
	address := text
	if user, rest, found := strings.Cut(text, "@"); found {
		if err := checkUser(user); err != nil {
			return Host{}, fmt.Errorf("host %q: %w", text, err)
		}
		h.User, address = user, rest
	}
	if _, err := netip.ParseAddr(address); err != nil && strings.ContainsAny(address, ":[]") {
		host, port, err := net.SplitHostPort(address)
		if err != nil && strings.HasPrefix(address, "[") && strings.HasSuffix(address, "]") {
			host, port, err = address[1:len(address)-1], "22", nil
		}
		if err != nil {
			return Host{}, fmt.Errorf("host %q: want [user@]address[:port]", text)
		}
		if h.Port, err = parsePort(port); err != nil {
			return Host{}, fmt.Errorf("host %q: %w", text, err)
		}
		address = host
	}
	if err := checkAddress(address); err != nil {
		return Host{}, fmt.Errorf("host %q: %w", text, err)
	}
	h.Address = address
	return h, nil
}

func parsePort(text string) (int, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, fmt.Errorf("port %q: want 1 to 65535", text)
	}
	return int(port), nil
}

var errNoHost = errors.New("no host")

// parseID reads the ID of an instance: a host, and the tag of what it is used
// for.
func parseID(id string) (h Host, tag string, err error) {
	text, tag, found := strings.Cut(id, "/")
	if !found || len(tag) != tagLength {
		return Host{}, "", errNoHost
	}
	if h, err = ParseHost(text); err != nil || h.User == "" || h.Port == 0 || h.String() != text {
		return Host{}, "", errNoHost
	}
	return h, tag, nil
}
