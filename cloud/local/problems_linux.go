package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Problems tries what sandboxes are made of, as this user, and returns what is
// in the way. None means that sandboxes can be started.
func Problems() []Problem {
	out, err := attempt()
	if err != nil {
		return []Problem{problemOf("make namespaces", err)}
	}
	var failed []attempted
	if err := json.Unmarshal(out, &failed); err != nil {
		return []Problem{{Text: fmt.Sprintf("make namespaces: the process in them ended: %v", err)}}
	}
	var all []Problem
	for _, f := range failed {
		if p := problemOf(f.What, f.Errno); len(all) == 0 || all[len(all)-1].Advice != p.Advice {
			all = append(all, p)
		}
	}
	return all
}

// problemOf says what failed and, where that is known, why.
func problemOf(what string, err error) Problem {
	p := diagnose(err, readSwitches())
	if what == tryProc && apart() && errors.Is(err, unix.EPERM) {
		p = procProblem
	}
	p.Text = fmt.Sprintf("%s: %s", what, p.Text)
	return p
}

// procProblem is what keeps a user namespace from a /proc of its own.
var procProblem = Problem{
	Text:   "no permission: parts of this machine's /proc are covered, as in most containers",
	Advice: "start the container with --privileged, or (Docker, Podman) with --security-opt systempaths=unconfined",
}

const tryProc = "mount /proc"

// coveredProc says why a sandbox that is apart gets no /proc.
func coveredProc(at string, err error) error {
	if at == "/proc" && errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%s (%s)", procProblem.Text, procProblem.Advice)
	}
	return err
}

// attempted is one thing that did not work.
type attempted struct {
	What  string
	Errno syscall.Errno
}

// attempt runs attemptMain in namespaces like those of a sandbox and returns
// what it prints.
func attempt() ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), quickPatience)
	defer cancel()
	attr := keeperAttr()
	attr.Cloneflags |= syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args, cmd.Env, cmd.Dir, cmd.SysProcAttr = []string{attemptName}, keeperEnv(), "/", attr
	var out bytes.Buffer
	cmd.Stdout = &out
	err := cmd.Run()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		err = nil // what it printed says more
	}
	return out.Bytes(), err
}

// attemptMain tries, in its own namespaces, what the kernel may refuse.
func attemptMain() error {
	failed := []attempted{}
	try := func(what string, f func() error) {
		var errno syscall.Errno
		if err := f(); errors.As(err, &errno) {
			failed = append(failed, attempted{what, errno})
		} else if err != nil {
			failed = append(failed, attempted{what + " (" + err.Error() + ")", unix.EIO})
		}
	}
	try("make mounts private", func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") })
	try("make a bridge", func() error {
		return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "nmb-try"}})
	})
	try("make a pair of interfaces", func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "nmv-try"}, PeerName: "nmp-try"})
	})
	try(tryProc, func() error { return unix.Mount("proc", "/proc", "proc", strict, "") })
	try("mount tmpfs", func() error { return unix.Mount("nimbus", "/dev", "tmpfs", unix.MS_NOSUID, "size=1m") })
	if !apart() {
		try("mount overlay on /", func() error {
			for _, dir := range []string{"/dev/u", "/dev/w", "/dev/m"} {
				if err := os.Mkdir(dir, 0o700); err != nil {
					return err
				}
			}
			return unix.Mount("overlay", "/dev/m", "overlay", 0, "lowerdir=/,upperdir=/dev/u,workdir=/dev/w")
		})
	}
	return json.NewEncoder(os.Stdout).Encode(failed)
}

// switches are the settings of a machine that can keep its users from making
// user namespaces. One that the kernel does not have is empty.
type switches struct {
	MaxUserNamespaces string // user.max_user_namespaces
	Clone             string // kernel.unprivileged_userns_clone, of older Debians
	AppArmor          string // kernel.apparmor_restrict_unprivileged_userns, of Ubuntu since 23.10
	Supported         bool   // the kernel knows user namespaces
	Filtered          bool   // system calls go through a filter, as in containers
	Apart             bool   // see apart
}

func readSwitches() switches {
	read := func(path string) string {
		text, _ := os.ReadFile("/proc/sys/" + path)
		return strings.TrimSpace(string(text))
	}
	_, err := os.Stat("/proc/self/ns/user")
	status, _ := os.ReadFile("/proc/self/status")
	return switches{
		MaxUserNamespaces: read("user/max_user_namespaces"),
		Clone:             read("kernel/unprivileged_userns_clone"),
		AppArmor:          read("kernel/apparmor_restrict_unprivileged_userns"),
		Supported:         err == nil,
		Filtered:          bytes.Contains(status, []byte("\nSeccomp:\t2\n")),
		Apart:             apart(),
	}
}

// diagnose says what an error of making namespaces, or of using them, means on
// a machine with these switches.
func diagnose(err error, s switches) Problem {
	set := func(name, value string) string {
		return fmt.Sprintf("ask the administrator for \"sysctl -w %s=%s\" (and the same in a file of /etc/sysctl.d), or run as root", name, value)
	}
	refused := errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
	switch {
	case !refused && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EUSERS) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS):
		return Problem{Text: err.Error()}
	case !s.Apart && refused:
		return Problem{Text: "no permission", Advice: "root needs CAP_SYS_ADMIN and CAP_NET_ADMIN for it: in a container, start that with --privileged"}
	case !s.Apart:
		return Problem{Text: err.Error()}
	case !s.Supported:
		return Problem{Text: "this kernel has no user namespaces", Advice: "run as root, or use a kernel with CONFIG_USER_NS"}
	case s.MaxUserNamespaces == "0":
		return Problem{Text: "user namespaces are switched off here: user.max_user_namespaces is 0", Advice: set("user.max_user_namespaces", "15000")}
	case !refused && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS):
		return Problem{Text: fmt.Sprintf("all %s user namespaces that user.max_user_namespaces allows are in use, or too many are inside each other", s.MaxUserNamespaces),
			Advice: "end launches that are not needed, or ask the administrator for more"}
	case refused && s.Clone == "0":
		return Problem{Text: "user namespaces are for root only here: kernel.unprivileged_userns_clone is 0", Advice: set("kernel.unprivileged_userns_clone", "1")}
	case refused && s.AppArmor == "1":
		return Problem{Text: "AppArmor keeps user namespaces from working here: kernel.apparmor_restrict_unprivileged_userns is 1", Advice: set("kernel.apparmor_restrict_unprivileged_userns", "0")}
	case refused && s.Filtered:
		return Problem{Text: "a filter of system calls refuses it, as in most containers", Advice: "start the container with --privileged, or (Docker, Podman) with --security-opt seccomp=unconfined --security-opt systempaths=unconfined"}
	case refused:
		return Problem{Text: "no permission to make or use user namespaces", Advice: "a security module or a chroot may be in the way: run as root, or choose another cloud"}
	}
	return Problem{Text: err.Error()}
}

// explained adds to an error of the kernel what is behind it when this user
// works without root.
func explained(err error) error {
	p := diagnose(err, readSwitches())
	if !apart() || p.Advice == "" {
		return err
	}
	return &problemError{p, err}
}

// problemError is an error whose cause is known.
type problemError struct {
	Problem
	err error
}

func (e *problemError) Error() string { return e.Text }
func (e *problemError) Unwrap() error { return e.err }

// Hint says what to do about it.
func (e *problemError) Hint() string { return e.Advice }
