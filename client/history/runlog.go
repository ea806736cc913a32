package history

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// maxLogs bounds how many runs one launch keeps the logs of.
const maxLogs = 9999

// RunLog opens the two log files of a run: run-log.txt for what a person was
// told, run-debug-log.txt for everything, which takes what goes to the first
// as well. Later runs of the same launch get run-002-log.txt and
// run-debug-002-log.txt, and so on. Every line gets the time when it began.
func (l *Launch) RunLog() (info, debug io.WriteCloser, err error) {
	for run := 1; run <= maxLogs; run++ {
		number := ""
		if run > 1 {
			number = fmt.Sprintf("%03d-", run)
		}
		i, err := l.createLog("run-" + number + "log.txt")
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("log of the run: %v", err)
		}
		d, err := l.createLog("run-debug-" + number + "log.txt")
		if err != nil {
			return nil, nil, fmt.Errorf("log of the run: %v", errors.Join(err, i.Close()))
		}
		return i, d, nil
	}
	return nil, nil, fmt.Errorf("log of the run: %s holds %d logs already: remove some", l.Dir, maxLogs)
}

// createLog makes a file that was not there. Two runs of one launch at once
// thus get two sets.
func (l *Launch) createLog(name string) (*logFile, error) {
	f, err := os.OpenFile(filepath.Join(l.Dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &logFile{out: f, now: time.Now}, nil
}

// A logFile puts the time before every line. Several goroutines may write.
type logFile struct {
	mu     sync.Mutex
	out    io.WriteCloser
	now    func() time.Time
	inside bool // of a line: the last write did not end one
}

const logTime = "2006-01-02T15:04:05.000Z07:00 "

// Write passes everything on at once, unfinished lines too: the log of a
// client that was killed should not end before its last words.
func (f *logFile) Write(text []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var stamped strings.Builder
	stamp := f.now().Format(logTime)
	for line := range strings.SplitAfterSeq(string(text), "\n") {
		if line == "" {
			continue
		}
		if !f.inside {
			stamped.WriteString(stamp)
		}
		stamped.WriteString(line)
		f.inside = !strings.HasSuffix(line, "\n")
	}
	if _, err := io.WriteString(f.out, stamped.String()); err != nil {
		return 0, err
	}
	return len(text), nil
}

// Close ends an unfinished line.
func (f *logFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var err error
	if f.inside {
		_, err = io.WriteString(f.out, "\n")
		f.inside = false
	}
	return errors.Join(err, f.out.Close())
}
