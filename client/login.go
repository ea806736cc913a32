package client

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode"

	"github.com/urfave/cli/v2"

	"nimbus/broker/wire"
)

// login stores the key of an account at a broker, so that the broker can be
// used by its URL alone.
var loginHelp = helpText{"store the key of an account at a broker", `Usage:
  nimbus login [--ca FILE] [--key FILE] URL

Checks the key and stores it, readable by you alone. Without --key it is read
from standard input, when the broker has answered and is trusted. A broker with
a certificate of its own making needs --ca: ca.pem and owner.key are in its data
directory.

Examples:
  nimbus login https://broker.example.org:8443
  nimbus login --ca ca.pem --key owner.key https://10.0.0.5:8443

Options:
  --ca FILE           PEM file with the broker's CA
  --key FILE          file with the account's key
  --json              print one JSON document
`}

func (env *Env) loginCommand() *cli.Command {
	return &cli.Command{
		Name:  "login",
		Flags: append(stringFlags("ca", "key"), jsonFlag()),
		Action: func(c *cli.Context) error {
			url, err := loginURL(c.Args().Slice())
			if err != nil {
				return err
			}
			return env.logIn(c.Context, newOutput(env, formatOf(c)), url, c.String("ca"), c.String("key"))
		},
	}
}

// LoginResult is what --json prints of a login.
type LoginResult struct {
	URL  string `json:"url"`
	File string `json:"file"` // where the key was stored
}

func (env *Env) logIn(ctx context.Context, out *output, url, caFile, keyFile string) error {
	e := wire.Endpoint{URLs: []string{url}}
	var err error
	if caFile != "" {
		if e.CA, err = reading(ctx, func() (string, error) { return readText(env.expand(caFile)) }); err != nil {
			return &Failure{Code: exitUsage, Text: fmt.Sprintf("login: --ca: %v", err)}
		}
		if err := checkCA(caFile, e.CA); err != nil {
			return err
		}
	}
	failed := func(err error) error {
		return &Failure{Code: exitFailed, Text: fmt.Sprintf("login at %s: %s; nothing was stored", url, brokerText(err)), Advice: loginAdvice(url, e.CA != "", err)}
	}
	if keyFile == "" { // nobody shall type a key for a broker that cannot be used
		client, err := wire.NewClient(e)
		if err != nil {
			return &Failure{Code: exitUsage, Text: fmt.Sprintf("login: %v", err)}
		}
		var answered *wire.Error
		if _, err := client.Info(ctx); err != nil && !errors.As(err, &answered) {
			return failed(err)
		}
	}
	if e.Key, err = env.readKey(ctx, keyFile); err != nil {
		return &Failure{Code: exitUsage, Text: fmt.Sprintf("login: %v", err), Advice: "--key FILE names a file with it; else it is read from standard input"}
	}
	if err := checkKey(keyFile, e.Key); err != nil {
		return err
	}
	client, err := wire.NewClient(e)
	if err != nil {
		return &Failure{Code: exitUsage, Text: fmt.Sprintf("login: %v", err)}
	}
	// A key that does not work is worth nothing: ask for what only an
	// account may see.
	if _, err := client.Contexts(ctx); err != nil {
		return failed(err)
	}
	if err := env.storeLogin(e); err != nil {
		return &Failure{Code: exitFailed, Text: fmt.Sprintf("login: %v", err)}
	}
	if !out.document(LoginResult{url, env.loginFile(url)}) {
		out.print("Logged in at %s.\nTo use it always, write into %s:\n  broker = %q\n", url, filepath.Join(env.ConfigDir, "config.toml"), url)
	}
	return nil
}

// loginURL is the one argument of login, if it can be right.
func loginURL(args []string) (string, error) {
	refuse := func(advice, format string, args ...any) (string, error) {
		return "", &Failure{Code: exitUsage, Text: "login: " + fmt.Sprintf(format, args...), Advice: advice}
	}
	const example = "for example: nimbus login https://broker.example.org:8443"
	if len(args) == 0 {
		return refuse(example, "give the broker's URL")
	}
	for _, arg := range args[1:] {
		if strings.HasPrefix(arg, "-") {
			return refuse("write options first: nimbus login "+arg+" … "+args[0], "the option %s stands after the URL, where it would be ignored", arg)
		}
	}
	if len(args) > 1 {
		return refuse(example, "give one broker URL, not %d", len(args))
	}
	url := args[0]
	if rest, plain := strings.CutPrefix(url, "http://"); plain {
		return refuse("write https://"+rest, "a broker is reached by https, never by http: %s", url)
	}
	if !strings.Contains(url, "://") {
		return refuse("write https://"+url, "%q is no URL", url)
	}
	if err := wire.CheckURL(url); err != nil {
		return refuse(example, "%v", err)
	}
	return url, nil
}

// checkCA refuses what is no certificate, before the broker is asked.
func checkCA(file, text string) error {
	if strings.Contains(text, "PRIVATE KEY-----") {
		return &Failure{Code: exitUsage, Text: fmt.Sprintf("login: --ca: %s holds a private key", file), Advice: "give ca.pem from the broker's data directory"}
	}
	if _, err := wire.ParseCA(text); err != nil {
		f := &Failure{Code: exitUsage, Text: fmt.Sprintf("login: --ca: %s holds no certificate: %v", file, err), Advice: "give ca.pem from the broker's data directory"}
		if fields := strings.Fields(text); len(fields) == 1 {
			f.Advice = "it looks like a key: give that with --key, and ca.pem with --ca"
		}
		return f
	}
	return nil
}

// checkKey refuses what is no account's key, before it is sent anywhere.
func checkKey(file, key string) error {
	where := ""
	if file != "" {
		where = "--key: " + file + ": "
	}
	switch {
	case strings.Contains(key, "-----BEGIN CERTIFICATE"):
		return &Failure{Code: exitUsage, Text: fmt.Sprintf("login: %sthis is a certificate, not a key", where), Advice: "give it with --ca; the account's key is one word"}
	case strings.Contains(key, "-----BEGIN"):
		return &Failure{Code: exitUsage, Text: fmt.Sprintf("login: %sthis is not the key of an account", where), Advice: "the owner's is in owner.key, in the broker's data directory: one word"}
	case strings.ContainsFunc(key, unicode.IsSpace):
		return &Failure{Code: exitUsage, Text: fmt.Sprintf("login: %sthere are spaces or several lines in the key", where), Advice: "a key is one word: paste it whole, and nothing else"}
	case strings.ContainsFunc(key, func(r rune) bool { return r < '!' || r > '~' }):
		return &Failure{Code: exitUsage, Text: fmt.Sprintf("login: %sthere are characters in the key that no key has", where), Advice: "a key is one word of letters, digits and marks"}
	}
	return nil
}

// loginAdvice says what to do about a broker that cannot be reached, or does
// not take the key.
func loginAdvice(url string, withCA bool, err error) string {
	var refused *wire.Error
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	var record tls.RecordHeaderError
	var dns *net.DNSError
	port := "brokers listen at port 8443 unless told otherwise: write " + strings.TrimSuffix(url, "/") + ":8443"
	noPort := hasNoPort(url)
	switch {
	case errors.As(err, &refused) && refused.Code == wire.Unauthorized:
		return "check the key: the owner's is in owner.key, in the broker's data directory"
	case errors.As(err, &refused):
		return refused.Hint
	case errors.Is(err, wire.ErrProxy):
		return "check HTTPS_PROXY, or add the broker's host to NO_PROXY"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "its certificate is not valid now: check the clock of this machine, else have the certificate renewed"
	case errors.As(err, &authority) && withCA:
		return "the file of --ca belongs to another broker: give this one's ca.pem, from its data directory"
	case errors.As(err, &authority):
		return "this broker has a CA of its own: copy ca.pem from its data directory and give it with --ca ca.pem"
	case errors.As(err, &name) && withCA:
		return "the file of --ca is not the CA of this broker: give its ca.pem, from its data directory"
	case errors.As(err, &name):
		return "a broker with a CA of its own needs --ca: copy ca.pem from its data directory; else use the host name that its certificate is made for"
	case errors.As(err, &record):
		return "what listens there does not speak https: check the port"
	case errors.As(err, &dns):
		return "there is no such host: check the name in the URL"
	case errors.Is(err, syscall.ECONNREFUSED) && noPort:
		return "nothing listens at port 443 there; " + port
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: check the port, and that the broker runs"
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH):
		if noPort {
			return "nobody answers; " + port
		}
		return "nobody answers: check the address, and what may be between here and there (firewall, VPN)"
	case noPort:
		return port
	}
	return "check the URL: a broker answers at " + strings.TrimSuffix(url, "/") + "/v1/info"
}

func hasNoPort(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Port() == ""
}

// readKey takes the account's key from a file, or from standard input: on the
// command line everybody on the machine could read it.
func (env *Env) readKey(ctx context.Context, file string) (string, error) {
	if file == "" {
		fmt.Fprint(env.Stderr, "Key of your account (one line): ")
	}
	text, err := reading(ctx, func() (string, error) {
		if file != "" {
			return readText(env.expand(file))
		}
		text, err := bufio.NewReader(io.LimitReader(env.Stdin, maxText)).ReadString('\n')
		if err == io.EOF {
			err = nil
		}
		return text, err
	})
	if file == "" && ctx.Err() != nil {
		fmt.Fprintln(env.Stderr) // the cursor stands behind the question
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
