// Picture draws what is on a terminal, as "tmux capture-pane -p -e" prints it,
// as an SVG: text stays text.
//
//	picture -title TITLE <capture >live.svg
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	title := flag.String("title", "a terminal", "what the picture shows, for those who do not see it")
	flag.Parse()
	capture, err := io.ReadAll(io.LimitReader(os.Stdin, 1<<20))
	if err == nil {
		var out bytes.Buffer
		draw(&out, *title, read(string(capture)))
		_, err = os.Stdout.Write(out.Bytes())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}
