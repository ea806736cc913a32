package command

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"

	"nimbus/cloud"
)

// checkRequest refuses what would not arrive at the program as it was meant:
// names are names of files or lines of them.
func checkRequest(r cloud.Request) error {
	if err := checkName("launch", r.Launch); err != nil {
		return err
	}
	if err := checkName("token", r.Token); err != nil {
		return err
	}
	if err := checkName("name", r.Name); err != nil {
		return err
	}
	for _, line := range append(append([]string{r.Group, r.Image}, r.Networks...), r.PublicKeys...) {
		if strings.ContainsFunc(line, unicode.IsControl) {
			return fmt.Errorf("%q has control characters", clip(line))
		}
	}
	return nil
}

// files are what the program finds in the directory of a request.
func files(r cloud.Request) map[string][]byte {
	listed := func(words []string) []byte {
		var text []byte
		for _, word := range words {
			text = append(append(text, word...), '\n')
		}
		return text
	}
	return map[string][]byte{
		"user-data":       r.UserData,
		"meta-data":       metaData(r),
		"name":            listed([]string{r.Name}),
		"group":           listed([]string{r.Group}),
		"index":           listed([]string{strconv.Itoa(r.Index)}),
		"image":           listed([]string{r.Image}),
		"networks":        listed(r.Networks),
		"authorized-keys": listed(r.PublicKeys),
	}
}

// metaData is what a drive in the form NoCloud needs besides user data.
func metaData(r cloud.Request) []byte {
	var text strings.Builder
	fmt.Fprintf(&text, "instance-id: %s-%s\nlocal-hostname: %s\n", r.Launch, r.Token, r.Name)
	if len(r.PublicKeys) > 0 {
		text.WriteString("public-keys:\n")
	}
	for _, key := range r.PublicKeys {
		quoted, _ := json.Marshal(key) // a string; YAML reads it as JSON does
		fmt.Fprintf(&text, "  - %s\n", quoted)
	}
	return []byte(text.String())
}

// write makes a directory with a directory for each request in it.
func (d *Driver) write(requests []cloud.Request) (dir string, err error) {
	d.sweep()
	dir, err = os.MkdirTemp(d.o.requests(), "")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			_ = d.discard(dir)
		}
	}()
	for _, r := range requests {
		one := filepath.Join(dir, r.Token)
		if err := os.Mkdir(one, 0o700); err != nil {
			return "", err
		}
		for name, content := range files(r) {
			if err := os.WriteFile(filepath.Join(one, name), content, 0o600); err != nil {
				return "", err
			}
		}
	}
	return dir, nil
}

// discard removes requests, whatever the program did to their directory.
func (d *Driver) discard(dir string) error { return os.RemoveAll(dir) }

// sweep removes requests of clients that were killed: no call takes so long.
func (d *Driver) sweep() {
	entries, _ := os.ReadDir(d.o.requests())
	for _, e := range entries {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > 2*d.limits.launch {
			_ = d.discard(filepath.Join(d.o.requests(), e.Name()))
		}
	}
}
