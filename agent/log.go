package agent

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Bounds of the log in bytes.
const (
	maxTail    = 16 << 10 // of a run, kept for the report; up to twice that is there
	maxRun     = 16 << 20 // what one run writes; warnings and errors always fit
	maxLogFile = 8 << 20  // a larger file is put aside at the start of a run
)

// A Log writes the lines of a run to the console and, once it is opened, to
// the log file, and keeps their end for the report. It takes secrets and
// control characters out of everything. It is a slog.Handler.
type Log struct {
	*sink
	attrs string
}

// A sink is what the handlers derived from one another share.
type sink struct {
	mutex   sync.Mutex
	level   slog.Level
	console io.Writer
	file    *os.File
	tail    []byte
	written int
	secrets *secrets
}

// NewLog makes a log that has only a console.
func NewLog(console io.Writer, level slog.Level) *Log {
	return &Log{sink: &sink{console: console, level: level, secrets: newSecrets()}}
}

func level(name string) (l slog.Level, err error) {
	return l, l.UnmarshalText([]byte(name))
}

// Open starts the log file of this run; what was logged before goes into it.
func (l *Log) Open(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("log file: %w", err)
	}
	if info, err := os.Stat(path); err == nil && info.Size() > maxLogFile {
		if err := os.Rename(path, path+".1"); err != nil {
			return fmt.Errorf("log file: %w", err)
		}
		_ = os.Chmod(path+".1", 0o600)
	}
	// Scripts may print what only root should read.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("log file: %w", err)
	}
	// One from before may be open to all. It need not be ours to change, and
	// must not be changed where it is no file: /dev/null, say.
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		_ = f.Chmod(0o600)
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.file = f
	_, err = fmt.Fprintf(f, "\n## auto-generated @ %s\n\n%s", time.Now().Format(time.ANSIC), l.tail)
	if err != nil {
		return fmt.Errorf("log file: %w", err)
	}
	return nil
}

// Close ends the log file.
func (l *Log) Close() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
}

// Hide makes sure that these texts, and each line of them, are never logged
// from now on, but for those that are as short as ordinary words.
func (l *Log) Hide(texts ...string) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	for _, text := range texts {
		l.secrets.add(text)
	}
}

// Redact takes the secrets out of a text.
func (l *Log) Redact(text string) string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.secrets.hide(text)
}

// Tail is the end of this run's log: whole lines, valid UTF-8, no secret.
func (l *Log) Tail() string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	tail := l.tail[max(0, len(l.tail)-maxTail):]
	if len(tail) < len(l.tail) {
		if end := strings.IndexByte(string(tail), '\n'); end >= 0 {
			tail = tail[end+1:]
		}
	}
	return strings.ToValidUTF8(string(tail), "")
}

// Since returns what was logged from an offset on, in bytes since the start:
// whole lines, as many as are kept, and the offset of the first.
func (l *Log) Since(offset int64) (text string, from int64) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	end := int64(l.written)
	kept := end - int64(len(l.tail))
	if offset >= end {
		return "", end
	}
	if from = offset; from < kept {
		from = kept
		if line := bytes.IndexByte(l.tail, '\n'); line >= 0 {
			from += int64(line) + 1
		}
	}
	return string(l.tail[from-kept:]), from
}

// Enabled is part of slog.Handler.
func (l *Log) Enabled(_ context.Context, level slog.Level) bool { return level >= l.level }

// WithAttrs is part of slog.Handler.
func (l *Log) WithAttrs(attrs []slog.Attr) slog.Handler {
	derived := *l
	for _, a := range attrs {
		derived.attrs += attr(a)
	}
	return &derived
}

// WithGroup is part of slog.Handler; the agent's log has no groups.
func (l *Log) WithGroup(string) slog.Handler { return l }

// Handle writes a line as the original agent did.
func (l *Log) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Message)
	b.WriteString(l.attrs)
	r.Attrs(func(a slog.Attr) bool {
		b.WriteString(attr(a))
		return true
	})
	l.mutex.Lock()
	defer l.mutex.Unlock()
	text := printable(l.secrets.hide(b.String()))
	line := fmt.Sprintf("%s %s: %s\n", r.Time.Format("2006-01-02 15:04:05,000"), r.Level, text)
	if l.tail = append(l.tail, line...); len(l.tail) > 2*maxTail {
		l.tail = append(l.tail[:0], l.tail[len(l.tail)-maxTail-1:]...)
	}
	l.written += len(line)
	if l.written > maxRun && r.Level < slog.LevelWarn {
		return nil
	}
	// A full disk or a closed console must not stop the work.
	_, _ = io.WriteString(l.console, line)
	if l.file != nil {
		_, _ = l.file.WriteString(line)
	}
	return nil
}

func attr(a slog.Attr) string {
	value := a.Value.String()
	if value == "" || strings.ContainsAny(value, " \"=\n") {
		value = fmt.Sprintf("%q", value)
	}
	return " " + a.Key + "=" + value
}

// printable replaces what could confuse a terminal or a document.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && r != '\n' && (r < ' ' || r >= 0x7f && r < 0xa0) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}
