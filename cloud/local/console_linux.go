package local

import (
	"os"
	"sync"
)

// consoleSize is how much of an instance's output is kept at most.
const consoleSize = 1 << 20

// console is a file that keeps the last of what is written to it.
type console struct {
	path string

	mu   sync.Mutex
	file *os.File
	size int64
}

func newConsole(path string) (*console, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return &console{path: path, file: f}, nil
}

// Write appends, and drops the older half when the file is full. The half that
// stays replaces the file in one step: a reader never finds less.
func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.size+int64(len(b)) > consoleSize {
		if err := c.shrink(); err != nil {
			return 0, err
		}
	}
	n, err := c.file.Write(b)
	c.size += int64(n)
	return n, err
}

func (c *console) shrink() error {
	keep := make([]byte, min(c.size, consoleSize/2))
	if _, err := c.file.ReadAt(keep, c.size-int64(len(keep))); err != nil {
		return err
	}
	f, err := os.OpenFile(c.path+"~", os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(keep); err != nil {
		f.Close()
		return err
	}
	if err := os.Rename(f.Name(), c.path); err != nil {
		f.Close()
		return err
	}
	c.file.Close()
	c.file, c.size = f, int64(len(keep))
	return nil
}

func (c *console) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.file.Close()
}
