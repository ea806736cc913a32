package loginkey

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

const (
	edKey    = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGlsoRXmRBuOKyUD8n5hBMPbPFVoyZUMW6Nef/2oyhOt u@host"
	otherKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBgu4GaF6C4Pg1Ot2UQdFkm4bMZSyTXJHnnZaq3KkdDI other"
)

// home makes a home directory with files in .ssh: name, content, name, …
func home(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(files); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, ".ssh", files[i]), []byte(files[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func find(t *testing.T, configured, home, data string) Key {
	t.Helper()
	key, err := Find(configured, home, data)
	if err != nil {
		t.Fatal(err)
	}
	key.path = "" // seen in what For makes of it
	return key
}

func TestTheUsersOwnKeys(t *testing.T) {
	for _, c := range []struct {
		name    string
		files   []string
		public  string
		private string // in .ssh; empty: ssh finds it
	}{
		{"the best comes first", []string{"a.pub", otherKey, "a", "x", "id_rsa.pub", otherKey, "id_rsa", "x", "id_ed25519.pub", edKey, "id_ed25519", "x"}, edKey, ""},
		{"a key without its private half is passed over", []string{"id_ed25519.pub", otherKey, "id_rsa.pub", edKey, "id_rsa", "x"}, edKey, ""},
		{"a broken one too", []string{"id_ed25519.pub", "junk", "id_ed25519", "x", "id_ecdsa.pub", edKey, "id_ecdsa", "x"}, edKey, ""},
		{"one of another name is told to ssh", []string{"work.pub", edKey, "work", "x", "zoo.pub", otherKey, "zoo", "x"}, edKey, "work"},
		{"no end of line, a comment", []string{"id_rsa.pub", "# mine\r\n\n" + edKey, "id_rsa", "x"}, edKey, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, data := home(t, c.files...), filepath.Join(t.TempDir(), "nimbus")
			want := Key{Public: c.public}
			if c.private != "" {
				want.Private = filepath.Join(h, ".ssh", c.private)
			}
			got := find(t, "", h, data)
			if got.File == "" || filepath.Dir(got.File) != filepath.Join(h, ".ssh") {
				t.Errorf("it was read from %q", got.File)
			}
			if want.File = got.File; got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			seen, err := Look("", h, data)
			if seen.path = ""; err != nil || seen != got {
				t.Errorf("looking sees %+v, %v", seen, err)
			}
			if _, err := os.Stat(data); !os.IsNotExist(err) {
				t.Errorf("a key was made without need: %v", err)
			}
		})
	}
}

// ssh looks where the system says that the user lives, whatever HOME is.
func TestAKeyThatSSHDoesNotFind(t *testing.T) {
	h := home(t, "id_ed25519.pub", edKey, "id_ed25519", "x")
	for _, configured := range []string{"", "~/.ssh/id_ed25519.pub"} {
		key, err := Find(configured, h, "/nowhere")
		if err != nil {
			t.Fatal(err)
		}
		if got := key.For(filepath.Join(h, ".ssh")).Private; got != "" {
			t.Errorf("ssh finds it: %q", got)
		}
		if got, want := key.For("/users/me/.ssh").Private, filepath.Join(h, ".ssh/id_ed25519"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := (Key{Public: edKey}).For("/users/me/.ssh"); got.Private != "" {
		t.Errorf("one in an agent: %+v", got)
	}
}

func TestAConfiguredKeyWins(t *testing.T) {
	h := home(t, "id_ed25519.pub", otherKey, "id_ed25519", "x", "team.pub", edKey+"\n"+otherKey+"\n", "work.pub", edKey, "work", "x")
	for _, c := range []struct{ configured, public, private string }{
		{"~/.ssh/id_ed25519.pub", otherKey, ""},
		{"~/.ssh/work.pub", edKey, filepath.Join(h, ".ssh/work")},
		{filepath.Join(h, ".ssh/team.pub"), edKey + "\n" + otherKey, ""},
	} {
		file := filepath.Join(h, ".ssh", filepath.Base(c.configured))
		if got := find(t, c.configured, h, "/nowhere"); got != (Key{Public: c.public, File: file, Private: c.private}) {
			t.Errorf("%s: %+v", c.configured, got)
		}
	}
}

func TestAConfiguredKeyThatCannotBeUsed(t *testing.T) {
	private := "-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n-----END OPENSSH PRIVATE KEY-----\n"
	h := home(t, "id_ed25519.pub", edKey, "id_ed25519", private, "empty.pub", "# none\n", "junk.pub", edKey+"\njunk\n",
		"huge.pub", strings.Repeat(edKey+"\n", 2000), "cr.pub", edKey+"\rssh-rsa x\n")
	if err := syscall.Mkfifo(filepath.Join(h, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ configured, want string }{
		{"~/.ssh/none.pub", "none.pub, as configured: there is no such file"},
		{"~/.ssh/id_ed25519", "name the .pub file"},
		{"~/.ssh/empty.pub", "no SSH public key"},
		{"~/.ssh/junk.pub", "a line that is no SSH public key"},
		{"~/.ssh/cr.pub", "a line that is no SSH public key"},
		{"~/.ssh/huge.pub", "larger than 64 KiB"},
		{"~/.ssh", "not a file"},
		{"~/pipe", "not a file"},
		{"~root/key.pub", "write the whole path"},
	} {
		_, err := Find(c.configured, h, t.TempDir())
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q", c.configured, err, c.want)
		}
	}
	if _, err := Find("~/key.pub", "", t.TempDir()); err == nil {
		t.Error("~ without a home was expanded")
	}
}

func TestAKeyIsMadeOnceAndReused(t *testing.T) {
	data := filepath.Join(t.TempDir(), "nimbus")
	path := filepath.Join(data, "ssh", "id_ed25519")
	first := find(t, "", home(t), data)
	if !first.Made || first.Private != path || !strings.HasPrefix(first.Public, "ssh-ed25519 ") {
		t.Errorf("first: %+v", first)
	}
	for file, want := range map[string]os.FileMode{path: 0o600, path + ".pub": 0o600, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
	// OpenSSH derives the same public key from it.
	out, err := exec.Command("ssh-keygen", "-y", "-f", path).Output()
	if err != nil || string(out) != first.Public+"\n" {
		t.Errorf("ssh-keygen -y (package openssh-client): %q, %v, want %q", out, err, first.Public)
	}

	// A lost or foreign .pub is mended, a mode that ssh would refuse too.
	for _, spoil := range []func() error{
		func() error { return os.Remove(path + ".pub") },
		func() error { return os.WriteFile(path+".pub", []byte(edKey), 0o600) },
		func() error { return os.Chmod(path, 0o644) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if again := find(t, "", "", data); again != (Key{Public: first.Public, File: path + ".pub", Private: path}) {
			t.Errorf("again: %+v", again)
		}
		if text, err := os.ReadFile(path + ".pub"); err != nil || string(text) != first.Public+"\n" {
			t.Errorf("%s.pub: %q, %v", path, text, err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode: %v, %v", info.Mode(), err)
	}

	if err := os.WriteFile(path, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Find("", "", data); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "remove the file") {
		t.Errorf("a broken key: %v", err)
	}
}

func TestClientsAtOnceAgreeOnOneKey(t *testing.T) {
	data := t.TempDir()
	keys := make([]Key, 16)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			var err error
			if keys[i], err = Find("", "", data); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	made := 0
	for _, k := range keys {
		if k.Public != keys[0].Public {
			t.Errorf("two keys: %q and %q", k.Public, keys[0].Public)
		}
		if k.Made {
			made++
		}
	}
	if made != 1 {
		t.Errorf("%d made it", made)
	}
	left, err := os.ReadDir(filepath.Join(data, "ssh"))
	if err != nil || len(left) != 2 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Looking makes nothing, and knows what would be made.
func TestLookMakesNothing(t *testing.T) {
	data := filepath.Join(t.TempDir(), "nimbus")
	path := filepath.Join(data, "ssh", "id_ed25519")
	if got, err := Look("", t.TempDir(), data); err != nil || got != (Key{File: path + ".pub", Private: path, Made: true}) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := os.Stat(data); !os.IsNotExist(err) {
		t.Errorf("something was made: %v", err)
	}
	find(t, "", "", data)
	if got, err := Look("", t.TempDir(), data); err != nil || got.Made || got.File != path+".pub" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := Look("/nowhere.pub", "", data); err == nil {
		t.Error("a configured key that is not there was found")
	}
}
