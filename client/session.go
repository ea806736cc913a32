package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"nimbus/broker/wire"
	"nimbus/client/history"
	"nimbus/client/settings"
	"nimbus/cloud"
)

// session is one command with its settings, its history and its output.
type session struct {
	env        *Env
	settings   settings.Settings
	out        *output
	extra      []string // options that a command in a hint must repeat
	hostsGiven bool     // the command line said something of hosts

	driversMu sync.Mutex
	drivers   map[string]cloud.Driver // of launches on hosts, whose connections are kept
}

// open reads the settings of a command; what the command line says wins.
func (env *Env) open(c *cli.Context) (*session, error) {
	s := &session{env: env, out: newOutput(env, formatOf(c))}
	conf := c.String("conf")
	if conf != "" {
		s.extra = append(s.extra, "--conf", conf)
	}
	var err error
	if s.settings, err = settings.Load(env.settingsFile(conf), conf != ""); err != nil {
		return nil, &Failure{Code: exitUsage, Text: err.Error(), Advice: settingsAdvice}
	}
	if dir := c.String("history-dir"); dir != "" {
		s.settings.HistoryDir = dir
		s.extra = append(s.extra, "--history-dir", dir)
	}
	for option, field := range map[string]*string{
		"cloud": &s.settings.Cloud, "ssh-key": &s.settings.SSHKey, "known-hosts": &s.settings.KnownHosts,
	} {
		if value := c.String(option); value != "" {
			*field = value
		}
	}
	s.useBroker(c.String("broker"))
	if err := s.useHosts(c.String("hosts"), c.String("host-keys"), c.Bool("keep-agent"), c.String("cloud") != ""); err != nil {
		return nil, err
	}
	err = s.settings.Validate()
	if err == nil {
		err = checkHosts(s.settings)
	}
	if err != nil {
		return nil, &Failure{Code: exitUsage, Text: err.Error(), Advice: settingsAdvice}
	}
	return s, nil
}

// settingsFile is the one that --conf names, else the usual one.
func (env *Env) settingsFile(conf string) string {
	if conf != "" {
		return env.expand(conf)
	}
	return filepath.Join(env.ConfigDir, "config.toml")
}

// withDefaults is a session for what must work though the settings do not.
func (env *Env) withDefaults(f format) *session {
	return &session{env: env, settings: settings.Default(), out: newOutput(env, f)}
}

// inSession is the frame of a command that takes options only.
func (env *Env) inSession(work func(*cli.Context, *session) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		if err := noArguments(c); err != nil {
			return err
		}
		s, err := env.open(c)
		if err != nil {
			return err
		}
		return work(c, s)
	}
}

// useBroker names another broker than the settings do, whose CA and key then
// mean nothing.
func (s *session) useBroker(url string) {
	if url != "" && url != s.settings.Broker {
		s.settings.Broker, s.settings.BrokerCA, s.settings.BrokerKey = url, "", ""
	}
}

// historyDir is where launches are remembered.
func (s *session) historyDir() string {
	if s.settings.HistoryDir != "" {
		return s.env.expand(s.settings.HistoryDir)
	}
	return filepath.Join(s.env.StateDir, "history")
}

func (s *session) history() (*history.History, error) {
	h, err := history.Open(s.historyDir())
	if err != nil {
		return nil, &Failure{Code: exitFailed, Text: err.Error(), Advice: s.doctorAdvice()}
	}
	return h, nil
}

// launch finds a launch by its handle, with its record.
func (s *session) launch(handle string) (*history.Launch, history.Record, error) {
	if handle == "" {
		return nil, history.Record{}, &Failure{Code: exitUsage, Text: "no handle given",
			Advice: fmt.Sprintf("add --handle HANDLE; %q lists all", s.command("status"))}
	}
	h, err := s.history()
	if err != nil {
		return nil, history.Record{}, err
	}
	l, err := h.Get(handle)
	if err != nil {
		return nil, history.Record{}, &Failure{Code: exitUsage, Text: err.Error(), Advice: fmt.Sprintf("%q lists all launches", s.command("status"))}
	}
	record, err := l.Record()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, record, &Failure{Code: exitUsage, Text: fmt.Sprintf("%s was never launched: %s holds no record", handle, l.Dir),
			Advice: "its client was stopped before it asked for anything; the directory can be removed"}
	}
	if err != nil {
		return nil, record, &Failure{Code: exitFailed, Text: err.Error()}
	}
	return l, record, nil
}

// cloud opens a cloud by its name in the settings.
func (s *session) cloud(name string) (cloud.Driver, error) {
	if _, ok := s.settings.Clouds[name]; !ok {
		return nil, &Failure{Code: exitUsage, Text: fmt.Sprintf("there is no cloud %q in the settings any more", name),
			Advice: fmt.Sprintf("add [clouds.%s] again, with the driver it had", name)}
	}
	driver, err := s.env.OpenCloud(name, s.settings)
	if err != nil {
		f := &Failure{Code: exitFailed, Text: fmt.Sprintf("cloud %q: %v", name, err), Advice: s.cloudAdvice(name)}
		if hint := hintOf(err); hint != "" {
			f.Code, f.Advice = exitUsage, hint
		}
		return nil, f
	}
	return driver, nil
}

// findBroker opens the broker of a context that exists: the one at a URL, or
// this user's own, which is not started for it.
func (s *session) findBroker(ctx context.Context, url string) (Broker, error) {
	if url == "" {
		return s.env.FindBroker(ctx, s.env.brokerDir())
	}
	endpoint, err := s.endpoint(url)
	if err != nil {
		return nil, err
	}
	return s.env.OpenBroker(endpoint)
}

// endpoint is how a broker elsewhere is reached: as the settings say, else as
// a login stored it.
func (s *session) endpoint(url string) (wire.Endpoint, error) {
	if url != s.settings.Broker || s.settings.BrokerKey == "" && s.settings.BrokerCA == "" {
		stored, err := s.env.login(url)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return stored, err
		}
	}
	e := wire.Endpoint{URLs: []string{url}}
	if url != s.settings.Broker {
		return e, nil
	}
	var err error
	if s.settings.BrokerCA != "" {
		if e.CA, err = readText(s.env.expand(s.settings.BrokerCA)); err != nil {
			return e, fmt.Errorf("broker_ca: %w", err)
		}
	}
	if s.settings.BrokerKey != "" {
		if e.Key, err = readText(s.env.expand(s.settings.BrokerKey)); err != nil {
			return e, fmt.Errorf("broker_key: %w", err)
		}
		e.Key = strings.TrimSpace(e.Key)
	}
	return e, nil
}

// command is a command line for a hint, in the style that the user uses.
func (s *session) command(action string, args ...string) string {
	words := []string{s.env.Command, action}
	switch {
	case s.env.Classic && slices.Contains(classicActions, action):
		words[1] = "--" + action
	default: // what the classic client never had
		words[0] = s.env.program()
	}
	// Options come before words.
	return strings.Join(slices.Concat(words, readableWords(slices.Concat(s.extra, args))), " ")
}

// readableWords quotes words for a shell where they need it: people read them.
func readableWords(words []string) []string {
	var quoted []string
	for _, word := range words {
		if word == "" || strings.ContainsAny(word, " \t\n'\"\\$&;|<>(){}*?[]#~`!") {
			word = shellWords([]string{word})
		}
		quoted = append(quoted, word)
	}
	return quoted
}
