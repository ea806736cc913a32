package client

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"nimbus/broker/wire"
)

// login stores the key of an account at a broker, so that the broker can be
// used by its URL alone.
var loginHelp = helpText{"store the key of an account at a broker", `Usage:
  nimbus login [--ca FILE] [--key FILE] URL

Checks the key and stores it, readable by you alone. Without --key it is read
from standard input. A broker with a certificate of its own making needs --ca:
ca.pem and owner.key are in its data directory.

Examples:
  nimbus login https://broker.example.org:8443
  nimbus login --ca ca.pem --key owner.key https://10.0.0.5:8443

Options:
  --ca FILE           PEM file with the broker's CA
  --key FILE          file with the account's key
`}

func (env *Env) loginCommand() *cli.Command {
	return &cli.Command{
		Name:  "login",
		Flags: stringFlags("ca", "key"),
		Action: func(c *cli.Context) error {
			url := c.Args().First()
			if c.Args().Len() != 1 || strings.HasPrefix(url, "-") {
				return &Failure{Code: exitUsage, Text: "login: give one broker URL, after the options", Advice: "for example: nimbus login https://broker.example.org:8443"}
			}
			e := wire.Endpoint{URLs: []string{url}}
			if err := wire.CheckURL(url); err != nil {
				return &Failure{Code: exitUsage, Text: "login: " + err.Error(), Advice: "for example: nimbus login https://broker.example.org:8443"}
			}
			var err error
			if file := c.String("ca"); file != "" {
				if e.CA, err = readText(env.expand(file)); err != nil {
					return &Failure{Code: exitUsage, Text: fmt.Sprintf("login: --ca: %v", err), Advice: "ca.pem is in the data directory of the broker: ask its operator for it"}
				}
			}
			if e.Key, err = env.readKey(c.String("key")); err != nil {
				return &Failure{Code: exitUsage, Text: fmt.Sprintf("login: %v", err), Advice: "name a file with the account's key with --key, or write the key to standard input"}
			}
			client, err := wire.NewClient(e)
			if err != nil {
				return &Failure{Code: exitUsage, Text: fmt.Sprintf("login: %v", err), Advice: "--ca must name the broker's ca.pem"}
			}
			// A key that does not work is worth nothing: ask for what only an
			// account may see.
			if _, err := client.Contexts(c.Context); err != nil {
				return &Failure{Code: exitFailed, Text: fmt.Sprintf("login at %s: %v", url, err), Advice: env.loginAdvice(url, err)}
			}
			if err := env.storeLogin(e); err != nil {
				return &Failure{Code: exitFailed, Text: fmt.Sprintf("login: %v", err), Advice: "make that directory writable for you, or set XDG_CONFIG_HOME to another"}
			}
			fmt.Fprintf(env.Stdout, "Logged in at %s.\nTo use it always, write into %s:\n  broker = %q\n", url, filepath.Join(env.ConfigDir, "config.toml"), url)
			return nil
		},
	}
}

// readKey takes the account's key from a file, or from standard input: on the
// command line everybody on the machine could read it.
func (env *Env) readKey(file string) (string, error) {
	var text string
	var err error
	if file != "" {
		text, err = readText(env.expand(file))
	} else {
		fmt.Fprint(env.Stderr, "Key of your account (one line): ")
		text, err = bufio.NewReader(io.LimitReader(env.Stdin, maxText)).ReadString('\n')
		if err == io.EOF {
			err = nil
		}
	}
	text = strings.TrimSpace(text)
	if err == nil && text == "" {
		err = errors.New("no key given")
	}
	return text, err
}

func (env *Env) loginFile(url string) string {
	name := strings.NewReplacer(":", "_", "/", "_", "[", "", "]", "").Replace(strings.TrimSuffix(strings.TrimPrefix(url, "https://"), "/"))
	return filepath.Join(env.ConfigDir, "logins", name+".json")
}

func (env *Env) storeLogin(e wire.Endpoint) error {
	text, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return err
	}
	file := env.loginFile(e.URLs[0])
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	// Another file of that name may be readable by others: replace it.
	temp, err := os.CreateTemp(filepath.Dir(file), ".login-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	if _, err := temp.Write(append(text, '\n')); err != nil {
		return errors.Join(err, temp.Close())
	}
	if err := temp.Close(); err != nil {
		return err
	}
	return os.Rename(temp.Name(), file)
}

// login reads a stored login; fs.ErrNotExist says that there is none.
func (env *Env) login(url string) (wire.Endpoint, error) { return readLogin(env.loginFile(url)) }

func readLogin(file string) (wire.Endpoint, error) {
	text, err := readText(file)
	if err != nil {
		return wire.Endpoint{}, err
	}
	var e wire.Endpoint
	if err := json.Unmarshal([]byte(text), &e); err != nil || len(e.URLs) == 0 {
		return e, fmt.Errorf("%s is damaged: remove it and log in again", file)
	}
	return e, nil
}

// maxText is the largest key or certificate file that is read.
const maxText = 1 << 20

func readText(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err == nil && len(text) > maxText {
		err = fmt.Errorf("%s is larger than %d KiB", file, maxText>>10)
	}
	return string(text), err
}
