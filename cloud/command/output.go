package command

import (
	"bytes"
	"strings"
	"unicode"
)

// bounded keeps the beginning of what is written.
type bounded struct {
	most int
	kept []byte
	over bool // there was more
}

func (b *bounded) Write(p []byte) (int, error) {
	room := b.most - len(b.kept)
	b.kept = append(b.kept, p[:min(len(p), room)]...)
	b.over = b.over || len(p) > room
	return len(p), nil
}

// How much of what a program says is kept for its error, and how long a line
// is taken.
const (
	lastLines = 5
	longest   = 1000
)

// lines passes on what is written line by line, and remembers the last ones.
type lines struct {
	log   func(string)
	begun []byte // a line that has not ended yet, at most longest
	kept  []string
}

func (l *lines) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		line, after, ended := bytes.Cut(rest, []byte("\n"))
		l.begun = append(l.begun, line[:min(len(line), longest-len(l.begun))]...)
		if ended {
			l.end()
		}
		rest = after
	}
	return len(p), nil
}

// end ends the line that was begun.
func (l *lines) end() {
	line := strings.TrimSpace(printable(string(l.begun)))
	l.begun = l.begun[:0]
	if line == "" {
		return
	}
	l.log(line)
	l.kept = append(l.kept[max(0, len(l.kept)-lastLines+1):], line)
}

// last are the last lines as one.
func (l *lines) last() string { return strings.Join(l.kept, "; ") }

// printable leaves no character in a text that a terminal would obey.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r == '\r':
			return -1
		case !unicode.IsPrint(r):
			return unicode.ReplacementChar
		}
		return r
	}, text)
}
