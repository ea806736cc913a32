package install

import "strings"

// The marks of our lines in files of others; the scripts use them, too.
const (
	beginMark = "# nimbus begin\n"
	endMark   = "# nimbus end\n"
)

// withoutLines takes what is between the marks out of a text. A begin without
// its end takes nothing with it.
func withoutLines(text string) string {
	var kept, held strings.Builder
	ours := false
	for line := range strings.Lines(text) {
		switch {
		case line == beginMark:
			kept.WriteString(held.String())
			held.Reset()
			ours = true
			held.WriteString(line)
		case !ours:
			kept.WriteString(line)
		case line == endMark:
			held.Reset()
			ours = false
		default:
			held.WriteString(line)
		}
	}
	return kept.String() + held.String()
}

// withLines puts lines between the marks into a shell script: before the exit
// at its end, if it has one.
func withLines(text, lines string) string {
	text = withoutLines(text)
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	block := beginMark + lines + endMark
	at := len(text)
	for start := 0; start < len(text); {
		end := start + strings.IndexByte(text[start:], '\n') + 1
		if line := strings.TrimSpace(text[start:end]); text[start] == 'e' && (line == "exit" || strings.HasPrefix(line, "exit ")) {
			at = start
		}
		start = end
	}
	return text[:at] + block + text[at:]
}
