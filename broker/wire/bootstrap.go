package wire

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"nimbus/broker/cluster"
)

// Bootstrap is the document that an instance finds in its user data: where the
// broker is, how to know it, and which place in which context is its own.
type Bootstrap struct {
	Version  int            `json:"nimbus"`    // BootstrapVersion
	Brokers  []string       `json:"brokers"`   // URLs, any of them will do
	BrokerID string         `json:"broker_id"` // the name in the broker's certificate
	CA       string         `json:"ca"`        // PEM: the only CA that is trusted
	Context  string         `json:"context"`   // id
	Token    string         `json:"token"`     // secret
	NICs     []BootstrapNIC `json:"nics"`      // in the order of the machine's interfaces
	Issued   time.Time      `json:"issued"`    // lower bound of the time now, for machines without a clock
	// Agents are the programs that the brokers hand out at
	// /download/nimbus-PLATFORM: platform ("linux-amd64") → SHA-256 in hex.
	// Empty: this machine has its agent.
	Agents map[string]string `json:"agents,omitempty"`
}

// BootstrapNIC says what one interface of the machine is called in the
// definition.
type BootstrapNIC struct {
	Label   string `json:"label"`
	Network string `json:"network"`
}

// BootstrapVersion is the version of the document that this code writes and
// reads; MaxBootstrap is its largest size in bytes.
const (
	BootstrapVersion = 1
	MaxBootstrap     = 48 << 10
)

// BootstrapMarker is the word between whose lines a shell script carries the
// document, for machines that fetch their agent first: the line before it ends
// with <<'NIMBUS-BOOTSTRAP', the line after it is NIMBUS-BOOTSTRAP.
const BootstrapMarker = "NIMBUS-BOOTSTRAP"

// ErrNoBootstrap marks user data that is something else.
var ErrNoBootstrap = errors.New("this is not a Nimbus bootstrap document")

// Encode writes the document; it refuses one that ParseBootstrap would refuse.
func (b *Bootstrap) Encode() ([]byte, error) {
	if err := b.check(); err != nil {
		return nil, err
	}
	out, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	if len(out) > MaxBootstrap {
		return nil, fmt.Errorf("the bootstrap document has %d bytes, %d is the limit", len(out), MaxBootstrap)
	}
	return append(out, '\n'), nil
}

// ParseBootstrap reads a document, bare or in the script that carries it; both
// may have MaxBootstrap bytes. Data that does not even look like one is
// ErrNoBootstrap: an image that was started for something else.
func ParseBootstrap(data []byte) (*Bootstrap, error) {
	size := len(data)
	data = bytes.TrimSpace(data)
	if bytes.HasPrefix(data, []byte("#!")) {
		var carried bool
		if data, carried = unwrap(data); !carried {
			return nil, ErrNoBootstrap
		}
		if data == nil {
			return nil, fmt.Errorf("the script is cut: it has no line %s behind its bootstrap document", BootstrapMarker)
		}
	}
	if !bytes.HasPrefix(data, []byte("{")) || !bytes.Contains(data[:min(len(data), 64)], []byte(`"nimbus"`)) {
		return nil, ErrNoBootstrap
	}
	if size > MaxBootstrap {
		return nil, fmt.Errorf("the bootstrap document is larger than %d KiB", MaxBootstrap>>10)
	}
	var b Bootstrap
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&b); err != nil {
		return nil, fmt.Errorf("bootstrap document: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("bootstrap document: something follows it")
	}
	return &b, b.check()
}

// unwrap finds the document in a script that carries one; nil where its end is
// missing.
func unwrap(script []byte) (document []byte, carried bool) {
	begin, end := []byte("<<'"+BootstrapMarker+"'"), []byte(BootstrapMarker)
	for line := range bytes.Lines(script) {
		line = bytes.TrimSpace(line)
		switch {
		case !carried:
			carried = bytes.HasPrefix(line, []byte("cat >")) && bytes.HasSuffix(line, begin)
		case document == nil:
			document = line
		default:
			if bytes.Equal(line, end) {
				return document, true
			}
			return nil, true
		}
	}
	return nil, carried
}

// checkAgents refuses what a script would take for something else.
func (b *Bootstrap) checkAgents() error {
	if len(b.Agents) > 64 {
		return errors.New("bootstrap document: it names more than 64 agents")
	}
	for platform, sum := range b.Agents {
		if err := cluster.CheckName(platform); err != nil {
			return fmt.Errorf("bootstrap document: agents: %w", err)
		}
		if raw, err := hex.DecodeString(sum); err != nil || len(raw) != sha256.Size || strings.ToLower(sum) != sum {
			return fmt.Errorf("bootstrap document: agents: the sum of %s is no SHA-256", platform)
		}
	}
	return nil
}

func (b *Bootstrap) check() error {
	if b.Version != BootstrapVersion {
		return fmt.Errorf("bootstrap document: version %d is not known to this agent (it knows %d)", b.Version, BootstrapVersion)
	}
	if len(b.Brokers) == 0 || len(b.Brokers) > 64 {
		return errors.New("bootstrap document: it must name 1 to 64 brokers")
	}
	for _, broker := range b.Brokers {
		if err := CheckURL(broker); err != nil {
			return fmt.Errorf("bootstrap document: %w", err)
		}
	}
	if err := cluster.CheckName(b.BrokerID); err != nil {
		return fmt.Errorf("bootstrap document: broker id: %w", err)
	}
	if err := cluster.CheckName(b.Context); err != nil {
		return fmt.Errorf("bootstrap document: context id: %w", err)
	}
	if _, err := ParseCA(b.CA); err != nil {
		return fmt.Errorf("bootstrap document: %w", err)
	}
	if _, err := ParseToken(b.Token); err != nil {
		return fmt.Errorf("bootstrap document: %w", err)
	}
	if len(b.NICs) == 0 || len(b.NICs) > cluster.MaxNICs {
		return fmt.Errorf("bootstrap document: it must name 1 to %d NICs", cluster.MaxNICs)
	}
	for _, n := range b.NICs {
		if err := cluster.CheckName(n.Label); err != nil {
			return fmt.Errorf("bootstrap document: NIC label: %w", err)
		}
	}
	return b.checkAgents()
}

// CheckURL tells whether a broker URL can be used: https, a host, no more.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return fmt.Errorf("broker URL: %w", err)
	}
	if u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/" {
		return fmt.Errorf("broker URL %q must read https://host:port", text)
	}
	return nil
}

// nameOf is what the first certificate of a PEM text is called.
func nameOf(ca string) string {
	if block, _ := pem.Decode([]byte(ca)); block != nil {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			return c.Subject.CommonName
		}
	}
	return ""
}

// ParseCA reads the PEM of one or more CA certificates into a pool.
func ParseCA(text string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	rest, n := []byte(text), 0
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("CA certificate: %w", err)
		}
		pool.AddCert(c)
		n++
	}
	if n == 0 {
		return nil, errors.New("CA certificate: no PEM block in it")
	}
	return pool, nil
}
