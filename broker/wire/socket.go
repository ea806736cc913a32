package wire

import (
	"fmt"
	"os"
	"path/filepath"
)

// maxSocketPath is what the kernel takes for the address of a socket.
const maxSocketPath = 100

// ShortSocket returns a path for a socket that the kernel takes, however deep
// its directory lies. It is good until release is called.
func ShortSocket(path string) (short string, release func(), err error) {
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	short = fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	if _, err := os.Stat(filepath.Dir(short)); err != nil {
		dir.Close()
		return "", nil, fmt.Errorf("the path %s is too long for a socket on this system: choose a shorter directory", path)
	}
	return short, func() { dir.Close() }, nil
}
