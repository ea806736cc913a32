//go:build linux

package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"nimbus/cloud/cloudtest"
)

// besideEnv has a test ask a keeper, which has its directory there.
const besideEnv = "NIMBUS_TEST_BESIDE"

// Whoever finds the socket of a keeper from inside a sandbox is told nothing,
// though it has the right user.
func TestKeeperRefusesSandboxes(t *testing.T) {
	if dir := os.Getenv(besideEnv); dir != "" {
		d, err := New(Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		launches, _ := os.ReadDir(dir)
		for _, l := range launches {
			_, err := d.List(t.Context(), l.Name())
			fmt.Printf("list: %v\n", err)
			// A client of this package gives up by itself.
			conn, err := dial(filepath.Join(dir, l.Name()))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			var a answer
			err = errors.Join(send(conn, question{Op: opTerminate, IDs: []string{l.Name() + "/1"}}), json.NewDecoder(conn).Decode(&a))
			fmt.Printf("terminate: %q, %v\n", a.Error, err)
		}
		return
	}
	d := open(t, Options{SSHD: "none"})
	started(t, d, wanted(cloudtest.Token(), "a"))
	for _, c := range []struct {
		name  string
		flags uintptr
		want  string
	}{
		{"in a pid namespace", syscall.CLONE_NEWPID, fmt.Sprintf("list: list: %s\nterminate: %q, <nil>\n", errStranger, errStranger)},
		{"beside it, in a user namespace", 0, "list: <nil>\nterminate: \"\", <nil>\n"},
	} {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestKeeperRefusesSandboxes$")
		cmd.Env = append(os.Environ(), besideEnv+"="+d.o.Dir)
		cmd.SysProcAttr = &syscall.SysProcAttr{}
		asRoot(cmd.SysProcAttr)
		cmd.SysProcAttr.Cloneflags |= c.flags
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), c.want) {
			t.Errorf("%s: %v\n%s", c.name, err, out)
		}
	}
}

func TestDepth(t *testing.T) {
	for text, want := range map[string]int{
		"pos:\t0\nPid:\t7\nNSpid:\t7\n":   1,
		"Pid:\t7\nNSpid:\t7\t1\nother:\n": 2,
		"Pid:\t-1\nNSpid:\t-1\n":          0, // it has ended
		"Pid:\t0\nNSpid:\t0\n":            0, // it is elsewhere
		"NSpid:\n":                        0,
		"":                                0,
	} {
		if got := depthIn(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	if !sameDepth(1, 1) || sameDepth(1, 2) || sameDepth(2, 1) || sameDepth(1, 0) || !sameDepth(0, 0) {
		t.Error("who is beside whom is wrong")
	}
}
