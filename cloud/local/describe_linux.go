package local

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"nimbus/cloud"
)

// Networks describes the two usual names; any other does as well.
func (d *Driver) Networks(context.Context) ([]cloud.Network, error) {
	const each = "a bridge of the launch's own on this machine; any other name makes one more"
	return []cloud.Network{
		{Name: "public", Description: each},
		{Name: "private", Description: each},
	}, nil
}

// Images describes the configured names, and what all others mean.
func (d *Driver) Images(context.Context) ([]cloud.Image, error) {
	var all []cloud.Image
	for _, name := range slices.Sorted(maps.Keys(d.o.Images)) {
		i := d.o.Images[name]
		if i.Description == "" && i.Root != "" {
			i.Description = "the file tree " + i.Root
		}
		all = append(all, cloud.Image{Name: name, Description: i.Description})
	}
	return append(all, cloud.Image{
		Name:        "host",
		Description: "this machine's own file system; any name that is not listed means the same",
	}), nil
}

// ResolvesToHost says whether an image name is none of Options.Images and
// hence means the host's own file system.
func (d *Driver) ResolvesToHost(name string) bool {
	_, configured := d.o.Images[name]
	return !configured
}

// Equips is true: this program is put into every sandbox.
func (d *Driver) Equips(string) bool { return true }

// Console returns the last of what an instance printed, at most a megabyte.
func (d *Driver) Console(_ context.Context, instance cloud.Instance) ([]byte, error) {
	launch, number, ok := strings.Cut(instance.ID, "/")
	if !ok || !launchID.MatchString(launch) || !launchID.MatchString(number) {
		return nil, fmt.Errorf("console: no instance %q", instance.ID)
	}
	text, err := os.ReadFile(filepath.Join(d.o.Dir, launch, number+".log"))
	if os.IsNotExist(err) {
		return nil, fmt.Errorf("console: no instance %q", instance.ID)
	}
	return text, err
}

// launchOf names the launch of an instance of which only the ID may be known.
func launchOf(i cloud.Instance) string {
	if i.Launch != "" {
		return i.Launch
	}
	launch, _, _ := strings.Cut(i.ID, "/")
	return launch
}
