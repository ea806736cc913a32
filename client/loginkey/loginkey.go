// Package loginkey finds the SSH key by which the user will log in to what he
// launches: the one he configured, else one of his own, else one made for him.
package loginkey

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/crypto/ssh"
)

// Key is a login key.
type Key struct {
	Public  string // authorized_keys lines, without a newline at the end
	File    string // where Public is, or will be
	Private string // path for ssh -i; empty when ssh finds the key by itself
	Made    bool   // by this call: tell the user

	path string // of the private key, also where ssh finds it
}

// For is the key as an ssh needs it whose own directory is another than home's:
// it goes by the user's entry in the system, not by HOME.
func (k Key) For(sshDir string) Key {
	if k.Private == "" && k.path != "" && filepath.Dir(k.path) != sshDir {
		k.Private = k.path
	}
	return k
}

// maxFile is the size in bytes of the largest file that is read as keys.
const maxFile = 64 << 10

// usual are the keys of ~/.ssh in the order of preference, and the ones that
// ssh tries without being told.
var (
	usual = []string{"id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub"}
	tried = []string{"id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk"}
)

// Find returns the configured public key, a path where ~ stands for home. With
// none configured it is the first of home/.ssh whose private key lies beside
// it: id_ed25519, id_ecdsa, id_rsa, any other by name. Else it is the one in
// dataDir/ssh, which is made when it is not there.
func Find(configured, home, dataDir string) (Key, error) {
	key, found, err := look(configured, home)
	if found || err != nil {
		return key, err
	}
	return findOwn(filepath.Join(dataDir, "ssh"))
}

// Look is Find that makes nothing: a key that would be made is only a File.
func Look(configured, home, dataDir string) (Key, error) {
	key, found, err := look(configured, home)
	if found || err != nil {
		return key, err
	}
	path := filepath.Join(dataDir, "ssh", "id_ed25519")
	return Key{File: path + ".pub", Private: path, Made: !isFile(path)}, nil
}

// look finds a key of the user's own.
func look(configured, home string) (key Key, found bool, err error) {
	if configured != "" {
		key, err = readConfigured(configured, home)
		return key, err == nil, err
	}
	if home != "" {
		for _, name := range candidates(filepath.Join(home, ".ssh")) {
			path := filepath.Join(home, ".ssh", name)
			private := strings.TrimSuffix(path, ".pub")
			public, err := readPublic(path)
			// One that cannot be used is passed over: nobody asked for it.
			if err == nil && isFile(private) {
				return Key{Public: public, File: path, Private: needed(private, home), path: private}, true, nil
			}
		}
	}
	return Key{}, false, nil
}

func readConfigured(path, home string) (Key, error) {
	if rest, tilde := strings.CutPrefix(path, "~"); tilde {
		if rest != "" && rest[0] != '/' || home == "" {
			return Key{}, fmt.Errorf("login key %s: only ~/ can be expanded, to a known home: write the whole path", path)
		}
		path = filepath.Join(home, rest)
	}
	public, err := readPublic(path)
	if err != nil {
		return Key{}, fmt.Errorf("login key %s, as configured: %v", path, err)
	}
	key := Key{Public: public, File: path}
	// Without a private key beside it, it may live in an agent or a token.
	if private, ok := strings.CutSuffix(path, ".pub"); ok && isFile(private) {
		key.Private, key.path = needed(private, home), private
	}
	return key, nil
}

// candidates lists the public keys of a directory, the usual ones first. A
// directory that cannot be read has none.
func candidates(dir string) []string {
	entries, _ := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		if name := e.Name(); strings.HasSuffix(name, ".pub") && !slices.Contains(usual, name) {
			names = append(names, name)
		}
	}
	return slices.Concat(usual, names)
}

// needed is the path when ssh must be told it.
func needed(private, home string) string {
	if filepath.Dir(private) == filepath.Join(home, ".ssh") && slices.Contains(tried, filepath.Base(private)) {
		return ""
	}
	return private
}

// readPublic reads the public keys of a file and leaves out what else it
// holds: the lines go into every instance's authorized_keys.
func readPublic(path string) (string, error) {
	data, err := readFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", errors.New("there is no such file")
	}
	if err != nil {
		return "", err
	}
	if bytes.Contains(data, []byte("PRIVATE KEY-----")) {
		return "", errors.New("this is a private key; name the .pub file")
	}
	var keys []string
	for line := range bytes.Lines(data) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		// A carriage return or NUL within would end the line for other readers.
		if _, _, _, _, err := ssh.ParseAuthorizedKey(line); err != nil || bytes.ContainsAny(line, "\r\x00") {
			return "", errors.New("it holds a line that is no SSH public key")
		}
		keys = append(keys, string(line))
	}
	if keys == nil {
		return "", errors.New("it holds no SSH public key")
	}
	return strings.Join(keys, "\n"), nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not hold us up
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("this is not a file")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("it is larger than %d KiB", maxFile>>10)
	}
	return data, err
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
