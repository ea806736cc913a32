package knownhosts

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// maxFile is the size in bytes of the largest file that is changed.
const maxFile = 256 << 20

// errChanged says that somebody else changed the file in the meantime.
var errChanged = errors.New("other programs keep changing it; try again")

// update replaces the file by what edit makes of its text. Others that use this
// package wait for each other; a program that does not (ssh appends a line) is
// noticed, and the edit is made again.
func update(file string, create bool, edit func(string) string) error {
	for tries := 0; tries < 100; {
		target, err := followed(file)
		if err != nil {
			return err
		}
		f, err := openLocked(target, create)
		if err != nil {
			return err
		}
		// The lock is on the file itself, so that nothing else is left around.
		// The file is replaced as a whole: who waited for the lock must look
		// whether what he got is still the file.
		if !same(f, target) {
			f.Close()
			continue
		}
		err = rewrite(f, target == file, edit)
		f.Close() // and with it the lock
		if !errors.Is(err, errChanged) {
			return err
		}
		tries++
	}
	return errChanged
}

// followed is the file that a name means in the end, be it there or not: a
// rename must hit what a link points at, not the link.
func followed(file string) (string, error) {
	for range 40 {
		info, err := os.Lstat(file)
		if err != nil || info.Mode()&os.ModeSymlink == 0 {
			return file, nil // opening it tells what is wrong with it
		}
		to, err := os.Readlink(file)
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(file), to)
		}
		file = to
	}
	return "", errors.New("too many symbolic links")
}

// openLocked opens the file and waits until nobody else holds it.
func openLocked(file string, create bool) (*os.File, error) {
	flags := os.O_RDWR | syscall.O_NONBLOCK
	if create {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(file, flags, 0o600)
	if err != nil {
		return nil, err
	}
	for err = syscall.EINTR; err == syscall.EINTR; {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock: %v", err)
	}
	return f, nil
}

func same(f *os.File, file string) bool {
	mine, err1 := f.Stat()
	there, err2 := os.Lstat(file)
	return err1 == nil && err2 == nil && os.SameFile(mine, there)
}

// rewrite reads, edits and replaces a locked file. One that is empty afterwards
// says nothing that a missing one does not, and goes, unless somebody made a
// link to it.
func rewrite(f *os.File, removable bool, edit func(string) string) error {
	before, err := f.Stat()
	if err != nil {
		return err
	}
	if !before.Mode().IsRegular() {
		return errors.New("this is not a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return err
	}
	if len(data) > maxFile {
		return fmt.Errorf("larger than %d MiB", maxFile>>20)
	}
	text := edit(string(data))
	if text == string(data) {
		return nil
	}
	if text == "" && removable {
		if changed(f, before) {
			return errChanged
		}
		return os.Remove(f.Name())
	}
	return replace(f, before, text)
}

// replace puts a new file in the place of f, with its mode and owner.
func replace(f *os.File, before os.FileInfo, text string) error {
	dir := filepath.Dir(f.Name())
	temp, err := os.CreateTemp(dir, ".known_hosts-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) // fails after the rename, as it should
	_, err = temp.WriteString(text)
	if err == nil {
		err = keepOwner(temp, before)
	}
	if err == nil {
		err = temp.Chmod(before.Mode().Perm())
	}
	if err == nil {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err != nil {
		return err
	}
	if changed(f, before) {
		return errChanged
	}
	if err := os.Rename(temp.Name(), f.Name()); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// changed tells whether the file is not what it was when it was read.
func changed(f *os.File, before os.FileInfo) bool {
	now, err := f.Stat()
	return err != nil || now.Size() != before.Size() || !now.ModTime().Equal(before.ModTime()) || !same(f, f.Name())
}

// keepOwner matters when root edits a user's file.
func keepOwner(temp *os.File, before os.FileInfo) error {
	info, err := temp.Stat()
	if err != nil {
		return err
	}
	have, ok1 := info.Sys().(*syscall.Stat_t)
	want, ok2 := before.Sys().(*syscall.Stat_t)
	if !ok1 || !ok2 || have.Uid == want.Uid && have.Gid == want.Gid {
		return nil
	}
	if err := temp.Chown(int(want.Uid), int(want.Gid)); err != nil {
		return fmt.Errorf("its owner cannot be kept: %v", err)
	}
	return nil
}
