package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"nimbus/agent/host"
	"nimbus/agent/source"
)

// ConfigFile is where the configuration is, unless a flag says otherwise.
const ConfigFile = "/opt/nimbus/ctx/ctx.conf"

// Config is the agent's configuration. A missing file, and everything a file
// leaves out, means the defaults; start from Default.
type Config struct {
	// ScriptsDir holds the role scripts; an empty or missing one is filled
	// with the scripts that come with Nimbus.
	ScriptsDir string `toml:"scripts_dir"`
	// StateDir keeps what the agent must remember over a reboot; only root may
	// read it.
	StateDir string `toml:"state_dir"`
	// LogFile is appended to.
	LogFile string `toml:"log_file"`
	// LogLevel is debug, info, warn or error.
	LogLevel string `toml:"log_level"`
	// ScriptTimeLimit is how long one script may run.
	ScriptTimeLimit time.Duration `toml:"script_time_limit"`
	// NetworkWait is how long interfaces are waited for; 0: not at all.
	NetworkWait time.Duration `toml:"network_wait"`
	// BootstrapFile may hold the bootstrap document; it is looked at first.
	BootstrapFile string `toml:"bootstrap_file"`
	// MetadataURLFile may hold the base URL of a metadata server.
	MetadataURLFile string `toml:"metadata_url_file"`
	// MetadataURL is the cloud's own metadata server.
	MetadataURL string `toml:"metadata_url"`
	// SSHHostKeys is the pattern of this machine's public key files.
	SSHHostKeys string `toml:"ssh_host_keys"`
	// SSHHostKeyWait is how long a key is waited for where sshd is installed.
	SSHHostKeyWait time.Duration `toml:"ssh_host_key_wait"`
	// KnownHosts is the file by which this machine's SSH knows the others.
	KnownHosts string `toml:"known_hosts"`
	// HostBasedTrust lets the users of every node log in on this one without a
	// key, by HostsEquiv.
	HostBasedTrust bool `toml:"host_based_trust"`
	// HostsEquiv is written only with HostBasedTrust; the file from before is
	// kept beside it.
	HostsEquiv string `toml:"hosts_equiv"`
	// ProblemScript is run after a failure was reported; empty: none.
	ProblemScript string `toml:"problem_script"`
	// PowerOff tells the problem script to power the machine off.
	PowerOff bool `toml:"power_off"`

	// Bootstrap is a file named on the command line, the only place to look.
	Bootstrap string `toml:"-"`
	// Rerun begins again, also when all is done or has failed.
	Rerun bool `toml:"-"`
	// From is the phase that a rerun begins with; empty: the first.
	From string `toml:"-"`

	machine machine
}

// A machine is what the agent asks its own machine, but for tests.
type machine struct {
	dmi        fs.FS         // what the firmware says
	drives     source.Drives // attached to it
	cloudInit  string        // the directory of cloud-init
	cloudRun   string        // what cloud-init wrote in this boot
	sshd       string        // the SSH server
	interfaces func() ([]host.Interface, error)
	hostname   func() (string, error)
}

// Default is the configuration without a file.
func Default() Config {
	return Config{
		ScriptsDir:      "/opt/nimbus/ctx-scripts",
		StateDir:        "/var/lib/nimbus",
		LogFile:         "/opt/nimbus/ctxlog.txt",
		LogLevel:        "info",
		ScriptTimeLimit: 10 * time.Minute,
		NetworkWait:     time.Minute,
		BootstrapFile:   "/var/lib/nimbus/bootstrap",
		MetadataURLFile: "/var/nimbus-metadata-server-url",
		MetadataURL:     "http://169.254.169.254",
		SSHHostKeys:     "/etc/ssh/ssh_host_*_key.pub",
		SSHHostKeyWait:  10 * time.Second,
		KnownHosts:      "/etc/ssh/ssh_known_hosts",
		HostsEquiv:      "/etc/hosts.equiv",
		machine: machine{
			dmi:        os.DirFS("/sys/class/dmi/id"),
			drives:     source.ThisMachine(),
			cloudInit:  "/var/lib/cloud",
			cloudRun:   "/run/cloud-init",
			sshd:       "/usr/sbin/sshd",
			interfaces: host.Interfaces,
			hostname:   os.Hostname,
		},
	}
}

// oldSection begins a part of the original agent's ctx.conf, an INI file.
var oldSection = regexp.MustCompile(`(?m)^\[(sshd|reginst|systempaths|taskpaths|ctxservice|ec2)\]`)

// maxConfig bounds a configuration file in bytes.
const maxConfig = 1 << 20

// Load reads a configuration file over the defaults; one that does not exist
// is fs.ErrNotExist. An image may still have the original agent's file: then
// the defaults count, and the warning says so.
func Load(path string) (cfg Config, warning string, err error) {
	cfg = Default()
	info, err := os.Stat(path)
	if err != nil {
		return cfg, "", err
	}
	if info.Size() > maxConfig {
		return cfg, "", fmt.Errorf("%s: larger than %d MiB", path, maxConfig>>20)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return cfg, "", err
	}
	return parse(path, content)
}

// parse reads the content of a configuration file over the defaults.
func parse(path string, content []byte) (cfg Config, warning string, err error) {
	cfg = Default()
	if oldSection.Match(content) {
		return cfg, fmt.Sprintf("%s is a configuration of the original context agent and is ignored; the defaults are used", path), nil
	}
	meta, err := toml.Decode(string(content), &cfg)
	if err != nil {
		var syntax toml.ParseError
		if errors.As(err, &syntax) {
			return cfg, "", fmt.Errorf("%s:%d: %s", path, syntax.Position.Line, syntax.Message)
		}
		return cfg, "", fmt.Errorf("%s: %w", path, err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return cfg, "", fmt.Errorf("%s:%d: unknown setting %q", path, lineOf(string(content), unknown[0]), unknown[0].String())
	}
	if err := cfg.Validate(); err != nil {
		return cfg, "", fmt.Errorf("%s: %w", path, err)
	}
	return cfg, "", nil
}

// lineOf finds where a key stands; the decoder does not tell.
func lineOf(content string, key toml.Key) int {
	number := 0
	for line := range strings.Lines(content) {
		number++
		line = strings.TrimLeft(line, " \t[\"'")
		if rest, found := strings.CutPrefix(line, key[0]); found && strings.ContainsAny(rest[:min(1, len(rest))], " \t=.]\"'") {
			return number
		}
	}
	return 1
}

// Validate names the first setting that cannot be used.
func (c Config) Validate() error {
	for name, path := range map[string]string{
		"scripts_dir": c.ScriptsDir, "state_dir": c.StateDir, "log_file": c.LogFile,
		"bootstrap_file": c.BootstrapFile, "metadata_url_file": c.MetadataURLFile,
		"ssh_host_keys": c.SSHHostKeys, "known_hosts": c.KnownHosts, "hosts_equiv": c.HostsEquiv,
	} {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("%s = %q must be an absolute path", name, path)
		}
	}
	if c.ProblemScript != "" && !filepath.IsAbs(c.ProblemScript) {
		return fmt.Errorf("problem_script = %q must be an absolute path, or empty", c.ProblemScript)
	}
	if !strings.HasPrefix(c.MetadataURL, "http://") && !strings.HasPrefix(c.MetadataURL, "https://") {
		return fmt.Errorf("metadata_url = %q must be an http URL", c.MetadataURL)
	}
	if c.ScriptTimeLimit <= 0 {
		return fmt.Errorf("script_time_limit = %v must be more than nothing", c.ScriptTimeLimit)
	}
	if c.NetworkWait < 0 || c.SSHHostKeyWait < 0 {
		return errors.New("network_wait and ssh_host_key_wait must not be negative")
	}
	if _, err := level(c.LogLevel); err != nil {
		return fmt.Errorf("log_level = %q must be debug, info, warn or error", c.LogLevel)
	}
	return nil
}
