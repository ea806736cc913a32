// Pretender is a program that passes for Nimbus in tests of install.sh: it says
// how it was called, and by which name.
package main

import (
	"os"
	"path/filepath"
	"strings"
)

func main() {
	said := "called: " + filepath.Base(os.Args[0]) + " " + strings.Join(os.Args[1:], " ") + "\n"
	if len(os.Args) == 2 && os.Args[1] == "version" {
		said = "nimbus (pretended)\n"
	}
	os.Stdout.WriteString(said)
}
