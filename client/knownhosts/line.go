package knownhosts

import (
	"crypto/hmac"
	"crypto/sha1" // the format's, not ours
	"encoding/base64"
	"strings"
)

// A line of the file that gives hosts a key, taken apart so that
// indent+names+rest is the line again.
type line struct {
	indent string
	names  string // comma separated, or one that is hashed
	rest   string // from the blank before the key type up to the line's end

	keyType, key string
}

const blanks = " \t"

// parse takes a line apart as sshd(8) describes it. Comments, @markers and
// whatever else is no "hosts type key" are not ours to touch.
func parse(text string) (line, bool) {
	body := strings.TrimLeft(text, blanks)
	indent := text[:len(text)-len(body)]
	if body == "" || body[0] == '#' || body[0] == '@' || body[0] == '\r' || body[0] == '\n' {
		return line{}, false
	}
	end := strings.IndexAny(body, blanks)
	if end < 0 {
		return line{}, false
	}
	l := line{indent: indent, names: body[:end], rest: body[end:]}
	fields := strings.FieldsFunc(l.rest, func(r rune) bool { return strings.ContainsRune(" \t\r\n", r) })
	if len(fields) < 2 {
		return line{}, false
	}
	l.keyType, l.key = fields[0], fields[1]
	return l, true
}

// with is the line with other names.
func (l line) with(names []string) string {
	return l.indent + strings.Join(names, ",") + l.rest
}

// A hashed name is |1|salt|hash: who reads the file cannot tell which host it
// is, who knows the host can.
type hashed struct{ salt, sum []byte }

func (l line) hashed() (hashed, bool) {
	parts := strings.Split(l.names, "|")
	if len(parts) != 4 || parts[0] != "" || parts[1] != "1" {
		return hashed{}, false
	}
	salt, err1 := base64.StdEncoding.DecodeString(parts[2])
	sum, err2 := base64.StdEncoding.DecodeString(parts[3])
	return hashed{salt, sum}, err1 == nil && err2 == nil && len(sum) == sha1.Size
}

func (h hashed) is(name string) bool {
	mac := hmac.New(sha1.New, h.salt)
	mac.Write([]byte(name))
	return hmac.Equal(mac.Sum(nil), h.sum)
}
