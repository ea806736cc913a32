package local

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// Options of a Driver. The zero value starts sandboxes of the host's file
// system that run no command at boot.
type Options struct {
	// Dir has a directory for each launch; sandboxes do not see it. Empty
	// means nimbus/local in the user's data directory.
	Dir string
	// Subnets is where the networks of launches come from, a /22 each. Zero
	// means 10.78.0.0/16.
	Subnets netip.Prefix
	// Images are the image names that mean something. Every other name means
	// the host's own file system.
	Images map[string]Image
	// Files are mounted into each sandbox, Links are then made in it.
	Files []File
	Links []Link
	// Hide are paths that sandboxes shall not see, on top of those that they
	// never see (see hidden in layer_linux.go). An image need not have them,
	// and what Images and Files name may lie below them.
	Hide []string
	// Boot is run once in each sandbox when it is up, as a boot script would
	// be; what it prints goes to the console. Empty runs nothing.
	Boot []string
	// Executable is the binary that calls Main. Empty means this one.
	Executable string
	// SSHD is the ssh server in the sandbox. Empty means the one that is
	// found in the usual places, if any; "none" starts none.
	SSHD string
}

// Image is a file tree that sandboxes are made of.
type Image struct {
	Root        string // directory on the host; empty means /
	Scripts     string // directory copied to /opt/nimbus/ctx-scripts; empty copies nothing
	Description string // for people
	// Own are paths that sandboxes of this image see as they are in it, though
	// they are hidden elsewhere. Files and Links of Options below one are left
	// out. An ordinary user's sandboxes do not have them.
	Own []string
}

// File is a file or directory of the host that sandboxes see as well.
type File struct {
	Source   string // on the host
	Target   string // in the sandbox
	ReadOnly bool
}

// Link is a symbolic link in the sandbox.
type Link struct {
	Target string // what it points to
	Name   string // where it is
}

// subnetBits is the size of the network that a launch gets for each name.
const subnetBits = 22

// perNetwork is how many NICs fit: all addresses but network, broadcast and
// the bridge's own.
const perNetwork = 1<<(32-subnetBits) - 3

// complete fills in what zero values mean and checks the rest.
func (o *Options) complete() error {
	if o.Dir == "" {
		data := os.Getenv("XDG_DATA_HOME")
		if home := os.Getenv("HOME"); data == "" && home != "" {
			data = filepath.Join(home, ".local", "share")
		} else if data == "" {
			data = "/var/lib"
		}
		o.Dir = filepath.Join(data, "nimbus", "local")
	}
	dir, err := filepath.Abs(o.Dir) // the keeper has another working directory
	if err != nil {
		return err
	}
	o.Dir = dir
	if o.Executable == "" {
		// Not the name it was found under: that may be another version by now.
		o.Executable = "/proc/self/exe"
	}
	if o.Subnets == (netip.Prefix{}) {
		o.Subnets = netip.MustParsePrefix("10.78.0.0/16")
	}
	if !o.Subnets.Addr().Is4() || o.Subnets.Bits() > subnetBits {
		return fmt.Errorf("subnets %v: want an IPv4 prefix of /%d or shorter", o.Subnets, subnetBits)
	}
	o.Subnets = o.Subnets.Masked()
	for _, f := range o.Files {
		if !filepath.IsAbs(f.Source) || !filepath.IsAbs(f.Target) {
			return fmt.Errorf("file %q at %q: want absolute paths", f.Source, f.Target)
		}
	}
	for _, path := range o.Hide {
		if !filepath.IsAbs(path) || filepath.Clean(path) == "/" {
			return fmt.Errorf("hide %q: want an absolute path below the root", path)
		}
	}
	for _, l := range o.Links {
		if !filepath.IsAbs(l.Name) {
			return fmt.Errorf("link %q: want an absolute path", l.Name)
		}
	}
	for name, image := range o.Images {
		if name == "" {
			return errors.New("an image without a name")
		}
		if image.Root != "" && !filepath.IsAbs(image.Root) || image.Scripts != "" && !filepath.IsAbs(image.Scripts) {
			return fmt.Errorf("image %q: want absolute paths", name)
		}
	}
	return nil
}
