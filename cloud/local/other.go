//go:build !linux

package local

import (
	"errors"

	"nimbus/cloud"
)

// Driver starts instances on this machine; it exists on Linux only.
type Driver struct {
	cloud.Driver
	cloud.Preparer
	cloud.Forwarder
	cloud.Networker
	cloud.Imager
	cloud.Consoler
	cloud.Extender
	cloud.Enterer
	cloud.Equipper
}

// New returns an error: only Linux has what sandboxes are made of.
func New(Options) (*Driver, error) {
	return nil, errors.New("local driver: needs Linux: choose another cloud, or run Nimbus on a Linux machine")
}

// Problems says that this is not Linux.
func Problems() []Problem {
	return []Problem{{"sandboxes need Linux", "choose another cloud, or run Nimbus on a Linux machine"}}
}

// Check says that this is not Linux.
func Check(Options) []cloud.Finding {
	return []cloud.Finding{{Level: cloud.Fail, Text: "sandboxes: this machine does not run Linux", Advice: "choose another cloud with --cloud NAME, or run Nimbus on a Linux machine; client and broker work here"}}
}

// ResolvesToHost says whether an image name means the host's own file system.
func (d *Driver) ResolvesToHost(string) bool { return false }

// Main does nothing here: ok is false.
func Main([]string) (code int, ok bool) { return 0, false }
