package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// hidden is what sandboxes never see of the host. What has a mode starts as an
// empty directory, the rest does not exist.
var hidden = []freshDir{
	{rootHome, 0o700},
	{"/home", 0o755},
	{"/tmp", 0o777 | os.ModeSticky},
	{"/var/tmp", 0o777 | os.ModeSticky},
	{"/run", 0o755},
	{"/opt/nimbus", 0o755},
	{"/etc/nimbus", 0},
	{"/var/lib/nimbus", 0},
	{"/var/lib/nimbus-broker", 0},
	{"/var/nimbus-metadata-server-url", 0},
	{"/etc/machine-id", 0},
	{"/var/lib/dbus/machine-id", 0},
	{"/var/lib/systemd/random-seed", 0},
}

// hostKeys are more of it, by pattern.
const hostKeys = "/etc/ssh/ssh_host_*"

// freshDir is a directory that is made anew.
type freshDir struct {
	path string
	mode os.FileMode
}

// The scratch directory's parts: they are on a tmpfs that only the sandbox
// sees, so what it writes is nowhere on the host and goes with it.
const (
	lowerDir  = "lower"
	upperDir  = "upper"
	workDir   = "work"
	mergedDir = "merged"
)

// mountLayers mounts the sandbox's root below the scratch directory: the image
// without what is hidden, and over it an empty layer to write to. It returns
// the directories that makeFresh has to make in it.
func mountLayers(s setup) ([]freshDir, error) {
	// Nothing that is mounted here shall show on the host.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("make mounts private: %w", err)
	}
	// The image's own file system only: what is mounted on it stays away.
	image, err := unix.OpenTree(unix.AT_FDCWD, s.Root, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("image root %q: %w", s.Root, err)
	}
	defer unix.Close(image)
	if err := unix.Mount("nimbus", s.Scratch, "tmpfs", 0, "mode=755"); err != nil {
		return nil, fmt.Errorf("mount tmpfs: %w", err)
	}
	if err := os.Chdir(s.Scratch); err != nil {
		return nil, err
	}
	for _, dir := range []string{lowerDir, upperDir, workDir, mergedDir} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
	}
	if err := unix.MoveMount(image, "", unix.AT_FDCWD, lowerDir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return nil, fmt.Errorf("image root %q: %w", s.Root, err)
	}
	fresh, err := hide(s.Hide, s.Own)
	if err != nil {
		return nil, err
	}
	// Relative paths need no escapes. Device files of the image are dead.
	options := "lowerdir=" + lowerDir + ",upperdir=" + upperDir + ",workdir=" + workDir
	err = unix.Mount("overlay", mergedDir, "overlay", unix.MS_NODEV, options)
	switch {
	case errors.Is(err, unix.ENODEV):
		return nil, errors.New("mount overlay: this kernel has no overlay file system: try modprobe overlay")
	case err != nil:
		return nil, fmt.Errorf("mount overlay on %q: %w", s.Root, err)
	}
	return fresh, nil
}

// hide covers paths in the upper layer, before it is mounted, and returns the
// directories among them that have to be made anew.
func hide(more, own []string) (fresh []freshDir, err error) {
	lower, err := unix.Open(lowerDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(lower)
	all := slices.DeleteFunc(slices.Clone(hidden), func(f freshDir) bool { return slices.Contains(own, f.path) })
	for _, path := range more {
		all = append(all, freshDir{path: path})
	}
	keys, _ := filepath.Glob(filepath.Join(lowerDir, hostKeys))
	for _, key := range keys {
		all = append(all, freshDir{path: strings.TrimPrefix(key, lowerDir)})
	}
	for _, f := range all {
		// Where the image has a symbolic link, what it leads to is meant. What
		// it does not have, or nobody can reach, is hidden already.
		real, err := resolve(lower, f.path)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			real = f.path
		} else if err != nil {
			return nil, fmt.Errorf("hide %s: %w", f.path, err)
		} else if err := whiteOut(real); err != nil {
			return nil, fmt.Errorf("hide %s: %w", f.path, err)
		}
		if f.mode != 0 {
			fresh = append(fresh, freshDir{real, f.mode})
		}
	}
	return fresh, nil
}

// resolve follows all symbolic links of a path inside a root directory.
func resolve(root int, path string) (string, error) {
	fd, err := unix.Openat2(root, path, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT,
	})
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	base, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", root))
	if err != nil {
		return "", err
	}
	full, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	return strings.TrimPrefix(full, base), err
}

// whiteOut makes a path of the lower layer not exist: overlayfs takes a device
// 0/0 in the upper layer for that.
func whiteOut(path string) error {
	if path == "" {
		return errors.New("it is the whole image")
	}
	upper, err := mirror(filepath.Dir(path))
	if errors.Is(err, errHidden) {
		return nil
	}
	if err != nil {
		return err
	}
	err = unix.Mknod(filepath.Join(upper, filepath.Base(path)), unix.S_IFCHR, 0)
	if err == unix.EEXIST {
		// Hidden already, or something in it is: it all goes then.
		os.RemoveAll(filepath.Join(upper, filepath.Base(path)))
		err = unix.Mknod(filepath.Join(upper, filepath.Base(path)), unix.S_IFCHR, 0)
	}
	return err
}

// errHidden says that a directory above is hidden already.
var errHidden = errors.New("hidden")

// mirror makes a directory of the lower layer in the upper one, looking the
// same, and those above it.
func mirror(dir string) (string, error) {
	upper := filepath.Join(upperDir, dir)
	switch fi, err := os.Lstat(upper); {
	case err == nil && fi.IsDir():
		return upper, nil
	case err == nil, errors.Is(err, syscall.ENOTDIR):
		return "", errHidden
	}
	if _, err := mirror(filepath.Dir(dir)); err != nil {
		return "", err
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(lowerDir, dir), &st); err != nil {
		return "", err
	}
	if err := os.Mkdir(upper, 0o700); err != nil {
		return "", err
	}
	if err := unix.Chown(upper, int(st.Uid), int(st.Gid)); err != nil {
		return "", err
	}
	return upper, unix.Chmod(upper, st.Mode&0o7777)
}

// makeFresh makes the directories that start empty, in the sandbox's root.
func makeFresh(fresh []freshDir) error {
	for _, f := range fresh {
		if err := makeDir(f.path); err != nil {
			return err
		}
		if err := os.Chmod(f.path, f.mode); err != nil {
			return err
		}
	}
	return nil
}

// makeDir makes a directory and those above it. A symbolic link that leads
// nowhere, as to another disk of the host, gives way.
func makeDir(path string) error {
	if fi, err := os.Stat(path); err == nil && fi.IsDir() {
		return nil
	}
	if err := makeDir(filepath.Dir(path)); err != nil {
		return err
	}
	if fi, err := os.Lstat(path); err == nil && fi.Mode()&os.ModeSymlink != 0 {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return os.Mkdir(path, 0o755)
}
