package history

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
)

// A report is one file of a set.
type report struct{ name, text string }

// writeSet replaces a directory of reports as a whole: no file of an older
// set stays among those of the new one.
func (l *Launch) writeSet(name string, reports []report) (dir string, err error) {
	dir = filepath.Join(l.Dir, name)
	work, err := os.MkdirTemp(l.Dir, "."+name+"-*") // 0700
	if err != nil {
		return "", fmt.Errorf("write %s: %v", dir, err)
	}
	defer os.RemoveAll(work)
	fresh, old := filepath.Join(work, "new"), filepath.Join(work, "old")
	if err := os.Mkdir(fresh, 0o700); err != nil {
		return "", fmt.Errorf("write %s: %v", dir, err)
	}
	for _, r := range reports {
		if err := os.WriteFile(filepath.Join(fresh, r.name), []byte(r.text), 0o600); err != nil {
			return "", fmt.Errorf("write %s: %v", dir, err)
		}
	}
	if err := os.Rename(dir, old); err != nil && !os.IsNotExist(err) {
		return "", fmt.Errorf("replace %s: %v", dir, err)
	}
	if err := os.Rename(fresh, dir); err != nil {
		_ = os.Rename(old, dir) // better the old set than none
		return "", fmt.Errorf("replace %s: %v", dir, err)
	}
	return dir, nil
}

// number writes the 1-based place of a report among count, with as many digits
// as the original's tools expect: two for more than 10, three for more than
// 100, and so on.
func number(i, count int) string {
	return fmt.Sprintf("%0*d", len(strconv.Itoa(max(count-1, 0))), i+1)
}

// heading underlines the title of a section.
func heading(title string) string {
	return "\n" + title + "\n" + strings.Repeat("-", len(title)) + "\n"
}

// oneLine makes text from elsewhere safe to print within a line.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}

// manyLines does the same for text of several lines: what a node's log holds
// must not steer the terminal of who reads it.
func manyLines(text string) string {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}

// orElse is text, or what to say when there is none.
func orElse(text, none string) string {
	if text == "" {
		return none
	}
	return text
}
