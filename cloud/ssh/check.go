package ssh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"nimbus/cloud"
)

// Bounds beyond which a host is worth a warning.
const (
	leastFree  = 100 << 10 // KiB below /opt/nimbus
	clockApart = 30 * time.Second
)

// Check looks at every host: whether it answers, is the right one, lets us in
// as root, lets us forward, has room, and is free.
func (d *Driver) Check(ctx context.Context) []cloud.Finding {
	hosts := d.hosts()
	if len(hosts) == 0 {
		return []cloud.Finding{{Level: cloud.Fail, Text: "hosts: there are none", Advice: "name them in a hosts file: --hosts FILE, or the setting hosts_file"}}
	}
	slices.SortFunc(hosts, func(a, b Host) int { return strings.Compare(a.String(), b.String()) })
	type look struct {
		host    Host
		finding cloud.Finding
	}
	var all []*look
	for _, h := range hosts {
		all = append(all, &look{host: h})
	}
	each(all, func(l *look) { l.finding = d.checkHost(ctx, l.host) })
	var findings []cloud.Finding
	for _, l := range all {
		findings = append(findings, l.finding)
	}
	return slices.Compact(findings) // without a key, all are the same
}

func (d *Driver) checkHost(ctx context.Context, h Host) cloud.Finding {
	conn, err := d.conns.to(ctx, h)
	if err != nil {
		return unusable(err)
	}
	if _, err := d.o.Program(conn.as.sysname, conn.as.machine); err != nil {
		return unusable(fmt.Errorf("%s: %w", h, err))
	}
	sent := time.Now()
	a, err := conn.ask(ctx, "look", nil, nil)
	if err != nil {
		return unusable(err)
	}
	n, err := parseNote(a["note"])
	if err != nil {
		return unusable(fmt.Errorf("%s: %w", h, err))
	}
	heard := time.Now()
	if err := d.tryForward(ctx, conn); err != nil {
		return unusable(err)
	}
	return judge(conn, a, n, sent, heard)
}

// unusable is a host for which a launch that would get it is refused.
func unusable(err error) cloud.Finding {
	f := cloud.Finding{Level: cloud.Fail, Text: strings.ReplaceAll(err.Error(), "\n", "; "), Advice: "see that the host runs, and that its SSH server can be reached from here"}
	var hint interface{ Hint() string }
	if errors.As(err, &hint) {
		f.Advice = hint.Hint()
	}
	return f
}

// judge says how a host is that lets us in. Its clock was read at some time
// between two others.
func judge(conn *connection, a answer, n *note, from, to time.Time) cloud.Finding {
	as := "as root"
	if conn.as.sudo {
		as = fmt.Sprintf("as %s, root by sudo", conn.host.User)
	}
	text := fmt.Sprintf("%s: %s, logged in %s", conn.host, printable(conn.as.sysname+" "+conn.as.machine), as)
	f := cloud.Finding{Level: cloud.Fine}
	if free, err := strconv.ParseInt(a["free"], 10, 64); err == nil {
		text += fmt.Sprintf(", %d MB free", free>>10)
		if free < leastFree {
			f.Level, f.Advice = cloud.Warn, "make room below /opt there: the program alone needs some 20 MB"
		}
	}
	if now, err := strconv.ParseInt(a["now"], 10, 64); err == nil {
		apart := clockOff(time.Unix(now, 0), from, to)
		text += fmt.Sprintf(", clock %v apart", apart)
		if apart > clockApart {
			f.Level, f.Advice = cloud.Warn, "set its clock, with NTP say: logs are hard to read otherwise"
		}
	}
	if n == nil && a.yes("bootstrap") {
		text += ", a node of a cluster that is not ours"
		f.Level, f.Advice = cloud.Fail, "end that cluster, or remove /var/lib/nimbus/bootstrap there"
	}
	if n != nil {
		text += fmt.Sprintf(", in use as %s of launch %s", printable(n.Name), printable(n.Launch))
		if f.Level == cloud.Fine {
			f.Level = cloud.Info
		}
	}
	f.Text = text
	return f
}

// clockOff is how far a time in whole seconds is from a span, rounded down.
func clockOff(now, from, to time.Time) time.Duration {
	switch {
	case now.Add(time.Second).Before(from):
		return from.Sub(now.Add(time.Second)).Truncate(time.Second)
	case now.After(to):
		return now.Sub(to).Truncate(time.Second)
	}
	return 0
}
