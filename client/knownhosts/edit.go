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
	var b strings.Builder
	previous := ""
	for full := range strings.SplitAfterSeq(text, "\n") {
		if trimEnd(previous) == comment {
			mine[trimEnd(full)] = true
		}
		b.WriteString(known.settle(full))
		previous = full
	}
	for i := range wanted {
		h := &wanted[i]
		line := h.line()
		switch {
		case mine[line]:
			ours = append(ours, line)
		case !known.covers(h):
			// The newline in front ends an unfinished line, or leaves one empty.
			if b.Len() > 0 {
				b.WriteString("\n")
			}
			b.WriteString(comment + "\n" + line + "\n")
			ours = append(ours, line)
		}
	}
	return b.String(), ours
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
	var keep, drop []string
	for name := range strings.SplitSeq(l.names, ",") {
		small := strings.ToLower(name) // ssh knows no case
		key, ours := k.byName[small][l.keyType]
		if ours && k.conflict(small, l, key) {
			drop = append(drop, name)
		} else {
			keep = append(keep, name)
		}
	}
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

// remove is what Remove makes of the file's text.
func remove(text string, lines []string) string {
	wanted := map[string]bool{} // whether it stands below our comment somewhere
	for _, l := range lines {
		wanted[trimEnd(l)] = false
	}
	all := strings.SplitAfter(text, "\n")
	for i := 1; i < len(all); i++ {
		if _, ok := wanted[trimEnd(all[i])]; ok && trimEnd(all[i-1]) == comment {
			wanted[trimEnd(all[i])] = true
		}
	}
	// From the end, so that a text which had no newline at its end, and got one
	// from the first block added, loses it with that block.
	for i := len(all) - 1; i >= 0; i-- {
		commented, ok := wanted[trimEnd(all[i])]
		under := i > 0 && trimEnd(all[i-1]) == comment
		if !ok || commented && !under {
			continue // the user's own copy of our line stays
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
	case *above == "\n", *above == "\r\n" && strings.HasSuffix(all[i], "\r\n"): // converted since
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
