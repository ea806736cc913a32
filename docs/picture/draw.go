package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// The size of a character and of the frame around them, in pixels.
const (
	cellWidth  = 8.4
	cellHeight = 18
	margin     = 16
	narrowest  = 60 // columns
)

// Colours of a dark terminal, each readable on the background.
const (
	background = "#0d1117"
	foreground = "#e6edf3"
)

var palette = [16]string{
	"#8b949e", "#ff7b72", "#3fb950", "#d29922", "#58a6ff", "#bc8cff", "#39c5cf", "#e6edf3",
	"#8b949e", "#ffa198", "#56d364", "#e3b341", "#79c0ff", "#d2a8ff", "#56d4dd", "#ffffff",
}

// draw writes the SVG. Every run is told its place and its length, so that
// columns are columns whatever font there is.
func draw(w io.Writer, title string, lines [][]run) {
	columns := narrowest
	for _, line := range lines {
		n := 0
		for _, r := range line {
			n += utf8.RuneCountInString(r.text)
		}
		columns = max(columns, n)
	}
	width, height := float64(columns)*cellWidth+2*margin, len(lines)*cellHeight+2*margin
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %d" width="%.0f" height="%d" role="img">
<title>%s</title>
<rect width="100%%" height="100%%" rx="8" fill="%s"/>
<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace" font-size="14" fill="%s">
`, width, height, width, height, escaped(title), background, foreground)
	for i, line := range lines {
		y, column := margin+i*cellHeight+14, 0
		for _, r := range line {
			n := utf8.RuneCountInString(r.text)
			trimmed := strings.TrimLeft(r.text, " ")
			x := float64(margin) + float64(column+n-utf8.RuneCountInString(trimmed))*cellWidth
			trimmed = strings.TrimRight(trimmed, " ")
			column += n
			if trimmed == "" {
				continue
			}
			look := ""
			if r.color >= 0 {
				look += fmt.Sprintf(` fill="%s"`, palette[r.color])
			}
			if r.bold {
				look += ` font-weight="bold"`
			}
			fmt.Fprintf(w, `<text x="%.1f" y="%d" textLength="%.1f" lengthAdjust="spacingAndGlyphs" xml:space="preserve"%s>%s</text>`+"\n",
				x, y, float64(utf8.RuneCountInString(trimmed))*cellWidth, look, escaped(trimmed))
		}
	}
	fmt.Fprint(w, "</g>\n</svg>\n")
}

func escaped(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text))
	return b.String()
}
