package client

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"nimbus/broker/cluster"
	"nimbus/client/deploy"
	"nimbus/client/graph"
	"nimbus/client/history"
	"nimbus/client/loginkey"
	"nimbus/cloud"
)

// DryRun is what a run would do, as --json prints it.
type DryRun struct {
	Handle     string         `json:"handle"` // that it would get, were it launched now
	Source     string         `json:"source,omitempty"`
	Cloud      string         `json:"cloud"`
	Driver     string         `json:"driver"`
	Workspaces []DryWorkspace `json:"workspaces"`
	Scripts    []*Scripts     `json:"scripts,omitempty"` // that travel with it
	Limits     []cloud.Limit  `json:"limits,omitempty"`
	Broker     string         `json:"broker,omitempty"` // URL; empty: the user's own, or none is needed
	OwnBroker  string         `json:"own_broker,omitempty"`
	Expires    time.Time      `json:"expires,omitzero"` // zero: it would not end by itself
	Forgotten  time.Time      `json:"context_expires,omitzero"`
	Open       bool           `json:"open,omitempty"` // the context waits to be locked
	Timeout    history.Span   `json:"timeout"`
	SSHKey     string         `json:"ssh_key,omitempty"` // file; empty: hosts let in whom they let in
	MakesKey   bool           `json:"makes_ssh_key,omitempty"`
	KnownHosts string         `json:"known_hosts,omitempty"` // file; empty: none
	Waits      []graph.Wait   `json:"waits"`
	definition *cluster.Definition
}

// DryWorkspace is a group of instances that would be launched.
type DryWorkspace struct {
	Name     string        `json:"name"`
	Quantity int           `json:"quantity"`
	Image    string        `json:"image"`
	Means    string        `json:"means,omitempty"` // what the image is in this cloud
	Hosts    []string      `json:"hosts"`           // the first and the last host name
	NICs     []cluster.NIC `json:"nics"`
	UserData int           `json:"user_data_bytes"` // of each instance, about
	Fetches  bool          `json:"fetches_agent,omitempty"`
}

// dryRun finds all that would make a run fail before anything is launched, and
// says what the run would do. It makes and changes nothing.
func (s *session) dryRun(ctx context.Context, o runOptions) error {
	def, source, err := s.definition(ctx, o)
	if err != nil {
		return err
	}
	driver, err := s.cloud(s.settings.Cloud)
	if err != nil {
		return err
	}
	o.settle(driver)
	if err := s.wayFor(driver, def); err != nil {
		return err
	}
	limits, err := s.limits(ctx, driver, def)
	if err != nil {
		return err
	}
	if err := checkImages(s.settings.Cloud, s.settings.Clouds[s.settings.Cloud], def); err != nil {
		return err
	}
	scripts, err := s.packScripts(ctx, def, &o)
	if err != nil {
		return err
	}
	hosts, err := s.knownHostsFile()
	if err != nil {
		return err
	}
	if err := s.keeps(); err != nil {
		return err
	}
	key, err := s.loginKey(loginkey.Look)
	if err != nil {
		return s.keyFailure(err)
	}
	handle, err := history.Next(s.historyDir(), o.kind())
	if err != nil {
		return &Failure{Code: exitFailed, Text: err.Error()}
	}
	r := &run{session: s, o: o, def: def, driver: driver, record: history.Record{Cloud: s.settings.Cloud}}
	now := s.env.Now()
	d := DryRun{
		Handle: handle, Source: source, Cloud: s.settings.Cloud, Driver: s.settings.Clouds[s.settings.Cloud].Driver,
		Scripts: scripts, Limits: limits, Expires: o.end(now), Open: o.open, Timeout: history.Span(o.timeout),
		SSHKey: key.File, MakesKey: key.Made, KnownHosts: hosts, Waits: graph.Waits(def), definition: def,
	}
	if def.Nodes() > 0 {
		d.Forgotten = now.Add(o.expires)
		if d.Broker = s.settings.Broker; d.Broker == "" {
			d.OwnBroker = s.env.brokerDir()
		} else if err := s.knownAtBroker(ctx); err != nil {
			return r.brokerError(err)
		}
	}
	running, warnings, err := s.hostsFor(def)
	if err != nil {
		return err
	}
	installs, agents := s.installs(driver), map[string]string(nil)
	if fetching(def, installs) {
		if agents, err = s.expectedAgents(ctx); err != nil {
			return r.brokerError(err)
		}
		if err := deploy.CheckAgents(def, installs, agents); err != nil {
			return s.planFailure(err)
		}
	}
	brokers, ca := s.expectedBroker(def)
	for i := range def.Workspaces {
		w := &def.Workspaces[i]
		fetches, fetched := w.Ctx != nil && installs(w.Image), agents
		if !fetches {
			fetched = nil
		}
		d.Workspaces = append(d.Workspaces, DryWorkspace{
			Name: w.Name, Quantity: w.Quantity, Image: w.Image, Means: cmp.Or(hostList(running, w.Name), s.imageText(driver, w.Image)),
			Hosts: hostNames(w, handle), NICs: w.NICs, UserData: deploy.UserDataSize(w, brokers, ca, fetched), Fetches: fetches,
		})
	}
	for _, warning := range missingScripts(s.settings.Clouds[s.settings.Cloud], def, scripts) {
		s.out.warn("Warning: %s\n", warning)
	}
	if s.out.document(d) {
		return nil
	}
	r.sayHostImages()
	for _, warning := range warnings {
		s.out.warn("Warning: %s\n", warning)
	}
	s.out.print("%s", printable(d.text()))
	if s.overSSH(d.Cloud) {
		s.out.print("\nNo host was asked. To log in to each and look: %s\n", s.doctorCommand(s.cloudOptions(d.Cloud)...))
	}
	s.out.print("\nTo launch it, leave --dry-run out.\n")
	return nil
}

// knownAtBroker asks a broker elsewhere whether it would take this user's
// contexts.
func (s *session) knownAtBroker(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	broker, err := s.findBroker(ctx, s.settings.Broker)
	if err == nil {
		_, err = broker.Contexts(ctx)
	}
	return err
}

// expectedBroker is what nodes would be told of the broker, or something as
// long where that is not known yet.
func (s *session) expectedBroker(def *cluster.Definition) (urls []string, ca string) {
	file := filepath.Join(s.env.brokerDir(), "ca.pem")
	if s.settings.Broker != "" {
		urls, file = []string{s.settings.Broker}, s.env.expand(s.settings.BrokerCA)
	} else {
		for range deploy.Networks(def) {
			urls = append(urls, "https://255.255.255.255:65535")
		}
	}
	if text, err := os.ReadFile(file); err == nil && len(text) < 16<<10 {
		return urls, string(text)
	}
	return urls, strings.Repeat("x", 600)
}

// imageText is what an image name means in a cloud, as far as that is known.
func (s *session) imageText(driver cloud.Driver, name string) string {
	if d, ok := driver.(interface{ ResolvesToHost(image string) bool }); ok && d.ResolvesToHost(name) {
		return "this host's own file system"
	}
	image, ok := s.settings.Clouds[s.settings.Cloud].Images[name]
	if !ok {
		return ""
	}
	text := "this host's own file system"
	if image.Root != "" && image.Root != "/" {
		text = "the file tree " + image.Root
	}
	if image.Scripts != "" {
		text += ", scripts from " + image.Scripts
	}
	return text
}

// hostNames are the first and the last of a workspace.
func hostNames(w *cluster.Workspace, handle string) []string {
	names := []string{cluster.Place{Workspace: w.Name}.String() + "." + handle}
	if w.Quantity > 1 {
		names = append(names, cluster.Place{Workspace: w.Name, Index: w.Quantity - 1}.String()+"."+handle)
	}
	return names
}

// text is the dry run for people.
func (d *DryRun) text() string {
	var b strings.Builder
	at := func(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }
	fmt.Fprintf(&b, "Dry run: nothing is launched. %s would be, in cloud %q (driver %s):\n", d.Handle, d.Cloud, d.Driver)
	for _, w := range d.Workspaces {
		fmt.Fprintf(&b, "\n%s: %s, image '%s'\n", w.Name, count(w.Quantity, "instance"), w.Image)
		if w.Means != "" {
			fmt.Fprintf(&b, "  - made of %s\n", w.Means)
		}
		fmt.Fprintf(&b, "  - %s\n", strings.Join(w.Hosts, " to "))
		for _, n := range w.NICs {
			trust := ""
			if n.WantLogin && d.KnownHosts != "" {
				trust = ", its host key will be trusted"
			}
			fmt.Fprintf(&b, "  - %s in network %q%s\n", n.Interface, n.Network, trust)
		}
		if w.UserData > 0 {
			fmt.Fprintf(&b, "  - user data: about %d bytes each\n", (w.UserData+99)/100*100)
			if w.Fetches {
				b.WriteString("  - fetches its agent from the broker, unless the image has the same one\n")
			}
		} else {
			b.WriteString("  - no user data: it takes no part in the context\n")
		}
	}
	if len(d.Scripts) > 0 {
		b.WriteString("\n" + scriptsText(d.Scripts, d.definition))
	}
	if len(d.Limits) > 0 {
		b.WriteString("\nRoom:\n")
		for _, l := range d.Limits {
			fmt.Fprintf(&b, "  - %s: %d of %d\n", l.What, l.Asked, l.Most)
		}
	}
	b.WriteString("\nContext broker: ")
	switch {
	case d.Forgotten.IsZero():
		b.WriteString("none is needed\n")
	case d.Broker == "":
		fmt.Fprintf(&b, "your own, started when it is needed (%s)\n", d.OwnBroker)
	default:
		fmt.Fprintf(&b, "%s, which knows you; whether instances reach it is seen at the launch\n", d.Broker)
	}
	if d.Expires.IsZero() {
		b.WriteString("Ends: when you end it; hours do not apply to this cloud")
	} else {
		fmt.Fprintf(&b, "Ends: %s", at(d.Expires))
	}
	if !d.Forgotten.IsZero() {
		fmt.Fprintf(&b, "; the broker forgets it at %s", at(d.Forgotten))
	}
	fmt.Fprintf(&b, "\nGiven up: when it is not ready after %s\n", spanText(time.Duration(d.Timeout)))
	if d.SSHKey != "" {
		fmt.Fprintf(&b, "SSH key: %s%s\n", d.SSHKey, map[bool]string{true: " (it would be made)"}[d.MakesKey])
	}
	if d.KnownHosts == "" {
		b.WriteString("known_hosts: none\n")
	} else {
		fmt.Fprintf(&b, "known_hosts: %s\n", d.KnownHosts)
	}
	b.WriteString(d.waitsText())
	return b.String()
}

// waitsText says who waits for whom, and whose scripts run first.
func (d *DryRun) waitsText() string {
	if len(d.Waits) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\nWho waits for whom:\n")
	rounds := map[int][]string{}
	for _, w := range d.Waits {
		rounds[w.Round] = append(rounds[w.Round], w.Workspace)
		var list []string
		if d.Open {
			list = append(list, "the context to be locked")
		}
		if w.Identities {
			list = append(list, fmt.Sprintf("all nodes to join (%d)", d.definition.Nodes()))
		}
		for _, r := range w.Roles {
			what := "join"
			if r.Ready {
				what = "be ready"
			}
			list = append(list, fmt.Sprintf("role %q: %s to %s (%s)", r.Name, few(r.Workspaces), what, count(r.Providers, "node")))
		}
		text := "nobody"
		if list != nil {
			text = strings.Join(list, "; ")
		}
		fmt.Fprintf(&b, "  - %s: %s\n", w.Workspace, text)
		for _, data := range w.Data {
			said := map[int]string{0: "no value yet: it would be empty", 1: "1 value"}[data.Values]
			switch {
			case data.Values == 0 && d.Open:
				said = "to be injected"
			case said == "":
				said = fmt.Sprintf("%d values", data.Values)
			}
			fmt.Fprintf(&b, "      data %q: %s\n", data.Name, said)
		}
	}
	b.WriteString("All instances boot at once, and joining waits for nothing: who requires each\nother's roles meets there.\n")
	order := slices.Sorted(maps.Keys(rounds))
	for i, round := range order {
		when := "Scripts run first on"
		switch {
		case len(order) == 1:
			when = "Scripts run at the same time on"
		case i > 0:
			when = "then, when these are ready, on"
		}
		fmt.Fprintf(&b, "  %s: %s\n", when, few(rounds[round]))
	}
	return b.String()
}

// few lists the first names.
func few(names []string) string {
	const most = 8
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
