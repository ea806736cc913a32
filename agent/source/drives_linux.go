package source

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// ThisMachine is how Linux shows its drives.
func ThisMachine() Drives {
	return Drives{
		Block: os.DirFS("/sys/class/block"),
		Open: func(device string) (Drive, error) {
			// Without O_NONBLOCK a CD drive would close its tray, and wait.
			return os.OpenFile(device, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		},
		Mount: mount,
	}
}

// mount shows a drive below a directory that nobody else can enter: a drive that
// is mounted has its own idea of who may read it. Nothing on it is executed, no
// device on it is one, and no link on it leads out.
func mount(device, filesystem string, read func(tree fs.FS) error) (err error) {
	private, err := os.MkdirTemp("/run", "nimbus-drive-")
	if err != nil {
		return err
	}
	defer os.Remove(private)
	dir := filepath.Join(private, "drive")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	defer os.Remove(dir)
	const flags = syscall.MS_RDONLY | syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC
	if err := syscall.Mount(device, dir, filesystem, flags, ""); err != nil {
		return os.NewSyscallError(filesystem, err)
	}
	defer func() {
		if e := syscall.Unmount(dir, 0); e != nil {
			_ = syscall.Unmount(dir, syscall.MNT_DETACH)
		}
	}()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return read(root.FS())
}
