package broker

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/BurntSushi/toml"

	"nimbus/broker/wire"
)

// Config is what an operator can set, in a TOML file or by flags of the same
// names. docs/broker.md has them as a table.
type Config struct {
	// Data is the directory of contexts and keys, for its owner only.
	Data string `toml:"data"`
	// Listen are the addresses to answer at, host:port. Empty: 127.0.0.1:8443.
	Listen []string `toml:"listen"`
	// Advertise are the URLs by which nodes reach this broker. Empty: the
	// addresses of this machine that it listens on.
	Advertise []string `toml:"advertise"`
	// PublicName is a host name for which clients are shown another
	// certificate than nodes are. Empty: none.
	PublicName string `toml:"public_name"`
	// CertFile and KeyFile are that certificate (PEM, with its chain). They
	// are read again when they change.
	CertFile string `toml:"cert_file"`
	KeyFile  string `toml:"key_file"`
	// ACME obtains that certificate by the TLS-ALPN-01 challenge; this agrees
	// to the CA's terms of service.
	ACME bool `toml:"acme"`
	// ACMEDirectory is the CA's directory URL. Empty: Let's Encrypt.
	ACMEDirectory string `toml:"acme_directory"`
	// ACMERoots is a PEM file of the CA to trust for that URL. Empty: the
	// system's.
	ACMERoots string `toml:"acme_roots"`
	// ACMEEmail is told to the CA. Empty: none.
	ACMEEmail string `toml:"acme_email"`
	// Downloads is a directory with builds for other platforms than the
	// broker's own, nimbus-PLATFORM, and their SHA256SUMS, to be handed out.
	// Empty: downloads in the data directory.
	Downloads string `toml:"downloads"`
	// LogFormat is text or json.
	LogFormat string `toml:"log_format"`
	// LogLevel is debug, info, warn or error.
	LogLevel string `toml:"log_level"`

	// personal brokers are started by a client for its user, and end by
	// themselves; ready is where such a one says that it serves.
	personal bool
	ready    *os.File
}

// Default is the configuration without a file.
func Default() Config {
	return Config{Data: "/var/lib/nimbus-broker", LogFormat: "text", LogLevel: "info"}
}

// Load reads a file over the defaults.
func Load(path string) (Config, error) {
	c := Default()
	meta, err := toml.DecodeFile(path, &c)
	if err != nil {
		return c, fmt.Errorf("configuration %s: %w", path, err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return c, fmt.Errorf("%s: there is no setting %q; docs/broker.md lists them", path, unknown[0])
	}
	return c, nil
}

// Validate checks the settings and completes them.
func (c *Config) Validate() error {
	if c.Data == "" {
		return errors.New("data: name a directory for contexts and keys")
	}
	if c.Downloads == "" {
		c.Downloads = filepath.Join(c.Data, downloadsName)
	}
	if len(c.Listen) == 0 {
		c.Listen = []string{"127.0.0.1:8443"}
	}
	for _, address := range c.Listen {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return fmt.Errorf("listen: %q must read host:port", address)
		}
	}
	for _, url := range c.Advertise {
		if err := wire.CheckURL(url); err != nil {
			return fmt.Errorf("advertise: %w", err)
		}
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		return errors.New("cert_file and key_file belong together")
	}
	if c.PublicName == "" && (c.CertFile != "" || c.ACME) {
		return errors.New("public_name: say for which name the certificate is")
	}
	if c.CertFile != "" && c.ACME {
		return errors.New("acme: a certificate comes from files or by ACME, not both")
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		return fmt.Errorf("log_format: %q must be text or json", c.LogFormat)
	}
	if _, err := c.level(); err != nil {
		return err
	}
	return nil
}
