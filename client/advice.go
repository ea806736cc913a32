package client

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"nimbus/broker/cluster"
)

// What to do about mistakes that several commands meet.
const (
	definitionAdvice = "the lines above say where; docs/definition.md explains every element"
	settingsAdvice   = "docs/settings.md explains all settings; --conf FILE names another file"
)

// doctorAdvice is for what can have many reasons.
func (s *session) doctorAdvice(args ...string) string {
	return fmt.Sprintf("%q looks into it", s.doctorCommand(args...))
}

func (s *session) doctorCommand(args ...string) string {
	words := append([]string{s.env.program(), "doctor"}, readableWords(slices.Concat(s.extra, args))...)
	return strings.Join(words, " ")
}

// pathAdvice is for a file that cannot be read: what else is there whose name
// is almost the same.
func pathAdvice(file string) string {
	_, err := os.Stat(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return "name an XML file that you may read"
	}
	dir, base := filepath.Split(file)
	list := dir
	if list == "" {
		list = "."
	}
	entries, err := os.ReadDir(list)
	if err != nil {
		return fmt.Sprintf("there is no directory %s: check the path", list)
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	if best := cluster.Nearest(base, names); best != "" {
		return fmt.Sprintf("did you mean %s?", dir+best)
	}
	return "check the path; the directory samples of Nimbus has definitions to begin with"
}
