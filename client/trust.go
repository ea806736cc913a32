package client

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"nimbus/broker/cluster"
	"nimbus/broker/wire"
	"nimbus/client/deploy"
	"nimbus/client/history"
	"nimbus/client/knownhosts"
	"nimbus/client/settings"
)

// knownHostsFile is the file that new host keys go into; empty: none.
func (s *session) knownHostsFile() (string, error) { return s.env.knownHostsFile(s.settings) }

func (env *Env) knownHostsFile(s settings.Settings) (string, error) {
	switch file := s.KnownHosts; file {
	case settings.KnownHostsOff:
		return "", nil
	case "":
		return filepath.Join(env.Home, ".ssh", "known_hosts"), nil
	default:
		abs, err := filepath.Abs(env.expand(file))
		if err != nil {
			return "", &Failure{Code: exitUsage, Text: fmt.Sprintf("known_hosts %q: %v", file, err)}
		}
		return abs, nil
	}
}

// face is an address of an instance that somebody wants to log in at.
type face struct {
	node     string
	hostname string
	ip       string
	key      string // empty: nobody told it
	reported string // by the machine itself
	member   bool   // of the context
	label    string // "[[ head #0 ]]", as the console says it
}

// faces lists the NICs with wantlogin of all instances, by the names that the
// launch gave them: a machine does not choose for which name it is trusted. A
// key that the driver knows counts before the one that the machine reported.
func faces(def *cluster.Definition, machines []deploy.Machine, nodes []wire.Node) []face {
	identities := map[string][]cluster.Identity{}
	for _, n := range nodes {
		identities[n.Node] = n.Identities
	}
	var list []face
	for _, m := range machines {
		w, _ := def.Find(m.Node.Workspace)
		if w == nil {
			continue
		}
		for i, nic := range w.NICs {
			if !nic.WantLogin || i >= len(m.Addresses) || !m.Addresses[i].IP.IsValid() {
				continue
			}
			f := face{node: m.Node.String(), hostname: m.Name, ip: m.Addresses[i].IP.String(), key: m.HostKey, member: w.Ctx != nil, label: label(w, m.Node.Index)}
			for _, identity := range identities[f.node] {
				if identity.Interface == nic.Interface || identity.IP == m.Addresses[i].IP || len(w.NICs) == 1 {
					f.reported = identity.Pubkey
					break
				}
			}
			if f.key == "" {
				f.key = f.reported
			}
			list = append(list, f)
		}
	}
	return list
}

// sameKey compares type and key; the comments may differ.
func sameKey(a, b string) bool {
	x, y := strings.Fields(a), strings.Fields(b)
	return len(x) > 1 && len(y) > 1 && x[0] == y[0] && x[1] == y[1]
}

func label(w *cluster.Workspace, index int) string {
	switch {
	case w.Unnamed:
		return ""
	case w.Quantity > 1:
		return fmt.Sprintf("  [[ %s #%d ]]", w.Name, index)
	}
	return fmt.Sprintf("  [[ %s ]]", w.Name)
}

// trust adds the host keys of all faces to known_hosts. A cluster that works
// does not fail for it.
func (r *run) trust() {
	if r.hostsFile == "" {
		return
	}
	var entries []knownhosts.Entry
	for _, f := range faces(r.def, r.offered(), r.nodes) {
		if f.key == "" {
			if f.member {
				r.out.warn("No SSH key for %s\n", f.ip)
			}
			continue
		}
		if f.reported != "" && !sameKey(f.key, f.reported) {
			r.out.warn("%s reports another SSH host key than it was given: the one it was given is trusted\n", f.node)
		}
		hosts := []string{f.ip}
		if f.hostname != "" {
			hosts = []string{f.hostname, f.ip}
		}
		if r.overSSH(r.record.Cloud) {
			// Its address is known by lines of the user's own, which stay when
			// the launch has ended. What its name is, a host may have told.
			hosts = []string{deploy.HostName(f.node, r.launch.Handle)}
		}
		entries = append(entries, knownhosts.Entry{Hosts: hosts, Key: f.key, Label: hosts[0] + f.label})
	}
	if len(entries) == 0 {
		return
	}
	// On disk first what is to be taken back: the client may die in between.
	lines, err := knownhosts.Lines(entries)
	created := knownhosts.Missing(r.hostsFile)
	before := r.record.KnownHosts // of a run that died here
	made := before != nil && before.File == r.hostsFile && before.Created
	if err == nil {
		r.record.KnownHosts = &history.KnownHosts{File: r.hostsFile, Created: created || made, Lines: lines}
		err = r.save()
	}
	if err == nil {
		lines, created, err = knownhosts.Add(r.hostsFile, entries)
	}
	if err != nil {
		r.out.warn("SSH will ask about the new machines: %v\n", err)
		return
	}
	r.record.KnownHosts = &history.KnownHosts{File: r.hostsFile, Created: created || made, Lines: lines}
	r.out.say("\n")
	for _, e := range entries {
		r.out.say("SSH trusts new key for %s\n", e.Label)
		r.out.event(Event{Event: "trusted", Handle: r.launch.Handle, Text: e.Hosts[0]})
	}
}

// distrust takes back what a launch added to known_hosts.
func (s *session) distrust(record *history.Record) error {
	k := record.KnownHosts
	if k == nil {
		return nil
	}
	if err := knownhosts.Remove(k.File, k.Lines, k.Created); err != nil {
		return err
	}
	record.KnownHosts = nil
	if k.Created && !knownhosts.Missing(k.File) {
		s.bequeath(record.Handle, k.File)
	}
	return nil
}

// bequeath lets another launch that has lines in a file be the one that made
// it: the file goes with the last of them. When nobody can be told, an empty
// file stays, which does no harm.
func (s *session) bequeath(from, file string) {
	h, err := s.history()
	if err != nil {
		return
	}
	launches, err := h.List()
	if err != nil {
		return
	}
	for _, l := range launches {
		if l.Handle != from && inherits(l, file) {
			return
		}
	}
}

func inherits(l *history.Launch, file string) bool {
	has := func() (history.Record, bool) {
		record, err := l.Record()
		k := record.KnownHosts
		return record, err == nil && k != nil && k.File == file && len(k.Lines) > 0
	}
	if _, ok := has(); !ok {
		return false
	}
	unlock, err := l.Lock()
	if err != nil {
		return false // another command is at it
	}
	defer unlock()
	record, ok := has()
	if !ok {
		return false
	}
	record.KnownHosts.Created = true
	return l.Save(record) == nil
}

// forgetExpired takes back what known_hosts says of launches whose time is
// over: their addresses will be other machines'. Nobody was there to do it when
// they ended.
func (s *session) forgetExpired(h *history.History) {
	launches, err := h.List()
	if err != nil {
		return // whoever needs the list says so
	}
	for _, l := range launches {
		record, err := l.Record()
		if err != nil || record.KnownHosts == nil || !record.Over(s.env.Now()) {
			continue
		}
		unlock, err := l.Lock()
		if err != nil {
			continue // another command is at it
		}
		// As it is now that it is ours: a terminate may have been faster.
		if record, err = l.Record(); err == nil && record.KnownHosts != nil {
			if err = s.distrust(&record); err == nil {
				err = l.Save(record)
			}
		}
		unlock()
		if err != nil {
			s.out.warn("The host keys of %s, whose time is over, are still trusted: %v\n", l.Handle, err)
		}
	}
}

// Login is how to get into an instance.
type Login struct {
	Node    string `json:"node"`
	Command string `json:"command"`
}

// offered are the machines that somebody can log in to by SSH.
func (r *run) offered() []deploy.Machine {
	return slices.DeleteFunc(slices.Clone(r.machines), func(m deploy.Machine) bool { return m.Login == "" })
}

// untrusted tells whether ssh does not know the machines of a context: it failed
// before their keys were added, so the program's own command is the way in.
func (r *run) untrusted() bool {
	return r.hostsFile != "" && r.record.Context != nil && r.record.KnownHosts == nil
}

// logins lists one way into each instance that somebody wants to log in at;
// where nobody said so, into each instance.
func (r *run) logins() []Login {
	wanted := map[string]string{}
	machines := r.offered()
	for _, f := range faces(r.def, machines, r.nodes) {
		if wanted[f.node] == "" {
			wanted[f.node] = f.ip
		}
	}
	var list []Login
	for _, m := range machines {
		if r.overSSH(r.record.Cloud) || r.untrusted() { // port, key, jump host, sudo, host key: we know them all
			node := m.Node.String()
			list = append(list, Login{node, r.command("ssh", "--handle", r.launch.Handle, node)})
			continue
		}
		ip := wanted[m.Node.String()]
		if len(wanted) == 0 && len(m.Addresses) > 0 && m.Addresses[0].IP.IsValid() {
			ip = m.Addresses[0].IP.String()
		}
		if ip == "" {
			continue
		}
		words := []string{"ssh"}
		if r.key.Private != "" {
			words = append(words, "-i", r.key.Private)
		}
		if r.hostsFile != "" && len(wanted) > 0 && r.hostsFile != r.env.SSHKnownHosts {
			option := "UserKnownHostsFile=" + r.hostsFile
			if strings.ContainsAny(r.hostsFile, " \t'\"\\#%") { // else it is easier to read
				option = knownHostsOption(r.hostsFile)
			}
			words = append(words, "-o", option)
		}
		list = append(list, Login{m.Node.String(), strings.Join(readableWords(append(words, m.Login+"@"+ip)), " ")})
	}
	return list
}
