package source

import (
	"encoding/json"
	"io/fs"
)

// Where OpenStack has what it says to a machine, at its metadata server and on
// a config drive alike.
const (
	openStack     = "/openstack/latest/"
	openStackMeta = "meta_data.json"
)

// openStackName is the host name in OpenStack's metadata, or empty.
func openStackName(meta []byte) string {
	var known struct{ Hostname string }
	if json.Unmarshal(meta, &known) != nil {
		return ""
	}
	return oneLine([]byte(known.Hostname))
}

// configDrive reads a tree as OpenStack writes it on a drive.
func configDrive(tree fs.FS, where string) (*Found, error) {
	return inTree(tree, where, openStack[1:]+"user_data", openStack[1:]+openStackMeta, openStackName)
}
