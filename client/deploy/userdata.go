package deploy

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"

	"nimbus/broker/cluster"
	"nimbus/broker/wire"
)

// userDataSource is the script that gets a machine its agent, as people read it.
//
//go:embed userdata.sh
var userDataSource string

// userData is the script around a bootstrap document: what is sent.
var userDataBefore, userDataAfter = userDataParts(userDataSource)

// userDataParts leaves out what a machine does not need (comments but for the
// first, empty lines, indentation), and cuts the script where the document
// goes.
func userDataParts(source string) (before, after string) {
	var b strings.Builder
	n := 0
	for line := range strings.Lines(source) {
		line = strings.TrimLeft(line, "\t")
		if n++; line == "\n" || n > 2 && strings.HasPrefix(line, "#") {
			continue
		}
		b.WriteString(line)
	}
	before, after, _ = strings.Cut(b.String(), "{document}\n")
	return before, after
}

// userData writes what an instance gets: the document for an image that has
// its agent, else the script that carries it.
func userData(b *wire.Bootstrap, installs bool) ([]byte, error) {
	if !installs {
		bare := *b
		bare.Agents = nil
		return bare.Encode()
	}
	document, err := b.Encode()
	if err != nil {
		return nil, err
	}
	script := []byte(userDataBefore + string(document) + userDataAfter)
	if len(script) > wire.MaxBootstrap {
		return nil, fmt.Errorf("the user data has %d bytes, %d is the limit", len(script), wire.MaxBootstrap)
	}
	return script, nil
}

// LinuxAgents are those of a broker's programs that an instance can be.
func LinuxAgents(agents map[string]string) map[string]string {
	linux := maps.Clone(agents)
	maps.DeleteFunc(linux, func(platform, _ string) bool { return !strings.HasPrefix(platform, "linux-") })
	return linux
}

// A NoAgentError says that instances are to fetch their agent from a broker
// that has none for them.
type NoAgentError struct {
	Image string   // the first such image
	Has   []string // platforms of the broker's programs
}

func (e *NoAgentError) Error() string {
	has := "it hands out none at all"
	if len(e.Has) > 0 {
		has = "it has " + strings.Join(e.Has, ", ")
	}
	return fmt.Sprintf("the broker has no agent for Linux machines (%s), and instances of image %q fetch it there", has, e.Image)
}

// CheckAgents finds the first image whose instances could not get their agent.
func CheckAgents(def *cluster.Definition, installs func(image string) bool, agents map[string]string) error {
	if len(LinuxAgents(agents)) > 0 {
		return nil
	}
	for _, w := range def.Workspaces {
		if w.Ctx != nil && installs != nil && installs(w.Image) {
			return &NoAgentError{Image: w.Image, Has: slices.Sorted(maps.Keys(agents))}
		}
	}
	return nil
}
