package install

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"sync"
	"syscall"
	"time"
)

// lockName is a file that is there while an installation is at work, beside the
// record; lockPatience is how long another one is waited for.
const (
	lockName     = ".installing"
	lockPatience = time.Minute
)

// lock makes sure that no other installation is at work in a directory of the
// tree, which it makes. The file is for its owner only: nobody else can lock it.
func (p *putting) lock(dir string) (unlock func(), err error) {
	real, err := p.real(dir, true)
	for end := time.Now().Add(lockPatience); err == nil; {
		if err = p.makeDir(real); err != nil {
			break
		}
		var f *os.File
		if f, err = p.locked(path.Join(real, lockName)); f != nil {
			return sync.OnceFunc(func() {
				_ = p.root.Remove(path.Join(real, lockName))
				f.Close()
			}), nil
		}
		// It is locked, or another one has removed or made something meanwhile.
		if err == nil || errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
			if time.Now().After(end) {
				return nil, &Problem{Text: "another installation is at work in " + p.Name(real), Fix: "wait until it is done, then run this again"}
			}
			time.Sleep(20 * time.Millisecond)
			err = nil
		}
	}
	var problem *Problem
	if !errors.As(err, &problem) {
		err = &Problem{Text: p.Name(dir), Err: err}
	}
	return nil, err
}

// locked opens a file and locks it; nil without an error where that is another
// one by now.
func (p *putting) locked(name string) (*os.File, error) {
	info, err := p.root.Lstat(name)
	if err == nil && !info.Mode().IsRegular() { // it came with an image
		if err := p.root.Remove(name); err != nil {
			return nil, err
		}
	}
	f, err := p.root.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.ENOLCK) || errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		err = nil // this file system cannot lock
	}
	if err == nil {
		var mine fs.FileInfo
		if mine, err = f.Stat(); err == nil {
			if info, err = p.root.Lstat(name); err == nil && os.SameFile(mine, info) {
				return f, nil
			}
		}
	}
	f.Close()
	return nil, err
}
