package phase

import (
	"bytes"
	"fmt"
)

// Bounds on what one script can put into the log, in bytes.
const (
	headOutput = 64 << 10 // logged as it comes
	tailOutput = 16 << 10 // the end of what comes after that
	longLine   = 4 << 10  // longer lines are broken
	overlap    = 1 << 10  // of a broken line, longer than any secret
)

// An output takes what a script prints and emits it line by line: the
// beginning at once, of the rest the end. It never blocks and never grows.
type output struct {
	emit   func(line string)
	redact func(string) string
	line   []byte // not ended yet
	sent   int
	tail   []string // a ring would hold halves of lines
	held   int      // bytes in tail
	lost   int      // bytes that neither part holds
}

func (o *output) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		part := p
		if end >= 0 {
			part = p[:end]
		}
		part = part[:min(len(part), longLine+overlap-len(o.line))]
		o.line = append(o.line, part...)
		switch p = p[len(part):]; {
		case len(p) > 0 && p[0] == '\n':
			p = p[1:]
			o.endLine()
		case len(o.line) >= longLine+overlap:
			o.breakLine()
		}
	}
	return n, nil
}

func (o *output) endLine() {
	o.put(o.redact(string(bytes.TrimSuffix(o.line, []byte("\r")))))
	o.line = o.line[:0]
}

// breakLine emits what a long line begins with. Its end stays, so that a
// secret which lies across the break is seen as a whole.
func (o *output) breakLine() {
	text := o.redact(string(o.line))
	cut := max(len(text)-overlap, 0)
	if cut > 0 {
		o.put(text[:cut])
	}
	o.line = append(o.line[:0], text[cut:]...)
}

func (o *output) put(line string) {
	size := len(line) + 1
	if o.sent < headOutput {
		o.sent += size
		o.emit(line)
		return
	}
	o.tail, o.held = append(o.tail, line), o.held+size
	for o.held > tailOutput {
		o.held -= len(o.tail[0]) + 1
		o.lost += len(o.tail[0]) + 1
		o.tail = o.tail[1:]
	}
}

// close emits what is still held back.
func (o *output) close() {
	if len(o.line) > 0 {
		o.endLine()
	}
	if o.lost > 0 {
		o.emit(fmt.Sprintf("… %d bytes left out …", o.lost))
	}
	for _, line := range o.tail {
		o.emit(line)
	}
	o.tail = nil
}
