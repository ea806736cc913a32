package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// instanceID is a file that cloud-init writes in each boot.
const instanceID = ".instance-id"

// cloudInitRan says whether it has, in this boot.
func (p Places) cloudInitRan() bool {
	_, err := os.Lstat(filepath.Join(p.CloudInitRun, instanceID))
	return err == nil
}

// copied is the copy of user data that cloud-init keeps, whatever cloud it had
// it from. It counts only when cloud-init has seen this machine in this boot:
// an image may have that of the machine it was made from.
func (p Places) copied(context.Context) (*Found, error) {
	said, err := readFile(filepath.Join(p.CloudInitRun, instanceID))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nothing("cloud-init did not run in this boot")
	}
	if err != nil {
		return nil, nothing(fmt.Sprintf("cloud-init: %v", err))
	}
	link := filepath.Join(p.CloudInit, "instance")
	target, err := os.Readlink(link)
	if err != nil {
		return nil, nothing(fmt.Sprintf("cloud-init: %v", err))
	}
	// In a directory's name cloud-init writes it so.
	id := strings.ReplaceAll(strings.TrimSpace(string(said)), "/", "_")
	if id == "" || filepath.Base(target) != id {
		return nil, nothing(fmt.Sprintf("cloud-init: %s is not of the instance of this boot", link))
	}
	path := filepath.Join(link, "user-data.txt")
	data, err := readFile(path)
	if err != nil {
		return nil, nothing(fmt.Sprintf("cloud-init: %s: %v", path, reason(err)))
	}
	return found(data, path, nil)
}
