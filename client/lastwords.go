package client

import (
	"strings"
	"sync"
)

// lastWords keeps the end of what is written to it.
type lastWords struct {
	mu   sync.Mutex
	text []byte
}

// maxWords is how much of it, in bytes.
const maxWords = 16 << 10

func (l *lastWords) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p[max(0, len(p)-maxWords):]...)
	if len(l.text) > 2*maxWords {
		l.text = append(l.text[:0], l.text[len(l.text)-maxWords:]...)
	}
	return len(p), nil
}

// String is whole lines, as far as there are any.
func (l *lastWords) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := string(l.text)
	if len(text) <= maxWords {
		return text
	}
	text = text[len(text)-maxWords:]
	if _, rest, found := strings.Cut(text, "\n"); found {
		return rest
	}
	return text
}

// line is the last one that says something.
func (l *lastWords) line() string {
	text := strings.TrimSpace(l.String())
	return text[strings.LastIndexByte(text, '\n')+1:]
}
