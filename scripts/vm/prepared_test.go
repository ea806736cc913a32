//go:build vm

package vm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// prepare makes an image NAME of the stock image's tree: changed by a shell
// script that runs in the tree, then with the agent in it by install.sh, which
// takes the program from a directory like a release's. It returns the tree.
func (w *world) prepare(name, change, conf string) string {
	w.Helper()
	begun := time.Now()
	stock, tree, release := os.Getenv(imagesVar), filepath.Join(w.TempDir(), "tree"), w.TempDir()
	script, err := filepath.Abs("../../install.sh")
	w.must(err)
	w.sh("cp -a " + stock + "/tree " + tree + " && cd " + tree + " && " + change)
	w.sh(fmt.Sprintf("cp %s %s/nimbus-linux-amd64 && cd %[2]s && sha256sum nimbus-* >SHA256SUMS && sh %s agent --root %s --from .", os.Getenv(programVar), release, script, tree))
	w.sh("./disk.sh " + tree + " " + filepath.Join(w.images, name+".qcow2"))
	w.must(os.WriteFile(filepath.Join(w.images, name+".conf"), []byte(conf), 0o644))
	w.Logf("image %q: %.1f s", name, time.Since(begun).Seconds())
	return tree
}

// conf is what an image of the stock ones has.
func (w *world) conf(name string) string {
	w.Helper()
	text, err := os.ReadFile(filepath.Join(os.Getenv(imagesVar), name+".conf"))
	w.must(err)
	return string(text)
}

// install.sh puts the agent into the tree of an image with an init of its own.
// Its machines find their bootstrap document, no script, on a config drive.
func TestPreparedMachines(t *testing.T) {
	w := newWorld(t)
	tree := w.prepare("prepared", `rm -r sbin/init lib/systemd/systemd etc/rc?.d && ln -s light-init sbin/init && printf '#!/bin/sh -e\nexit 0\n' >etc/rc.local && chmod +x etc/rc.local`,
		w.conf("light")+"seed=config-2\n")
	if rc, err := os.ReadFile(filepath.Join(tree, "etc/rc.local")); err != nil || !strings.Contains(string(rc), "/opt/nimbus/ctx/launch.sh") {
		t.Fatalf("nothing calls the agent at boot: %s, %v", rc, err)
	}
	w.append(".config/nimbus/config.toml", "[clouds.vms.images.prepared]\nagent = \"prepared\"\n")
	out := w.ok(deadline, "run", "--timeout", "3m", "--cluster", w.write("three.xml", fmt.Sprintf(three, "prepared")))
	if !strings.Contains(out, "cluster-001: contextualized") {
		t.Fatal(out)
	}
	w.know(w.nodes())
	w.ok(time.Minute, "terminate", "--handle", "cluster-001")
	w.nothingLeft()
}

func (w *world) append(name, text string) {
	w.Helper()
	before, err := os.ReadFile(filepath.Join(w.home, name))
	w.must(err)
	w.write(name, string(before)+text)
}
