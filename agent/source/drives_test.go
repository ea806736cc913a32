package source

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"
)

// program finds a program of the system, or leaves the test out.
func program(t testing.TB, name string) string {
	t.Helper()
	for _, path := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	t.Skipf("this machine has no %s", name)
	return ""
}

// iso makes a CD as clouds make them.
func iso(t testing.TB, label string) string {
	t.Helper()
	tree, image := t.TempDir(), filepath.Join(t.TempDir(), "cd")
	if err := os.WriteFile(filepath.Join(tree, "user-data"), []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program(t, "genisoimage"), "-quiet", "-V", label, "-J", "-r", "-o", image, tree).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return image
}

// fat makes a disk with a FAT of so many bits.
func fat(t testing.TB, bits, label string, size int64) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "fat"+bits)
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	args := []string{"-F", bits, image}
	if label != "" {
		args = append([]string{"-n", label}, args...)
	}
	if out, err := exec.Command(program(t, "mkfs.vfat"), args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return image
}

func labelIn(t *testing.T, image string) (name, filesystem string) {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return label(f)
}

// Labels of file systems as the system's own programs make them.
func TestLabels(t *testing.T) {
	const megabyte = 1 << 20
	for _, c := range []struct {
		what       string
		image      func() string
		label      string
		filesystem string
	}{
		{"CD", func() string { return iso(t, "cidata") }, "cidata", iso9660},
		{"CD of OpenStack", func() string { return iso(t, "config-2") }, "config-2", iso9660},
		{"FAT12", func() string { return fat(t, "12", "CIDATA", megabyte) }, "CIDATA", vfat},
		{"FAT16", func() string { return fat(t, "16", "CONFIG-2", 64*megabyte) }, "CONFIG-2", vfat},
		{"FAT32", func() string { return fat(t, "32", "cidata", 40*megabyte) }, "cidata", vfat},
		{"no name", func() string { return fat(t, "16", "", 64*megabyte) }, "", vfat},
	} {
		t.Run(c.what, func(t *testing.T) {
			if name, filesystem := labelIn(t, c.image()); name != c.label || filesystem != c.filesystem {
				t.Errorf("%q, %q", name, filesystem)
			}
		})
	}
}

// Systems that change a label write the root directory only.
func TestChangedLabel(t *testing.T) {
	for _, bits := range []string{"12", "16", "32"} {
		image := fat(t, bits, "BEFORE", 40<<20)
		content, err := os.ReadFile(image)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.LastIndex(content, []byte("BEFORE     "))
		if at < 512 || bytes.Count(content[:512], []byte("BEFORE     ")) != 1 {
			t.Fatalf("FAT%s: the label is at %d", bits, at)
		}
		copy(content[at:], "CIDATA     ")
		if name, _ := label(bytes.NewReader(content)); name != "CIDATA" {
			t.Errorf("FAT%s: %q", bits, name)
		}
		content[at] = 0xE5 // taken out of the directory: the first sector has one still
		if name, _ := label(bytes.NewReader(content)); name != "BEFORE" {
			t.Errorf("FAT%s without an entry: %q", bits, name)
		}
	}
}

func TestNoLabel(t *testing.T) {
	partitions := make([]byte, 1<<20)
	partitions[510], partitions[511] = 0x55, 0xAA
	short := make([]byte, 16*2048+10)
	for what, drive := range map[string][]byte{"nothing": nil, "zeros": make([]byte, 1<<20), "partitions": partitions, "short": short} {
		if name, filesystem := label(bytes.NewReader(drive)); name != "" || filesystem != "" {
			t.Errorf("%s: %q, %q", what, name, filesystem)
		}
	}
}

func FuzzLabel(f *testing.F) {
	sector := make([]byte, 4096)
	binary.LittleEndian.PutUint16(sector[11:], 512)
	sector[13], sector[14], sector[16], sector[21] = 1, 1, 2, 0xF8
	binary.LittleEndian.PutUint16(sector[17:], 16)
	binary.LittleEndian.PutUint16(sector[22:], 1)
	copy(sector[38:], "\x29\x00\x00\x00\x00CIDATA     FAT12   ")
	copy(sector[3*512:], "CIDATA     \x08")
	sector[510], sector[511] = 0x55, 0xAA
	if name, ok := fatLabel(bytes.NewReader(sector)); !ok || name != "CIDATA" {
		f.Fatalf("%q, %v", name, ok)
	}
	f.Add(sector, uint16(0))
	volume := make([]byte, 2048)
	copy(volume, "\x01CD001\x01")
	copy(volume[40:], "cidata                          ")
	f.Add(volume, uint16(16*2048))
	f.Fuzz(func(t *testing.T, data []byte, at uint16) {
		r := &counted{r: bytes.NewReader(append(make([]byte, at), data...))}
		name, filesystem := label(r)
		if r.read > 64<<10 || len(name) > 32 || name != "" && filesystem == "" {
			t.Errorf("%q, %q after %d bytes", name, filesystem, r.read)
		}
	})
}

// counted counts the bytes that are asked for.
type counted struct {
	r    io.ReaderAt
	read int
}

func (c *counted) ReadAt(p []byte, at int64) (int, error) {
	c.read += len(p)
	return c.r.ReadAt(p, at)
}

func FuzzHostName(f *testing.F) {
	f.Add([]byte("instance-id: i\nlocal-hostname: 'head-0' # x\n"))
	f.Add([]byte(`{"local-hostname": "head-0", "hostname": "a"}`))
	f.Fuzz(func(t *testing.T, meta []byte) {
		for _, name := range []string{noCloudName(meta), openStackName(meta)} {
			if strings.ContainsAny(name, "\r\n") || len(name) > 1<<10 {
				t.Errorf("%q", name)
			}
		}
	})
}

// A shelf is the drives of a machine that is made up: device → label and files.
type shelf map[string]struct {
	label string
	files fstest.MapFS
	fails error // when it is mounted
}

func (s shelf) drives(t *testing.T) Drives {
	t.Helper()
	block := fstest.MapFS{"loop0/size": {Data: []byte("8\n")}, "fd0/size": {Data: []byte("8\n")}, "sr7/size": {Data: []byte("0\n")}}
	for device := range s {
		block[strings.ReplaceAll(strings.TrimPrefix(device, "/dev/"), "/", "!")+"/size"] = &fstest.MapFile{Data: []byte("2048\n")}
	}
	mounted := 0
	t.Cleanup(func() {
		if mounted != 0 {
			t.Error("a drive is still mounted")
		}
	})
	return Drives{
		Block: block,
		Open: func(device string) (Drive, error) {
			d, ok := s[device]
			if !ok {
				t.Errorf("%s was opened", device)
			}
			if d.label == "" {
				return nil, syscall.ENXIO
			}
			content := make([]byte, 17*2048)
			copy(content[16*2048:], "\x01CD001\x01")
			copy(content[16*2048+40:], d.label+strings.Repeat(" ", 32-len(d.label)))
			return drive{bytes.NewReader(content)}, nil
		},
		Mount: func(device, filesystem string, read func(fs.FS) error) error {
			d := s[device]
			if filesystem != iso9660 {
				t.Errorf("%s is mounted as %q", device, filesystem)
			}
			if d.fails != nil {
				return d.fails
			}
			mounted++
			defer func() { mounted-- }()
			return read(d.files)
		},
	}
}

type drive struct{ *bytes.Reader }

func (drive) Close() error { return nil }

func TestDrives(t *testing.T) {
	good := string(document(t))
	file := func(content string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(content), Mode: 0o644} }
	noCloudFiles := fstest.MapFS{"user-data": file(good), "meta-data": file("local-hostname: head-0.lab\n")}
	for name, c := range map[string]struct {
		drives      shelf
		where, host string
		why         string // of the NotFoundError
		broken      bool   // an error that is none
	}{
		"NoCloud":      {drives: shelf{"/dev/sr0": {label: "cidata", files: noCloudFiles}, "/dev/sda": {label: "root"}, "/dev/sr1": {}}, where: "/dev/sr0 (cidata)/user-data", host: "head-0.lab"},
		"in capitals":  {drives: shelf{"/dev/vdb1": {label: "CIDATA", files: noCloudFiles}}, where: "/dev/vdb1 (cidata)/user-data", host: "head-0.lab"},
		"with a slash": {drives: shelf{"/dev/cciss/c0d1": {label: "cidata", files: noCloudFiles}}, where: "/dev/cciss/c0d1 (cidata)/user-data", host: "head-0.lab"},
		"config drive": {drives: shelf{"/dev/vdb": {label: "config-2", files: fstest.MapFS{
			"openstack/latest/user_data": file(good), "openstack/latest/meta_data.json": file(`{"hostname": "head-0.novalocal"}`)}}},
			where: "/dev/vdb (config-2)/openstack/latest/user_data", host: "head-0.novalocal"},
		"the second one": {drives: shelf{"/dev/sr0": {label: "cidata", files: fstest.MapFS{"user-data": file("#cloud-config\n")}}, "/dev/sr1": {label: "cidata", files: noCloudFiles}},
			where: "/dev/sr1 (cidata)/user-data", host: "head-0.lab"},
		"no name":        {drives: shelf{"/dev/sr0": {label: "cidata", files: fstest.MapFS{"user-data": file(good)}}}, where: "/dev/sr0 (cidata)/user-data"},
		"something else": {drives: shelf{"/dev/sr0": {label: "cidata", files: fstest.MapFS{"user-data": file("#cloud-config\n")}}}, why: "/dev/sr0 (cidata)/user-data is not a bootstrap document"},
		"nothing on it":  {drives: shelf{"/dev/vdb": {label: "config-2", files: fstest.MapFS{}}}, why: "/dev/vdb (config-2)/openstack/latest/user_data does not exist"},
		"no such file system": {drives: shelf{"/dev/sr0": {label: "cidata", fails: os.NewSyscallError(iso9660, syscall.ENODEV)}},
			why: "/dev/sr0 (cidata) cannot be mounted: iso9660: no such device"},
		"a pipe":    {drives: shelf{"/dev/sr0": {label: "cidata", files: fstest.MapFS{"user-data": &fstest.MapFile{Mode: fs.ModeNamedPipe}}}}, why: "it is no regular file"},
		"no drives": {drives: shelf{}, why: "no drive is called cidata or config-2"},
		"damaged":   {drives: shelf{"/dev/sr0": {label: "cidata", files: fstest.MapFS{"user-data": file(`{"nimbus": 1}`)}}}, broken: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := nowhere(t)
			p.Drives = c.drives.drives(t)
			f, err := p.Find(t.Context())
			var none *NotFoundError
			switch {
			case c.broken:
				if err == nil || errors.As(err, &none) || !strings.Contains(err.Error(), "/dev/sr0 (cidata)/user-data: ") {
					t.Errorf("got %v", err)
				}
			case c.why != "":
				if !errors.As(err, &none) || !strings.Contains(err.Error(), c.why) {
					t.Errorf("got %v, want %q", err, c.why)
				}
			case err != nil || f.Where != c.where || f.Values.Value(t.Context(), "local-hostname") != c.host:
				t.Errorf("got %+v, %v", f, err)
			}
		})
	}
}

// A drive that does not answer holds nobody, and hides none of the others.
func TestHangingDrive(t *testing.T) {
	before := drivePatience
	drivePatience = 50 * time.Millisecond
	defer func() { drivePatience = before }()
	p := nowhere(t)
	p.Drives = shelf{"/dev/sda": {label: "cidata"}, "/dev/sr0": {label: "cidata", files: fstest.MapFS{"user-data": {Data: document(t)}}}}.drives(t)
	open, never := p.Drives.Open, make(chan struct{})
	defer close(never)
	p.Drives.Open = func(device string) (Drive, error) {
		if device == "/dev/sda" {
			<-never
			return nil, syscall.EIO
		}
		return open(device)
	}
	if f, err := p.Find(t.Context()); err != nil || f.Where != "/dev/sr0 (cidata)/user-data" {
		t.Errorf("got %+v, %v", f, err)
	}
}

// This machine's own drives can be looked through; what they hold is theirs.
func TestDrivesOfThisMachine(t *testing.T) {
	d := ThisMachine()
	if d.Block == nil {
		t.Skip("not on this system")
	}
	start := time.Now()
	if _, err := d.labelled(t.Context()); err != nil || time.Since(start) > drivePatience+time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}
