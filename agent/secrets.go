package agent

import (
	"slices"
	"strings"
)

// How long the texts are that are hidden, in bytes. Shorter ones would hide
// ordinary words. Longer ones are hidden in parts: a script's long line is
// broken, and no more than a part is seen as a whole at each break.
const (
	shortestSecret = 8
	longestSecret  = 512
)

// secrets are texts that must not be logged. To look for them costs the same,
// be it three or ten thousand: each place of a text is looked up once by the
// bytes that follow.
type secrets struct {
	texts   map[string]bool
	lengths map[string][]int // of the texts that begin with these bytes, longest first
	first   [256]bool        // whether any begins so: spares most look-ups
}

func newSecrets() *secrets {
	return &secrets{texts: map[string]bool{}, lengths: map[string][]int{}}
}

// add hides a text as a whole and, as scripts print line by line, each of its
// lines; and both as a shell that traces its commands writes them.
func (s *secrets) add(text string) {
	if text = strings.TrimSpace(text); len(text) <= longestSecret {
		s.put(text)
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		s.parts(line)
		if strings.Contains(line, "'") {
			s.parts(strings.ReplaceAll(line, "'", `'\''`))  // bash
			s.parts(strings.ReplaceAll(line, "'", `'"'"'`)) // dash
		}
	}
}

func (s *secrets) parts(line string) {
	for len(line) > longestSecret {
		s.put(line[:longestSecret/2])
		line = line[longestSecret/2:]
	}
	s.put(line)
}

func (s *secrets) put(text string) {
	if len(text) < shortestSecret || s.texts[text] {
		return
	}
	s.texts[text], s.first[text[0]] = true, true
	begin := text[:shortestSecret]
	if known := s.lengths[begin]; !slices.Contains(known, len(text)) {
		known = append(known, len(text))
		slices.SortFunc(known, func(a, b int) int { return b - a })
		s.lengths[begin] = known
	}
}

// match is the length of the longest secret that a text begins with.
func (s *secrets) match(text string) int {
	if !s.first[text[0]] {
		return 0
	}
	for _, n := range s.lengths[text[:shortestSecret]] {
		if n <= len(text) && s.texts[text[:n]] {
			return n
		}
	}
	return 0
}

// hide takes the secrets out of a text. What touches or overlaps is one.
func (s *secrets) hide(text string) string {
	var b strings.Builder
	kept, end := 0, -1 // where what is not written yet begins, and where the last secret ended
	for i := 0; i+shortestSecret <= len(text); i++ {
		n := s.match(text[i:])
		if n == 0 || i+n <= end {
			continue
		}
		if i > end {
			b.WriteString(text[kept:i])
			b.WriteString("[secret]")
		}
		end = i + n
		kept = end
	}
	if end < 0 {
		return text
	}
	b.WriteString(text[kept:])
	return b.String()
}
