package deploy

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"nimbus/broker/wire"
)

// brokerName is who the broker of these tests proves to be.
const brokerName = "broker-0123456789abcdef.nimbus"

// A station is a broker as the script sees it: it hands out a program, and
// takes a report.
type station struct {
	*httptest.Server
	ca string

	mu      sync.Mutex
	program []byte
	answers []http.HandlerFunc // to the first requests for the program; then it is sent
	asked   int
	reports []wire.Report
	claims  []string
}

func newStation(t *testing.T) *station {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	authority := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Nimbus CA " + rand.Text()}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	root, err := x509.CreateCertificate(rand.Reader, authority, authority, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	server := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: brokerName}, DNSNames: []string{brokerName},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: authority.NotBefore, NotAfter: authority.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	leaf, err := x509.CreateCertificate(rand.Reader, server, authority, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	s := &station{ca: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root})), program: []byte(program)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /download/{file}", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked++
		n := s.asked - 1
		s.mu.Unlock()
		if n < len(s.answers) {
			s.answers[n](w, r)
			return
		}
		_, _ = w.Write(s.program)
	})
	mux.HandleFunc("POST /v1/contexts/ctx1/report", func(w http.ResponseWriter, r *http.Request) {
		var report wire.Report
		if err := json.NewDecoder(r.Body).Decode(&report); err != nil || report.Check() != nil || r.Header.Get("Authorization") != wire.NodeScheme+" head:0:aa-_" {
			http.Error(w, "no", http.StatusBadRequest)
			t.Errorf("a bad report: %v, %+v, %v", err, report, r.Header)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reports, s.claims = append(s.reports, report), append(s.claims, r.Header.Get(wire.ClaimHeader))
		w.WriteHeader(http.StatusNoContent)
	})
	s.Server = httptest.NewUnstartedServer(mux)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf}, PrivateKey: key}}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// program stands for nimbus: it installs itself, with an agent that notes how
// it was called.
const program = `#!/bin/sh
[ "$*" = "agent install --keep-state" ] || exit 9
echo install >>/opt/calls
[ ! -e /opt/broken ] || { echo "nimbus: error: no room"; exit 1; }
cp "$0" /opt/nimbus/bin/.copy && mv -f /opt/nimbus/bin/.copy /opt/nimbus/bin/nimbus
mkdir -p /opt/nimbus/ctx
cat >/opt/nimbus/ctx/launch.sh <<'END'
#!/bin/sh
echo "launch $*" >>/opt/calls
cat "$2" >/opt/document
[ ! -e /opt/code ] || exit "$(cat /opt/code)"
END
chmod 755 /opt/nimbus/ctx/launch.sh
`

// A guest is a machine without Nimbus: this one with /opt, /run and /var/lib of
// its own, and with these programs only.
type guest struct {
	t     *testing.T
	root  string
	shell []string
	setup string // run by the host's shell before, as the guest's root
	env   []string
}

// tools is what a small system has; fetching and hashing is chosen.
var tools = []string{"cat", "chmod", "cp", "cut", "date", "grep", "mkdir", "mv", "od", "rm", "sed", "sh", "sleep", "touch", "tr", "uname"}

func newGuest(t *testing.T, shell string, more ...string) *guest {
	t.Helper()
	g := &guest{t: t, root: t.TempDir()}
	for _, dir := range []string{"bin", "opt", "run", "var"} {
		if err := os.Mkdir(g.at(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range slices.Concat(tools, more) {
		of := name
		if shell == "busybox" {
			of = "busybox"
		}
		path, err := exec.LookPath(of)
		if err != nil {
			t.Skipf("this machine has no %s", of)
		}
		if err := os.Symlink(path, g.at("bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	path, err := exec.LookPath(shell)
	if err != nil {
		t.Skipf("this machine has no %s", shell)
	}
	g.shell = []string{path}
	if shell == "busybox" {
		g.shell = append(g.shell, "sh")
	}
	g.put("console", "")
	return g
}

func (g *guest) at(parts ...string) string {
	return filepath.Join(append([]string{g.root}, parts...)...)
}

func (g *guest) put(name, content string) {
	g.t.Helper()
	if err := os.WriteFile(g.at(name), []byte(content), 0o755); err != nil {
		g.t.Fatal(err)
	}
}

// tool has a program of the guest be this script.
func (g *guest) tool(name, script string) {
	g.t.Helper()
	_ = os.Remove(g.at("bin", name))
	g.put("bin/"+name, "#!/bin/sh\n"+script+"\n")
}

func (g *guest) read(name string) string {
	content, err := os.ReadFile(g.at(name))
	if err != nil && !os.IsNotExist(err) {
		g.t.Fatal(err)
	}
	return string(content)
}

// run runs user data, as cloud-init would.
func (g *guest) run(userData []byte) (code int, stderr string) {
	g.t.Helper()
	g.put("user-data", strings.Replace(string(userData), "sleep 5", "sleep 0", 1)) // busybox has a sleep of its own
	before := `set -e
mount --make-rprivate /
mount --bind "$ROOT/opt" /opt
mount --bind "$ROOT/run" /run
mount --bind "$ROOT/var" /var/lib
[ ! -e /dev/console ] || mount --bind "$ROOT/console" /dev/console
` + g.setup + `
PATH=$ROOT/bin
export PATH
exec "$@"`
	args := []string{"--mount", "sh", "-c", before, "sh"}
	if os.Getuid() != 0 {
		args = append([]string{"--user", "--map-root-user"}, args...)
	}
	command := exec.Command("unshare", append(append(args, g.shell...), g.at("user-data"))...)
	command.Env = append([]string{"PATH=" + os.Getenv("PATH"), "ROOT=" + g.root, "https_proxy=http://127.0.0.1:1"}, g.env...)
	var out, errors bytes.Buffer
	command.Stdout, command.Stderr = &out, &errors
	if err := command.Run(); err != nil && command.ProcessState == nil {
		g.t.Fatal(err)
	}
	return command.ProcessState.ExitCode(), errors.String()
}

// left is what is in the guest's /opt/nimbus/bin.
func (g *guest) left() (names []string) {
	entries, _ := os.ReadDir(g.at("opt/nimbus/bin"))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func needNamespaces(t *testing.T) {
	t.Helper()
	args := []string{"--mount", "true"}
	if os.Getuid() != 0 {
		args = append([]string{"--user", "--map-root-user"}, args...)
	}
	if err := exec.Command("unshare", args...).Run(); err != nil {
		t.Skipf("no mount namespace for a guest: %v", err)
	}
}

// platform is this machine's, as the script finds it.
func platform() string {
	return "linux-" + map[string]string{"arm": "armv7"}[runtime.GOARCH] + map[bool]string{true: runtime.GOARCH}[runtime.GOARCH != "arm"]
}

// userData is that of head-0 at some brokers.
func (s *station) userData(t *testing.T, change func(b *wire.Bootstrap)) []byte {
	t.Helper()
	sum := sha256.Sum256(s.program)
	b := &wire.Bootstrap{
		Version: wire.BootstrapVersion, Brokers: []string{s.URL}, BrokerID: brokerName, CA: s.ca, Context: "ctx1", Token: "head:0:aa-_",
		NICs: []wire.BootstrapNIC{{Label: "publicnic", Network: "public"}}, Issued: time.Now().Add(-time.Minute),
		Agents: map[string]string{platform(): hex.EncodeToString(sum[:]), "linux-other": strings.Repeat("0", 64)},
	}
	if change != nil {
		change(b)
	}
	data, err := userData(b, true)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", code) }
}

// cut says how long the program is, and hangs up in the middle.
func cut(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", strconv.Itoa(len(program)))
	_, _ = w.Write([]byte(program[:len(program)/2]))
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func other(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("#!/bin/sh\necho evil\n")) }

// every is what a broker that never does better answers.
func every(h http.HandlerFunc) []http.HandlerFunc { return slices.Repeat([]http.HandlerFunc{h}, 100) }

// Each case is a machine that was never prepared.
func TestStockMachine(t *testing.T) {
	needNamespaces(t)
	const bootstrap = "launch --bootstrap /run/nimbus/bootstrap\n"
	type found struct{ code, asked int }
	type example struct {
		shell    string
		tools    []string
		answers  []http.HandlerFunc
		change   func(b *wire.Bootstrap)
		prepare  func(g *guest)
		want     found
		calls    string
		says     string // on stderr, on the console, and to the broker
		unheard  bool   // the broker cannot be told
		godebug  string // of the broker
		noBinary bool   // of nothing that was fetched anything is left
	}
	curl := []string{"sha256sum", "curl"}
	good := found{0, 1}
	// TLS as busybox itself has it names no signatures that it knows, which
	// meant SHA-1 once. A broker does not make them any more, unless it is told.
	const sha1 = "tlssha1=1"
	tests := map[string]example{
		"curl":                 {tools: curl, want: good, calls: "install\n" + bootstrap},
		"wget":                 {tools: []string{"sha256sum", "wget"}, want: good, calls: "install\n" + bootstrap},
		"busybox":              {godebug: sha1, shell: "busybox", tools: []string{"sha256sum", "wget", "timeout"}, want: good, calls: "install\n" + bootstrap},
		"busybox and no limit": {godebug: sha1, shell: "busybox", tools: []string{"sha256sum", "wget"}, want: good, calls: "install\n" + bootstrap},
		"bash":                 {shell: "bash", tools: curl, want: good, calls: "install\n" + bootstrap},
		"shasum":               {tools: []string{"shasum", "perl", "curl"}, want: good, calls: "install\n" + bootstrap},
		"openssl":              {tools: []string{"openssl", "curl"}, want: good, calls: "install\n" + bootstrap},
		"busybox of today":     {shell: "busybox", tools: []string{"sha256sum", "wget"}, want: found{3, 0}, says: "handshake failure", unheard: true, noBinary: true},
		"no hash":              {tools: []string{"curl"}, want: found{3, 0}, says: "no sha256sum, shasum or openssl to check the agent by", noBinary: true},
		"no fetching":          {tools: []string{"sha256sum"}, want: found{3, 0}, says: "no curl and no wget to fetch the agent with", unheard: true, noBinary: true},
		"late":                 {tools: curl, answers: []http.HandlerFunc{cut, status(503), cut, cut}, want: found{0, 5}, calls: "install\n" + bootstrap},
		"late for wget":        {tools: []string{"sha256sum", "wget"}, answers: []http.HandlerFunc{cut, status(503), cut, cut}, want: found{0, 5}, calls: "install\n" + bootstrap},
		"wrong sum":            {tools: curl, answers: every(other), want: found{3, 3}, says: "this is not the agent: its SHA-256 is ", noBinary: true},
		"wrong sum by wget":    {tools: []string{"sha256sum", "wget"}, answers: every(other), want: found{3, 3}, says: "this is not the agent: its SHA-256 is ", unheard: true, noBinary: true},
		"wrong sum by busybox": {godebug: sha1, shell: "busybox", tools: []string{"sha256sum", "wget"}, answers: every(other), want: found{3, 3}, says: "this is not the agent: its SHA-256 is ", unheard: true, noBinary: true},
		"cut for ever":         {tools: curl, answers: every(cut), want: found{3, 30}, says: "curl: (18)", noBinary: true},
		"not there":            {tools: curl, answers: every(status(404)), want: found{3, 3}, says: "/download/nimbus-" + platform() + ": curl: (22) The requested URL returned error: 404", noBinary: true},
		"another CA": {tools: curl, change: func(b *wire.Bootstrap) { b.CA = newStation(t).ca }, want: found{3, 0},
			says: "curl: (60) SSL certificate problem", unheard: true, noBinary: true},
		"another CA for wget": {tools: []string{"sha256sum", "wget"}, change: func(b *wire.Bootstrap) { b.CA = newStation(t).ca }, want: found{3, 0},
			says: "ERROR: The certificate of '127.0.0.1' is not trusted", unheard: true, noBinary: true},
		// Nothing is valid yet for a clock that stands in the past; the sum is.
		"1970":          {tools: curl, change: func(b *wire.Bootstrap) { b.CA, b.Issued = newStation(t).ca, time.Now().AddDate(1, 0, 0) }, want: good, calls: "install\n" + bootstrap},
		"1970 for wget": {tools: []string{"sha256sum", "wget"}, change: func(b *wire.Bootstrap) { b.CA, b.Issued = newStation(t).ca, time.Now().AddDate(1, 0, 0) }, want: good, calls: "install\n" + bootstrap},
		"the second broker": {tools: curl, change: func(b *wire.Bootstrap) {
			b.Brokers = []string{"https://127.0.0.1:1", "https://[::1]:1/", b.Brokers[0] + "/"}
		}, want: good, calls: "install\n" + bootstrap},
		"the second broker by wget": {tools: []string{"sha256sum", "wget"}, change: func(b *wire.Bootstrap) {
			b.Brokers = []string{"https://127.0.0.1:1", b.Brokers[0] + "/"}
		}, want: good, calls: "install\n" + bootstrap},
		"hostile words": {tools: curl, change: func(b *wire.Bootstrap) {
			b.Brokers = []string{"https://a;pwn", "https://$(pwn)", "https://';pwn;'", "https://&pwn", b.Brokers[0]}
			b.NICs[0].Network = "'; touch /opt/pwned; $(touch /opt/pwned) `touch /opt/pwned`\nNIMBUS-BOOTSTRAP\ntouch /opt/pwned"
		}, prepare: func(g *guest) { g.tool("pwn", "touch /opt/pwned") }, want: good, calls: "install\n" + bootstrap},
		"another processor": {tools: curl, prepare: func(g *guest) { g.tool("uname", "echo Linux i686") }, want: found{3, 0},
			says: "this machine is a Linux i686, and the broker has no nimbus-linux-", noBinary: true},
		"another system": {tools: curl, prepare: func(g *guest) { g.tool("uname", "echo FreeBSD amd64") }, want: found{3, 0}, says: "this machine is a FreeBSD amd64", noBinary: true},
		"a processor that the broker does not have": {tools: curl, prepare: func(g *guest) { g.tool("uname", "echo Linux riscv64") }, want: found{3, 0},
			says: "the broker has no nimbus-linux-riscv64: put that file of a release (make release) into its downloads", noBinary: true},
		"read-only": {tools: curl, prepare: func(g *guest) { g.setup = "mount -o remount,bind,ro /opt" }, want: found{3, 0}, says: "cannot write to /opt/nimbus/bin", noBinary: true},
		"noexec":    {tools: curl, prepare: func(g *guest) { g.setup = "mount -o remount,bind,noexec /opt" }, want: found{3, 1}, says: "agent install: ", noBinary: true},
		"no room": {tools: curl, prepare: func(g *guest) { g.setup = "mount -t tmpfs -o size=4k none /opt; echo 1 >/opt/1" }, want: found{3, 30},
			says: "curl: (23)", noBinary: true},
		"not installed": {tools: curl, prepare: func(g *guest) { g.put("opt/broken", "") }, want: found{3, 1}, calls: "install\n", says: "agent install: nimbus: error: no room", noBinary: true},
		"another agent": {tools: curl, prepare: func(g *guest) { g.put("opt/code", "5") }, want: good, calls: "install\n" + bootstrap},
		"it fails":      {tools: curl, prepare: func(g *guest) { g.put("opt/code", "4") }, want: found{4, 1}, calls: "install\n" + bootstrap},
	}
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		c := tests[name]
		t.Run(name, func(t *testing.T) {
			if c.godebug != "" {
				t.Setenv("GODEBUG", c.godebug)
			}
			s := newStation(t)
			s.answers = c.answers
			shell := c.shell
			if shell == "" {
				shell = "dash"
			}
			g := newGuest(t, shell, c.tools...)
			if c.prepare != nil {
				c.prepare(g)
			}
			data := s.userData(t, c.change)
			code, stderr := g.run(data)
			if got := (found{code, s.asked}); got != c.want {
				t.Errorf("code, requests: %v, want %v\n%s", got, c.want, stderr)
			}
			if got := g.read("opt/calls"); got != c.calls {
				t.Errorf("called %q, want %q\n%s", got, c.calls, stderr)
			}
			left := map[bool][]string{false: {"nimbus"}}[c.noBinary]
			if got := g.left(); !slices.Equal(got, left) {
				t.Errorf("left in bin: %v", got)
			}
			if _, err := os.Stat(g.at("opt/pwned")); err == nil {
				t.Error("a word of the document was executed")
			}
			if c.says == "" {
				if stderr != "" || len(s.reports) != 0 {
					t.Errorf("said %q, reported %+v", stderr, s.reports)
				}
			} else {
				if strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "nimbus: error: ") || !strings.Contains(stderr, c.says) {
					t.Errorf("said %q, want %q", stderr, c.says)
				}
				if _, err := os.Stat("/dev/console"); err == nil && g.read("console") != stderr {
					t.Errorf("on the console: %q", g.read("console"))
				}
				if (len(s.reports) == 0) != c.unheard {
					t.Errorf("reports: %+v", s.reports)
				}
				for _, r := range s.reports {
					if r.OK || r.Step != "user-data" || r.Code != 3 || !strings.Contains(r.Log, strings.TrimSuffix(c.says, ".")) {
						t.Errorf("reported %+v", r)
					}
				}
			}
			// Only root may read the token, and what the agent read is what was sent.
			info, err := os.Stat(g.at("run/nimbus/bootstrap"))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the document: %v, %v", info, err)
			}
			if b, err := wire.ParseBootstrap([]byte(g.read("run/nimbus/bootstrap"))); err != nil || b.Context != "ctx1" {
				t.Errorf("the document: %+v, %v", b, err)
			}
			if sent := g.read("opt/document"); sent != "" && !bytes.Contains(data, []byte(sent)) {
				t.Errorf("the agent read %q", sent)
			}
		})
	}
}

// The right program is not fetched again; a wrong one is replaced.
func TestPreparedMachine(t *testing.T) {
	needNamespaces(t)
	s := newStation(t)
	g := newGuest(t, "dash", "sha256sum", "curl")
	for i, want := range []string{"install\nlaunch --bootstrap /run/nimbus/bootstrap\n", "launch --bootstrap /run/nimbus/bootstrap\n"} {
		g.put("opt/calls", "")
		if code, stderr := g.run(s.userData(t, nil)); code != 0 || s.asked != 1 || g.read("opt/calls") != want {
			t.Errorf("run %d: %d, asked %d times, called %q\n%s", i+1, code, s.asked, g.read("opt/calls"), stderr)
		}
	}
	// A program without what belongs to it brings that.
	if err := os.RemoveAll(g.at("opt/nimbus/ctx")); err != nil {
		t.Fatal(err)
	}
	g.put("opt/calls", "")
	if code, stderr := g.run(s.userData(t, nil)); code != 0 || s.asked != 1 || !strings.HasPrefix(g.read("opt/calls"), "install\n") {
		t.Errorf("%d, asked %d times, called %q\n%s", code, s.asked, g.read("opt/calls"), stderr)
	}
	g.put("opt/nimbus/bin/nimbus", "old")
	if code, stderr := g.run(s.userData(t, nil)); code != 0 || s.asked != 2 || g.read("opt/nimbus/bin/nimbus") != program {
		t.Errorf("%d, asked %d times: the old program is %q\n%s", code, s.asked, g.read("opt/nimbus/bin/nimbus"), stderr)
	}
	// Where the broker has none for this machine, what is there must do.
	g.tool("uname", "echo Linux riscv64")
	g.put("opt/calls", "")
	if code, stderr := g.run(s.userData(t, nil)); code != 0 || s.asked != 2 || !strings.HasPrefix(g.read("opt/calls"), "launch ") {
		t.Errorf("%d, asked %d times, called %q\n%s", code, s.asked, g.read("opt/calls"), stderr)
	}
}

// A failure that the broker was told of is taken back by the agent when the
// script is run again, with the claim that it was told with.
func TestTryAgain(t *testing.T) {
	needNamespaces(t)
	s := newStation(t)
	s.answers = every(other)[:6]
	g := newGuest(t, "dash", "sha256sum", "curl")
	for range 2 {
		if code, stderr := g.run(s.userData(t, nil)); code != 3 || !strings.Contains(stderr, "this is not the agent") {
			t.Fatalf("%d, %s", code, stderr)
		}
	}
	if len(s.reports) != 1 {
		t.Errorf("reports: %+v", s.reports)
	}
	info, err := os.Stat(g.at("var/nimbus/ctx1/claim"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info, err)
	}
	claim := strings.TrimSpace(g.read("var/nimbus/ctx1/claim"))
	if raw, err := hex.DecodeString(claim); err != nil || len(raw) != 32 || s.claims[0] != claim {
		t.Errorf("told with %q, kept %q", s.claims, claim)
	}
	if info, err := os.Stat(g.at("var/nimbus")); err != nil || info.Mode().Perm() != 0o700 {
		t.Error(info, err)
	}
	if err := os.RemoveAll(g.at("run/nimbus")); err != nil { // a machine may be started again, to be mended
		t.Fatal(err)
	}
	for _, want := range []string{"install\nlaunch --bootstrap /run/nimbus/bootstrap --rerun\n", "launch --bootstrap /run/nimbus/bootstrap\n"} {
		g.put("opt/calls", "")
		if code, stderr := g.run(s.userData(t, nil)); code != 0 || g.read("opt/calls") != want {
			t.Errorf("%d, called %q\n%s", code, g.read("opt/calls"), stderr)
		}
	}
}

// Whoever runs the script by hand while cloud-init's is not done does no harm.
func TestTwoScripts(t *testing.T) {
	needNamespaces(t)
	s := newStation(t)
	first, second, done := make(chan bool), make(chan bool), make(chan bool)
	half := func(begun, other chan bool) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(program)))
			_, _ = w.Write([]byte(program[:len(program)/2]))
			_ = http.NewResponseController(w).Flush()
			close(begun)
			<-other
			_, _ = w.Write([]byte(program[len(program)/2:]))
		}
	}
	s.answers = []http.HandlerFunc{half(first, second), half(second, done)}
	g := newGuest(t, "dash", "sha256sum", "curl")
	data := s.userData(t, nil)
	run := func() {
		if code, stderr := g.run(data); code != 0 {
			t.Errorf("%d, %s", code, stderr)
		}
	}
	var all sync.WaitGroup
	all.Go(func() {
		defer close(done)
		run()
	})
	<-first
	run()
	all.Wait()
	if calls := strings.Count(g.read("opt/calls"), "launch "); s.asked != 2 || calls != 2 || !slices.Equal(g.left(), []string{"nimbus"}) {
		t.Errorf("asked %d times, launched %d times, left %v", s.asked, calls, g.left())
	}
}

// A script that arrived in part does nothing.
func TestCutScript(t *testing.T) {
	needNamespaces(t)
	s := newStation(t)
	g := newGuest(t, "dash", "sha256sum", "curl", "head")
	data := s.userData(t, nil)
	g.put("whole", string(data))
	g.setup = fmt.Sprintf(`cd "$ROOT"
i=0
while [ $i -lt %d ]; do
	head -c $i whole >part
	PATH=$ROOT/bin dash part >/dev/null 2>&1 || true
	if [ $i -lt %d ]; then i=$((i + 61)); else i=$((i + 1)); fi
done
`, len(data)-1, len(data)-40)
	g.setup = strings.Replace(g.setup, "dash part", g.shell[0]+" part", 1)
	if code, stderr := g.run([]byte("#!/bin/sh\n")); code != 0 {
		t.Fatal(code, stderr)
	}
	for _, dir := range []string{"opt", "run", "var"} {
		entries, err := os.ReadDir(g.at(dir))
		entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return e.Name() == "mount" }) // of mount itself
		if err != nil || len(entries) > 0 {
			t.Errorf("/%s: %v, %v", dir, entries, err)
		}
	}
	if s.asked != 0 || len(s.reports) != 0 {
		t.Errorf("asked %d times, reported %+v", s.asked, s.reports)
	}
}

// The token is in no command line, nor in what others may read.
func TestSecretsOfTheScript(t *testing.T) {
	needNamespaces(t)
	s := newStation(t)
	s.answers = every(other)
	g := newGuest(t, "dash", "sha256sum")
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("this machine has no curl")
	}
	g.tool("curl", `echo "$*" >>/run/curl; exec `+curl+` "$@"`)
	if code, _ := g.run(s.userData(t, nil)); code != 3 || len(s.reports) != 1 {
		t.Fatal(code, s.reports)
	}
	if calls := g.read("run/curl"); !strings.Contains(calls, "/report") || strings.Contains(calls, "aa-_") || strings.Contains(calls, s.claims[0]) {
		t.Errorf("called %s", calls)
	}
	err = filepath.WalkDir(g.root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !d.Type().IsRegular() || path == g.at("user-data") {
			return err
		}
		info, err := d.Info()
		content, _ := os.ReadFile(path)
		if err == nil && (bytes.Contains(content, []byte("aa-_")) || bytes.Contains(content, []byte(s.claims[0]))) && info.Mode()&0o077 != 0 {
			t.Errorf("%s may be read by others: %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
