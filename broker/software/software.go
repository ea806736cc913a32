// Package software knows which builds of this program are at hand, for which
// platform, and what they must look like: the broker hands them out, and the
// client copies them to hosts.
package software

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
)

// Platforms are those that a release has builds for. (The operating system and
// the processor as Go calls them, but armv7 for 32-bit ARM.)
var Platforms = []string{
	"linux-amd64", "linux-arm64", "linux-armv7", "linux-riscv64", "linux-ppc64le", "linux-s390x",
	"darwin-amd64", "darwin-arm64",
}

// Names of a release's files: SumsName has a line "HEX  nimbus-PLATFORM" for
// each of the others.
const (
	SumsName = "SHA256SUMS"
	prefix   = "nimbus-"
)

// Name is the file name of a build.
func Name(platform string) string { return prefix + platform }

// Own is the platform of this program.
func Own() string { return platform(runtime.GOOS, runtime.GOARCH) }

func platform(system, processor string) string {
	if processor == "arm" {
		processor = "armv7"
	}
	return system + "-" + processor
}

// known tells whether a build may be called so.
func known(platform string) bool { return slices.Contains(Platforms, platform) || platform == Own() }

// Of is the platform of a machine on which "uname -s" and "uname -m" print
// these words.
func Of(sysname, machine string) (string, error) {
	system := strings.ToLower(strings.TrimSpace(sysname))
	processor := ""
	switch machine = strings.TrimSpace(machine); {
	case machine == "x86_64" || machine == "amd64":
		processor = "amd64"
	case machine == "aarch64" || machine == "arm64":
		processor = "arm64"
	case strings.HasPrefix(machine, "armv7") || machine == "armv8l": // the latter: 32 bits on a 64-bit kernel
		processor = "armv7"
	case machine == "riscv64" || machine == "ppc64le" || machine == "s390x":
		processor = machine
	}
	if name := system + "-" + processor; slices.Contains(Platforms, name) {
		return name, nil
	}
	return "", fmt.Errorf("there is no Nimbus for %.40q on %.40q, only for %s", sysname, machine, strings.Join(Platforms, ", "))
}

// ErrNone says that there is no build for a platform.
var ErrNone = errors.New("no such build")

// noneError says which there are instead, or what is wrong with that one.
type noneError struct{ text string }

func (e *noneError) Error() string   { return e.text }
func (e *noneError) Is(t error) bool { return t == ErrNone }
