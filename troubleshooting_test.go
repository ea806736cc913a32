package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A mistake is one section of docs/troubleshooting.md.
type mistake struct {
	title string
	file  string // that the mistake is in, of those in mistakenFiles
	typed string // BROKER stands for the address of a broker
	code  int
	do    string // what to do, beyond the hint
}

// mistakes that people make, and what becomes of them. The program is asked,
// and the page says what it said.
var mistakes = []mistake{
	{"A typo in an option", "", "nimbus run --clutser hello-cluster.xml --hours 1", 1,
		"Write the option as the hint does. `nimbus run --help` lists all. Completion (`nimbus completion bash`) types them for you."},
	{"A typo in a command", "", "nimbus statsu", 1,
		"`nimbus --help` lists all commands."},
	{"A length of time that is none", "", "nimbus run --cluster hello-cluster.xml --hours tomorrow", 1,
		"Hours are a number, or a time with its unit."},
	{"A wrong path", "", "nimbus run --cluster helo-cluster.xml --hours 1", 1,
		"Correct the path. Nothing was launched."},
	{"An invalid file", "typo.xml", "nimbus run --cluster typo.xml --hours 1", 1,
		"Correct each line that is named: all mistakes are found at once, and nothing was launched. `nimbus validate FILE` checks without launching; [definition.md](definition.md) explains every element."},
	{"A file that is no XML", "notes.txt", "nimbus run --cluster notes.txt --hours 1", 1,
		"Give the cluster definition. [samples](../samples) has some to begin with."},
	{"A typo in the settings", "settings.toml", "nimbus status --conf settings.toml", 1,
		"Correct the line; [settings.md](settings.md) lists all settings."},
	{"An image that is missing", "images.toml", "nimbus run --conf images.toml --name debian", 1,
		"Make the directory, or correct the settings. An image that the settings do not name at all means this machine's own file system, and the run says so. `nimbus list` shows what there is."},
	{"More machines than fit", "large.xml", "nimbus run --cluster large.xml --hours 1", 2,
		"Ask for fewer machines, or put some of them into another network: each network of a launch on this machine has room for 1,021 NICs."},
	{"A script that fails", "", "nimbus run --cluster failing.xml --hours 1", 1,
		"Read the script's last words, here or in the reports. `--keep` leaves the machines running, to look into them. Then correct the script and launch again."},
	{"A handle that is not there", "", "nimbus terminate --handle cluster-010", 1,
		"`nimbus status` lists all launches. Those of another history are found with `--history-dir`."},
	{"A cluster whose time is over", "", "nimbus nodes --handle cluster-001", 2,
		"Its machines have ended by themselves. Launch it again, with more `--hours`; what the nodes reported is still in the history."},
	{"A history that cannot be written", "", "nimbus run --cluster hello-cluster.xml --history-dir /dev/null/history", 2,
		"Choose a directory of your own. `nimbus doctor` looks at permissions and at the space that is left."},
	{"A port that is in use", "", "nimbus broker --data data2 --listen BROKER", 2,
		"Choose another port, or end the program that has it."},
	{"Two brokers in one directory", "", "nimbus broker --data data --listen 127.0.0.1:0", 2,
		"A broker runs there already. Use it, or end it first."},
	{"A broker whose certificate is not known", "", "nimbus login --key data/owner.key https://BROKER", 2,
		"Get `ca.pem` from whoever runs the broker, and log in with it."},
	{"No key, or a wrong one", "", "nimbus login --ca data/ca.pem --key wrong.key https://BROKER", 2,
		"Whoever runs the broker has the key of an account. When a run says so: log in first."},
	{"A broker that needs a login", "nokey.toml", "nimbus contexts --conf nokey.toml", 2,
		"Log in, or name the key in the settings."},
	{"A broker that is down", "", "nimbus contexts --broker https://DOWN", 2,
		"Start the broker, or correct the URL. `nimbus doctor --broker URL` looks at the way there, the certificate, the clock and your key. Without `--broker` and the setting `broker`, one of your own is used."},
	{"A broker that sandboxes cannot reach", "", "nimbus run --cluster hello-cluster.xml --broker https://BROKER", 1,
		"Sandboxes on this machine have no way out of it. A broker elsewhere is for machines elsewhere: another cloud, or hosts."},
	{"A proxy that does not work", "", "HTTPS_PROXY=http://DOWN nimbus login --key wrong.key https://broker.example.org:8443", 2,
		"Correct the variable, or name the broker's host in `NO_PROXY`; [settings.md](settings.md) says when proxies are used."},
	{"An option that there is no more", "", "cloud-client --transfer --sourcefile image.gz", 1,
		"Images are not moved by the client any more: the settings say what an image is."},
}

// mistakenFiles are what mistakes are made with; those that a section names are
// shown in it.
var mistakenFiles = map[string]string{
	"typo.xml": `<cluster>
  <workspace>
    <name>head</name>
    <image>hello-image</image>
    <quantity>one</quantity>
    <nic>public</nic>
    <ctx><provides><role>server</role></provides></ctx>
  </workspace>
  <workspace>
    <name>worker</name>
    <image>hello-image</image>
    <quantity>2</quantity>
    <nic>public</nic>
    <ctx><requires><role name="sevrer"/></requires></ctx>
  </workspace>
</cluster>
`,
	"notes.txt":     "two workers, one head\n",
	"settings.toml": "brokr = \"https://broker.example.org:8443\"\n",
	"images.toml":   "[clouds.local.images.debian]\nroot = \"/srv/images/debain\"\n",
	"large.xml": `<cluster>
  <workspace>
    <name>worker</name>
    <image>hello-image</image>
    <quantity>1022</quantity>
    <nic>public</nic>
  </workspace>
</cluster>
`,
	"nokey.toml": "broker    = \"https://BROKER\"\nbroker_ca = \"data/ca.pem\"\n",
	"wrong.key":  "not-the-key\n",
}

const pageHead = `# Troubleshooting

` + "`nimbus doctor`" + ` looks at this machine, the settings, the cloud and the broker, and says of everything that is wrong what to do. This page shows what typical mistakes look like. (A test makes each of them with the real program and compares; ` + "`UPDATE=1 go test -run TestTroubleshooting .`" + ` writes the page anew.)
`

// The page is what the program says.
func TestTroubleshooting(t *testing.T) {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("launches on this machine: run it as root on Linux")
	}
	home := newHome(t)
	broker, down := mistakenWorld(t, home)
	var page strings.Builder
	page.WriteString(pageHead)
	for _, m := range mistakes {
		fmt.Fprintf(&page, "\n## %s\n\n", m.title)
		if m.file != "" {
			fmt.Fprintf(&page, "%s:\n\n%s\n", m.file, asCode(mistakenFiles[m.file]))
		}
		typed := strings.NewReplacer("BROKER", broker, "DOWN", down).Replace(m.typed)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cmd := exec.CommandContext(ctx, "sh", "-c", typed)
		cmd.Dir, cmd.Env = home, []string{"HOME=" + home, "PATH=" + os.Getenv("PATH")}
		var said strings.Builder
		cmd.Stderr = &said
		err := cmd.Run()
		cancel()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != m.code {
			t.Errorf("%s: %v, want exit code %d\n%s", typed, err, m.code, said.String())
		}
		// What is wrong, and what to do: all of them say it.
		if text := said.String(); !strings.Contains(text, "nimbus: error: ") || !strings.Contains(text, "nimbus: hint: ") {
			t.Errorf("%s: an error and a hint are wanted:\n%s", typed, text)
		}
		text := strings.NewReplacer(broker, "BROKER", down, "DOWN", home, "~").Replace(said.String())
		fmt.Fprintf(&page, "%s\n%s\n", asCode("$ "+m.typed+"\n"+everywhere(text)), m.do)
	}
	got := strings.NewReplacer("BROKER", "127.0.0.1:8443", "DOWN", "127.0.0.1:3128").Replace(page.String())

	const file = "docs/troubleshooting.md"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s says something else than the program (UPDATE=1 writes it anew):\n%s", file, difference(string(want), got))
	}
}

// mistakenWorld is a home with files, a launch of yesterday, a broker that
// answers and an address where nothing does.
func mistakenWorld(t *testing.T, home string) (broker, down string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	broker = l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// A port that was bound and nobody listens at refuses, and nobody else
	// gets it.
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	syscall.CloseOnExec(fd)
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	down = fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)

	files := map[string]string{}
	for name, text := range mistakenFiles {
		files[name] = strings.ReplaceAll(text, "BROKER", broker)
	}
	for _, name := range []string{"hello-cluster.xml", "failing.xml"} {
		text, err := os.ReadFile(sample(t, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(text)
	}
	over := time.Now().Add(-150 * time.Minute).UTC()
	files[".local/state/nimbus/history/cluster-001/launch.json"] = fmt.Sprintf(
		`{"handle":"cluster-001","launch":"yesterdays","cloud":"local","source":"/hello-cluster.xml","created":%q,"expires":%q,"context":{"id":"c","broker_id":"b"},"state":"ok"}`,
		over.Add(-time.Hour).Format(time.RFC3339), over.Format(time.RFC3339))
	for name, text := range files {
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := nimbus(home, "broker", "--data", filepath.Join(home, "data"), "--listen", broker)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	within(t, 20*time.Second, "the broker serves", func() bool {
		_, err := os.Stat(filepath.Join(home, "data", "broker.sock"))
		return err == nil
	})
	return broker, down
}

// What differs from machine to machine, and from run to run, is written the
// same.
var varying = []struct {
	what *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`10\.78\.\d+\.(\d+)`), "10.78.0.$1"},
	{regexp.MustCompile(`(10\.78\.0\.\d+):\d+`), "$1:8443"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,0-9]*(Z|[+-]\d\d:\d\d)?`), "2026-01-02 03:04:05"},
}

func everywhere(text string) string {
	for _, v := range varying {
		text = v.what.ReplaceAllString(text, v.with)
	}
	// How an agent came so far is told in an order of its own.
	var b strings.Builder
	left := false
	for line := range strings.Lines(text) {
		log := strings.HasPrefix(line, "      | ") && !strings.Contains(line, "testrole3: ") && !strings.Contains(line, " ERROR: ")
		if !log {
			b.WriteString(line)
		} else if !left {
			b.WriteString("      | ...\n")
		}
		left = log
	}
	return b.String()
}

func asCode(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == "" {
			b.WriteString("\n")
			continue
		}
		b.WriteString("    " + strings.TrimRight(line, " \n") + "\n")
	}
	return b.String()
}

// difference shows the first lines that are not the same.
func difference(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d\nthe page:    %s\nthe program: %s", i+1, a[i], b[i])
		}
	}
	return fmt.Sprintf("one has %d lines, the other %d", len(a), len(b))
}
