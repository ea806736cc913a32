package install

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The shells that install.sh must work with.
var shells = []struct {
	name string
	argv []string
}{
	{"dash", []string{"dash"}},
	{"busybox", []string{"busybox", "sh"}},
	{"bash", []string{"bash", "--posix"}},
}

// core are the programs that every system has; each set of others is what a
// system may have besides.
const core = "sh uname od tr ls mkdir rm rmdir dirname cat cp chmod id grep tail mv sleep"

// tools makes a directory with only these programs in it, to be the PATH;
// "busybox:wget" is an applet.
func tools(t *testing.T, names string) string {
	t.Helper()
	dir := t.TempDir()
	for name := range strings.FieldsSeq(names) {
		program := name
		if applet, is := strings.CutPrefix(name, "busybox:"); is {
			name, program = applet, "busybox"
		}
		path, err := exec.LookPath(program)
		if err != nil {
			t.Skipf("%s is not here", program)
		}
		if err := os.Symlink(path, filepath.Join(dir, name)); !errors.Is(err, fs.ErrExist) {
			must(t, err)
		}
	}
	return dir
}

// host is this machine's platform as install.sh calls it.
func host(t *testing.T) string {
	t.Helper()
	if runtime.GOOS != "linux" || runtime.GOARCH == "arm" || runtime.GOARCH == "386" {
		t.Skip("the programs of these tests are for others")
	}
	return "linux-" + runtime.GOARCH
}

// pretender is a program for this machine that says how it was called, and by
// which name.
var pretender = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "pretender")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "nimbus")
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", file, "./testdata/pretender")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("%v: %s", err, said))
	}
	text, err := os.ReadFile(file)
	if err != nil {
		panic(err)
	}
	return string(text)
})

// head is how a program of Linux for some machine begins.
func head(class, order, machine string) string {
	return "\x7fELF" + class + order + "\x01" + strings.Repeat("\x00", 9) + "\x02\x00" + machine
}

// heads begin programs for other machines.
var heads = map[string]string{
	"linux-amd64": head("\x02", "\x01", "\x3e\x00"), "linux-arm64": head("\x02", "\x01", "\xb7\x00"), "linux-armv7": head("\x01", "\x01", "\x28\x00"),
	"linux-riscv64": head("\x02", "\x01", "\xf3\x00"), "linux-s390x": head("\x02", "\x02", "\x00\x16"), "linux-ppc64le": head("\x02", "\x01", "\x15\x00"),
}

// A handout is a broker, as far as install.sh asks one.
type handout struct {
	*httptest.Server
	origin Origin
	asked  atomic.Int32
}

// hand starts a broker that answers each download by a function.
func hand(t *testing.T, answer http.HandlerFunc) *handout {
	t.Helper()
	ca, caKey := certificate(t, nil, nil, "broker-1.nimbus")
	leaf, leafKey := certificate(t, ca, caKey, "broker-1.nimbus")
	h := &handout{}
	h.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.asked.Add(1)
		answer(w, r)
	}))
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	h.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw, ca.Raw}, PrivateKey: leafKey}}}
	h.StartTLS()
	t.Cleanup(h.Close)
	h.origin = Origin{
		Brokers: []string{h.URL}, BrokerID: "broker-1.nimbus",
		CA:     string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})),
		Agents: map[string]string{host(t): fmt.Sprintf("%x", sha256.Sum256([]byte(pretender())))},
	}
	return h
}

func certificate(t *testing.T, ca *x509.Certificate, caKey *ecdsa.PrivateKey, name string) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name, Organization: []string{"test"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if ca == nil {
		template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
		template.Subject.CommonName = "CA of " + name
		ca, caKey = template, key
	} else {
		template.DNSNames, template.IPAddresses = []string{name}, []net.IP{net.IPv4(127, 0, 0, 1)}
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, &key.PublicKey, caKey)
	must(t, err)
	made, err := x509.ParseCertificate(der)
	must(t, err)
	return made, key
}

func serve(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		io.WriteString(w, text)
	}
}

// image is a tree with a program of this machine in it.
func image(t *testing.T, more ...string) string {
	t.Helper()
	dir := build(t, append(more, "usr/bin/")...)
	f, err := os.Open("/proc/self/exe")
	must(t, err)
	defer f.Close()
	head := make([]byte, 64)
	_, err = io.ReadFull(f, head)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "usr/bin/env"), head, 0o755))
	return dir
}

// piped runs a script as one does that comes out of a pipe.
func piped(t *testing.T, shell []string, path string, script []byte, args ...string) (out string, err error) {
	t.Helper()
	cmd := exec.Command(shell[0], append(append(shell[1:len(shell):len(shell)], "-s", "--"), args...)...)
	cmd.Stdin = bytes.NewReader(script)
	cmd.Env = []string{"PATH=" + path, "HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir()}
	said, err := cmd.CombinedOutput()
	return string(said), err
}

func TestInstallScript(t *testing.T) {
	good := serve(pretender())
	for _, c := range []struct {
		name   string
		tools  string
		answer http.HandlerFunc
		change func(*Origin)
		want   []string // parts of what it says; "called:" first when it works
	}{
		{"curl", "curl sha256sum", good, nil, []string{"called: nimbus "}},
		{"wget", "wget sha256sum", good, nil, []string{"called: nimbus "}},
		{"busybox and openssl", "busybox openssl", good, nil, []string{"called: nimbus "}},
		{"wget of busybox", "busybox:wget busybox:sha256sum openssl", good, nil, []string{"called: nimbus "}},
		{"busybox without openssl", "busybox", good, nil, []string{"could not be fetched", "the wget of busybox", "--from DIR"}},
		{"shasum", "curl shasum perl", good, nil, []string{"called: nimbus "}},
		{"openssl", "curl openssl", good, nil, []string{"called: nimbus "}},
		{"no sums", "curl", good, nil, []string{"nothing here computes a SHA-256", "coreutils"}},
		{"nothing to fetch with", "sha256sum", good, nil, []string{"neither curl nor wget", "--from DIR"}},
		{"tampered, curl", "curl sha256sum", serve(pretender() + "# more"), nil, []string{"is not what it must be: its SHA-256 is", "nothing was installed"}},
		{"tampered, wget", "wget sha256sum", serve(pretender() + "# more"), nil, []string{"is not what it must be: its SHA-256 is"}},
		{"tampered, busybox", "busybox openssl", serve(pretender() + "# more"), nil, []string{"is not what it must be: its SHA-256 is"}},
		{"empty", "curl sha256sum", serve(""), nil, []string{"is not what it must be"}},
		{"another CA, curl", "curl sha256sum", good, otherCA(t), []string{"could not be fetched", "certificate", "its CA is a new one"}},
		{"another CA, wget", "wget sha256sum", good, otherCA(t), []string{"could not be fetched", "its CA is a new one"}},
		{"another CA, busybox", "busybox openssl", serve("#!/bin/sh\necho stolen\n"), otherCA(t), []string{"is not what it must be"}},
		{"cut, curl", "curl sha256sum", cut, nil, []string{"could not be fetched", "run this again"}},
		{"cut, wget", "wget sha256sum", cut, nil, []string{"could not be fetched"}},
		{"cut, busybox", "busybox openssl", cut, nil, []string{"nimbus-linux-"}},
		{"gone", "curl sha256sum", http.NotFound, nil, []string{"404", "fetch install.sh again"}},
		{"another broker has it", "curl sha256sum", good, func(o *Origin) { o.Brokers = append([]string{"https://127.0.0.1:1"}, o.Brokers...) }, []string{"called: nimbus "}},
		{"another broker has it, by wget", "wget sha256sum", good, func(o *Origin) { o.Brokers = append([]string{"https://127.0.0.1:1"}, o.Brokers...) }, []string{"called: nimbus "}},
		{"no broker answers", "curl sha256sum", good, func(o *Origin) { o.Brokers = []string{"https://127.0.0.1:1", "https://[::1]:1"} }, []string{"could not be fetched", "does it run?"}},
		{"no such platform", "curl sha256sum", good, func(o *Origin) {
			o.Agents = map[string]string{"linux-s390x": strings.Repeat("0", 64), "plan9-mips": strings.Repeat("1", 64)}
		},
			[]string{"this broker has no program for", "it has: linux-s390x plan9-mips", "make release"}},
	} {
		for _, shell := range shells {
			t.Run(c.name+"/"+shell.name, func(t *testing.T) {
				t.Parallel()
				// Its applets come before what is in the PATH.
				if shell.name == "busybox" && !strings.Contains(c.tools, "curl") && !strings.Contains(c.tools, "busybox") || shell.name == "busybox" && strings.Contains(c.name, "no sums") {
					t.Skip("this shell has tools of its own")
				}
				h := hand(t, c.answer)
				if c.change != nil {
					c.change(&h.origin)
				}
				path := tools(t, core+" "+shell.argv[0]+" "+c.tools)
				shell := shell.argv
				if program, err := exec.LookPath(shell[0]); err == nil {
					shell = append([]string{program}, shell[1:]...)
				}
				dir := image(t)
				before := listing(t, dir)
				out, err := piped(t, shell, path, Script(h.origin), "agent", "--root", dir, "--no-boot")
				for _, part := range c.want {
					if !strings.Contains(out, part) {
						t.Errorf("there is no %q in %q", part, out)
					}
				}
				if works := strings.HasPrefix(c.want[0], "called:"); works != (err == nil) {
					t.Errorf("%v: %s", err, out)
				} else if works && !strings.Contains(out, "called: nimbus agent install --root "+dir+" --no-boot\n") {
					t.Errorf("%s", out)
				} else if !works && (strings.Contains(out, "called:") || strings.Count(out, "install.sh: error: ") != 1 || strings.Count(out, "install.sh: hint: ") != 1) {
					t.Errorf("%s", out)
				}
				if got := listing(t, dir); got != before {
					t.Errorf("it left\n%s\nin\n%s", got, before)
				}
			})
		}
	}
}

func otherCA(t *testing.T) func(*Origin) {
	ca, _ := certificate(t, nil, nil, "broker-1.nimbus")
	return func(o *Origin) {
		o.CA = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}))
	}
}

// cut promises more than it sends.
func cut(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", strconv.Itoa(len(pretender())+100000))
	io.WriteString(w, pretender())
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

// Whatever part of the script arrives, it does nothing: each prefix is run, and
// would call something if it could.
func TestCutScript(t *testing.T) {
	t.Parallel()
	script := Script(Origin{Brokers: []string{"https://127.0.0.1:1"}, BrokerID: "b", CA: "x", Agents: map[string]string{"linux-amd64": strings.Repeat("0", 64)}})
	end := bytes.LastIndex(script, []byte("\n}\n")) + 2 // there all of it has arrived
	nothing := t.TempDir()
	for _, shell := range shells {
		program, err := exec.LookPath(shell.argv[0])
		if err != nil {
			t.Logf("%s is not here", shell.argv[0])
			continue
		}
		step := 1
		if shell.name != "dash" || testing.Short() {
			step = 41
		}
		var all sync.WaitGroup
		next := make(chan int)
		for range runtime.NumCPU() {
			all.Go(func() {
				for n := range next {
					cmd := exec.Command(program, append(shell.argv[1:len(shell.argv):len(shell.argv)], "-s", "--", "agent", "--root", nothing)...)
					cmd.Stdin, cmd.Env = bytes.NewReader(script[:n]), []string{"PATH=" + nothing}
					out, err := cmd.CombinedOutput()
					// It was not understood, or there was nothing but comments.
					ran := err == nil && len(out) > 0 || bytes.Contains(out, []byte("install.sh: ")) || bytes.Contains(out, []byte("not found"))
					if ran || err == nil && bytes.Contains(script[:n], []byte("\n{\n")) {
						t.Errorf("%s, the first %d bytes: %v, %s", shell.name, n, err, out)
					}
				}
			})
		}
		for n := 0; n < end; n += step {
			next <- n
		}
		for n := max(0, end-60); n < end; n++ {
			next <- n
		}
		close(next)
		all.Wait()
		// And the whole does something.
		cmd := exec.Command(program, append(shell.argv[1:len(shell.argv):len(shell.argv)], "-s", "--", "nonsense")...)
		cmd.Stdin = bytes.NewReader(script[:end])
		if out, err := cmd.CombinedOutput(); err == nil || !bytes.Contains(out, []byte("usage: install.sh")) {
			t.Errorf("%s, all of it: %v, %s", shell.name, err, out)
		}
	}
}

// What is filled in is data, whatever somebody made of it.
func TestScriptQuotes(t *testing.T) {
	evil := "'; touch /tmp/evil; echo '"
	o := Origin{
		Brokers:  []string{"https://h:1/" + evil, "https://" + evil, "http://plain:1", "https://u:p@h:2", "https://[fe80::1%25eth0]:1", "https://ok.example.org:8443", "https://[::1]:8443", "https://a b:1", "https://-x:1"},
		BrokerID: "b" + evil, CA: "x" + evil,
		Agents: map[string]string{"linux-amd64": strings.Repeat("a", 64), "linux-" + evil: strings.Repeat("a", 64), "linux-arm64": evil},
	}
	text := string(Script(o))
	if strings.Contains(text, "evil") {
		t.Error("it is in it")
	}
	for _, want := range []string{
		"\nbrokers='https://h:1 https://h:2 https://ok.example.org:8443 https://[::1]:8443'\n", "\nbroker_id=''\n", "\nca=''\n",
		"\nsums='" + strings.Repeat("a", 64) + "  nimbus-linux-amd64\n'\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q", want)
		}
	}
	if string(Script(Origin{})) != script {
		t.Error("nothing filled in is not the script itself")
	}
}

// Out of a release or a clone, without any network.
func TestInstallScriptOffline(t *testing.T) {
	name := "nimbus-" + host(t)
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(pretender())))
	release := build(t)
	must(t, os.WriteFile(filepath.Join(release, name), []byte(pretender()), 0o644))
	copied := filepath.Join(release, "install.sh")
	must(t, os.WriteFile(copied, []byte(script), 0o755))
	clone := build(t, "bin/", "install/")
	must(t, os.WriteFile(filepath.Join(clone, "bin/nimbus"), []byte(pretender()), 0o755))
	must(t, os.Symlink("install/install.sh", filepath.Join(clone, "install.sh")))
	must(t, os.WriteFile(filepath.Join(clone, "install/install.sh"), []byte(script), 0o755))
	run := func(args ...string) (string, error) {
		cmd := exec.Command("sh", args...)
		cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	dir := image(t)
	works := func(args ...string) {
		t.Helper()
		if out, err := run(args...); err != nil || !strings.Contains(out, "called: nimbus agent install --root "+dir+"\n") {
			t.Errorf("%v: %s", err, out)
		}
	}
	fails := func(want string, args ...string) {
		t.Helper()
		if out, err := run(args...); err == nil || !strings.Contains(out, want) || strings.Contains(out, "called") {
			t.Errorf("%v: want %q in %s", err, want, out)
		}
	}
	works(copied, "agent", "--root", dir)
	works(filepath.Join(clone, "install.sh"), "agent", "--root="+dir)
	works(filepath.Join(clone, "install.sh"), "agent", "--root="+dir, "--from", release)
	sums := filepath.Join(release, "SHA256SUMS")
	must(t, os.WriteFile(sums, []byte(sum+"  "+name+"\n"), 0o644))
	works(copied, "agent", "--root", dir)
	must(t, os.WriteFile(sums, []byte(strings.Repeat("0", 64)+"  "+name+"\n"), 0o644))
	fails("is not what it must be", copied, "agent", "--root", dir)
	must(t, os.WriteFile(sums, []byte(sum+"  nimbus-other\n"), 0o644))
	fails("does not name "+name, copied, "agent", "--root", dir)
	must(t, os.WriteFile(sums, []byte(sum+"  "+name+"\n"), 0o644))
	fails("there is no nimbus-linux-s390x in "+release, copied, "agent", "--root", dir, "--arch", "linux-s390x", "--from", release)
	fails("is no directory", copied, "agent", "--root", dir+"/nowhere")
	fails("--root is empty", copied, "agent", "--root", "")
	fails("--root is empty", copied, "agent", "--root=")
	fails("error: one of agent, broker, client at a time\nusage:", copied, "agent", "client")
	fails("error: --prefix is for the client alone\nusage:", copied, "agent", "--prefix", "/usr")
	fails("error: there is no option --rot\nusage:", copied, "agent", "--rot", dir)
	fails("error: say what to install: agent, broker or client\nusage:", copied)
	if out, err := run(copied, "--help"); err != nil || !strings.HasPrefix(out, "usage: install.sh") {
		t.Errorf("%v: %s", err, out)
	}
	fails("cannot tell which processor", copied, "agent", "--root", t.TempDir())
}

// An image for another processor gets a program for that one; this machine's
// does the work. What is reached by a link may be this machine's.
func TestInstallScriptForeignImage(t *testing.T) {
	name := "nimbus-" + host(t)
	release := build(t)
	for platform, text := range heads {
		must(t, os.WriteFile(filepath.Join(release, "nimbus-"+platform), []byte(text), 0o644))
	}
	must(t, os.WriteFile(filepath.Join(release, name), []byte(pretender()), 0o644))
	must(t, os.WriteFile(filepath.Join(release, "install.sh"), []byte(script), 0o755))
	for _, platform := range []string{"linux-riscv64", "linux-armv7", "linux-s390x", "linux-ppc64le"} {
		if "nimbus-"+platform == name {
			continue
		}
		// The link leads to a program of this machine.
		dir := build(t, "usr/bin/aaa -> /proc/self/exe", "usr/bin/script: #!/bin/sh\\n", "bin -> usr/bin")
		must(t, os.WriteFile(filepath.Join(dir, "usr/bin/zzz"), []byte(heads[platform]), 0o755))
		out, err := exec.Command("sh", filepath.Join(release, "install.sh"), "agent", "--root", dir).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "called: nimbus agent install --root "+dir+" --binary ") || !strings.Contains(string(out), "/nimbus-"+platform+"\n") {
			t.Errorf("%s: %v: %s", platform, err, out)
		}
	}
	dir := build(t)
	must(t, os.MkdirAll(filepath.Join(dir, "bin"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "bin/sh"), []byte(head("\x01", "\x01", "\x03\x00")), 0o755))
	out, err := exec.Command("sh", filepath.Join(release, "install.sh"), "agent", "--root", dir).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "there is no program for the processor") {
		t.Errorf("%v: %s", err, out)
	}
	// All of bin by a link out of the image.
	dir = build(t, "bin -> /bin", "usr -> /usr", "sbin -> /sbin")
	out, err = exec.Command("sh", filepath.Join(release, "install.sh"), "agent", "--root", dir).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "cannot tell which processor") {
		t.Errorf("%v: %s", err, out)
	}
}

// On this machine itself, in a mount namespace of its own: what cannot be
// written to, what programs cannot be run in, and what is full.
func TestInstallScriptOnOddMounts(t *testing.T) {
	if exec.Command("unshare", "--mount", "true").Run() != nil {
		t.Skip("no right to make mounts")
	}
	h := hand(t, serve(pretender()))
	file := filepath.Join(t.TempDir(), "install.sh")
	must(t, os.WriteFile(file, Script(h.origin), 0o755))
	big := hand(t, func(w http.ResponseWriter, r *http.Request) { serve(pretender()+strings.Repeat("#", 1<<20))(w, r) })
	full := filepath.Join(t.TempDir(), "install.sh")
	must(t, os.WriteFile(full, Script(big.origin), 0o755))
	for _, c := range []struct {
		name, file, mounts string
		want               []string
	}{
		{"plain", file, "mount -t tmpfs x /opt", []string{"called: nimbus agent install\n", "left:\n"}},
		{"noexec /tmp", file, "mount -t tmpfs x /opt; mount -t tmpfs -o noexec x /tmp; mount -t tmpfs -o noexec x /var/tmp", []string{"called: ", "left:\n"}},
		{"read-only", file, "mount -t tmpfs -o ro x /opt", []string{"cannot write to /opt: Read-only file system", "hint: it is mounted read-only", "left:\n"}},
		{"noexec /opt", file, "mount -t tmpfs -o noexec x /opt", []string{"programs cannot be run in /opt:", "remount,exec", "left:\n"}},
		{"full to the brim", file, "mount -t tmpfs -o size=64k x /opt; cat /dev/zero >/opt/all 2>/dev/null || true", []string{"cannot write to /opt: No space left on device", "hint: free some space there", "left: all\n"}},
		{"full", full, "mount -t tmpfs -o size=64k x /opt", []string{"could not be fetched", "is there space left in /opt?", "left:\n"}},
		{"not root", file, "mount -t tmpfs x /opt; chmod 755 /opt; as='setpriv --reuid=65534 --regid=65534 --clear-groups'", []string{"cannot write to /opt: Permission denied", "hint: run this as root", "left:\n"}},
		{"noexec image", file, "mount -t tmpfs x /opt; mount -t tmpfs -o noexec x /mnt; mkdir /mnt/bin; cp /bin/true /mnt/bin; args='--root /mnt'", []string{"called: nimbus agent install --root /mnt\n", "left: bin\n"}},
		{"open image", file, "mount -t tmpfs x /opt; chmod 777 /mnt; mkdir /mnt/bin; cp /bin/true /mnt/bin; args='--root /mnt'", []string{"called: nimbus agent install --root /mnt\n", "left: bin\n"}},
		{"open image, noexec /tmp", file, "mount -t tmpfs x /opt; chmod 777 /mnt; mount -t tmpfs -o noexec x /tmp; mount -t tmpfs -o noexec x /var/tmp; mkdir /mnt/bin; cp /bin/true /mnt/bin; args='--root /mnt'", []string{"neither in /mnt nor in /tmp", "open to all", "left: bin\n"}},
		{"image, noexec /tmp", file, "mount -t tmpfs x /opt; mount -t tmpfs -o noexec x /tmp; mount -t tmpfs -o noexec x /var/tmp; mkdir /mnt/bin; cp /bin/true /mnt/bin; args='--root /mnt'", []string{"called: ", "left: bin\n"}},
		{"noexec image and /tmp", file, "mount -t tmpfs x /opt; mount -t tmpfs -o noexec x /mnt; mount -t tmpfs -o noexec x /tmp; mount -t tmpfs -o noexec x /var/tmp; mkdir /mnt/bin; cp /bin/true /mnt/bin; args='--root /mnt'", []string{"neither in /mnt nor in /tmp", "left: bin\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			story := "set -e; exec 9<'" + c.file + "'; as='' args=''; mount -t tmpfs x /mnt; " + c.mounts + "; set +e; $as sh -s agent $args <&9; echo left: $(ls -A /opt /mnt | grep -v -e : -e '^$')"
			out, _ := exec.Command("unshare", "--mount", "sh", "-c", story).CombinedOutput()
			for _, want := range c.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("there is no %q in %s", want, out)
				}
			}
		})
	}
}

// Ended in the middle of a download, it leaves nothing.
func TestInstallScriptInterrupted(t *testing.T) {
	sending := make(chan bool)
	h := hand(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(pretender())+1000000))
		io.WriteString(w, pretender())
		w.(http.Flusher).Flush()
		close(sending)
		<-r.Context().Done()
	})
	dir := image(t)
	before := listing(t, dir)
	cmd := exec.Command("sh", "-s", "agent", "--root", dir)
	cmd.Stdin = bytes.NewReader(Script(h.origin))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(t, cmd.Start())
	<-sending
	must(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGINT))
	if err := cmd.Wait(); err == nil {
		t.Error("it says that it worked")
	}
	if got := listing(t, dir); got != before {
		t.Errorf("it left\n%s", got)
	}
}

// What lies in a directory is looked at before root runs it, or puts it into an
// image, whether its sum is known or not.
func TestInstallScriptLooksAtTheProgram(t *testing.T) {
	own := host(t)
	foreign := "linux-s390x"
	if own == foreign {
		foreign = "linux-arm64"
	}
	for _, c := range []struct {
		name, text string
		args       []string
		want       string
	}{
		{"empty", "", nil, "is no program for this machine (" + own + "): it is empty"},
		{"script", "#!/bin/sh\necho called\n", nil, "it is no program, by its first bytes"},
		{"other processor", heads[foreign], nil, "it is for " + foreign},
		{"unknown processor", head("\x01", "\x01", "\x03\x00"), nil, "it is for another processor"},
		{"macOS", "\xcf\xfa\xed\xfe\x0c\x00\x00\x01", nil, "it is for darwin-arm64"},
		{"cut", pretender()[:4096], nil, "it does not run"},
		{"header only", heads[own], nil, "it does not run"},
		{"another program", read(t, "/bin/true"), nil, "it does not say that it is Nimbus"},
		{"another program that fails", read(t, "/bin/false"), nil, "it does not run (\"version\" ends with 1)"},
		{"foreign image, empty", "", []string{"--arch", foreign}, "is no program for " + foreign + ": it is empty"},
		{"foreign image, of here", pretender(), []string{"--arch", foreign}, "is no program for " + foreign + ": it is for " + own},
	} {
		for _, shell := range shells {
			t.Run(c.name+"/"+shell.name, func(t *testing.T) {
				t.Parallel()
				program, err := exec.LookPath(shell.argv[0])
				if err != nil {
					t.Skipf("%s is not here", shell.argv[0])
				}
				release, dir := build(t), image(t)
				must(t, os.WriteFile(filepath.Join(release, "nimbus-"+own), []byte(pretender()), 0o644))
				platform := own
				if c.args != nil {
					platform = foreign
				}
				file := filepath.Join(release, "nimbus-"+platform)
				must(t, os.WriteFile(file, []byte(c.text), 0o755))
				must(t, os.WriteFile(filepath.Join(release, "install.sh"), []byte(script), 0o755))
				before := listing(t, dir)
				argv := append(append(shell.argv[1:len(shell.argv):len(shell.argv)], filepath.Join(release, "install.sh"), "agent", "--root", dir), c.args...)
				said, err := exec.Command(program, argv...).CombinedOutput()
				out := string(said)
				if err == nil || !strings.Contains(out, "install.sh: error: "+file+" is no program for ") || !strings.Contains(out, c.want) || strings.Contains(out, "called") ||
					strings.Contains(out, "egmentation") || !strings.Contains(out, "install.sh: hint: nothing was installed") || !strings.Contains(out, "note: there is no SHA256SUMS in "+release) {
					t.Errorf("%v: want %q in %s", err, c.want, out)
				}
				if got := listing(t, dir); got != before {
					t.Errorf("it left\n%s", got)
				}
			})
		}
	}
}

// With --arch the image is what somebody says; what its programs say is told.
func TestInstallScriptArchAgainstTheImage(t *testing.T) {
	own := host(t)
	other := "linux-s390x"
	if own == other {
		other = "linux-arm64"
	}
	release, dir := build(t), image(t)
	must(t, os.WriteFile(filepath.Join(release, "nimbus-"+own), []byte(pretender()), 0o644))
	must(t, os.WriteFile(filepath.Join(release, "nimbus-"+other), []byte(heads[other]), 0o644))
	must(t, os.WriteFile(filepath.Join(release, "install.sh"), []byte(script), 0o755))
	for _, c := range []struct {
		arch  string
		noted bool
	}{{other, true}, {own, false}} {
		out, err := exec.Command("sh", filepath.Join(release, "install.sh"), "agent", "--root", dir, "--arch", c.arch).CombinedOutput()
		if noted := strings.Contains(string(out), "programs in "+dir+" are for "+own+"; "+other+" is installed, as --arch says"); err != nil || noted != c.noted || !strings.Contains(string(out), "called: nimbus agent install") {
			t.Errorf("--arch %s: %v: %s", c.arch, err, out)
		}
	}
}
