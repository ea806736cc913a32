package loginkey

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
)

// comment is the name that a made key goes by in authorized_keys.
const comment = "nimbus"

// findOwn returns the key made for this user, and makes it the first time. The
// private key is what counts: the public one beside it is for people, and is
// written again when it is missing or wrong.
func findOwn(dir string) (Key, error) {
	path := filepath.Join(dir, "id_ed25519")
	data, err := readFile(path)
	made := false
	if errors.Is(err, os.ErrNotExist) {
		made, err = create(path)
		if err == nil {
			data, err = readFile(path) // perhaps another client's, who was first
		}
	}
	if err != nil {
		return Key{}, fmt.Errorf("login key %s: %v", path, err)
	}
	signer, err := ssh.ParsePrivateKey(data)
	if err != nil {
		return Key{}, fmt.Errorf("login key %s: %v; remove the file, and a new one is made", path, err)
	}
	public := line(signer.PublicKey())
	if old, err := readFile(path + ".pub"); err != nil || string(old) != public+"\n" {
		if _, err := place(path+".pub", []byte(public+"\n"), os.Rename); err != nil {
			return Key{}, fmt.Errorf("login key %s.pub: %v", path, err)
		}
	}
	// ssh refuses a private key that others could read.
	if err := os.Chmod(path, 0o600); err != nil {
		return Key{}, fmt.Errorf("login key: %v", err)
	}
	return Key{Public: public, File: path + ".pub", Private: path, Made: made}, nil
}

// create makes the private key; false means that somebody else just did.
func create(path string) (made bool, err error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return false, err
	}
	block, err := ssh.MarshalPrivateKey(private, comment)
	if err != nil {
		return false, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return false, err
	}
	// A link, unlike a rename, never replaces a key that may be in use.
	return place(path, pem.EncodeToMemory(block), os.Link)
}

// place writes a whole file, readable only for its owner, and then puts it
// where it belongs. False without an error: a file was there before.
func place(path string, data []byte, put func(from, to string) error) (bool, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // 0600
	if err != nil {
		return false, err
	}
	defer os.Remove(f.Name()) // after a rename it is gone already
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return false, err
	}
	err = put(f.Name(), path)
	if errors.Is(err, os.ErrExist) {
		return false, nil
	}
	return err == nil, err
}

func line(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) + " " + comment
}
