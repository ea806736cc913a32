package agent

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestLogLines(t *testing.T) {
	var console bytes.Buffer
	path := filepath.Join(t.TempDir(), "opt", "ctxlog.txt")
	sink := NewLog(&console, slog.LevelInfo)
	log := slog.New(sink)
	sink.Hide("very-secret-token", "short")
	log.Info("before the file is open")
	if err := sink.Open(path); err != nil {
		t.Fatal(err)
	}
	log.Debug("not at this level")
	log.With("node", "head-0").Info("token very-secret-token", "text", "two words", "secret", "very-secret-token")
	log.Warn("odd \x1b[31m bytes \xff\x00 and\ttabs, ünïcode 新")
	sink.Close()
	want := regexp.MustCompile(`^
## auto-generated @ \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}

\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO: before the file is open
\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO: token \[secret\] node=head-0 text="two words" secret=\[secret\]
\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARN: odd \?\[31m bytes \?\? and	tabs, ünïcode 新
$`)
	content, err := os.ReadFile(path)
	if err != nil || !want.Match(content) {
		t.Errorf("log file:\n%s%v", content, err)
	}
	if got := strings.Count(console.String(), "\n"); got != 3 {
		t.Errorf("console:\n%s", console.String())
	}
	if tail := sink.Tail(); tail != console.String() {
		t.Errorf("tail:\n%s", tail)
	}
}

func TestTailIsBounded(t *testing.T) {
	var console bytes.Buffer
	sink := NewLog(&console, slog.LevelInfo)
	log := slog.New(sink)
	for range 2000 {
		log.Info("ünïcode " + strings.Repeat("新", 30))
		if tail := sink.Tail(); len(tail) > maxTail || !utf8.ValidString(tail) || !strings.HasPrefix(tail, "20") || !strings.HasSuffix(console.String(), tail) {
			t.Fatalf("a tail of %d bytes: %.80q", len(tail), tail)
		}
	}
	if tail := sink.Tail(); len(tail) < maxTail-200 {
		t.Errorf("only %d bytes are kept", len(tail))
	}
}

func TestRunIsBounded(t *testing.T) {
	var console bytes.Buffer
	log := slog.New(NewLog(&console, slog.LevelInfo))
	line := strings.Repeat("x", 1<<20)
	for range 40 {
		log.Info(line)
	}
	log.Error("but this is said")
	if console.Len() > maxRun+2<<20 || !strings.Contains(console.String(), "but this is said") {
		t.Errorf("%d bytes", console.Len())
	}
}

func TestLargeLogIsPutAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ctxlog.txt")
	if err := os.WriteFile(path, make([]byte, maxLogFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	sink := NewLog(&bytes.Buffer{}, slog.LevelInfo)
	if err := sink.Open(path); err != nil {
		t.Fatal(err)
	}
	sink.Close()
	now, err := os.Stat(path)
	before, err2 := os.Stat(path + ".1")
	if err != nil || err2 != nil || now.Size() > 100 || before.Size() != maxLogFile+1 {
		t.Errorf("%v %v", err, err2)
	}
}

func TestOldLogIsClosedToOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ctxlog.txt")
	if err := os.WriteFile(path, []byte("from an old image\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	sink := NewLog(&bytes.Buffer{}, slog.LevelInfo)
	if err := sink.Open(path); err != nil {
		t.Fatal(err)
	}
	sink.Close()
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestHide(t *testing.T) {
	sink := NewLog(&bytes.Buffer{}, slog.LevelInfo)
	sink.Hide("password", "password-and-more", "more of it", "short", "first line\r\n\n  second line\nthird", strings.Repeat("0123456789", 200))
	for text, want := range map[string]string{
		"":                                "",
		"nothing to hide in short":        "nothing to hide in short",
		"password":                        "[secret]",
		"<password-and-more>":             "<[secret]>",
		"<password-and-more of it>":       "<[secret]>", // two that overlap
		"passwordpassword, passwor":       "[secret], passwor",
		"a first line, a second line":     "a [secret], a [secret]",
		"third":                           "third",
		strings.Repeat("0123456789", 200): "[secret]",
	} {
		if got := sink.Redact(text); got != want {
			t.Errorf("%q: got %q", text, got)
		}
	}
}

// Ten thousand values cost what one costs.
func BenchmarkHide(b *testing.B) {
	text := strings.Repeat("a line of a very talkative script\n", 1000)
	for _, count := range []int{3, 10_000} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			sink := NewLog(&bytes.Buffer{}, slog.LevelInfo)
			for i := range count {
				sink.Hide(fmt.Sprintf("%x is a secret", i*7919))
			}
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				sink.Redact(text)
			}
		})
	}
}
