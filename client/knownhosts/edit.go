package knownhosts

import (
	"slices"
	"strings"
)

// comment stands above every line that Add wrote.
const comment = "# cloud-client added this:"

// add is what Add makes of the file's text, and the lines of wanted that stand
// in it as ours.
func add(text string, wanted []host) (out string, ours []string) {
	known := newKeys(wanted)
	mine := map[string]bool{} // lines below our comment
	var b []string
	previous := ""
	for full := range strings.SplitAfterSeq(text, "\n") {
		if trimEnd(previous) != comment || full == "" {
			b = append(b, known.settle(full))
		} else if rest := known.yield(full); rest != "" {
			mine[trimEnd(rest)] = true
			b = append(b, rest)
		} else {
			b = b[:withGap(b, len(b))] // nothing of that block is left
		}
		previous = full
	}
	out = strings.Join(b, "")
	for i := range wanted {
		h := &wanted[i]
		line := h.line()
		switch {
		case mine[line]:
			ours = append(ours, line)
		case !known.covers(h):
			// The newline in front ends an unfinished line, or leaves one empty.
			if out != "" {
				out += "\n"
			}
			out += comment + "\n" + line + "\n"
			ours = append(ours, line)
		}
	}
	return out, ours
}

// keys is what the wanted hosts are to be known by, and which of it the file
// says already.
type keys struct {
	byName map[string]map[string]string // name → key type → key
	said   map[[2]string]bool           // name and key type
}

func newKeys(wanted []host) *keys {
	k := &keys{byName: map[string]map[string]string{}, said: map[[2]string]bool{}}
	for _, h := range wanted {
		for _, name := range h.names {
			if k.byName[name] == nil {
				k.byName[name] = map[string]string{}
			}
			k.byName[name][h.keyType] = h.key
		}
	}
	return k
}

// settle returns a line of the file as it must read: nearly always as it is.
func (k *keys) settle(full string) string {
	l, ok := parse(full)
	if !ok {
		return full
	}
	if h, ok := l.hashed(); ok {
		for name, types := range k.byName {
			if key, ours := types[l.keyType]; ours && h.is(name) && k.conflict(name, l, key) {
				return "# " + full
			}
		}
		return full
	}
	keep, drop := k.divide(l)
	switch {
	case drop == nil:
		return full
	case keep == nil:
		return "# " + full
	}
	// The names that stay keep their line; what was taken from it is readable
	// above.
	return "# " + ended(l.with(drop)) + l.with(keep)
}

// yield returns what stays of a line that an earlier Add wrote: the names that
// are now another machine's go without a trace.
func (k *keys) yield(full string) string {
	l, ok := parse(full)
	if !ok {
		return full
	}
	if _, is := l.hashed(); is { // somebody hashed the file since
		if k.settle(full) != full {
			return ""
		}
		return full
	}
	keep, drop := k.divide(l)
	switch {
	case drop == nil:
		return full
	case keep == nil:
		return ""
	}
	return l.with(keep)
}

// divide tells which names of a line stay and which get another key.
func (k *keys) divide(l line) (keep, drop []string) {
	for name := range strings.SplitSeq(l.names, ",") {
		if name == "" {
			continue // between two commas
		}
		small := strings.ToLower(name) // ssh knows no case
		key, ours := k.byName[small][l.keyType]
		if ours && k.conflict(small, l, key) {
			drop = append(drop, name)
		} else {
			keep = append(keep, name)
		}
	}
	return keep, drop
}

// conflict tells whether a line gives a name another key; when it is the same
// key it is remembered as said, unless a "!name" may take it back.
func (k *keys) conflict(name string, l line, key string) bool {
	if l.key != key {
		return true
	}
	if !strings.Contains(l.names, "!") {
		k.said[[2]string{name, l.keyType}] = true
	}
	return false
}

func (k *keys) covers(h *host) bool {
	return !slices.ContainsFunc(h.names, func(name string) bool { return !k.said[[2]string{name, h.keyType}] })
}

// remove is what Remove makes of the file's text. Of what Add wrote, a part may
// be left (a later Add took a name), or it may be hashed by now.
func remove(text string, lines []string) string {
	wanted := make([]added, len(lines))
	for i, l := range lines {
		wanted[i] = newAdded(l)
	}
	all := strings.SplitAfter(text, "\n")
	for i := 1; i < len(all); i++ {
		for w := range wanted {
			if trimEnd(all[i-1]) == comment && wanted[w].is(all[i]) {
				wanted[w].found = true
			}
		}
	}
	// From the end, so that a text which had no newline at its end, and got one
	// from the first block added, loses it with that block.
	for i := len(all) - 1; i >= 0; i-- {
		under := i > 0 && trimEnd(all[i-1]) == comment
		ours := slices.ContainsFunc(wanted, func(w added) bool {
			if under {
				return w.is(all[i])
			}
			return !w.found && w.text == trimEnd(all[i]) // the user's own copy of our line stays
		})
		if !ours {
			continue
		}
		first := i
		if under {
			first = withGap(all, i)
		}
		all = slices.Delete(all, first, i+1)
		i = first
	}
	return strings.Join(all, "")
}

// added is a line that Add wrote.
type added struct {
	text  string
	line  line
	names map[string]bool
	found bool // below our comment
}

func newAdded(text string) added {
	a := added{text: trimEnd(text), names: map[string]bool{}}
	a.line, _ = parse(text)
	for name := range strings.SplitSeq(a.line.names, ",") {
		a.names[name] = true
	}
	return a
}

// is tells whether a line below our comment is this one, or what is left of
// it: the same key for some of its names.
func (a added) is(full string) bool {
	if trimEnd(full) == a.text {
		return true
	}
	l, ok := parse(full)
	if !ok || l.keyType != a.line.keyType || l.key != a.line.key {
		return false
	}
	if h, is := l.hashed(); is {
		for name := range a.names {
			if h.is(name) {
				return true
			}
		}
		return false
	}
	for name := range strings.SplitSeq(l.names, ",") {
		if !a.names[name] {
			return false
		}
	}
	return true
}

// withGap finds where the block begins whose line is all[i]: at the empty line
// above the comment. The last block may have ended the unfinished line above
// it instead; that one loses the newline again.
func withGap(all []string, i int) (first int) {
	first = i - 1
	if first == 0 {
		return first
	}
	above := &all[first-1]
	switch {
	case *above == "\n", *above == "\r\n" && strings.HasSuffix(all[first], "\r\n"): // converted since
		return first - 1
	case i+1 == len(all) || i+2 == len(all) && all[i+1] == "":
		*above = strings.TrimSuffix(*above, "\n")
	}
	return first
}

func trimEnd(line string) string {
	return strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
}

// ended is a line that another can follow.
func ended(line string) string {
	if strings.HasSuffix(line, "\n") {
		return line
	}
	return line + "\n"
}
