package settings

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestMissingFileIsAllDefaults(t *testing.T) {
	file := filepath.Join(t.TempDir(), "none.toml")
	s, err := Load(file, false)
	if err != nil || !reflect.DeepEqual(s, Default()) {
		t.Fatalf("%+v, %v", s, err)
	}
	if _, err := Load(file, true); err == nil || !strings.Contains(err.Error(), file) {
		t.Fatalf("a file that was named must be there: %v", err)
	}
}

func TestLoad(t *testing.T) {
	s, err := Load(write(t, `
broker = "https://broker.example.org:8443"
broker_ca = "/etc/nimbus/ca.pem"
cloud = "lab"

[clouds.lab]
driver = "local"
subnets = "10.90.0.0/16"
images.debian = { root = "/srv/debian", scripts = "/srv/scripts" }

[clouds.local]
`), true)
	if err != nil {
		t.Fatal(err)
	}
	if s.Clouds["lab"].Images["debian"].Root != "/srv/debian" || s.Clouds["local"].Driver != "local" {
		t.Errorf("%+v", s)
	}
}

func TestLoadRefuses(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"cloud = \"local\"\nbrokr = \"x\"\n", `:2: unknown setting "brokr"; did you mean "broker"?`},
		{"[clouds.local]\n\n  subnet = \"10.0.0.0/8\" # typo\n", `:3: unknown setting "clouds.local.subnet"; did you mean "subnets"?`},
		{"[clod.local]\ndriver = \"local\"\n", `:1: unknown setting "clod.local"`},
		{"cloud = \n", ":1:"},
		{"broker = \"http://x\"\n", `broker: broker URL "http://x" must read https://host:port`},
		{"cloud = \"moon\"\n", `cloud: there is no cloud "moon" (there are: local, ssh)`},
		{"[clouds.x]\ndriver = \"vws\"\n", `clouds.x.driver: there is no driver "vws" (there are: command, local, ssh)`},
		{"[clouds.local]\nsubnets = \"10.0.0.0/24\"\n", `clouds.local.subnets: "10.0.0.0/24" must be`},
		{"[clouds.local.images.a]\nroot = \"srv\"\n", `clouds.local.images.a.root: "srv" must begin with a slash`},
		{"[clouds.ssh]\nhosts_file = \"h\"\nhosts.worker = [\"10.0.0.1\"]\n", `clouds.ssh.hosts_file: there are hosts in the settings, too: leave one of them out`},
		{"[clouds.local]\nhosts_file = \"h\"\n", `clouds.local.hosts_file: this is for driver ssh; the cloud has driver local`},
		{"[clouds.ssh]\ncommand = \"h\"\n", `clouds.ssh.command: this is for driver command; the cloud has driver ssh`},
		{"[clouds.vms]\ndriver = \"command\"\ncommand = \"./h.sh\"\n", `clouds.vms.command: "./h.sh" must begin with / or ~/, or be a name in PATH`},
		{"[clouds.ssh]\nkey = \"id\"\n", `clouds.ssh.key: "id" must begin with / or ~/`},
		{"[clouds.vms]\ndriver = \"command\"\n", `clouds.vms.command: driver command needs the program`},
		{"[clouds.ssh]\nuser = \"-oProxyCommand=x\"\n", `clouds.ssh.user: "-oProxyCommand=x" is no user name`},
		{"[clouds.ssh]\nhost_keys = \"no\"\n", `clouds.ssh.host_keys: "no" must be "strict" or "accept-new"`},
		{"[clouds.local.images.a]\nagent = \"yes\"\n", `clouds.local.images.a.agent: "yes" must be "prepared" or "install", or left out`},
		{"[clouds.local.images.a]\nagent = \"legacy\"\n", `clouds.local.images.a.agent: "legacy": images of the original Nimbus (2008-2013) are not served by this version`},
	} {
		if _, err := Load(write(t, c.text), true); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %q", c.text, err, c.want)
		}
	}
}

// Every setting has a row in docs/settings.md, and every row a setting.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/settings.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]bool{}
	for line := range strings.Lines(string(page)) {
		if name, ok := strings.CutPrefix(line, "| `"); ok {
			name, _, _ = strings.Cut(name, "`")
			rows[name] = true
		}
	}
	for _, name := range keys(reflect.TypeFor[Settings](), "") {
		if !rows[name] {
			t.Errorf("docs/settings.md has no row for %s", name)
		}
		delete(rows, name)
	}
	for name := range rows {
		t.Errorf("docs/settings.md has a row for %s, which is no setting", name)
	}
}

// keys lists the settings below a struct, maps as NAME.
func keys(of reflect.Type, prefix string) []string {
	var list []string
	for i := range of.NumField() {
		f := of.Field(i)
		name := prefix + f.Tag.Get("toml")
		if f.Type.Kind() == reflect.Map && f.Type.Elem().Kind() != reflect.Struct {
			list = append(list, name+".NAME")
		} else if f.Type.Kind() == reflect.Map {
			list = append(list, keys(f.Type.Elem(), name+".NAME.")...)
		} else {
			list = append(list, name)
		}
	}
	return list
}
