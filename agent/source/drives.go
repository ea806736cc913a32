package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// Drives are how to find the drives of this machine, and to look into one.
type Drives struct {
	Block fs.FS // /sys/class/block: a directory for each, called like the device
	Open  func(device string) (Drive, error)
	// Mount shows the files of a drive to a function, read-only, and lets go of
	// it again.
	Mount func(device, filesystem string, read func(tree fs.FS) error) error
}

// Drive is a block device that is open for reading.
type Drive interface {
	io.ReaderAt
	io.Closer
}

// Bounds of the search: most machines have few drives, and a broken one may
// take very long to say so.
const maxDrives = 256

var drivePatience = 2 * time.Second

// layouts are what is on a drive that has one of these labels.
var layouts = map[string]func(tree fs.FS, where string) (*Found, error){
	"cidata":   noCloud,
	"config-2": configDrive,
}

// notDrives are devices that no cloud attaches; asking a floppy takes seconds.
var notDrives = []string{"fd", "loop", "mtdblock", "nbd", "ram", "zram"}

// drives looks for a drive that the cloud attached for this purpose.
func (p Places) drives(ctx context.Context) (*Found, error) {
	if p.Drives.Block == nil {
		return nil, nothing("no drives on this system")
	}
	attached, err := p.Drives.labelled(ctx)
	if err != nil {
		return nil, err
	}
	if len(attached) == 0 {
		return nil, nothing("no drive is called cidata or config-2")
	}
	var why []string
	for _, d := range attached {
		var f *Found
		var looked error
		where := fmt.Sprintf("%s (%s)", d.device, d.label)
		mounted := p.Drives.Mount(d.device, d.filesystem, func(tree fs.FS) error {
			f, looked = layouts[d.label](tree, where)
			return nil
		})
		var none nothing
		switch {
		case mounted != nil:
			why = append(why, fmt.Sprintf("%s cannot be mounted: %v", where, mounted))
		case errors.As(looked, &none):
			why = append(why, string(none))
		default:
			return f, looked
		}
	}
	return nil, nothing(strings.Join(why, ", "))
}

// labelled is a drive with a label that says what is on it.
type labelled struct{ device, label, filesystem string }

// labelled reads the labels of all drives at once, in the order of their names.
func (d Drives) labelled(ctx context.Context) (drives []labelled, err error) {
	devices := d.devices()
	answers := make(chan labelled, len(devices)) // who comes too late is not listened to
	for _, device := range devices {
		go func() { answers <- d.look(device) }()
	}
	enough := time.After(drivePatience)
	for range devices {
		select {
		case a := <-answers:
			if a.label != "" {
				drives = append(drives, a)
			}
			continue
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-enough:
		}
		break
	}
	slices.SortFunc(drives, func(a, b labelled) int { return strings.Compare(a.device, b.device) })
	return drives, nil
}

// look reads the label of a drive. One that cannot be read has none: an empty
// CD drive, or one that this process has no device file for.
func (d Drives) look(device string) labelled {
	drive, err := d.Open(device)
	if err != nil {
		return labelled{}
	}
	defer drive.Close()
	name, filesystem := label(drive)
	name = strings.ToLower(name) // some tools know capitals only
	if layouts[name] == nil {
		return labelled{}
	}
	return labelled{device, name, filesystem}
}

// devices are the files of this machine's block devices that hold something.
func (d Drives) devices() (files []string) {
	entries, _ := fs.ReadDir(d.Block, ".")
	for _, e := range entries {
		name := e.Name()
		if slices.ContainsFunc(notDrives, func(kind string) bool { return isNumbered(name, kind) }) {
			continue
		}
		size, err := fs.ReadFile(d.Block, path.Join(name, "size"))
		if err != nil || strings.TrimSpace(string(size)) == "0" {
			continue
		}
		// The kernel writes names with a slash in them so.
		files = append(files, "/dev/"+strings.ReplaceAll(name, "!", "/"))
		if len(files) == maxDrives {
			break
		}
	}
	return files
}

// isNumbered tells whether a device's name is that of its kind and a number.
func isNumbered(name, kind string) bool {
	number, ok := strings.CutPrefix(name, kind)
	return ok && number != "" && strings.Trim(number, "0123456789p") == ""
}
