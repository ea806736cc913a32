package knownhosts

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// maxFile is the size in bytes of the largest file that is changed.
const maxFile = 256 << 20

// errChanged says that somebody else changed the file in the meantime.
var errChanged = errors.New("other programs keep changing it; try again")

// mode is what update may do besides.
type mode int

const (
	existing  mode = iota // the file must be there, and stays
	create                // it is created when it is missing
	removable             // it goes when it is empty afterwards
)

// patience is how long an update waits for another one.
const patience = 10 * time.Second

// update replaces the file by what edit makes of its text. Others that use this
// package wait for each other; a program that does not (ssh appends a line) is
// noticed, and the edit is made again.
func update(file string, m mode, edit func(string) string) (created bool, err error) {
	until := time.Now().Add(patience)
	for tries := 0; tries < 100; {
		target, err := followed(file)
		if err != nil {
			return created, err
		}
		f, fresh, err := open(target, m == create)
		created = created || fresh
		if err == nil {
			err = lock(f, until)
		}
		if err != nil {
			return created, err
		}
		// The lock is on the file itself, so that nothing else is left around.
		// The file is replaced as a whole: who waited for the lock must look
		// whether what he got is still the file.
		if !same(f, target) {
			f.Close()
			continue
		}
		// A file with nothing in it is not removed when somebody made a link
		// to it.
		err = rewrite(f, m == removable && target == file, edit)
		f.Close() // and with it the lock
		if !errors.Is(err, errChanged) {
			return created, err
		}
		tries++
	}
	return created, errChanged
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

// open opens the file, and says whether it made it.
func open(file string, create bool) (f *os.File, fresh bool, err error) {
	const flags = os.O_RDWR | syscall.O_NONBLOCK
	for range 100 { // others may make and remove it in between
		f, err = os.OpenFile(file, flags, 0)
		if !create || !errors.Is(err, os.ErrNotExist) {
			return f, false, err
		}
		f, err = os.OpenFile(file, flags|os.O_CREATE|os.O_EXCL, 0o600)
		if !errors.Is(err, os.ErrExist) {
			return f, err == nil, err
		}
	}
	return nil, false, err
}

// lock waits until nobody else holds the file, or closes it.
func lock(f *os.File, until time.Time) error {
	const poll = 5 * time.Millisecond
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case err == syscall.EINTR:
			continue
		case err == syscall.EWOULDBLOCK && time.Now().Before(until):
			time.Sleep(poll)
			continue
		case err == syscall.EWOULDBLOCK:
			err = fmt.Errorf("another program has held %s for %v: end it (\"fuser %s\" names it), or try again later", f.Name(), patience, f.Name())
		default:
			err = fmt.Errorf("lock: %v", err)
		}
		f.Close()
		return err
	}
}

func same(f *os.File, file string) bool {
	mine, err1 := f.Stat()
	there, err2 := os.Lstat(file)
	return err1 == nil && err2 == nil && os.SameFile(mine, there)
}

// rewrite reads, edits and replaces a locked file. One that is empty afterwards
// goes, where that is wanted.
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
	if text == "" && removable {
		if changed(f, before) {
			return errChanged
		}
		return os.Remove(f.Name())
	}
	if text == string(data) {
		return nil
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
