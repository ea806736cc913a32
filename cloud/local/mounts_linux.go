package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// oldRoot is where the host's file system still is while the sandbox is built.
const oldRoot = "/.nimbus-host"

// changeRoot makes a mount point the root.
func changeRoot(root string) error {
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := os.Mkdir("."+oldRoot, 0o700); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."+oldRoot); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	return os.Chdir("/")
}

// leaveOldRoot lets go of the host's file system.
func leaveOldRoot() error {
	if err := unix.Unmount(oldRoot, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the host's root: %w", err)
	}
	return os.Remove(oldRoot)
}

// A ground is what the kernel lets sandboxes stand on.
type ground struct {
	root       func(setup) ([]freshDir, error)  // mounts it at mergedDir of the scratch directory
	sys        func() error                     // mounts /sys
	devices    func() error                     // makes the files of /dev
	ptsOptions string                           // of /dev/pts
	refused    func(at string, err error) error // says more about a mount that failed
}

var (
	rootsGround = ground{mountLayers, mountSys, makeDevices, "newinstance,ptmxmode=0666,mode=0620,gid=5", func(_ string, err error) error { return err }}
	apartGround = ground{mountCopies, sysOrHosts, bindDevices, "newinstance,ptmxmode=0666,mode=0620", coveredProc}
)

// ourGround is the one that this process has.
func ourGround() ground {
	if apart() {
		return apartGround
	}
	return rootsGround
}

// strict are the flags of mounts that nothing is executed from.
const strict = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// mountSystem mounts what every system has, as far as a sandbox may use it.
func mountSystem(g ground) error {
	for _, m := range []struct {
		at, kind string
		flags    uintptr
		data     string
	}{
		{"/proc", "proc", strict, ""},
		{"/dev", "tmpfs", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=755,size=1m"},
		{"/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, g.ptsOptions},
		{"/dev/shm", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
	} {
		if err := makeDir(m.at); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.at, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.at, g.refused(m.at, err))
		}
	}
	if err := makeDir("/sys"); err != nil {
		return err
	}
	if err := g.sys(); err != nil {
		return err
	}
	if err := g.devices(); err != nil {
		return err
	}
	for name, target := range map[string]string{
		"ptmx": "pts/ptmx", "fd": "/proc/self/fd",
		"stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
	} {
		if err := os.Symlink(target, filepath.Join("/dev", name)); err != nil {
			return err
		}
	}
	return guardSystem()
}

// mountSys mounts what the kernel says of the machine.
func mountSys() error {
	if err := unix.Mount("sysfs", "/sys", "sysfs", strict|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	return nil
}

// devices are the files of /dev that work in a sandbox.
var devices = []struct {
	name         string
	major, minor uint32
}{
	{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0},
}

// makeDevices fills /dev.
func makeDevices() error {
	for _, d := range devices {
		path := filepath.Join("/dev", d.name)
		if err := unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(d.major, d.minor))); err != nil {
			return fmt.Errorf("make %s: %w", path, err)
		}
		if err := os.Chmod(path, 0o666); err != nil { // whatever the umask is
			return err
		}
	}
	return nil
}

// guardSystem covers what /proc and /sys have of the whole machine: settings
// become read-only, secrets and hardware invisible.
func guardSystem() error {
	for _, path := range []string{"/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs"} {
		if err := bind(path, path, true); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	for _, path := range []string{
		"/proc/kcore", "/proc/keys", "/proc/key-users", "/proc/latency_stats", "/proc/timer_list",
		"/proc/sched_debug", "/proc/kpagecount", "/proc/kpageflags", "/proc/kpagecgroup",
		"/proc/acpi", "/proc/asound", "/proc/scsi",
		"/sys/firmware", "/sys/devices/virtual/powercap",
	} {
		fi, err := os.Lstat(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			continue
		case err == nil && fi.IsDir():
			err = unix.Mount("nimbus", path, "tmpfs", unix.MS_RDONLY, "size=4k,mode=755")
		case err == nil:
			err = bind("/dev/null", path, false)
		}
		if err != nil {
			return fmt.Errorf("cover %s: %w", path, err)
		}
	}
	return nil
}

// bind makes a file or directory appear at another place as well.
func bind(source, target string, readOnly bool) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return &os.PathError{Op: "bind", Path: target, Err: err}
	}
	if readOnly {
		return remountReadOnly(target)
	}
	return nil
}

func remountReadOnly(target string) error {
	// A bind mount takes flags only when it is mounted anew, and then it needs
	// to be told those that it has.
	var st unix.Statfs_t
	if err := unix.Statfs(target, &st); err != nil {
		return &os.PathError{Op: "statfs", Path: target, Err: err}
	}
	keep := uintptr(st.Flags) & (unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	if err := unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|keep, ""); err != nil {
		return &os.PathError{Op: "make read-only", Path: target, Err: err}
	}
	return nil
}
