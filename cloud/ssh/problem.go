package ssh

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A problem is an error that knows what to do about it.
type problem struct {
	text, hint string
}

func (p *problem) Error() string { return p.text }

// Hint is what to do.
func (p *problem) Hint() string { return p.hint }

// mostNamed is how many hosts an error names.
const mostNamed = 5

// joined is the error of many hosts: the first few are named. What does not come
// from hosts is said once.
func joined(failures []error) error {
	failures = slices.CompactFunc(slices.Clone(failures), func(a, b error) bool { return a.Error() == b.Error() })
	if n := len(failures) - mostNamed; n > 0 {
		more := "and %d hosts more"
		if n == 1 {
			more = "and %d host more"
		}
		failures = append(failures[:mostNamed:mostNamed], fmt.Errorf(more, n))
	}
	return errors.Join(failures...)
}

// printable makes a text of a host fit for one line of an error.
func printable(text string) string {
	text = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "?"), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, text)
}
