package client

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"nimbus/broker/cluster"
	"nimbus/client/history"
	"nimbus/client/settings"
)

// A kind is what an option or an argument means, for completion.
type kind string

const (
	nothing     kind = ""
	handles     kind = "handles"
	nodes       kind = "nodes"
	roles       kind = "roles"
	workspaces  kind = "workspaces"
	machines    kind = "machines"   // nodes, workspaces and roles
	remotes     kind = "remotes"    // those with a colon, and files
	data        kind = "data"       // names of data that a launch requires
	quantities  kind = "quantities" // of --quantity, --data and --set: what
	givenData   kind = "given data" // the definition on the line has, and =
	variables   kind = "variables"
	clouds      kind = "clouds"
	images      kind = "images"
	brokers     kind = "brokers"
	definitions kind = "definitions"
	files       kind = "files"
	dirs        kind = "dirs"
	publicFiles kind = "public keys"
	tomlFiles   kind = "settings"
	knownHosts  kind = "known_hosts"
	shells      kind = "shells"
	formats     kind = "formats"
	jsonForms   kind = "json forms"
	phases      kind = "phases"
	levels      kind = "levels"
	logForms    kind = "log forms"
	keyForms    kind = "ways with host keys"
)

// optionKinds says what the options are, wherever they are; "COMMAND NAME"
// where one means something of its own.
var optionKinds = map[string]kind{
	"handle": handles, "node": nodes, "role": roles, "workspace": workspaces, "cloud": clouds, "broker": brokers, "broker-url": brokers,
	"cluster": definitions, "run name": images, "image": images,
	"conf": tomlFiles, "config": tomlFiles, "history-dir": dirs, "prefix": dirs, "root": dirs, "binary": files, "ssh-key": publicFiles, "ssh-pubkey": publicFiles, "known-hosts": knownHosts,
	"hosts": files, "host-keys": keyForms,
	"quantity": quantities, "data": givenData, "set": variables, "inject name": data, "new role": nothing,
	"ca": files, "key": files, "file": files, "manifest": files, "bootstrap": files, "broker data": dirs, "broker downloads": dirs, "scripts": dirs,
	"format": formats, "json": jsonForms, "from": phases, "log-level": levels, "log-format": logForms,
}

// argumentKinds says what the words after the options are, one after another.
var argumentKinds = map[string][]kind{
	"validate": {definitions}, "graph": {definitions}, "login": {brokers}, "completion": {shells}, "man": {dirs},
	"ssh": {machines}, "logs": {machines}, "rerun": {machines}, "cp": {remotes},
}

// manyArguments are the commands whose last argument may be repeated.
var manyArguments = []string{"rerun", "cp", "validate"}

// fixed are the values that are always the same.
var fixed = map[kind][]string{
	shells: {"bash", "zsh", "fish"}, formats: {"mermaid", "dot"}, jsonForms: {"stream"},
	phases: {"0-etchosts", "sshd", "1-ipandhost", "2-thishost", "3-data", "4-restarts", "5-thishost-finalize"},
	levels: {"debug", "info", "warn", "error"}, logForms: {"text", "json"}, keyForms: {settings.HostKeysStrict, settings.HostKeysAcceptNew},
}

// needRunning are the commands that need machines that run: other handles are
// not offered.
var needRunning = []string{"ssh", "exec", "cp", "rerun", "release", "extend", "inject", "lock", "resume"}

func kindOf(command, option string) kind {
	if k, ok := optionKinds[command+" "+option]; ok {
		return k
	}
	return optionKinds[option]
}

func argumentOf(l line) kind {
	kinds := argumentKinds[l.command]
	switch {
	case l.args < len(kinds):
		return kinds[l.args]
	case slices.Contains(manyArguments, l.command):
		return kinds[len(kinds)-1]
	}
	return nothing
}

// valuesOf finds values in the settings, in the history and among files.
func (env *Env) valuesOf(k kind, l line, word string) []candidate {
	if list, ok := fixed[k]; ok {
		return plainly(list)
	}
	s := env.sessionOf(l)
	switch k {
	case handles:
		return s.handles(l.command)
	case nodes, roles, workspaces, machines:
		return s.machineNames(k, l.option("handle"))
	case remotes:
		all := s.machineNames(machines, l.option("handle"))
		for i := range all {
			all[i].word += ":"
		}
		return append(all, env.paths(word, "")...)
	case data:
		return s.dataNames(l.option("handle"))
	case quantities, givenData, variables:
		return env.changeable(k, l.option("cluster"), word)
	case clouds:
		return s.clouds()
	case images:
		name := l.option("cloud")
		if name == "" {
			name = s.settings.Cloud
		}
		return s.images(name)
	case brokers:
		return s.brokers()
	case definitions:
		return env.paths(word, ".xml")
	case tomlFiles:
		return env.paths(word, ".toml")
	case publicFiles:
		return env.paths(word, ".pub")
	case files:
		return env.paths(word, "")
	case dirs:
		return env.paths(word, "/")
	case knownHosts:
		return append(plainly([]string{settings.KnownHostsOff}), env.paths(word, "")...)
	}
	return nil
}

func plainly(list []string) (all []candidate) {
	for _, word := range list {
		all = append(all, candidate{word: word})
	}
	return all
}

// sessionOf reads the settings that the line names; what is wrong with them is
// not for now.
func (env *Env) sessionOf(l line) *session {
	s := &session{env: env}
	var err error
	if s.settings, err = settings.Load(env.settingsFile(l.option("conf")), false); err != nil {
		s.settings = settings.Default()
	}
	if dir := l.option("history-dir"); dir != "" {
		s.settings.HistoryDir = dir
	}
	return s
}

// readingTime is how long records are read; what is left then is offered
// unread. A person who presses a key waits for it.
const readingTime = 30 * time.Millisecond

// handles lists launches: those that may run first, the newest first.
func (s *session) handles(command string) []candidate {
	h, err := s.history()
	if err != nil {
		return nil
	}
	launches, err := h.List()
	if err != nil {
		return nil
	}
	slices.Reverse(launches)
	var running, over, unread []candidate
	for began := time.Now(); len(launches) > 0; launches = launches[1:] {
		l := launches[0]
		if time.Since(began) > readingTime {
			unread = append(unread, candidate{word: l.Handle})
			continue
		}
		record, err := l.Record()
		switch {
		case errors.Is(err, fs.ErrNotExist): // never launched
		case err != nil:
			running = append(running, candidate{l.Handle, "its record cannot be read"})
		case alive(record, s.env.Now()):
			running = append(running, candidate{l.Handle, launchText(record, record.State)})
		case slices.Contains(needRunning, command), command == "terminate" && record.State == history.Terminated:
		default:
			state := record.State
			if state != history.Terminated && state != history.Failed {
				state = "expired"
			}
			over = append(over, candidate{l.Handle, launchText(record, state)})
		}
	}
	return slices.Concat(running, over, unread)
}

func launchText(r history.Record, state string) string {
	if r.Source == "" {
		return state
	}
	return state + ", " + filepath.Base(r.Source)
}

// machineNames lists what machines of a launch are called: of the one with the
// handle, or of the only one that may run.
func (s *session) machineNames(k kind, handle string) []candidate {
	_, record, err := s.current(handle)
	if err != nil {
		return nil
	}
	names := map[kind]map[string]string{nodes: {}, workspaces: {}, roles: {}}
	for _, i := range record.Instances {
		names[nodes][i.Node] = addressText(i.Addresses)
		names[workspaces][i.Workspace] = "workspace"
	}
	if record.Definition != nil {
		for _, w := range record.Definition.Workspaces {
			if w.Ctx != nil {
				for _, r := range w.Ctx.Provides {
					names[roles][r.Name] = "role of " + w.Name
				}
			}
		}
	}
	kinds := []kind{k}
	if k == machines {
		kinds = []kind{nodes, workspaces, roles}
	}
	var all []candidate
	for _, k := range kinds {
		for _, name := range slices.Sorted(maps.Keys(names[k])) {
			if !slices.ContainsFunc(all, func(c candidate) bool { return c.word == name }) {
				all = append(all, candidate{name, names[k][name]})
			}
		}
	}
	return all
}

// dataNames lists the data that nodes of a launch require.
func (s *session) dataNames(handle string) []candidate {
	_, record, err := s.current(handle)
	if err != nil || record.Definition == nil {
		return nil
	}
	return plainly(record.Definition.DataNames())
}

// changeable lists what the command line may change in a definition, and the
// files that may follow --data NAME=@.
func (env *Env) changeable(k kind, file, word string) (all []candidate) {
	if name, path, is := strings.Cut(word, "=@"); is && k == givenData {
		all = env.paths(path, "")
		for i := range all {
			all[i].word = name + "=@" + all[i].word
		}
		return all
	}
	path := env.expand(file)
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() { // a pipe would be waited for
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	if k == variables {
		all = plainly(cluster.Variables(f))
	} else {
		def, _ := cluster.ReadWith(file, f, cluster.Changes{})
		if k == givenData {
			all = plainly(def.DataNames())
		} else {
			for _, w := range def.Workspaces {
				all = append(all, candidate{w.Name, count(w.Quantity, "instance")})
			}
		}
	}
	for i := range all {
		all[i].word += "="
	}
	return all
}

func (s *session) clouds() (all []candidate) {
	for _, name := range slices.Sorted(maps.Keys(s.settings.Clouds)) {
		all = append(all, candidate{name, "driver " + s.settings.Clouds[name].Driver})
	}
	return all
}

func (s *session) images(cloud string) (all []candidate) {
	c := s.settings.Clouds[cloud]
	for _, name := range slices.Sorted(maps.Keys(c.Images)) {
		all = append(all, candidate{name, c.Images[name].Description})
	}
	if c.Driver == "local" {
		all = append(all, candidate{"host", "this machine's own file system"})
	}
	return all
}

// brokers are that of the settings, and those with a login.
func (s *session) brokers() []candidate {
	var urls []string
	if s.settings.Broker != "" {
		urls = append(urls, s.settings.Broker)
	}
	stored, _ := filepath.Glob(filepath.Join(globQuote(s.env.ConfigDir), "logins", "*.json"))
	for _, file := range stored {
		if e, err := readLogin(file); err == nil && !slices.Contains(urls, e.URLs[0]) {
			urls = append(urls, e.URLs[0])
		}
	}
	return plainly(urls)
}

// paths lists directories, and the files whose names end so ("/": none). What
// begins with a dot is for those who type the dot.
func (env *Env) paths(word, ending string) (all []candidate) {
	if word == "~" {
		return plainly([]string{"~/"})
	}
	dir, base := filepath.Split(word)
	list := env.expand(dir)
	if dir == "" {
		list = "."
	}
	entries, err := os.ReadDir(list)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		name := e.Name()
		if !strings.HasPrefix(name, base) || strings.HasPrefix(name, ".") && !strings.HasPrefix(base, ".") {
			continue
		}
		isDir := e.IsDir()
		if e.Type()&fs.ModeSymlink != 0 {
			info, err := os.Stat(filepath.Join(list, name))
			isDir = err == nil && info.IsDir()
		}
		switch {
		case isDir:
			all = append(all, candidate{word: dir + name + "/"})
		case ending != "/" && strings.HasSuffix(name, ending):
			all = append(all, candidate{word: dir + name})
		}
	}
	return all
}
