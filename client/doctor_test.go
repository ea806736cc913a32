package client

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"nimbus/broker/wire"
	"nimbus/client/settings"
	"nimbus/cloud"
	"nimbus/cloud/cloudtest"
)

// A fakeMachine is well until a test makes it ill.
type fakeMachine struct {
	env      map[string]string
	programs map[string]string
	locked   string // writing is refused below this
	space    uint64
	ips      []netip.Addr
	ipErr    error
	through  *url.URL
	proxyErr error
	own      ownBroker
	clouds   []cloud.Finding
	freeErr  error
}

func (m *fakeMachine) variable(name string) string { return m.env[name] }

func (m *fakeMachine) program(name string) (string, error) {
	if path := m.programs[name]; path != "" {
		return path, nil
	}
	return "", errors.New("not found")
}

func (m *fakeMachine) writable(path string) error {
	if m.locked != "" && strings.HasPrefix(path, m.locked) {
		return &os.PathError{Op: "write", Path: path, Err: syscall.EACCES}
	}
	return nil
}

func (m *fakeMachine) free(string) (uint64, error)                         { return m.space, m.freeErr }
func (m *fakeMachine) addresses() ([]netip.Addr, error)                    { return m.ips, m.ipErr }
func (m *fakeMachine) proxy(string) (*url.URL, error)                      { return m.through, m.proxyErr }
func (m *fakeMachine) ownBroker(context.Context, string, string) ownBroker { return m.own }
func (m *fakeMachine) cloud(context.Context, string, settings.Settings) []cloud.Finding {
	return m.clouds
}

// A sick is a user's machine with something to find.
type sick struct {
	*world
	machine *fakeMachine
	env     *Env
	args    []string
	broker  *toldBroker
}

// A toldBroker says who it is, too.
type toldBroker struct {
	*fakeBroker
	info    wire.Info
	infoErr error
	keyErr  error
}

func (b *toldBroker) Info(context.Context) (wire.Info, error) { return b.info, b.infoErr }

func (b *toldBroker) Contexts(ctx context.Context) ([]wire.Summary, error) {
	if b.keyErr != nil {
		return nil, b.keyErr
	}
	return b.fakeBroker.Contexts(ctx)
}

func newSick(t *testing.T) *sick {
	t.Helper()
	w := newWorld(t)
	s := &sick{world: w, broker: &toldBroker{fakeBroker: w.broker}, machine: &fakeMachine{
		env: map[string]string{"TERM": "xterm", "LANG": "C.UTF-8"}, programs: map[string]string{"ssh": "/usr/bin/ssh"}, space: 10 << 30,
	}}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s.broker.info = wire.Info{Version: "v1", Brokers: []string{"https://192.0.2.1:8443"}, Now: now}
	s.env = &Env{
		Command: "nimbus", Home: w.home, StateDir: w.path("state"), ConfigDir: w.path("config"), SSHKnownHosts: w.path(".ssh/known_hosts"), Executable: "/bin/true",
		Stdout: &w.stdout, Stderr: &w.stderr, Terminal: func(io.Writer) (int, int, bool) { return 0, 0, false },
		Now:        func() time.Time { return now },
		OpenBroker: func(wire.Endpoint) (Broker, error) { return s.broker, nil },
		OpenCloud:  func(string, settings.Settings) (cloud.Driver, error) { return &cloudtest.Fake{}, nil },
		machine:    s.machine,
	}
	return s
}

// see runs the doctor.
func (s *sick) see(args ...string) error {
	s.stdout.Reset()
	app := &cli.App{Name: "nimbus", Commands: Commands(s.env), Writer: &s.stdout, ErrWriter: &s.stderr, ExitErrHandler: func(*cli.Context, error) {}}
	return app.RunContext(s.t.Context(), append([]string{"nimbus", "doctor"}, args...))
}

func (s *sick) mkdir(name string, mode os.FileMode) {
	s.t.Helper()
	if err := os.MkdirAll(s.path(name), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Chmod(s.path(name), mode); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sick) chmod(name string, mode os.FileMode) {
	s.t.Helper()
	if err := os.Chmod(s.path(name), mode); err != nil {
		s.t.Fatal(err)
	}
}

const elsewhere = "https://b.example.org:8443"

// configured lets the settings name a broker.
func (s *sick) configured() {
	s.args = append(s.args, "--broker", elsewhere, "--cloud", "far")
	s.far()
}

// far is a cloud of its own, which is not this machine. (The settings know no
// other driver: the name is changed behind their back.)
func (s *sick) far() {
	s.mkdir("config", 0o700)
	s.write("config/config.toml", "[clouds.far]\ndriver = \"local\"\n")
}

func TestDoctor(t *testing.T) {
	private := []netip.Addr{netip.MustParseAddr("10.0.0.5")}
	for _, c := range []struct {
		name string
		make func(s *sick)
		want string // "level what - advice": one line of the diagnosis
	}{
		{"a line is three things", func(*sick) {}, "ok    known_hosts: HOME/.ssh/known_hosts\n"},
		{"no settings", func(*sick) {}, "info  settings: no file HOME/config/config.toml, all are the defaults\n"},
		{"settings", func(s *sick) { s.far() }, "ok    settings: HOME/config/config.toml\n"},
		{"a typo in the settings", func(s *sick) { s.mkdir("config", 0o700); s.write("config/config.toml", "brokr = 1\n") },
			`fail  settings: HOME/config/config.toml:1: unknown setting "brokr"; did you mean "broker"? - correct it`},
		{"a cloud that is not there", func(s *sick) { s.args = []string{"--cloud", "moon"} }, `fail  settings: cloud: there is no cloud "moon" (there are: local, ssh) - correct it`},
		{"another settings file", func(s *sick) { s.args = []string{"--conf", s.path("none")} }, "fail  settings: settings: open HOME/none: no such file or directory - correct it"},

		{"state cannot be written", func(s *sick) { s.machine.locked = s.path("state"); s.mkdir("state", 0o700) },
			"fail  state directory: write HOME/state: permission denied - make it writable for you (after a call with sudo: chown), or set XDG_STATE_HOME"},
		{"nor made", func(s *sick) { s.machine.locked = s.home }, "fail  history directory: write HOME: permission denied - make it writable for you (after a call with sudo: chown), or give another with --history-dir"},
		{"a file in the way", func(s *sick) { s.args = []string{"--history-dir", s.path("hello.xml")} }, "fail  history directory: open HOME/hello.xml: not a directory - make it"},
		{"a history that is not there yet", func(s *sick) { s.args = []string{"--history-dir", s.path("new/history")} }, "ok    history directory: HOME/new/history, 10 GiB free\n"},
		{"others write", func(s *sick) { s.mkdir("state", 0o777) }, "fail  state directory: others may write to HOME/state - chmod go-w HOME/state"},
		{"disk full", func(s *sick) { s.machine.space = 1 << 20 }, "fail  history directory: HOME has 1 MiB left - free some space, or give another with --history-dir"},
		{"disk almost full", func(s *sick) { s.machine.space = 100 << 20 }, "warn  state directory: HOME has 100 MiB left - free some space"},
		{"no file system", func(s *sick) { s.machine.freeErr = errors.New("statfs: no") }, "warn  state directory: statfs: no - look at"},

		{"keys", func(s *sick) { s.mkdir("state/broker", 0o700) }, "ok    keys: for you only\n"},
		{"keys that others read", func(s *sick) {
			s.mkdir("config/logins", 0o700)
			s.write("config/logins/b.json", "{}")
			s.chmod("config/logins/b.json", 0o644)
		},
			"fail  keys: others may read HOME/config/logins/b.json (mode 0644) - chmod 600 HOME/config/logins/b.json"},
		{"the broker's", func(s *sick) { s.mkdir("state/broker", 0o755) }, "fail  keys: others may read HOME/state/broker (mode 0755) - chmod 700 HOME/state/broker"},
		{"the login key", func(s *sick) {
			s.mkdir("state/ssh", 0o700)
			s.write("state/ssh/id", "")
			s.chmod("state/ssh/id", 0o640)
		}, "fail  keys: others may read HOME/state/ssh/id (mode 0640) - chmod 600"},
		{"a public key is public", func(s *sick) {
			s.mkdir("state/ssh", 0o700)
			s.write("state/ssh/id.pub", "")
			s.chmod("state/ssh/id.pub", 0o644)
		}, "ok    keys: for you only"},
		{"a key that is not there", func(s *sick) { s.mkdir("config", 0o700); s.write("config/config.toml", "broker_key = \"~/none\"\n") },
			`fail  keys: stat HOME/none: no such file or directory - correct broker_key in the settings, or log in with "nimbus login URL"`},

		{"known_hosts cannot be written", func(s *sick) { s.machine.locked = s.path(".ssh") }, "fail  known_hosts: write HOME/.ssh: permission denied - make it writable"},
		{"nor replaced", func(s *sick) { s.write(".ssh/known_hosts", ""); s.machine.locked = s.path(".ssh/known_hosts") }, "fail  known_hosts: write HOME/.ssh/known_hosts: permission denied - make it"},
		{"no known_hosts", func(s *sick) { s.mkdir("config", 0o700); s.write("config/config.toml", "known_hosts = \"none\"\n") }, "info  known_hosts: host keys are not stored"},
		{"a directory", func(s *sick) { s.mkdir(".ssh/known_hosts", 0o700) }, "fail  known_hosts: HOME/.ssh/known_hosts is a directory - make it"},
		{"no ssh", func(s *sick) { s.machine.programs = nil }, "warn  ssh client: there is none on the PATH - install openssh-client"},

		{"what the cloud says", func(s *sick) { s.machine.clouds = warn("do this", "net\x1b[31mworks") }, `warn  cloud "local": net?[31mworks - do this`},
		{"a cloud", func(*sick) {}, `ok    cloud "local": can be used`},
		{"a cloud that fails", func(s *sick) { s.machine.clouds = fail("mend it", "a host is down") }, "fail  cloud \"local\": a host is down - mend it\ninfo  your own broker"},
		{"no cloud", func(s *sick) {
			s.env.OpenCloud = func(string, settings.Settings) (cloud.Driver, error) { return nil, errors.New("needs\nroot") }
		}, `fail  cloud "local": needs root - `},

		{"no broker of one's own", func(*sick) {}, "info  your own broker: not running; a launch starts it"},
		{"own broker", func(s *sick) { s.machine.own = ownBroker{broker: s.broker, info: s.broker.info, version: "v1"} },
			"ok    your own broker: answers at https://192.0.2.1:8443, holds 0 contexts\n"},
		{"another build", func(s *sick) { s.machine.own = ownBroker{broker: s.broker, info: s.broker.info, version: "v2"} },
			"warn  your own broker: answers at https://192.0.2.1:8443, holds 0 contexts, is of another build than this program - it goes on"},
		{"it left something", func(s *sick) { s.machine.own = ownBroker{holds: true} }, "warn  your own broker: it is not running, and has contexts in HOME/state/broker - the next"},
		{"it hangs", func(s *sick) { s.machine.own = ownBroker{hangs: true} }, "fail  your own broker: it does not answer at HOME/state/broker/broker.sock - end that process"},
		{"it says no", func(s *sick) { s.broker.keyErr = errors.New("no"); s.machine.own = ownBroker{broker: s.broker} }, `fail  your own broker: no - "nimbus doctor" looks into it; its log is HOME/state/broker/broker.log`},

		{"none is configured", func(*sick) {}, "info  broker: none is configured, your own is used"},
		{"broker", (*sick).configured, "ok    broker " + elsewhere + ": answers, and proves who it is\nok    clock: as that of broker " + elsewhere + "\nok    broker " + elsewhere + ": takes your key, holds 0 contexts of yours\n"},
		{"broker down", func(s *sick) { s.configured(); s.broker.infoErr = fmt.Errorf("dial: %w", syscall.ECONNREFUSED) }, "fail  broker " + elsewhere + ": dial: connection refused - nothing listens there"},
		{"no such host", func(s *sick) { s.configured(); s.broker.infoErr = &net.DNSError{Err: "no such host", Name: "b"} }, "fail  broker " + elsewhere + ": lookup b: no such host - check the host name in the URL"},
		{"no ca.pem", func(s *sick) { s.configured(); s.broker.infoErr = x509.UnknownAuthorityError{} }, `unknown authority - a broker with a certificate of its own making needs its ca.pem: "nimbus login --ca ca.pem ` + elsewhere},
		{"certificate of another", func(s *sick) {
			s.configured()
			s.broker.infoErr = x509.HostnameError{Certificate: &x509.Certificate{}, Host: "b"}
		}, "another server answers there"},
		{"certificate too old", func(s *sick) { s.configured(); s.broker.infoErr = x509.CertificateInvalidError{Reason: x509.Expired} }, " - its certificate is not valid now: check the clock"},
		{"proxy", func(s *sick) {
			s.configured()
			s.broker.infoErr = fmt.Errorf("%w p: refused: %w", wire.ErrProxy, syscall.ECONNREFUSED)
		}, " - check HTTPS_PROXY, or add"},
		{"silence", func(s *sick) { s.configured(); s.broker.infoErr = context.DeadlineExceeded }, " - nothing answers there: check the URL, the network, firewalls"},
		{"no key", func(s *sick) { s.configured(); s.broker.keyErr = wire.Errorf(wire.Unauthorized, "who are you?") }, "fail  broker " + elsewhere + `: key: who are you? - log in with "nimbus login ` + elsewhere + `" (the owner`},
		{"no CA file", func(s *sick) {
			s.mkdir("config", 0o700)
			s.write("config/config.toml", "broker = \""+elsewhere+"\"\nbroker_ca = \"~/none\"\n")
		}, "fail  broker " + elsewhere + ": broker_ca: open HOME/none: no such file or directory - correct the path"},
		{"clock slow", func(s *sick) { s.configured(); s.broker.info.Now = s.broker.info.Now.Add(time.Minute) }, "warn  clock: 1 min apart from that of broker " + elsewhere + " - set the clock"},
		{"clock fast", func(s *sick) { s.configured(); s.broker.info.Now = s.broker.info.Now.Add(-time.Hour) }, "fail  clock: 1 h apart from that of broker " + elsewhere + " - set the clock"},
		{"sandboxes have no way out", (*sick).configured, "warn  broker " + elsewhere + `: the sandboxes of cloud "far" cannot reach it, they have no way out - leave the setting`},

		{"sandboxes and addresses", func(*sick) {}, "info  addresses: sandboxes reach this machine"},
		{"no proxy", func(*sick) {}, "ok    proxies: none is set"},
		{"a proxy for others", func(s *sick) { s.machine.env["HTTP_PROXY"] = "http://p" }, "info  proxies: HTTP_PROXY is set, HTTPS_PROXY is not"},
		{"a proxy, and one's own", func(s *sick) { s.machine.env["https_proxy"] = "http://p" }, "ok    proxies: https_proxy is set; your own broker is reached without it"},
		{"through a proxy", func(s *sick) { s.configured(); s.proxied("http://me:secret@p:3128") }, "ok    proxies: broker " + elsewhere + " is reached through p:3128\n"},
		{"past a proxy", func(s *sick) { s.configured(); s.machine.env["HTTPS_PROXY"] = "http://p" }, "ok    proxies: HTTPS_PROXY is set; broker " + elsewhere + " is reached without it (NO_PROXY)"},
		{"a detour", func(s *sick) { s.args = []string{"--broker", "https://10.0.0.7:8443"}; s.proxied("http://p:3128") },
			"warn  proxies: broker https://10.0.0.7:8443 is reached through p:3128 - if it is in your own network, add 10.0.0.7 to NO_PROXY"},
		{"no URL", func(s *sick) {
			s.configured()
			s.proxied("http://p")
			s.machine.proxyErr = errors.New("HTTPS_PROXY must read this")
		}, "fail  proxies: HTTPS_PROXY must read this - set it as"},

		{"terminal", func(*sick) {}, "info  terminal: xterm, output is no terminal: plain lines\n"},
		{"not UTF-8", func(s *sick) { s.machine.env["LC_ALL"] = "POSIX"; s.env.NoColor = true }, "without colour (NO_COLOR); the locale POSIX is not UTF-8"},
		{"a screen", func(s *sick) { s.env.Terminal = func(io.Writer) (int, int, bool) { return 80, 24, true } }, "info  terminal: xterm, 80x24"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSick(t)
			s.machine.ips = private
			c.make(s)
			before := stamps(t, s.home)
			err := s.see(s.args...)
			got := strings.ReplaceAll(s.stdout.String(), s.home, "HOME")
			if !strings.Contains(got, c.want) {
				t.Errorf("%q is missing from\n%s", c.want, got)
			}
			if failed := strings.Contains("\n"+got, "\nfail"); failed != (err != nil) || err != nil && codeOf(err) != 1 {
				t.Errorf("%v\n%s", err, got)
			}
			for line := range strings.Lines(got) {
				if bad := strings.HasPrefix(line, "fail") || strings.HasPrefix(line, "warn"); bad != strings.Contains(line, " - ") {
					t.Errorf("advice is missing, or given for nothing: %s", line)
				}
			}
			if strings.Contains(got, "secret") {
				t.Errorf("it tells a password:\n%s", got)
			}
			if after := stamps(t, s.home); after != before {
				t.Errorf("it changed something:\n%s\nwas\n%s", after, before)
			}
		})
	}
}

func (s *sick) proxied(proxy string) {
	s.machine.env["HTTPS_PROXY"] = proxy
	s.machine.through, _ = url.Parse(proxy)
}

// stamps lists all files of a directory with their modes, sizes and times.
func stamps(t *testing.T, dir string) string {
	t.Helper()
	var b bytes.Buffer
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil {
			fmt.Fprintln(&b, path, info.Mode(), info.Size(), info.ModTime())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Clouds elsewhere call back.
func TestDoctorOfAddresses(t *testing.T) {
	far := settings.Settings{Cloud: "far", Clouds: map[string]settings.Cloud{"far": {Driver: "far"}}}
	for _, c := range []struct {
		ips    string
		err    error
		broker string
		want   string
	}{
		{ips: "", want: "fail"},
		{ips: "192.168.1.4", want: "warn"},
		{ips: "192.168.1.4 198.51.100.3", want: "ok"},
		{err: errors.New("no"), want: "warn"},
		{ips: "", broker: elsewhere, want: ""},
	} {
		s := newSick(t)
		far.Broker = c.broker
		for ip := range strings.FieldsSeq(c.ips) {
			s.machine.ips = append(s.machine.ips, netip.MustParseAddr(ip))
		}
		s.machine.ipErr = c.err
		got := checkAddresses(t.Context(), &patient{session: &session{env: s.env, settings: far}, machine: s.machine})
		if c.want == "" && got == nil {
			continue
		}
		if len(got) != 1 || string(got[0].Level) != c.want {
			t.Errorf("%+v: %+v", c, got)
		}
	}
	s := newSick(t)
	far.Broker = elsewhere
	p := &patient{session: &session{env: s.env, settings: far}, machine: s.machine}
	if got := checkReach(p, elsewhere, wire.Info{Brokers: []string{"https://127.0.0.1:1", "https://[::1]:1"}}); got[0].Level != cloud.Warn {
		t.Errorf("%+v", got)
	}
	if got := checkReach(p, elsewhere, wire.Info{Brokers: []string{"https://127.0.0.1:1", "https://192.0.2.1:1"}}); got[0].Level != cloud.Fine {
		t.Errorf("%+v", got)
	}
}

func TestDoctorJSON(t *testing.T) {
	s := newSick(t)
	s.machine.programs = nil
	if err := s.see("--json"); err != nil {
		t.Fatal(err)
	}
	var d Diagnosis
	if err := json.Unmarshal(s.stdout.Bytes(), &d); err != nil || !d.OK || d.count(cloud.Warn) != 1 {
		t.Errorf("%v: %s", err, s.stdout.String())
	}
	s.machine.space = 0
	if err := s.see("--json"); err == nil || !strings.Contains(s.stdout.String(), `"ok": false`) {
		t.Errorf("%v: %s", err, s.stdout.String())
	}
	if err := s.see("extra"); err == nil || !strings.Contains(err.Error(), `unexpected argument "extra"`) {
		t.Error(err)
	}
}

func TestThisMachine(t *testing.T) {
	m := thisMachine{}
	dir := t.TempDir()
	if err := m.writable(dir); err != nil {
		t.Error(err)
	}
	if err := m.writable(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if free, err := m.free(dir); err != nil || free == 0 {
		t.Error(free, err)
	}
	if own := m.ownBroker(t.Context(), dir, os.Args[0]); own.broker != nil || own.holds || own.hangs || own.version == "" {
		t.Errorf("%+v", own)
	}
	if got, err := nearestDir(filepath.Join(dir, "a", "b")); err != nil || got != dir {
		t.Error(got, err)
	}
}

// A checkedCloud knows what is wrong with it.
type checkedCloud struct{ cloudtest.Fake }

func (*checkedCloud) Check(context.Context) []cloud.Finding {
	return []cloud.Finding{{Level: cloud.Fail, Text: "quota: none is left", Advice: "ask for more"}}
}

// A driver elsewhere is asked what it lacks; one that cannot tell says nothing.
func TestDoctorAsksTheDriver(t *testing.T) {
	far := settings.Settings{Clouds: map[string]settings.Cloud{"far": {Driver: "far"}}}
	var driver cloud.Driver = &checkedCloud{}
	m := thisMachine{env: &Env{OpenCloud: func(string, settings.Settings) (cloud.Driver, error) { return driver, nil }}}
	if got := m.cloud(t.Context(), "far", far); len(got) != 1 || got[0].Text != "quota: none is left" {
		t.Errorf("%+v", got)
	}
	driver = &cloudtest.Fake{}
	if got := m.cloud(t.Context(), "far", far); got != nil {
		t.Errorf("%+v", got)
	}
}

// A broker that accepts and is silent hangs; nothing waits for it for ever.
func TestBrokerThatHangs(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "broker.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Read(make([]byte, 1))
		cancel()
		_, _ = io.Copy(io.Discard, conn)
	}()
	if own := (thisMachine{}).ownBroker(ctx, dir, "none"); !own.hangs {
		t.Errorf("%+v", own)
	}
}
