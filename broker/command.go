package broker

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"nimbus/broker/software"
	"nimbus/broker/store/boltstore"
)

const help = `Usage:
  nimbus broker --data DIR --listen ADDR --advertise URL [--config FILE]
  nimbus broker install [--root DIR]

Serves contexts to others. A client without a configured broker starts one for
its own user by itself; this command is for a broker that others use, or that
instances on a cloud must reach. "nimbus broker install --help" explains how it
becomes a service that starts at boot.

At the first start it makes a CA and the owner's key in DIR/owner.key. A client
uses that key (broker_key in its configuration), and the CA in DIR/ca.pem.

It hands itself out to anybody, with install.sh: /download/nimbus-PLATFORM and
/install.sh at any of its addresses. Machines of other platforms get theirs from
the directory of downloads: what "make release" leaves in bin/release.

Example: a broker for a testbed, reached by its nodes at 192.0.2.1
  nimbus broker --data /var/lib/nimbus-broker --listen 192.0.2.1:8443
  curl --cacert /var/lib/nimbus-broker/ca.pem https://192.0.2.1:8443/healthz

Options:
  --config FILE       settings (TOML); options win over it
  --data DIR          contexts and keys, for the owner only
                      (default /var/lib/nimbus-broker)
  --listen ADDR       host:port to answer at; may be given several times
                      (default 127.0.0.1:8443)
  --advertise URL     https://host:port by which nodes reach this broker; may
                      be given several times (default: the addresses listened
                      on)
  --downloads DIR     builds for other platforms to hand out: nimbus-PLATFORM
                      and SHA256SUMS (default: downloads in the directory of
                      --data)
  --log-level LEVEL   debug, info, warn or error
  --log-format FORM   text or json

Exit codes: 0 it was told to stop; 1 wrong parameters; 2 it cannot serve.
`

// Command is "nimbus broker".
func Command() *cli.Command {
	return &cli.Command{
		Name:               "broker",
		Usage:              "serve contexts",
		CustomHelpTemplate: help,
		HideHelpCommand:    true,
		Subcommands:        []*cli.Command{installCommand()},
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config"},
			&cli.StringFlag{Name: "data"},
			&cli.StringSliceFlag{Name: "listen"},
			&cli.StringSliceFlag{Name: "advertise"},
			&cli.StringFlag{Name: "downloads"},
			&cli.StringFlag{Name: "log-level"},
			&cli.StringFlag{Name: "log-format"},
			&cli.BoolFlag{Name: "personal", Hidden: true},
			&cli.IntFlag{Name: "ready-fd", Hidden: true},
		},
		OnUsageError: func(_ *cli.Context, err error, _ bool) error { return usageError{err} },
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usageError{fmt.Errorf("the broker takes no arguments, but there is %q", c.Args().First())}
			}
			config, err := configure(c)
			if err != nil {
				return usageError{err}
			}
			shelf, err := software.Open("", config.Downloads)
			if err != nil {
				return err
			}
			defer shelf.Close()
			ctx, stop := signal.NotifyContext(c.Context, syscall.SIGTERM)
			defer stop()
			return advised(Run(ctx, config, shelf, newLog(c.App.ErrWriter, config)))
		},
	}
}

// usageError is a mistake of whoever called; main exits with 1 and says where
// the help is.
type usageError struct{ error }

func (usageError) ExitCode() int { return 1 }
func (usageError) Hint() string  { return "nimbus broker --help" }

// advisedError says what to do as well.
type advisedError struct {
	error
	hint string
}

func (e advisedError) Hint() string  { return e.hint }
func (e advisedError) Unwrap() error { return e.error }

// advised adds what to do about what keeps a broker from serving.
func advised(err error) error {
	for _, known := range []struct {
		err  error
		hint string
	}{
		{boltstore.ErrInUse, "use the broker that runs there, or end it first; one for something else needs a directory of its own (--data)"},
		{syscall.EADDRINUSE, "another program listens there, perhaps another broker: give another port with --listen, or end that program (\"ss -ltnp\" names it)"},
		{syscall.EADDRNOTAVAIL, "this machine does not have that address: give one of its own with --listen (\"ip address\" lists them)"},
		{syscall.EACCES, "run it as a user who may do that: ports below 1024 are root's, and the directory of --data is its owner's"},
		{syscall.ENOSPC, "free some space, or give a directory elsewhere with --data"},
		{syscall.EROFS, "give a directory that can be written to with --data"},
	} {
		if errors.Is(err, known.err) {
			return advisedError{err, known.hint}
		}
	}
	return err
}

// configure lays the flags over the file.
func configure(c *cli.Context) (Config, error) {
	config := Default()
	if path := c.String("config"); path != "" {
		var err error
		if config, err = Load(path); err != nil {
			return config, err
		}
	}
	for flag, field := range map[string]*string{"data": &config.Data, "downloads": &config.Downloads, "log-level": &config.LogLevel, "log-format": &config.LogFormat} {
		if c.IsSet(flag) {
			*field = c.String(flag)
		}
	}
	if c.IsSet("listen") {
		config.Listen = c.StringSlice("listen")
	}
	if c.IsSet("advertise") {
		config.Advertise = c.StringSlice("advertise")
	}
	config.personal = c.Bool("personal")
	if fd := c.Int("ready-fd"); fd > 2 {
		config.ready = os.NewFile(uintptr(fd), "ready")
	}
	return config, config.Validate()
}

func (c Config) level() (slog.Level, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return level, fmt.Errorf("log_level: %q must be debug, info, warn or error", c.LogLevel)
	}
	return level, nil
}

func newLog(w io.Writer, c Config) *slog.Logger {
	level, _ := c.level() // checked by Validate
	options := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
