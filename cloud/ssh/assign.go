package ssh

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"nimbus/cloud"
)

// assign decides which host each request gets: the one that it has, the one
// with its index in the group, or the first of those for any group that nobody
// uses. It changes nothing.
func assign(requests []cloud.Request, hosts map[string][]Host, noted []place) ([]Host, error) {
	type user struct{ launch, token string }
	has := map[user]Host{}
	users := map[string]user{} // where a host is dialled → who has it
	for _, p := range noted {
		h, err := p.host()
		if err != nil {
			return nil, err
		}
		has[user{p.Launch, p.Token}] = h
		users[h.dial()] = user{p.Launch, p.Token}
	}
	give := func(u user, h Host) { has[u], users[h.dial()] = h, u }

	names := map[user]string{}
	for _, r := range requests {
		u := user{r.Launch, r.Token}
		names[u] = r.Name
		if _, found := has[u]; found || r.Index < 0 || r.Index >= len(hosts[r.Group]) || r.Group == AnyGroup {
			continue
		}
		h := hosts[r.Group][r.Index]
		// What another launch has may be free by now: the host itself knows.
		if before, taken := users[h.dial()]; taken && before.launch == u.launch && before != u {
			return nil, twice(h, nameOr(names[before], before.token), r.Name)
		}
		give(u, h)
	}
	asked, without := map[string]int{}, 0
	for _, r := range requests {
		u := user{r.Launch, r.Token}
		asked[r.Group]++
		if _, found := has[u]; found {
			continue
		}
		free := slices.IndexFunc(hosts[AnyGroup], func(h Host) bool { _, taken := users[h.dial()]; return !taken })
		if free < 0 {
			without++
			continue
		}
		give(u, hosts[AnyGroup][free])
	}
	if without > 0 {
		return nil, tooFew(asked, hosts, noted)
	}
	given := make([]Host, len(requests))
	for n, r := range requests {
		given[n] = has[user{r.Launch, r.Token}]
	}
	return given, nil
}

func nameOr(name, token string) string {
	if name == "" {
		return token
	}
	return name
}

// tooFew says which groups have too few hosts, and who has those that they could
// get.
func tooFew(groups map[string]int, hosts map[string][]Host, noted []place) error {
	var short []string
	for _, group := range slices.Sorted(maps.Keys(groups)) {
		if asked, most := groups[group], own(group, hosts); asked > most {
			short = append(short, fmt.Sprintf("%q asks for %d and has %d of its own", group, asked, most))
		}
	}
	users := map[string]place{}
	for _, p := range noted {
		if h, err := p.host(); err == nil {
			users[h.dial()] = p
		}
	}
	var used []string
	for _, h := range hosts[AnyGroup] {
		if p, taken := users[h.dial()]; taken {
			used = append(used, fmt.Sprintf("%s is %s", h, nameOr(p.Name, "in launch "+p.Launch)))
		}
	}
	any := "there are none for any workspace"
	if all := len(hosts[AnyGroup]); all > 0 {
		any = fmt.Sprintf("hosts for any workspace: %d, in use: %d", all, len(used))
	}
	if n := len(used) - mostNamed; n > 0 {
		used = append(used[:mostNamed], fmt.Sprintf("and %d more", n))
	}
	if len(used) > 0 {
		any += fmt.Sprintf(" (%s)", strings.Join(used, ", "))
	}
	return fmt.Errorf("too few hosts: %s; %s: %w", strings.Join(short, ", "), any, cloud.ErrNoCapacity)
}

// own is how many hosts a group has for itself.
func own(group string, hosts map[string][]Host) int {
	if group == AnyGroup {
		return 0
	}
	return len(hosts[group])
}

// twice is the error of a host that two instances would get.
func twice(h Host, one, two string) error {
	return &problem{fmt.Sprintf("host %s would be two machines of the launch: %s and %s", h, one, two), "give each of them a host of its own"}
}

var _ cloud.Limiter = (*Driver)(nil)

// Limits counts the hosts of each group, and those for any that no launch of
// this user has. It connects to no host; without a key to log in with there is
// nothing to count.
func (d *Driver) Limits(_ context.Context, demand cloud.Demand) ([]cloud.Limit, error) {
	noted, err := d.book.all()
	if err != nil {
		return nil, err
	}
	all, err := limits(demand.Groups, d.o.Hosts, noted)
	if err == nil {
		_, err = d.conns.keys.open()
	}
	return all, err
}

func limits(groups map[string]int, hosts map[string][]Host, noted []place) ([]cloud.Limit, error) {
	used := map[string]bool{}
	for _, p := range noted {
		if h, err := p.host(); err == nil {
			used[h.dial()] = true
		}
	}
	var all []cloud.Limit
	short := 0
	names := map[string]string{} // where a host is dialled → which machine it would be
	for _, group := range slices.Sorted(maps.Keys(groups)) {
		asked, most := groups[group], own(group, hosts)
		if most > 0 {
			all = append(all, cloud.Limit{What: fmt.Sprintf("hosts for %q", group), Asked: min(asked, most), Most: most})
		}
		for n, h := range hosts[group][:min(asked, most)] {
			name := fmt.Sprintf("%s-%d", group, n)
			if before, found := names[h.dial()]; found {
				return nil, twice(h, before, name)
			}
			names[h.dial()], used[h.dial()] = name, true
		}
		short += max(0, asked-most)
	}
	free := 0
	for _, h := range hosts[AnyGroup] {
		if !used[h.dial()] {
			free++
		}
	}
	if short > 0 || len(hosts[AnyGroup]) > 0 {
		all = append(all, cloud.Limit{What: "hosts for any workspace", Asked: short, Most: free})
	}
	if short > free {
		return all, tooFew(groups, hosts, noted)
	}
	return all, nil
}
