package main

import (
	"strconv"
	"strings"
	"unicode"
)

// A style is what an escape sequence for colours leaves behind.
type style struct {
	color int // 0 to 15 as terminals count them; -1: the usual one
	bold  bool
}

var usual = style{color: -1}

// A run is text of one style.
type run struct {
	style
	text string
}

// read takes a capture apart into the runs of each line. Colours count, other
// escape sequences are left out. Empty lines at the end are no part of it.
func read(capture string) (lines [][]run) {
	now := usual
	for line := range strings.Lines(capture) {
		var runs []run
		line = strings.TrimRight(line, "\r\n")
		for line != "" {
			if rest, is := strings.CutPrefix(line, "\x1b["); is {
				end := strings.IndexFunc(rest, func(r rune) bool { return r >= '@' && r <= '~' })
				if end < 0 {
					break
				}
				if rest[end] == 'm' {
					now = now.set(rest[:end])
				}
				line = rest[end+1:]
				continue
			}
			text := line
			if i := strings.Index(line[1:], "\x1b["); i >= 0 {
				text = line[:i+1]
			}
			line = line[len(text):]
			runs = append(runs, run{now, strings.Map(printable, text)})
		}
		lines = append(lines, runs)
	}
	for len(lines) > 0 && blank(lines[len(lines)-1]) {
		lines = lines[:len(lines)-1]
	}
	return lines
}

func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return -1
}

func blank(runs []run) bool {
	for _, r := range runs {
		if strings.TrimSpace(r.text) != "" {
			return false
		}
	}
	return true
}

// set is the style after some SGR parameters.
func (s style) set(parameters string) style {
	for p := range strings.SplitSeq(parameters, ";") {
		n, err := strconv.Atoi(p)
		switch {
		case p == "", err == nil && n == 0:
			s = usual
		case err != nil:
		case n == 1:
			s.bold = true
		case n == 22:
			s.bold = false
		case n == 39:
			s.color = -1
		case n >= 30 && n <= 37:
			s.color = n - 30
		case n >= 90 && n <= 97:
			s.color = n - 90 + 8
		}
	}
	return s
}
