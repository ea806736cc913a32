package history

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Launch is one directory of the history.
type Launch struct {
	Handle string
	Dir    string // absolute
}

const (
	recordFile = "launch.json"
	lockFile   = "lock"
)

// Record reads launch.json. A launch whose client was killed before the first
// Save has none: errors.Is(err, fs.ErrNotExist).
func (l *Launch) Record() (Record, error) {
	path := filepath.Join(l.Dir, recordFile)
	data, err := readBounded(path, maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, fmt.Errorf("%s: %w: nothing of it was launched; remove the directory", path, fs.ErrNotExist)
	}
	if err != nil {
		return Record{}, err
	}
	record, err := decode(data)
	if err == nil && record.Handle != l.Handle {
		err = fmt.Errorf("it is the record of %q", record.Handle)
	}
	if err != nil {
		return Record{}, fmt.Errorf("%s: %v; correct the file, or remove %s when nothing of it runs any more", path, err, l.Dir)
	}
	return record, nil
}

// Save replaces launch.json as a whole; when it returns, the record is on the
// disk. What Record would refuse is refused here. The end of a launch that is
// written down stays as it is: Extend moves it, also while another command
// works on the launch and saves what it knows.
func (l *Launch) Save(record Record) error {
	return l.exclusively(func() error {
		if known, err := l.Record(); err == nil {
			record.Expires = known.Expires
		}
		return l.write(record)
	})
}

// Extend moves the time at which the launch ends by itself. It needs no Lock.
func (l *Launch) Extend(expires time.Time) error {
	return l.exclusively(func() error {
		record, err := l.Record()
		if err != nil {
			return err
		}
		record.Expires = expires
		return l.write(record)
	})
}

// exclusively keeps others from replacing the record for a moment. What is
// locked is the directory: the record itself is another file after each write.
func (l *Launch) exclusively(replace func() error) error {
	dir, err := os.Open(l.Dir)
	if err != nil {
		return fmt.Errorf("%s: not written: %v", filepath.Join(l.Dir, recordFile), err)
	}
	defer dir.Close()
	for {
		err = syscall.Flock(int(dir.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("lock %s: %v", l.Dir, err)
	}
	return replace()
}

func (l *Launch) write(record Record) error {
	path := filepath.Join(l.Dir, recordFile)
	if record.Handle == "" {
		record.Handle = l.Handle
	}
	if record.Handle != l.Handle {
		return fmt.Errorf("%s: this is the record of %q", path, record.Handle)
	}
	data, err := encode(record)
	if err != nil {
		return fmt.Errorf("%s: not written: %v", path, err)
	}
	if err := replaceFile(path, data); err != nil {
		return fmt.Errorf("%s: not written: %v", path, err)
	}
	return nil
}

// Remove takes the launch out of the history. Whoever holds its lock may do it.
func (l *Launch) Remove() error {
	// Renamed first: what is half removed must not look like a launch.
	gone := filepath.Join(filepath.Dir(l.Dir), fmt.Sprintf(".%s-%d", l.Handle, os.Getpid()))
	if err := os.Rename(l.Dir, gone); err != nil {
		return fmt.Errorf("forget %s: %v", l.Handle, err)
	}
	if err := os.RemoveAll(gone); err != nil {
		return fmt.Errorf("forget %s: %v; remove %s by hand", l.Handle, err, gone)
	}
	return nil
}

// Lock lets one command at a time change the launch, also among processes; it
// does not wait. A lock ends with its process.
func (l *Launch) Lock() (unlock func(), err error) {
	path := filepath.Join(l.Dir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %v", l.Handle, err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		holder := readHolder(f)
		f.Close()
		return nil, fmt.Errorf("%s is in use by %s: wait until that ends, press Ctrl-C there, or end it", l.Handle, holder)
	}
	if err == nil {
		err = writeHolder(f)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %v", path, err)
	}
	// The file stays: removing it would let two others lock two files.
	return sync.OnceFunc(func() { f.Close() }), nil
}

func writeHolder(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// readHolder tells who holds the lock; between locking and writing it down the
// file is empty for an instant.
func readHolder(f *os.File) string {
	var text [16]byte
	n, _ := f.ReadAt(text[:], 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	if err != nil || pid <= 0 {
		return "another command"
	}
	return fmt.Sprintf("process %d (\"kill %d\" leaves its machines as they are)", pid, pid)
}

// readBounded reads a regular file that may be hostile: endless, or a pipe.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is larger than %d MiB: it is no record of a launch", path, limit>>20)
	}
	return data, nil
}

// replaceFile writes a file so that a reader, and a machine that crashes, has
// the old or the new one, never a half.
func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
