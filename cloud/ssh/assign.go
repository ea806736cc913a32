package ssh

import (
	"context"
	"fmt"
	"maps"
	"slices"

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
			return nil, &problem{fmt.Sprintf("host %s would be two machines of the launch: %s and %s", h, nameOr(names[before], before.token), r.Name), "give each of them a host of its own"}
		}
		give(u, h)
	}
	var without []cloud.Request
	for _, r := range requests {
		u := user{r.Launch, r.Token}
		if _, found := has[u]; found {
			continue
		}
		free := slices.IndexFunc(hosts[AnyGroup], func(h Host) bool { _, taken := users[h.dial()]; return !taken })
		if free < 0 {
			without = append(without, r)
			continue
		}
		give(u, hosts[AnyGroup][free])
	}
	if len(without) > 0 {
		return nil, tooFew(requests, without, hosts)
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

func tooFew(requests, without []cloud.Request, hosts map[string][]Host) error {
	group := without[0].Group
	asked := 0
	for _, r := range requests {
		if r.Group == group {
			asked++
		}
	}
	return fmt.Errorf("too few hosts: %d instances have none; %q asks for %d and has %d hosts of its own, and none of the %d for any workspace is free: %w",
		len(without), group, asked, len(hosts[group]), len(hosts[AnyGroup]), cloud.ErrNoCapacity)
}

var _ cloud.Limiter = (*Driver)(nil)

// Limits counts the hosts of each group, and those for any that no launch of
// this user has. It connects to nothing.
func (d *Driver) Limits(_ context.Context, demand cloud.Demand) ([]cloud.Limit, error) {
	noted, err := d.book.all()
	if err != nil {
		return nil, err
	}
	return limits(demand.Groups, d.o.Hosts, noted)
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
	for _, group := range slices.Sorted(maps.Keys(groups)) {
		asked, most := groups[group], 0
		if group != AnyGroup {
			most = len(hosts[group])
		}
		if most > 0 {
			all = append(all, cloud.Limit{What: fmt.Sprintf("hosts for %q", group), Asked: asked, Most: most})
		}
		for _, h := range hosts[group][:min(asked, most)] {
			used[h.dial()] = true
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
		return all, fmt.Errorf("too few hosts: %d instances have no host of their workspace's own, and %d of the %d hosts for any workspace are free: %w",
			short, free, len(hosts[AnyGroup]), cloud.ErrNoCapacity)
	}
	return all, nil
}
