package command

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"nimbus/cloud"
)

// row is a line that the verb list prints:
//
//	LAUNCH TOKEN ID STATE [ADDRESS...]
//	LAUNCH TOKEN ID failed [REASON...]
type row struct {
	launch, token, id string
	state             cloud.State
	reason            string
	addresses         []netip.Addr // not valid: not known yet
}

// maxLine is the longest line of a list, maxAddresses how many one may have.
const (
	maxLine      = 8 << 10
	maxAddresses = 64
)

// parseList reads what the verb list printed for a launch, or for all.
func parseList(out []byte, launch string) ([]row, error) {
	if !utf8.Valid(out) {
		return nil, errors.New("what it printed is not UTF-8")
	}
	var rows []row
	seen := map[string]bool{}
	number := 0
	for line := range strings.Lines(string(out)) {
		number++
		if strings.TrimSpace(line) == "" {
			continue
		}
		r, err := parseRow(strings.TrimSuffix(line, "\n"))
		if err == nil && launch != "" && r.launch != launch {
			err = fmt.Errorf("launch %q was not asked for", r.launch)
		}
		if err == nil && seen[r.id] {
			err = fmt.Errorf("instance %q is there twice", r.id)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		seen[r.id] = true
		rows = append(rows, r)
	}
	return rows, nil
}

func parseRow(line string) (row, error) {
	if len(line) > maxLine {
		return row{}, fmt.Errorf("it is longer than %d bytes", maxLine)
	}
	words := strings.Fields(line)
	if len(words) < 4 {
		return row{}, fmt.Errorf("%q has %s; LAUNCH TOKEN ID STATE [ADDRESS...] is wanted", clip(printable(line)), count(len(words), "word"))
	}
	r := row{launch: words[0], token: words[1], id: words[2], state: cloud.State(words[3])}
	if err := checkName("launch", r.launch); err != nil {
		return row{}, err
	}
	if err := checkName("token", r.token); err != nil {
		return row{}, err
	}
	if err := checkID(r.id); err != nil {
		return row{}, err
	}
	rest := words[4:]
	switch r.state {
	case cloud.Failed:
		r.reason = clip(printable(strings.Join(rest, " ")))
		return r, nil
	case cloud.Starting, cloud.Running, cloud.Ended:
	default:
		return row{}, fmt.Errorf("state %q: starting, running, ended or failed is wanted", clip(printable(string(r.state))))
	}
	if len(rest) > maxAddresses {
		return row{}, fmt.Errorf("%d addresses, %d is the limit", len(rest), maxAddresses)
	}
	for _, word := range rest {
		ip, err := parseAddress(word)
		if err != nil {
			return row{}, err
		}
		r.addresses = append(r.addresses, ip)
	}
	return r, nil
}

// parseAddress reads an address that others can reach; "-" is one that is not
// known yet.
func parseAddress(word string) (netip.Addr, error) {
	if word == "-" {
		return netip.Addr{}, nil
	}
	ip, err := netip.ParseAddr(word)
	if err != nil || ip.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%q is no IP address (\"-\" is one that is not known yet)", clip(printable(word)))
	}
	if ip = ip.Unmap(); ip.IsUnspecified() || ip.IsMulticast() || ip.IsLoopback() {
		return netip.Addr{}, fmt.Errorf("address %v is none of a machine", ip)
	}
	return ip, nil
}

// instance is what a row says, and what is noted of it.
func (r row) instance(n notes, login string) cloud.Instance {
	i := cloud.Instance{ID: r.id, Launch: r.launch, Token: r.token, State: r.state, Reason: r.reason, Login: login}
	asked, ok := n.Instances[r.token]
	if ok {
		i.Name, i.Image, i.Created = asked.Name, asked.Image, asked.Created
	} else {
		asked.Networks = make([]string, len(r.addresses))
	}
	known := false
	for nic, network := range asked.Networks {
		a := cloud.Address{Network: network}
		if nic < len(r.addresses) {
			a.IP = r.addresses[nic]
		}
		known = known || a.IP.IsValid()
		i.Addresses = append(i.Addresses, a)
	}
	if !known {
		i.Addresses = nil
	}
	return i
}

// checkName refuses what cannot be the name of a launch or a token: both are
// names of files.
func checkName(what, name string) error {
	if name == "" || len(name) > 200 || !isWord(name, "-._") {
		return fmt.Errorf("%s %q: 1 to 200 letters, digits and - . _ are wanted, the first one a letter or digit", what, clip(printable(name)))
	}
	return nil
}

// checkID refuses what cannot be an instance: it is an argument.
func checkID(id string) error {
	if id == "" || len(id) > 500 || !isWord(id, "-._:/@+=") {
		return fmt.Errorf("instance %q: 1 to 500 letters, digits and - . _ : / @ + = are wanted, the first one a letter or digit", clip(printable(id)))
	}
	return nil
}

func isWord(word, marks string) bool {
	for n := range len(word) {
		c := word[n]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (n == 0 || !strings.ContainsRune(marks, rune(c))) {
			return false
		}
	}
	return true
}

// shared are the addresses that several machines have that are there: the list
// is taken all the same, since machines have to be ended, but ssh would reach
// the wrong one.
func shared(instances []cloud.Instance) (all []string) {
	first := map[netip.Addr]cloud.Instance{}
	for _, i := range living(instances) {
		if len(i.Addresses) == 0 || !i.Addresses[0].IP.IsValid() { // others may be of networks that are apart
			continue
		}
		ip := i.Addresses[0].IP
		if other, twice := first[ip]; twice {
			all = append(all, fmt.Sprintf("%v is the first address of %s and of %s", ip, other.ID, i.ID))
			continue
		}
		first[ip] = i
	}
	return all
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// clip shortens a text for a message.
func clip(text string) string {
	const most = 200
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}
