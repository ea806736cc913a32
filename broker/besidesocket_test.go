//go:build linux

package broker

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"nimbus/broker/store"
	"nimbus/broker/wire"
)

// socketEnv has a test ask a broker at its owner's socket.
const socketEnv = "NIMBUS_TEST_SOCKET"

// Whoever finds the owner's socket from inside a sandbox is not its owner,
// though it is the same user.
func TestOwnersSocketRefusesSandboxes(t *testing.T) {
	if socket := os.Getenv(socketEnv); socket != "" {
		all, err := wire.NewLocalClient(socket).Contexts(t.Context())
		fmt.Printf("%d contexts, %v\n", len(all), err)
		_, err = wire.NewLocalClient(socket).Info(t.Context())
		fmt.Printf("info: %v\n", err)
		return
	}
	b := newBench(t, t.TempDir(), store.NewMemory(), 0)
	socket := filepath.Join(t.TempDir(), "owner.sock")
	must(t, b.server.Socket(socket))
	b.create(false)
	for _, c := range []struct {
		name  string
		flags uintptr
		want  string
	}{
		{"beside it, in a user namespace", 0, "1 contexts, <nil>\ninfo: <nil>\n"},
		{"in a pid namespace", syscall.CLONE_NEWPID, "0 contexts, the broker's own socket is not for programs in other containers"},
	} {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestOwnersSocketRefusesSandboxes$")
		cmd.Env = append(os.Environ(), socketEnv+"="+socket)
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | c.flags,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		}
		out, err := cmd.CombinedOutput()
		if cmd.Process == nil {
			t.Skipf("this user cannot make namespaces: %v", err)
		}
		if err != nil || !strings.HasPrefix(string(out), c.want) {
			t.Errorf("%s: %v\n%s", c.name, err, out)
		}
	}
}
