package local

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// etcMost bounds the copy of /etc, in bytes.
const etcMost = 256 << 20

// copyEtc copies what this user may read of /etc.
func copyEtc(from, to string) error {
	left := int64(etcMost)
	if err := copyTree(from, to, &left); err != nil {
		return err
	}
	// A shadow file that only others can read is as good as none.
	if _, err := os.Lstat(filepath.Join(from, "shadow")); err != nil {
		return nil
	}
	shadow := filepath.Join(to, "shadow")
	if _, err := os.Lstat(shadow); err == nil {
		return nil
	}
	return os.WriteFile(shadow, []byte(ownShadow), 0o600)
}

// copyTree copies files, directories and links into a directory that exists,
// left bytes at most. Device files, sockets and what this user may not read are
// left out.
func copyTree(from, to string, left *int64) error {
	entries, err := os.ReadDir(from)
	if skippable(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		source, target := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		switch kind := e.Type(); {
		case kind.IsDir():
			fi, err := e.Info()
			if skippable(err) {
				continue
			}
			if err != nil {
				return err
			}
			if err := makeEmpty(target, fi.Mode().Perm()); err != nil {
				return err
			}
			if err := copyTree(source, target, left); err != nil {
				return err
			}
		case kind&os.ModeSymlink != 0:
			if err := copyLink(source, target); err != nil {
				return err
			}
		case kind.IsRegular():
			if err := copyFile(source, target, left); err != nil {
				return err
			}
		}
	}
	return nil
}

func copyLink(from, to string) error {
	target, err := os.Readlink(from)
	if skippable(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Symlink(target, to)
}

func copyFile(from, to string, left *int64) error {
	// It may have become something else since it was listed.
	in, err := os.OpenFile(from, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if skippable(err) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fi.Mode().Perm()|0o200)
	if err != nil {
		return err
	}
	n, err := io.Copy(out, io.LimitReader(in, *left+1))
	if closed := out.Close(); err == nil {
		err = closed
	}
	if *left -= n; err == nil && *left < 0 {
		err = fmt.Errorf("it has more than %d MiB", etcMost>>20)
	}
	return err
}

// skippable are errors about what is not there, or not for this user.
func skippable(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist)
}
