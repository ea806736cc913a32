package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"nimbus/broker/wire"
)

// brokerAdvice says what to do when a broker could not be asked. An empty url
// is this user's own broker.
func (env *Env) brokerAdvice(url string, err error) string {
	var (
		refused *wire.Error
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
		other   x509.HostnameError
		plain   tls.RecordHeaderError
		lookup  *net.DNSError
		timeout net.Error
	)
	switch {
	case errors.As(err, &refused):
		switch {
		case refused.Code == wire.Unauthorized && url != "":
			return fmt.Sprintf("log in with %q (the owner's key is in owner.key in the broker's directory), or name a key file in the setting broker_key", "nimbus login "+url)
		case refused.Hint == "" && (refused.Code == wire.Unavailable || refused.Code == wire.Internal):
			return "try again; the broker's log says why"
		}
		return refused.Hint
	case url == "":
		return fmt.Sprintf("%q looks into it; its log is %s/broker.log", env.program()+" doctor", env.brokerDir())
	case errors.Is(err, wire.ErrProxy):
		return "check HTTPS_PROXY, or add the broker's host to NO_PROXY"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "its certificate is not valid now: check the clock of this machine, else have the certificate renewed"
	case errors.As(err, &unknown), errors.As(err, &other):
		return fmt.Sprintf("a broker with a certificate of its own making needs its ca.pem: %q, or the setting broker_ca; if it has that, another server answers there", "nimbus login --ca ca.pem "+url)
	case errors.As(err, &plain):
		return "what answers there does not speak HTTPS: check the port in the URL"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: is the broker started, and the port right?"
	case errors.As(err, &lookup):
		return "check the host name in the URL"
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission):
		return "correct the path, or its permissions"
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "nothing answers there: check the URL, the network, firewalls and HTTPS_PROXY"
	}
	return fmt.Sprintf("%q looks into it", env.program()+" doctor --broker "+url)
}

// program is how a command is called whose name is not one of the classic
// actions.
func (env *Env) program() string {
	if env.Classic {
		return filepath.Join(filepath.Dir(env.Command), "nimbus") // it lies beside
	}
	return env.Command
}

// brokerText is an error of a broker's client behind a text that says already
// whose it is.
func brokerText(err error) string { return strings.TrimPrefix(err.Error(), "broker: ") }
