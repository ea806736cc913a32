//go:build vm

// Package vm has tests on real virtual machines: a stock image that was never
// prepared, or one that was, started by samples/clouds/qemu.sh for driver
// command. Processors are emulated, so nothing here needs the hardware's help.
//
//	make test-vms          light machines, ten seconds each
//	make test-systemd      what is installed, under systemd: minutes
//	make test-cloud-init   systemd and cloud-init, minutes each
package vm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What TestMain hands to itself, in the environment.
const (
	programVar = "NIMBUS_VM_PROGRAM" // the program under test
	imagesVar  = "NIMBUS_QEMU_IMAGES"
	bridge     = "vms"
	here       = "10.77.0.1" // this machine, as virtual machines see it
)

// TestMain runs the tests in namespaces of their own. No packet gets to a real
// interface, no address can be taken already, and no process is left: they all
// end with the first one.
func TestMain(m *testing.M) {
	if os.Getenv(programVar) != "" {
		os.Exit(m.Run())
	}
	code, err := apart()
	if err != nil {
		fmt.Fprintln(os.Stderr, "vm tests:", err)
		code = 1
	}
	os.Exit(code)
}

func apart() (code int, err error) {
	image := exec.Command("./image.sh")
	image.Stderr = os.Stderr
	images, err := image.Output()
	if err != nil {
		return 0, fmt.Errorf("image.sh: %w", err)
	}
	dir, err := os.MkdirTemp("", "nimbus-vm-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "nimbus")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", program, "../..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("go build: %v\n%s", err, out)
	}
	// The shell is what reaps the machines that nobody waits for.
	cmd := exec.Command("unshare", append([]string{"--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", `"$@"; exit $?`, "sh"}, os.Args...)...)
	cmd.Env = append(os.Environ(), programVar+"="+program, imagesVar+"="+strings.TrimSpace(string(images)))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		return exit.ExitCode(), nil
	} else if err != nil {
		return 0, err
	}
	return 0, nil
}

// world is a user with a cloud of virtual machines.
type world struct {
	*testing.T
	home   string
	images string // what the cloud may start
	env    []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, home: t.TempDir(), images: t.TempDir()}
	w.env = []string{"HOME=" + w.home, "PATH=" + os.Getenv("PATH"), imagesVar + "=" + w.images}
	stock, err := filepath.Glob(os.Getenv(imagesVar) + "/*.*")
	if err != nil || len(stock) == 0 {
		t.Fatalf("no images: %v", err)
	}
	for _, file := range stock {
		w.must(os.Symlink(file, filepath.Join(w.images, filepath.Base(file))))
	}
	program, err := filepath.Abs("../../samples/clouds/qemu.sh")
	w.must(err)
	w.write(".config/nimbus/config.toml", fmt.Sprintf("cloud = \"vms\"\n[clouds.vms]\ndriver = \"command\"\ncommand = %q\nbroker_address = %q\n", program, here))
	w.sh("ip link set lo up; ip link add " + bridge + " type bridge && ip addr add " + here + "/24 dev " + bridge + " && ip link set " + bridge + " up")
	t.Cleanup(func() {
		if t.Failed() {
			w.consoles()
		}
		if _, err := os.Stat(filepath.Join(w.home, ".local/state/nimbus/history")); err == nil {
			if out, err := w.nimbus(time.Minute, "terminate", "--all"); err != nil {
				t.Errorf("terminate --all: %v\n%s", err, out)
			}
		}
		w.sh("ip link del " + bridge)
	})
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) write(name, text string) string {
	w.Helper()
	path := filepath.Join(w.home, name)
	w.must(os.MkdirAll(filepath.Dir(path), 0o755))
	w.must(os.WriteFile(path, []byte(text), 0o755))
	return path
}

func (w *world) sh(script string) string {
	w.Helper()
	out, err := exec.Command("sh", "-c", script).CombinedOutput()
	if err != nil {
		w.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// nimbus runs the program as a user does.
func (w *world) nimbus(limit time.Duration, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Getenv(programVar), args...)
	cmd.Dir, cmd.Env = w.home, w.env
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("not done within %v (%w)", limit, err)
	}
	return string(out), err
}

// ok runs what must work.
func (w *world) ok(limit time.Duration, args ...string) string {
	w.Helper()
	begun := time.Now()
	out, err := w.nimbus(limit, args...)
	if err != nil {
		w.Fatalf("nimbus %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	w.Logf("nimbus %s: %.1f s", args[0], time.Since(begun).Seconds())
	return out
}

// state is the directory that the cloud's program keeps its machines in.
func (w *world) state() string {
	return filepath.Join(w.home, ".local/state/nimbus/command/vms/program")
}

// consoles shows what the machines of a test that failed have printed.
func (w *world) consoles() {
	files, _ := filepath.Glob(filepath.Join(w.state(), "machines/*/console"))
	kept, _ := filepath.Glob(filepath.Join(w.home, ".local/state/nimbus/history/*/consoles/*"))
	for _, file := range append(files, kept...) {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		w.Logf("%s:\n%s", file, text[max(0, len(text)-8<<10):])
	}
}

// nothingLeft checks that no machine, and nothing of one, is there any more.
func (w *world) nothingLeft() {
	w.Helper()
	if out, _ := exec.Command("pgrep", "-a", "qemu").Output(); len(out) > 0 {
		w.Errorf("processes are left:\n%s", out)
	}
	if links := w.sh("ip -br link"); strings.Contains(links, "nm0a4d") {
		w.Errorf("taps are left:\n%s", links)
	}
	for _, dir := range []string{w.state(), filepath.Join(w.state(), "../requests"), filepath.Join(w.state(), "../launches")} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() || strings.Contains(path, "/addresses/") {
				w.Errorf("%s is left", path)
			}
			return err
		})
		w.must(err)
	}
}
