package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"nimbus/broker/wire"
)

// localHostname is what a machine is called by its cloud.
const localHostname = "local-hostname"

// maxMeta bounds files of metadata in bytes.
const maxMeta = 256 << 10

// seeds are the directories in which an image, or whoever prepares a machine,
// may leave what a drive would hold.
func (p Places) seeds(context.Context) (*Found, error) {
	var why []string
	for _, name := range []string{"nocloud", "nocloud-net"} {
		dir := filepath.Join(p.CloudInit, "seed", name)
		f, err := noCloud(os.DirFS(dir), dir)
		var none nothing
		if err == nil || !errors.As(err, &none) {
			return f, err
		}
		why = append(why, string(none))
	}
	return nil, nothing(strings.Join(why, ", "))
}

// noCloud reads a tree as cloud-init's data source NoCloud has it.
func noCloud(tree fs.FS, where string) (*Found, error) {
	return inTree(tree, where, "user-data", "meta-data", noCloudName)
}

// noCloudName is the host name in NoCloud's metadata, or empty. That is YAML,
// and mostly lines of "key: value"; what is JSON is YAML, too.
func noCloudName(meta []byte) string {
	var known map[string]any
	if json.Unmarshal(meta, &known) == nil {
		name, _ := known[localHostname].(string)
		return oneLine([]byte(name))
	}
	for line := range strings.Lines(string(meta)) {
		value, ok := strings.CutPrefix(line, localHostname+":")
		if !ok {
			continue
		}
		value, _, _ = strings.Cut(value, " #")
		value = strings.TrimSpace(value)
		if n := len(value); n > 1 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
			value = value[1 : n-1]
		}
		return oneLine([]byte(value))
	}
	return ""
}

// inTree reads the user data in a tree, and the host name in its metadata.
func inTree(tree fs.FS, where, userData, meta string, name func([]byte) string) (*Found, error) {
	data, err := readIn(tree, userData, wire.MaxBootstrap+1)
	path := where + "/" + userData
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nothing(path + " does not exist")
	}
	if err != nil {
		return nil, nothing(fmt.Sprintf("%s: %v", path, reason(err)))
	}
	values := fixed{}
	if text, err := readIn(tree, meta, maxMeta); err == nil {
		values[localHostname] = name(text)
	}
	return found(data, path, values)
}

// readIn reads so many bytes of a regular file. Anything else may have no end,
// or not even a beginning.
func readIn(tree fs.FS, name string, limit int64) ([]byte, error) {
	info, err := fs.Stat(tree, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is no regular file")
	}
	f, err := tree.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// reason is an error about a path that is named already.
func reason(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
