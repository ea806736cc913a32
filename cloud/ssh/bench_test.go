//go:build linux

package ssh

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"nimbus/cloud"
	"nimbus/cloud/cloudtest"
	"nimbus/cloud/local"
)

// This binary is the keeper and the first process of the sandboxes whose SSH
// servers are logged in to.
func TestMain(m *testing.M) {
	if code, ok := local.Main(os.Args); ok {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// A bench has sandboxes with real SSH servers, and who logs in to them.
type bench struct {
	t         testing.TB
	dir       string
	sandboxes *local.Driver
	machines  []cloud.Instance
	hosts     []Host
	keyFile   string
	public    string // of the key, a line for authorized_keys
	known     string // a known_hosts file that has all of them
	logs      lines
	said      lines
	copied    lines
}

// lines are gathered by several goroutines.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) add(host, line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, host+": "+line)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.all, "\n")
}

func (l *lines) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = nil
}

// newBench starts sandboxes that know nothing of Nimbus.
func newBench(t testing.TB, count int) *bench {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root's sandboxes can be reached by SSH")
	}
	b := &bench{t: t, dir: t.TempDir()}
	b.keyFile, b.public = newKey(t, b.dir, "key")
	var err error
	if b.sandboxes, err = local.New(local.Options{Dir: filepath.Join(b.dir, "local")}); err != nil {
		t.Fatal(err)
	}
	if p := local.Problems(); len(p) > 0 {
		t.Skipf("no sandboxes here: %s", p[0].Text)
	}
	launch := cloudtest.Token()
	var requests []cloud.Request
	for n := range count {
		requests = append(requests, cloud.Request{Launch: launch, Token: fmt.Sprint(n), Name: fmt.Sprintf("host-%d.test", n), Networks: []string{"public"}, PublicKeys: []string{b.public}})
	}
	t.Cleanup(func() {
		ctx := context.Background()
		all, err := b.sandboxes.List(ctx, launch)
		if err == nil {
			err = b.sandboxes.Terminate(ctx, all)
		}
		if err == nil {
			err = b.sandboxes.Release(ctx, launch)
		}
		if err != nil {
			t.Error(err)
		}
	})
	if b.machines, err = b.sandboxes.Launch(t.Context(), requests); err != nil {
		t.Fatal(err)
	}
	var known strings.Builder
	for _, m := range b.machines {
		ip := m.Addresses[0].IP.String()
		b.hosts = append(b.hosts, Host{User: "root", Address: ip, Port: 22})
		fmt.Fprintf(&known, "%s %s\n", ip, m.HostKey)
	}
	b.known = b.write("known_hosts", known.String())
	var at sync.WaitGroup
	for n := range b.hosts {
		at.Go(func() {
			eventually(t, "sshd listens", func() bool {
				c, err := net.Dial("tcp", b.hosts[n].dial())
				if err == nil {
					c.Close()
				}
				return err == nil
			})
		})
	}
	at.Wait()
	return b
}

// newKey makes a key pair, the private one in a file.
func newKey(t testing.TB, dir, name string) (file, public string) {
	t.Helper()
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, name)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, name)
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return file, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

func (b *bench) write(name, text string) string {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return path
}

// options are those of a driver that may use all sandboxes for any group.
func (b *bench) options() Options {
	return Options{
		Hosts:      map[string][]Host{AnyGroup: b.hosts},
		Dir:        filepath.Join(b.dir, "notes"),
		Key:        b.keyFile,
		KnownHosts: []string{b.known},
		Program:    func(string, string) (Program, error) { return standIn(b.t, ""), nil },
		Log:        b.logs.add,
		Said:       b.said.add,
		Copied:     func(host string, copied bool) { b.copied.add(host, fmt.Sprint(copied)) },
	}
}

// standIn is a small program for hosts, another one with another tail.
func standIn(t testing.TB, tail string) Program {
	text, err := os.ReadFile("testdata/nimbus.sh")
	if err != nil {
		t.Error(err)
	}
	text = append(text, tail...)
	return Program{Content: bytes.NewReader(text), Size: int64(len(text)), SHA256: sumOf(string(text))}
}

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// open returns a driver that ends with the test.
func (b *bench) open(o Options) *Driver {
	b.t.Helper()
	d, err := New(o)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { d.Close() })
	return d
}

// startSSHD begins a machine's SSH server anew: it writes the number of its
// process when it listens.
const startSSHD = "rm -f /run/sshd.pid; /usr/sbin/sshd -f /etc/ssh/nimbus_sshd_config; until [ -s /run/sshd.pid ]; do sleep 0.05; done"

// in runs a script in a sandbox, not by SSH, and returns what it prints.
func (b *bench) in(n int, script string) string {
	b.t.Helper()
	var out, said bytes.Buffer
	code, err := b.sandboxes.Enter(b.t.Context(), b.machines[n], cloud.Program{Command: []string{"/bin/sh", "-c", script}, Stdout: &out, Stderr: &said})
	if err != nil || code != 0 {
		b.t.Fatalf("in host %d: %s: exit code %d, %v: %s%s", n, script, code, err, out.String(), said.String())
	}
	return strings.TrimSpace(out.String())
}

// requests ask for one instance in each of groups.
func requests(launch string, groups ...string) []cloud.Request {
	index := map[string]int{}
	var all []cloud.Request
	for _, g := range groups {
		all = append(all, cloud.Request{
			Launch: launch, Token: fmt.Sprintf("%s-%d", g, index[g]), Name: fmt.Sprintf("%s-%d.cluster-001", g, index[g]), Group: g, Index: index[g],
			Image: "any", Networks: []string{"public", "private"}, UserData: []byte("for " + g + " it's \"secret\"\n"),
		})
		index[g]++
	}
	return all
}

// launched launches and expects that to work.
func launched(t testing.TB, d *Driver, rs []cloud.Request) []cloud.Instance {
	t.Helper()
	instances, err := d.Launch(t.Context(), rs)
	if err != nil {
		t.Fatal(err)
	}
	if len(instances) != len(rs) {
		t.Fatalf("%d instances for %d requests", len(instances), len(rs))
	}
	return instances
}

// refuses expects an error with these parts.
func refuses(t testing.TB, what string, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error", what)
		return
	}
	text := err.Error()
	var hint interface{ Hint() string }
	if errors.As(err, &hint) {
		text += "\nhint: " + hint.Hint()
	}
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s: %s\nlacks %q", what, text, part)
		}
	}
}

// eventually waits for what other processes do in their own time.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("20 s have not been enough: %s", what)
			return
		}
	}
}

// listing is all that a launch could leave on a host: what there is below
// these.
const listing = `ls /opt; set -- /opt/nimbus /var/lib/nimbus /etc/systemd /etc/init.d /etc/rc?.d /etc/sudoers.d /etc/hosts /etc/ssh /root /run /tmp
for what in "-exec ls -ld {} +" "-type f -exec cksum {} +"; do
	find "$@" -not -path '/run/sshd*' -not -path '/run/mount*' $what 2>/dev/null
done | awk '$1 ~ /^[0-9]/ {print $1, $3; next} {$2 = $5 = $6 = $7 = $8 = ""; print}' | sort -u`

// quiet waits until nothing of a launch runs on a host.
func (b *bench) quiet(n int) {
	b.t.Helper()
	eventually(b.t, "nothing runs any more", func() bool { return b.in(n, "pgrep -x 'sleep|tail|nimbus|launch.sh' || true") == "" })
}

// unchanged compares two listings.
func unchanged(t testing.TB, what, before, after string) {
	t.Helper()
	was, is := strings.Split(before, "\n"), strings.Split(after, "\n")
	for _, line := range was {
		if !slices.Contains(is, line) {
			t.Errorf("%s: this is gone: %s", what, line)
		}
	}
	for _, line := range is {
		if !slices.Contains(was, line) {
			t.Errorf("%s: this was left: %s", what, line)
		}
	}
}
