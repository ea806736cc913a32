package install

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
)

// A Program is too large to be held in memory.
type Program struct {
	Content io.ReaderAt
	Size    int64
	file    *os.File
}

// maxProgram bounds what is taken for a program, in bytes.
const maxProgram = 256 << 20

// OpenProgram opens a program; "" means the one that runs.
func OpenProgram(name string) (*Program, error) {
	fix := "name a file that is a build of nimbus"
	if name == "" {
		var err error
		if name, err = os.Executable(); err != nil {
			return nil, &Problem{Text: "this program's own file", Err: err}
		}
		if runtime.GOOS == "linux" {
			name = "/proc/self/exe" // also when another has taken its place
		}
	}
	info, err := os.Stat(name)
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: errors.New("it is no regular file")}
	}
	if err == nil && (info.Size() == 0 || info.Size() > maxProgram) {
		err = &fs.PathError{Op: "open", Path: name, Err: fmt.Errorf("it has %d bytes", info.Size())}
	}
	if err != nil {
		return nil, &Problem{Text: "program " + name, Fix: fix, Err: err}
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, &Problem{Text: "program " + name, Err: err}
	}
	return &Program{f, info.Size(), f}, nil
}

// Close closes its file.
func (p *Program) Close() error { return p.file.Close() }

func (p *Program) reader() io.Reader { return io.NewSectionReader(p.Content, 0, p.Size) }

// A processor is what the first bytes of a program of Linux say it runs on:
// word size, byte order and machine. Empty is none.
type processor string

const elfHead = 20

func processorOf(head []byte) processor {
	if len(head) < elfHead || !bytes.HasPrefix(head, []byte("\x7fELF")) {
		return ""
	}
	return processor(string(head[4:6]) + string(head[18:20]))
}

func (p processor) String() string {
	for _, known := range []struct{ processor, name string }{
		{"\x02\x01\x3e\x00", "amd64"}, {"\x02\x01\xb7\x00", "arm64"}, {"\x01\x01\x28\x00", "arm"}, {"\x02\x01\xf3\x00", "riscv64"},
		{"\x02\x01\x15\x00", "ppc64le"}, {"\x02\x02\x00\x16", "s390x"}, {"\x01\x01\x03\x00", "386"},
	} {
		if known.processor == string(p) {
			return known.name
		}
	}
	return "another processor"
}

// ForLinux refuses what cannot run in the tree: a program of another system,
// or, unless somebody has chosen it, for another processor than the tree's own.
func (p *Program) ForLinux(t *Tree, chosen bool) error {
	head := make([]byte, elfHead)
	_, _ = p.Content.ReadAt(head, 0)
	ours := processorOf(head)
	if ours == "" {
		return &Problem{Text: "this is no program for Linux", Fix: "say --binary FILE: the build for the machine's processor (make release makes all)"}
	}
	if chosen {
		return nil
	}
	for _, name := range []string{"bin/sh", "usr/bin/env", "sbin/init", "bin/busybox"} {
		theirs := t.processor(name)
		if theirs != "" && theirs != ours {
			return &Problem{Text: fmt.Sprintf("this program is for %v, and %s for %v", ours, t.Name(name), theirs),
				Fix: "say --binary FILE: the build for that processor (make release makes all; install.sh finds the right one)"}
		}
		if theirs != "" {
			return nil
		}
	}
	return nil
}

// processor is what a program in the tree is for.
func (t *Tree) processor(name string) processor {
	real, err := t.real(name, true)
	if err != nil {
		return ""
	}
	if info, err := t.root.Lstat(real); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	f, err := t.root.Open(real)
	if err != nil {
		return ""
	}
	defer f.Close()
	head := make([]byte, elfHead)
	if _, err := io.ReadFull(f, head); err != nil {
		return ""
	}
	return processorOf(head)
}
