package client

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
)

func (w *world) tree(files ...string) {
	w.t.Helper()
	for _, name := range files {
		if err := os.MkdirAll(filepath.Dir(w.path(name)), 0o755); err != nil {
			w.t.Fatal(err)
		}
		w.write(name, "#!/bin/sh\n")
	}
}

// An image that the settings promise must be there before anything begins.
func TestImagesOfTheSettingsMustExist(t *testing.T) {
	w := newWorld(t)
	w.tree("file")
	for _, c := range []struct{ setting, want string }{
		{fmt.Sprintf("scripts = %q", w.path("none")), `image "demo-image": clouds.local.images.demo-image.scripts in the settings is "` + w.path("none") + `": there is no such directory`},
		{fmt.Sprintf("root = %q", w.path("none")), "images.demo-image.root in the settings"},
		{fmt.Sprintf("root = %q", w.path("file")), "it is not a directory"},
	} {
		w.write("conf", "[clouds.local.images.demo-image]\n"+c.setting+"\n")
		w.expect(1, []string{"run", "--cluster", w.path("hello.xml"), "--conf", w.path("conf")}, c.want, "hint: make the directory, or correct the setting")
	}
	if _, err := os.Stat(w.path("state/history")); err == nil {
		t.Error("a history was begun")
	}
	// An image that this cluster does not use may be anywhere.
	w.write("conf", "[clouds.local.images.other]\nroot = \"/no/such\"\n")
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot(allOK)
		w.write("conf", "[clouds.local.images.other]\nroot = \"/no/such\"\n")
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml"), "--conf", w.path("conf")})
	})
}

// A role that nobody has a script for is most often a slip.
func TestRolesWithoutAScript(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.boot(allOK)
		w.tree("scripts/1-ipandhost/worker.all")
		w.write("conf", fmt.Sprintf("[clouds.local.images.demo-image]\nscripts = %q\n", w.path("scripts")))
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml"), "--conf", w.path("conf")},
			`Warning: workspace "back" requires the role "head", and image "demo-image" has no script for it: `+w.path("scripts/1-ipandhost/head")+" would be called",
			`Warning: image "demo-image" has no 0-etchosts.all in `)
		if strings.Contains(w.stderr.String(), `the role "worker"`) {
			t.Errorf("%s", w.stderr.String())
		}
		w.tree("scripts/4-restarts/head", "scripts/0-etchosts")
		w.expect(0, []string{"run", "--cluster", w.path("hello.xml"), "--conf", w.path("conf")})
		if w.stderr.Len() > 0 {
			t.Errorf("%s", w.stderr.String())
		}
	})
}

// HOME is not where ssh looks when it is not the user's own.
func TestLoginsNameAKeyThatSSHDoesNotFind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sshDir = "/users/me/.ssh"
		w.expect(0, []string{"run", "--name", "debian"}, "ssh -i "+w.path(".ssh/id_ed25519")+" -o UserKnownHostsFile="+w.path(".ssh/known_hosts")+" root@192.0.2.1")
		w.expect(0, []string{"resume"}, "ssh -i "+w.path(".ssh/id_ed25519"))
	})
}

// Whatever the files are called, a shell finds the words in it, and ssh the
// file.
func TestLoginsAreQuoted(t *testing.T) {
	w := newWorld(t)
	if err := os.Mkdir(w.path("it's my dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.write("it's my dir/a $key.pub", hostKey(1)+" me\n")
	w.write("it's my dir/a $key", "private\n")
	w.boot(allOK)
	hosts := w.path(`it's my dir/known "50%"`)
	w.expect(0, []string{"run", "--json", "--cluster", w.path("hello.xml"), "--ssh-key", w.path("it's my dir/a $key.pub"), "--known-hosts", hosts})
	var result Result
	if err := json.Unmarshal(w.stdout.Bytes(), &result); err != nil || len(result.Logins) != 3 {
		t.Fatalf("%v: %s", err, w.stdout.String())
	}
	words, ok := strings.CutPrefix(result.Logins[0].Command, "ssh ")
	out, err := exec.Command("/bin/sh", "-c", `printf '%s|' `+words).Output()
	want := "-i|" + w.path("it's my dir/a $key") + `|-o|UserKnownHostsFile="` + w.path(`it's my dir/known \"50%%\"`) + `"|root@192.0.2.1|`
	if !ok || err != nil || string(out) != want {
		t.Errorf("%s\ngot  %s, %v\nwant %s", words, out, err, want)
	}
}
