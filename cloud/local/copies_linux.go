package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// writable are the directories of a sandbox that start empty, but for the first
// level of what /var has: programs expect /var/lib to be there.
var writable = []string{"home", "media", "mnt", "opt", "root", "run", "srv", "tmp", "var"}

// made are those that mountSystem makes, and those of no use.
var made = []string{"proc", "sys", "dev", "boot", "lost+found"}

// programs are the directories that belong to the system wherever they are
// mounted. Others are shown of an image that is no system of its own but a tree
// that somebody chose, when they are on the tree's own file system.
var programs = []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "nix", "gnu"}

// ownShadow is for an image whose shadow file this user cannot read: root has
// no password, and is not locked.
const ownShadow = "root:*:::::::\n"

// A graft is a part of the image that is mounted at the same place of a
// sandbox.
type graft struct {
	name string
	dir  bool
	tree int // file descriptor
}

// mountCopies mounts the sandbox's root below the scratch directory, and
// returns the directories that makeFresh has to make in it.
func mountCopies(s setup) ([]freshDir, error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("make mounts private: %w", err)
	}
	image, err := unix.Open(s.Root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("image root %q: %w", s.Root, err)
	}
	defer unix.Close(image)
	entries, err := os.ReadDir(s.Root)
	if err != nil {
		return nil, fmt.Errorf("image root %q: %w", s.Root, err)
	}
	// Before there is anything of ours to be seen in them.
	grafts, below, err := takeGrafts(s.Root, entries)
	defer func() {
		for _, g := range grafts {
			unix.Close(g.tree)
		}
	}()
	if err != nil {
		return nil, err
	}
	if err := unix.Mount("nimbus", s.Scratch, "tmpfs", 0, "mode=755"); err != nil {
		return nil, fmt.Errorf("mount tmpfs: %w", err)
	}
	if err := os.Chdir(s.Scratch); err != nil {
		return nil, err
	}
	if err := os.Mkdir(mergedDir, 0o755); err != nil {
		return nil, err
	}
	if err := unix.Mount("nimbus", mergedDir, "tmpfs", unix.MS_NODEV, "mode=755"); err != nil {
		return nil, fmt.Errorf("mount tmpfs: %w", err)
	}
	if err := emptyRoot(s.Root, entries); err != nil {
		return nil, err
	}
	for _, g := range grafts {
		if err := g.mount(); err != nil {
			return nil, fmt.Errorf("show /%s: %w", g.name, err)
		}
	}
	if err := copyEtc(filepath.Join(s.Root, "etc"), filepath.Join(mergedDir, "etc")); err != nil {
		return nil, fmt.Errorf("copy /etc: %w", err)
	}
	return cover(image, slices.Concat(s.Hide, below))
}

// takeGrafts takes those parts of the image that are shown as they are. What is
// mounted on them stays away, as it does with an overlay: below are the mounts
// that the kernel does not let go.
func takeGrafts(root string, entries []os.DirEntry) (grafts []graft, below []string, err error) {
	var own, st unix.Stat_t
	if err := unix.Stat(root, &own); err != nil {
		return nil, nil, fmt.Errorf("image root %q: %w", root, err)
	}
	host, err := isHosts(&own)
	if err != nil {
		return nil, nil, err
	}
	mounts := sync.OnceValue(mountPoints)
	for _, e := range entries {
		name, system := e.Name(), slices.Contains(programs, e.Name())
		kind := e.Type()
		if !kind.IsDir() && !kind.IsRegular() || name == "etc" || slices.Contains(writable, name) || slices.Contains(made, name) {
			continue
		}
		path := filepath.Join(root, name)
		if err := unix.Lstat(path, &st); err != nil {
			continue // it is not for this user, or just went
		}
		if !system && (host || st.Dev != own.Dev) {
			continue
		}
		fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if errors.Is(err, unix.EINVAL) {
			fd, err = unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
			for _, m := range mounts() {
				if rest, ok := strings.CutPrefix(m, path+"/"); ok && !system {
					below = append(below, "/"+name+"/"+rest)
				}
			}
		}
		if err != nil {
			return grafts, nil, fmt.Errorf("show /%s: %w", name, err)
		}
		grafts = append(grafts, graft{name, kind.IsDir(), fd})
	}
	return grafts, below, nil
}

// isHosts says whether a directory is the root of the host, by whatever path.
func isHosts(dir *unix.Stat_t) (bool, error) {
	var host unix.Stat_t
	if err := unix.Stat("/", &host); err != nil {
		return false, fmt.Errorf("the host's root: %w", err)
	}
	return dir.Dev == host.Dev && dir.Ino == host.Ino, nil
}

// mountPoints lists what is mounted where this process sees it.
func mountPoints() (all []string) {
	text, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 4 {
			all = append(all, unescaped(fields[4]))
		}
	}
	return all
}

// unescaped is a path without the octal escapes of the kernel's tables.
func unescaped(path string) string {
	before, rest, found := strings.Cut(path, `\`)
	if !found || len(rest) < 3 {
		return path
	}
	b, err := strconv.ParseUint(rest[:3], 8, 8)
	if err != nil {
		return before + `\` + unescaped(rest)
	}
	return before + string([]byte{byte(b)}) + unescaped(rest[3:])
}

// mount shows a part of the image, read-only. Flags are only added: those that
// the host's mounts have are locked.
func (g *graft) mount() error {
	target := filepath.Join(mergedDir, g.name)
	if g.dir {
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
	} else if err := os.WriteFile(target, nil, 0o644); err != nil {
		return err
	}
	err := unix.MountSetattr(g.tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID,
	})
	old := errors.Is(err, unix.ENOSYS) // a kernel before 5.12
	if err != nil && !old {
		return fmt.Errorf("make read-only: %w", err)
	}
	if err := unix.MoveMount(g.tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return err
	}
	if old {
		return remountReadOnly(target)
	}
	return nil
}

// emptyRoot makes the directories of the root that have nothing of the image,
// and its symbolic links.
func emptyRoot(root string, entries []os.DirEntry) error {
	for _, name := range append(writable, "etc") {
		mode := os.FileMode(0o755)
		fi, err := os.Lstat(filepath.Join(root, name))
		if err == nil && fi.IsDir() {
			mode = fi.Mode() & (os.ModePerm | os.ModeSticky)
		}
		if err := makeEmpty(filepath.Join(mergedDir, name), mode); err != nil {
			return err
		}
	}
	for _, e := range entries {
		if e.Type()&os.ModeSymlink == 0 || slices.Contains(writable, e.Name()) || slices.Contains(made, e.Name()) || e.Name() == "etc" {
			continue
		}
		if err := copyLink(filepath.Join(root, e.Name()), filepath.Join(mergedDir, e.Name())); err != nil {
			return err
		}
	}
	return skeleton(filepath.Join(root, "var"), filepath.Join(mergedDir, "var"))
}

// skeleton makes the directories and links that another directory has, empty.
func skeleton(from, to string) error {
	entries, err := os.ReadDir(from)
	if skippable(err) {
		return nil
	}
	for _, e := range entries {
		path := filepath.Join(to, e.Name())
		switch fi, err := e.Info(); {
		case skippable(err):
		case err != nil:
			return err
		case fi.IsDir():
			if err := makeEmpty(path, fi.Mode()&(os.ModePerm|os.ModeSticky)); err != nil {
				return err
			}
		case fi.Mode()&os.ModeSymlink != 0:
			if err := copyLink(filepath.Join(from, e.Name()), path); err != nil {
				return err
			}
		}
	}
	return err
}

// makeEmpty makes a directory with a mode that no umask changes. Its owner can
// always work in it.
func makeEmpty(path string, mode os.FileMode) error {
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	return os.Chmod(path, mode|0o700)
}

// cover hides paths in the new root, and returns the directories among them
// that have to be made anew. What is a copy is removed; what is the image's own
// is covered by an empty file or directory.
func cover(image int, more []string) (fresh []freshDir, err error) {
	merged, err := unix.Open(mergedDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(merged)
	all := slices.Clone(hidden)
	for _, path := range more {
		all = append(all, freshDir{path: path})
	}
	keys, _ := filepath.Glob(filepath.Join(mergedDir, hostKeys))
	for _, key := range keys {
		all = append(all, freshDir{path: strings.TrimPrefix(key, mergedDir)})
	}
	for _, f := range all {
		// Where the image has a symbolic link, what it leads to is meant as
		// well. What it does not have, or nobody can reach, is hidden already.
		paths := []string{f.path}
		if real, err := resolve(image, f.path); err == nil {
			paths = append(paths, filepath.Join("/", real))
		}
		for _, path := range paths {
			if err := coverOne(merged, freshDir{path, f.mode}); err != nil {
				return nil, fmt.Errorf("hide %s: %w", path, err)
			}
		}
		if f.mode != 0 {
			fresh = append(fresh, f)
		}
	}
	return fresh, nil
}

func coverOne(merged int, f freshDir) error {
	real, err := resolve(merged, f.path)
	switch {
	case skippable(err), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return nil
	case err != nil:
		return err
	case real == "":
		return errors.New("it is the whole image")
	}
	path := filepath.Join(mergedDir, real)
	var root, st unix.Stat_t
	if err := unix.Fstat(merged, &root); err != nil {
		return err
	}
	if err := unix.Lstat(path, &st); err != nil {
		return err
	}
	switch {
	case st.Dev == root.Dev:
		return os.RemoveAll(path)
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return bind(os.DevNull, path, false)
	case f.mode == 0:
		return unix.Mount("nimbus", path, "tmpfs", unix.MS_RDONLY, "size=4k,mode=755")
	}
	return unix.Mount("nimbus", path, "tmpfs", unix.MS_NODEV, "mode=755")
}

// bindDevices fills /dev with the host's: nobody makes device files here.
func bindDevices() error {
	for _, d := range devices {
		source, path := filepath.Join(oldRoot, "dev", d.name), filepath.Join("/dev", d.name)
		if err := os.WriteFile(path, nil, 0o666); err != nil {
			return err
		}
		if err := bind(source, path, false); err != nil {
			return err
		}
	}
	return nil
}

// sysOrHosts mounts /sys, or the host's where the kernel refuses: it does when
// part of that is covered, as in a container.
func sysOrHosts() error {
	err := mountSys()
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, filepath.Join(oldRoot, "sys"), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return fmt.Errorf("show /sys: %w", err)
	}
	defer unix.Close(tree)
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		return fmt.Errorf("make /sys read-only: %w", err)
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, "/sys", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("show /sys: %w", err)
	}
	return nil
}
