package client

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/urfave/cli/v2"

	"nimbus/broker/wire"
	"nimbus/client/settings"
	"nimbus/cloud"
)

// asked is what a shell is answered: words, and their meanings in brackets
// where texts is set.
func (w *world) asked(texts bool, words ...string) string {
	w.t.Helper()
	never := func() { w.t.Errorf("%q: completion went out to ask", words) }
	w.stdout.Reset()
	env := &Env{
		Command: "nimbus", Classic: w.classic, Home: w.home, StateDir: w.path("state"), ConfigDir: w.path("config"),
		Stdout: &w.stdout, Stderr: &w.stderr, Now: time.Now, Terminal: func(io.Writer) (int, int, bool) { return 0, 0, false },
		EnsureBroker: func(context.Context, string, string) (Broker, error) { never(); return nil, ErrNoBroker },
		FindBroker:   func(context.Context, string) (Broker, error) { never(); return nil, ErrNoBroker },
		OpenBroker:   func(wire.Endpoint) (Broker, error) { never(); return nil, ErrNoBroker },
		OpenCloud:    func(string, settings.Settings) (cloud.Driver, error) { never(); return nil, ErrNoBroker },
	}
	app := &cli.App{Name: "nimbus", Commands: Commands(env), Writer: &w.stdout, ErrWriter: &w.stderr, ExitErrHandler: func(*cli.Context, error) {}}
	w.stderr.Reset()
	if err := app.RunContext(w.t.Context(), append([]string{"nimbus", "complete", "--"}, words...)); err != nil || w.stderr.Len() > 0 {
		w.t.Errorf("%q: %v %s", words, err, w.stderr.String())
	}
	var all []string
	for line := range strings.Lines(w.stdout.String()) {
		word, text, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !ok {
			w.t.Errorf("%q: %q", words, line)
		}
		if texts {
			word += " [" + text + "]"
		}
		all = append(all, strings.ReplaceAll(word, w.home, "HOME"))
	}
	return strings.Join(all, " ")
}

func TestComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot(allOK)
		w.write("hello.xml", strings.Replace(hello, `<role name="head"/></requires>`, `<role name="head"/><data name="key">k</data></requires>`, 1))
		w.expect(0, []string{"run", "--cluster", w.path("plain.xml"), "--hours", "1"}) // expires
		w.expect(0, []string{"run", "--cluster", w.path("plain.xml"), "--hours", "9"})
		w.expect(0, []string{"terminate", "--handle", "cluster-002"})
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml"), "--hours", "9"})
		time.Sleep(2 * time.Hour) // of the bubble
		if err := os.MkdirAll(w.path("config/logins"), 0o700); err != nil {
			t.Fatal(err)
		}
		w.write("config/logins/b.json", `{"URLs":["https://b.example.org:8443"]}`)
		w.write("config/logins/bad.json", `{`)
		w.write("config/config.toml", "broker = \"https://a.example.org\"\n[clouds.lab]\ndriver = \"local\"\n[clouds.lab.images.debian]\ndescription = \"Debian 12\"\n")
		w.write("other.toml", "cloud = \"moon\"\n")
		w.write("a b.xml", "")
		w.write(".hidden.xml", "")
		w.write("c\nd.xml", "")
		w.write("vars.xml", "<cluster><workspace><name>a</name><image>${image}</image><quantity>${size:-2}</quantity><nic>public</nic></workspace></cluster>")
		if err := syscall.Mkfifo(w.path("pipe"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(w.path("dir"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(w.path("dir"), w.path("link")); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct{ words, want string }{
			{"sta|", "status"},
			{"help|term|", "terminate"},
			{"xyz|", ""},
			{"xyz|--h|", ""},
			{"status|--ha|", "--handle"},
			{"status|-|", "--conf --history-dir --json --handle --help"},
			{"status|--handle|cluster-001|--h|", "--history-dir --help"},
			{"terminate|--handle|cluster-001|--ha|", "--handle"},
			{"status|--json|--ha|", "--handle"},

			// Handles: those that run come first.
			{"status|--handle||", "cluster-003 cluster-002 cluster-001"},
			{"status|--handle=cluster-00|", "--handle=cluster-003 --handle=cluster-002 --handle=cluster-001"},
			{"terminate|--handle||", "cluster-003 cluster-001"},
			{"release|--handle||", "cluster-003"},
			{"status|--history-dir|HOME/none|--handle||", ""},
			{"status|--conf|HOME/other.toml|--handle|vm|", ""},

			// Names of the launch, or of the only one that runs.
			{"release|--node||", "back-0 back-1 front-0"},
			{"release|--handle|cluster-002|--node|b|", "box-0 box-1"},
			{"release|--handle|cluster-009|--node||", ""},
			{"release|--handle|../../..|--node||", ""},

			// What machines are called, for those who go into them.
			{"ssh||", "back-0 back-1 front-0 back front head worker"},
			{"ssh|front-0||", ""},
			{"ssh|--enter|fr|", "front-0 front"},
			{"exec|--role||", "head worker"},
			{"exec|--workspace|back|--workspace|f|", "front"},
			{"exec|--node|back-0|--w|", "--workspace"},
			{"exec|--parallel||", ""},
			{"exec|--all|--||", ""},
			{"cp|HOME/hello.xml|front|", "front-0: front:"},
			{"cp|HOME/hello.xml|HOME/plain.xml|work|", "worker:"},
			{"cp|front-0:/x|HOME/d|", "HOME/dir/"},
			{"logs|--handle|cluster-002|box|", "box-0 box-1 box"},
			{"logs|--handle||", "cluster-003 cluster-002 cluster-001"},
			{"rerun|back-0|back-1|f|", "front-0 front"},
			{"rerun|--from||", "0-etchosts sshd 1-ipandhost 2-thishost 3-data 4-restarts 5-thishost-finalize"},
			{"extend|--handle||", "cluster-003"},
			{"resume|--handle||", "cluster-003"},
			{"lock|--handle||", "cluster-003"},
			{"forget|--handle|cluster-001|--handle|cluster-00|", "cluster-003 cluster-002 cluster-001"},
			{"inject|--name||", "key"},
			{"inject|--name|key|--file|HOME/he|", "HOME/hello.xml"},
			{"new|shop|--role||", ""},
			{"new|--role||", ""},

			// What the options change, out of the definition before them.
			{"run|--cluster|HOME/hello.xml|--quantity||", "front= back="},
			{"run|--cluster=HOME/hello.xml|--quantity=b|", "--quantity=back="},
			{"run|--cluster|HOME/hello.xml|--quantity|back=1|--q|", "--quantity"},
			{"run|--cluster|HOME/hello.xml|--data||", "key="},
			{"run|--data|key=@HOME/o|", "key=@HOME/other.toml"},
			{"run|--cluster|HOME/vars.xml|--set||", "image= size="},
			{"run|--cluster|HOME/vars.xml|--quantity||", "a="},
			{"run|--cluster|HOME/none.xml|--quantity||", ""},
			{"run|--cluster|HOME/dir|--set||", ""},
			{"run|--cluster|HOME/pipe|--set||", ""},
			{"run|--cluster|HOME/other.toml|--set||", ""},
			{"run|--quantity||", ""},
			{"graph|--format||", "mermaid dot"},
			{"graph|--format|dot|HOME/he|", "HOME/hello.xml"},

			{"run|--cloud||", "lab local ssh"},
			{"run|--host-keys||", "strict accept-new"},
			{"run|--hosts|HOME/o|", "HOME/other.toml"},
			{"run|--cloud|lab|--name||", "debian host"},
			{"run|--name||", "host"},
			{"run|--broker||", "https://a.example.org https://b.example.org:8443"},
			{"login|https://b|", "https://b.example.org:8443"},
			{"run|--cluster|HOME/|", "HOME/a b.xml HOME/config/ HOME/dir/ HOME/hello.xml HOME/link/ HOME/plain.xml HOME/state/ HOME/vars.xml"},
			{"run|--cluster|HOME/.|", "HOME/.hidden.xml HOME/.ssh/"},
			{"validate|HOME/he|", "HOME/hello.xml"},
			{"validate|~/he|", "~/hello.xml"},
			{"validate|~|", "~/"},
			{"graph|HOME/hello.xml||", ""},
			{"validate|HOME/none/x|", ""},
			{"run|--conf|HOME/o|", "HOME/other.toml"},
			{"run|--ssh-key|HOME/.ssh/|", "HOME/.ssh/id_ed25519.pub"},
			{"run|--known-hosts|non|", "none"},
			{"run|--history-dir|HOME/h|", ""},
			{"run|--history-dir|HOME/d|", "HOME/dir/"},
			{"run|--json=|", "--json=stream"},
			{"completion||", "bash zsh fish"},
			{"run|--|r|", ""},
			{"run|--hours|1|", ""},
			{"|", "run"}, // and others
		} {
			words := strings.Split(strings.ReplaceAll(strings.TrimSuffix(c.words, "|"), "HOME", w.home), "|")
			got := w.asked(false, words...)
			if got != c.want && c.words != "|" || !strings.HasPrefix(got, c.want) {
				t.Errorf("%s\n got %s\nwant %s", c.words, got, c.want)
			}
		}
		if got, want := w.asked(true, "status", "--handle", ""), "cluster-003 [ok, hello.xml] cluster-002 [terminated, plain.xml] cluster-001 [expired, plain.xml]"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got, want := w.asked(true, "run", "--timeo"), "--timeout [give up when not all is ready by then (default 20)]"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		w.write("state/history/cluster-003/launch.json", "{")
		if got := w.asked(true, "release", "--handle", ""); got != "cluster-003 [its record cannot be read]" {
			t.Error(got)
		}

		w.classic = true
		for _, c := range []struct{ words, want string }{
			{"--ru|", "--run"},
			{"--run|--clu|", "--cluster"},
			{"--terminate|--handle||", "cluster-003 cluster-001"},
			{"--handle||--terminate|", "--terminate"},
			{"--run|--ssh-pubkey|HOME/.ssh/|", "HOME/.ssh/id_ed25519.pub"},
			{"--run|--broker-url|https://b|", "https://b.example.org:8443"},
			{"--kernel|", ""},
		} {
			words := strings.Split(strings.ReplaceAll(strings.TrimSuffix(c.words, "|"), "HOME", w.home), "|")
			if got := w.asked(false, words...); got != c.want {
				t.Errorf("classic %s\n got %s\nwant %s", c.words, got, c.want)
			}
		}
		if got := w.asked(true, "--hou"); got != "--hours [how long the instances live (default 1)]" {
			t.Error(got)
		}
	})
}

// Who has launched nothing yet gets nothing, and no directory either.
func TestCompleteMakesNothing(t *testing.T) {
	w := newWorld(t)
	for _, words := range [][]string{{"status", "--handle", ""}, {"release", "--node", ""}, {"run", "--broker", ""}} {
		if got := w.asked(false, words...); got != "" {
			t.Errorf("%v: %s", words, got)
		}
	}
	if _, err := os.Stat(w.path("state")); !os.IsNotExist(err) {
		t.Error("it made the state directory")
	}
}

// freely are options whose value nobody can guess: completion is silent there.
var freely = []string{"hours", "timeout", "expires", "parallel", "value", "new role"}

// Each option that takes a value is completed, or is known to be free; what the
// tables name is there.
func TestKindsOfTheTree(t *testing.T) {
	taken := map[string]bool{}
	for _, c := range Commands(&Env{}) {
		taken[c.Name] = true
		for _, f := range c.Flags {
			name := f.Names()[0]
			taken[name], taken[c.Name+" "+name] = true, true
			free := slices.Contains(freely, name) || slices.Contains(freely, c.Name+" "+name)
			if takesValue(f) && (kindOf(c.Name, name) == nothing) != free {
				t.Errorf("--%s of %s: its kind is %q, and free is %v", name, c.Name, kindOf(c.Name, name), free)
			}
		}
	}
	for _, name := range freely {
		if !taken[name] {
			t.Errorf("there is no --%s", name)
		}
	}
	// Those of the broker and the agent, and of the classic client.
	elsewhere := []string{"broker data", "broker downloads", "config", "manifest", "bootstrap", "log-level", "log-format", "broker-url", "ssh-pubkey", "image"}
	for name := range optionKinds {
		if !taken[name] && !slices.Contains(elsewhere, name) {
			t.Errorf("the table of options has --%s, which is not there", name)
		}
	}
	for name := range argumentKinds {
		if !taken[name] {
			t.Errorf("the table of arguments has %s, which is not there", name)
		}
	}
	for _, name := range slices.Concat(needRunning, manyArguments) {
		if !taken[name] {
			t.Errorf("there is no command %s", name)
		}
	}
}

// More launches than anybody reads are not all told.
func TestCompleteEndsSomewhere(t *testing.T) {
	w := newWorld(t)
	for i := range most + 10 {
		dir := fmt.Sprintf("state/history/cluster-%03d", i+1)
		if err := os.MkdirAll(w.path(dir), 0o700); err != nil {
			t.Fatal(err)
		}
		w.write(dir+"/launch.json", "{")
	}
	if got := w.asked(false, "status", "--handle", "cluster-"); strings.Count(got, "cluster-") != most || !strings.HasPrefix(got, "cluster-1010 cluster-1009 ") {
		t.Errorf("%d words: %.100s", strings.Count(got, "cluster-"), got)
	}
}

func TestCompletionScripts(t *testing.T) {
	w := newWorld(t)
	for shell, script := range completionScripts {
		w.expect(0, []string{"completion", shell}, "complete --")
		path, err := exec.LookPath(shell)
		if err != nil {
			t.Logf("%s is not here", shell)
			continue
		}
		file := filepath.Join(t.TempDir(), shell)
		if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(path, "-n", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", shell, err, out)
		}
	}
	w.expect(1, []string{"completion"}, "give one shell: bash, fish, zsh")
	w.expect(1, []string{"completion", "tcsh"}, "give one shell: bash, fish, zsh")
}
