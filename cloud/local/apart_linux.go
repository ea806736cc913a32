package local

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Who is not root has a keeper that is: in a user namespace of its own, where
// this user's number is root's. What it makes there, bridges first of all, is
// apart from the machine's and goes with it. This file has what is different
// for a keeper then, copies_linux.go how its sandboxes get a root, and
// problems_linux.go what can be in the way.

// apart says that this process is not root of the whole machine: its sandboxes
// are made in a user namespace, or it is in that namespace already. The keeper
// and the sandboxes of a client find the same answer as the client.
var apart = sync.OnceValue(func() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	return os.Geteuid() != 0 || err == nil && !wholeMachine(string(text))
})

// wholeMachine says whether a uid_map is that of the first user namespace,
// which has all users.
func wholeMachine(uidMap string) bool {
	return strings.Join(strings.Fields(uidMap), " ") == "0 0 4294967295"
}

// keeperAttr is how a keeper is started.
func keeperAttr() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setsid: true}
	if apart() {
		asRoot(attr)
	}
	return attr
}

// asRoot makes a process root in new namespaces of its own. It gets one user
// and one group: the kernel allows no more without a privileged helper.
func asRoot(attr *syscall.SysProcAttr) {
	attr.Cloneflags |= syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	attr.GidMappingsEnableSetgroups = false
}

// settle makes the keeper's new namespaces fit to work in.
func settle() error {
	if !apart() {
		return nil
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("set up a network namespace: %w", explained(err))
	}
	return nil
}

// loginUser is who can log in to a sandbox by SSH. Apart nobody can: an ssh
// server changes users, and there is only one.
func loginUser() string {
	if apart() {
		return ""
	}
	return "root"
}

// sshdFor is the ssh server to start, as service has it.
func sshdFor(wanted string) string {
	if apart() {
		return "none"
	}
	return wanted
}

// doorPort is where a keeper answers at its addresses in the launch's networks:
// where they are its own, nobody else is there.
func doorPort() uint16 {
	if apart() {
		return 8443
	}
	return 0
}

// ownBinary returns a path by which a keeper that is apart finds its own binary
// in its own mounts: /proc/self/exe leads to those of the process that started
// it. A file that is another one by now, or that cannot be reached, is replaced
// by a copy in memory, sealed.
func ownBinary() (path string, sealed bool, err error) {
	const self = "/proc/self/exe"
	running, err := os.Stat(self)
	if err != nil {
		return "", false, err
	}
	if path, err = os.Readlink(self); err == nil {
		if there, err := os.Stat(path); err == nil && os.SameFile(running, there) {
			return path, false, nil
		}
	}
	path, err = sealedCopy(self)
	return path, true, err
}

// sealedCopy returns a path to a copy of a file that nobody can change.
func sealedCopy(path string) (string, error) {
	from, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer from.Close()
	fd, err := unix.MemfdCreate("nimbus", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return "", os.NewSyscallError("memfd_create", err)
	}
	if _, err := io.Copy(&descriptor{fd}, from); err != nil {
		unix.Close(fd)
		return "", err
	}
	const all = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, all); err != nil {
		unix.Close(fd)
		return "", os.NewSyscallError("seal", err)
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), nil
}

// descriptor writes to a file descriptor that stays open with the process.
type descriptor struct{ fd int }

func (d *descriptor) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var more int
		more, err = unix.Write(d.fd, b[n:])
		n += max(more, 0)
		if errors.Is(err, unix.EINTR) {
			err = nil
		}
	}
	return n, err
}
