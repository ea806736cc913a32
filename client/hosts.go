package client

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"nimbus/broker/cluster"
	"nimbus/broker/wire"
	"nimbus/client/history"
	"nimbus/client/settings"
	"nimbus/cloud"
	"nimbus/cloud/ssh"
)

// Hosts that run already are a cloud, too: driver ssh. This file says which
// hosts those are: the command line, the settings or the record of a launch.

// overSSH tells whether a cloud is hosts that run already: the command that is
// at work holds the way to them, and back.
func (s *session) overSSH(name string) bool { return s.settings.Clouds[name].Driver == driverSSH }

// useHosts takes a file of hosts, and how new host keys are taken, from the
// command line, for the cloud that is used: the one that was named, or that of
// the settings, else the one that is always there.
func (s *session) useHosts(file, hostKeys string, keepAgent, named bool) error {
	if file == "" && hostKeys == "" && !keepAgent {
		return nil
	}
	if file != "" && !named && !s.overSSH(s.settings.Cloud) {
		s.settings.Cloud = driverSSH
	}
	name := s.settings.Cloud
	c := s.settings.Clouds[name]
	if c.Driver != driverSSH {
		option := "--hosts"
		if file == "" && hostKeys != "" {
			option = "--host-keys"
		} else if file == "" {
			option = "--keep-agent"
		}
		return &Failure{Code: exitUsage, Text: fmt.Sprintf("%s is for hosts that run already, and cloud %q has driver %q", option, name, c.Driver),
			Advice: "name a cloud with driver ssh; without --cloud, --hosts FILE means the cloud \"ssh\""}
	}
	s.hostsGiven = true
	if file != "" {
		abs, err := filepath.Abs(s.env.expand(file))
		if err != nil {
			return &Failure{Code: exitUsage, Text: fmt.Sprintf("--hosts %s: %v", file, err)}
		}
		c.HostsFile, c.Hosts = abs, nil
	}
	if hostKeys != "" {
		c.HostKeys = hostKeys
	}
	c.KeepAgent = c.KeepAgent || keepAgent
	s.settings.Clouds[name] = c
	return nil
}

// checkHosts refuses hosts in the settings that cannot be right, whichever
// cloud is used. A file of hosts is read when it is needed.
func checkHosts(s settings.Settings) error {
	for _, name := range slices.Sorted(maps.Keys(s.Clouds)) {
		c := s.Clouds[name]
		if _, err := parseHosts(c.Hosts); err != nil {
			return fmt.Errorf("clouds.%s.hosts.%v", name, err)
		}
		if c.Jump != "" {
			if _, err := ssh.ParseHost(c.Jump); err != nil {
				return fmt.Errorf("clouds.%s.jump: %v", name, err)
			}
		}
	}
	return nil
}

// readHosts are the hosts of a cloud: those of its file, or of the settings.
// Each has its user and its port.
func (env *Env) readHosts(c settings.Cloud) (hosts map[string][]ssh.Host, err error) {
	if c.HostsFile != "" {
		hosts, err = readHostsFile(env.expand(c.HostsFile))
	} else {
		hosts, err = parseHosts(c.Hosts)
	}
	for _, list := range hosts {
		for i, h := range list {
			list[i].User, list[i].Port = cmp.Or(h.User, c.User, "root"), cmp.Or(h.Port, 22)
		}
	}
	return hosts, err
}

// hintedError is an error that knows what to do about it.
type hintedError struct {
	error
	hint string
}

func (e *hintedError) Hint() string  { return e.hint }
func (e *hintedError) Unwrap() error { return e.error }

// readHostsFile refuses a file without hosts, too: whoever names it has some.
func readHostsFile(file string) (map[string][]ssh.Host, error) {
	info, err := os.Stat(file)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is no file")
	}
	if err != nil {
		return nil, &hintedError{fmt.Errorf("hosts file %s: %s", file, pathError(err)), "--hosts FILE or hosts_file in the settings names it; docs/hosts.md shows one"}
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("hosts file %s: %s", file, pathError(err))
	}
	defer f.Close()
	hosts, err := ssh.ParseHostsFile(file, f)
	if err == nil && len(hosts) == 0 {
		err = fmt.Errorf("hosts file %s: there is no host in it", file)
	}
	if err != nil {
		return nil, &hintedError{err, "a line for each host: [user@]address[:port]; [WORKSPACE] above those of one workspace"}
	}
	return hosts, nil
}

// parseHosts reads hosts as the settings and records have them.
func parseHosts(texts map[string][]string) (map[string][]ssh.Host, error) {
	hosts := map[string][]ssh.Host{}
	for _, group := range slices.Sorted(maps.Keys(texts)) {
		if group != ssh.AnyGroup {
			if err := cluster.CheckName(group); err != nil {
				return nil, fmt.Errorf("%q: want the name of a workspace, or %q for any: %v", group, ssh.AnyGroup, err)
			}
		}
		seen := map[ssh.Host]bool{}
		for _, text := range texts[group] {
			h, err := ssh.ParseHost(text)
			if err != nil {
				return nil, fmt.Errorf("%s: %v", group, err)
			}
			at := ssh.Host{Address: h.Address, Port: cmp.Or(h.Port, 22)}
			if seen[at] {
				return nil, fmt.Errorf("%s: host %s is in the list twice", group, h.Address)
			}
			seen[at] = true
			hosts[group] = append(hosts[group], h)
		}
	}
	return hosts, nil
}

// hostTexts is parseHosts' inverse.
func hostTexts(hosts map[string][]ssh.Host) map[string][]string {
	texts := map[string][]string{}
	for group, list := range hosts {
		for _, h := range list {
			texts[group] = append(texts[group], h.String())
		}
	}
	return texts
}

// strayHosts says which hosts nobody will use, because their workspace is not
// in the definition.
func strayHosts(hosts map[string][]ssh.Host, def *cluster.Definition) (warnings []string) {
	var names []string
	for _, w := range def.Workspaces {
		names = append(names, w.Name)
	}
	for _, group := range slices.Sorted(maps.Keys(hosts)) {
		if group == ssh.AnyGroup || slices.Contains(names, group) {
			continue
		}
		warning := fmt.Sprintf("%s of workspace %q: the cluster has no such workspace", count(len(hosts[group]), "host"), group)
		if best := cluster.Nearest(group, names); best != "" {
			warning += fmt.Sprintf("; did you mean %q?", best)
		}
		warnings = append(warnings, warning)
	}
	return warnings
}

// remember notes which hosts a launch may have: their file may be another one
// tomorrow.
func (s *session) remember(ran *history.Run) error {
	c := s.settings.Clouds[s.settings.Cloud]
	if c.Driver != driverSSH {
		return nil
	}
	hosts, err := s.env.readHosts(c)
	if err != nil {
		return s.hostsFailure(err)
	}
	ran.Hosts, ran.KeepAgent = hostTexts(hosts), c.KeepAgent
	if c.HostsFile != "" {
		ran.HostsFile, err = filepath.Abs(s.env.expand(c.HostsFile))
	}
	return err
}

func (s *session) hostsFailure(err error) error {
	return &Failure{Code: exitUsage, Text: err.Error(), Advice: hintOf(err)}
}

// hintOf is what an error knows to do about it; it may be empty.
func hintOf(err error) string {
	var hint interface{ Hint() string }
	if errors.As(err, &hint) {
		return hint.Hint()
	}
	return ""
}

// cloudOf opens the cloud of a launch as it was when that was launched: the
// hosts of then, the known_hosts file, the broker.
func (s *session) cloudOf(record history.Record) (cloud.Driver, error) {
	if !s.overSSH(record.Cloud) {
		return s.cloud(record.Cloud)
	}
	s.driversMu.Lock()
	defer s.driversMu.Unlock()
	if driver, ok := s.drivers[record.Launch]; ok {
		return driver, nil
	}
	then := &session{env: s.env, settings: settingsOf(s.settings, record), out: s.out, extra: s.extra}
	driver, err := then.cloud(record.Cloud)
	if err != nil {
		return nil, err
	}
	if s.drivers == nil {
		s.drivers = map[string]cloud.Driver{}
	}
	s.drivers[record.Launch] = driver
	return driver, nil
}

// settingsOf are the settings as a launch had them.
func settingsOf(s settings.Settings, record history.Record) settings.Settings {
	if run := record.Run; run != nil {
		s.KnownHosts = cmp.Or(run.KnownHosts, settings.KnownHostsOff)
		if run.Hosts != nil {
			c := s.Clouds[record.Cloud]
			c.HostsFile, c.Hosts = "", run.Hosts
			s.Clouds = maps.Clone(s.Clouds)
			s.Clouds[record.Cloud] = c
		}
	}
	if record.Context != nil {
		s.Broker = record.Context.Broker
	}
	return s
}

// hostsFor are the hosts of the cloud that is used, and what is odd about them
// for a definition. Other clouds have none.
func (s *session) hostsFor(def *cluster.Definition) (hosts map[string][]ssh.Host, warnings []string, err error) {
	if !s.overSSH(s.settings.Cloud) {
		return nil, nil, nil
	}
	if hosts, err = s.env.readHosts(s.settings.Clouds[s.settings.Cloud]); err != nil {
		return nil, nil, s.hostsFailure(err)
	}
	return hosts, strayHosts(hosts, def), nil
}

// hintHere is what an error knows to do, in the words of who typed options.
func (s *session) hintHere(err error) string { return s.asTyped(hintOf(err)) }

// asTyped names an option instead of a setting where options were typed.
func (s *session) asTyped(hint string) string {
	if !s.hostsGiven {
		return hint
	}
	return strings.ReplaceAll(hint, ssh.AcceptNewSetting, "--host-keys accept-new")
}

// fewHostsAdvice is what to do when a definition gets too little: a section
// whose name is misspelt comes first.
func (s *session) fewHostsAdvice(def *cluster.Definition) string {
	advice := s.roomAdvice(s.settings.Cloud)
	if _, warnings, err := s.hostsFor(def); err == nil && len(warnings) > 0 {
		advice = strings.Join(warnings, "; ") + "; or " + advice
	}
	return advice
}

// cloudAdvice is to look into what a cloud's error may come from.
func (s *session) cloudAdvice(name string) string { return s.doctorAdvice(s.cloudOptions(name)...) }

// cloudOptions are what a doctor needs to know to look at a cloud.
func (s *session) cloudOptions(name string) []string {
	args := []string{"--cloud", name}
	if file := s.settings.Clouds[name].HostsFile; file != "" {
		args = append(args, "--hosts", file)
	}
	return args
}

// roomAdvice is what to do when a cloud has too little room.
func (s *session) roomAdvice(name string) string {
	if c := s.settings.Clouds[name]; s.overSSH(name) && c.HostsFile != "" {
		return fmt.Sprintf("add hosts to %s, end a launch that has some (%q), or ask for fewer instances (--quantity)", c.HostsFile, s.command("status"))
	} else if s.overSSH(name) && len(c.Hosts) == 0 {
		return "--hosts FILE says which hosts there are; docs/hosts.md shows such a file"
	} else if s.overSSH(name) {
		return fmt.Sprintf("add hosts to clouds.%s.hosts in the settings, end a launch that has some (%q), or ask for fewer instances (--quantity)", name, s.command("status"))
	}
	return "ask for fewer instances, or try again when others have ended"
}

// sayLeft says of each host of a launch that nothing of it is left there.
func (s *session) sayLeft(record history.Record) {
	gone := nodesOf(record.Unreachable)
	for _, i := range record.Instances {
		if !slices.Contains(gone, i.Node) {
			s.sayLeftBy(i)
		}
	}
	if record.Run != nil && record.Run.KeepAgent && len(record.Instances) > 0 {
		s.out.say("  - the agent stays on %s (keep-agent). The end of a launch without --keep-agent takes it away, or on the host: %s agent install --uninstall\n",
			map[bool]string{true: "that host", false: "these hosts"}[len(record.Instances) == 1], binaryThere)
	}
}

func (s *session) sayLeftBy(i history.Instance) {
	host, _, _ := strings.Cut(i.ID, "/")
	s.out.say("  - %s: left %s, nothing of the launch is there any more\n", i.Node, printable(host))
}

// sameNames says which hosts have the same host name: they have it from who set
// them up, and in the /etc/hosts of the others it can lead to one of them only.
func sameNames(nodes []wire.Node) (warnings []string) {
	by := map[string][]string{} // host name → nodes
	for _, n := range nodes {
		for _, i := range n.Identities {
			if name := strings.ToLower(i.Hostname); name != "" && !slices.Contains(by[name], n.Node) {
				by[name] = append(by[name], n.Node)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(by)) {
		if len(by[name]) > 1 {
			warnings = append(warnings, fmt.Sprintf("the host name %q is that of %s: to the others it leads to one of them", name, few(by[name])))
		}
	}
	return warnings
}

// hostList names the hosts that a workspace may get, for people.
func hostList(hosts map[string][]ssh.Host, workspace string) string {
	var names []string
	for _, h := range hosts[workspace] {
		names = append(names, cmp.Or(h.Name, h.Address))
	}
	text := few(names)
	if any := hosts[ssh.AnyGroup]; len(any) > 0 {
		if text != "" {
			text += ", then "
		}
		text += map[bool]string{true: "the host that is", false: fmt.Sprintf("any of the %d hosts that are", len(any))}[len(any) == 1] + " for all workspaces"
	}
	return strings.TrimSpace(text)
}
