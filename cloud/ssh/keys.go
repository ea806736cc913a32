package ssh

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// A keyring has what hosts let in. It is opened once for all of them.
type keyring struct {
	key, dir, socket string

	once    sync.Once
	signers []ssh.Signer
	names   []string // of the signers, for people
	locked  []string // files that are encrypted
	err     error
}

// maxKey bounds a key file in bytes.
const maxKey = 64 << 10

// open returns the keys in the order in which they are tried. There is at least
// one.
func (k *keyring) open() ([]ssh.Signer, error) {
	k.once.Do(func() {
		if k.key != "" {
			k.err = k.only()
		} else {
			k.all()
		}
		if k.err == nil && len(k.signers) == 0 {
			k.err = k.none()
		}
	})
	return k.signers, k.err
}

// only takes the key that was named, from the agent when the file is encrypted.
func (k *keyring) only() error {
	signer, public, err := readKey(k.key)
	if err == nil {
		k.add(signer, k.key)
		return nil
	}
	var locked *ssh.PassphraseMissingError
	if !errors.As(err, &locked) {
		var path *fs.PathError
		if errors.As(err, &path) {
			err = fmt.Errorf("%s: %w", k.key, path.Err)
		}
		return &problem{fmt.Sprintf("key %v", err), "the setting key of this cloud names a private key file, one that you can read; without it the keys of your SSH agent and of ~/.ssh are tried"}
	}
	signers, unreachable := k.agent()
	for _, s := range signers {
		if public != nil && bytes.Equal(s.PublicKey().Marshal(), public.Marshal()) {
			k.add(s, k.key+" (agent)")
			return nil
		}
	}
	text := fmt.Sprintf("key %s is encrypted, and the SSH agent does not have it", k.key)
	if unreachable != nil {
		text = fmt.Sprintf("key %s is encrypted, and there is no SSH agent: %v", k.key, unreachable)
	}
	return &problem{text, "nobody is asked for passphrases here: give the key to the agent with ssh-add " + k.key}
}

// all takes the keys of the agent and those that people usually have.
func (k *keyring) all() {
	signers, _ := k.agent()
	for _, s := range signers {
		k.add(s, "agent")
	}
	if k.dir == "" {
		return
	}
	for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
		path := filepath.Join(k.dir, name)
		signer, public, err := readKey(path)
		var locked *ssh.PassphraseMissingError
		switch {
		case err == nil:
			k.add(signer, path)
		case errors.As(err, &locked):
			if public == nil || !k.has(public) {
				k.locked = append(k.locked, path)
			}
		}
	}
}

func (k *keyring) has(key ssh.PublicKey) bool {
	for _, s := range k.signers {
		if bytes.Equal(s.PublicKey().Marshal(), key.Marshal()) {
			return true
		}
	}
	return false
}

func (k *keyring) add(s ssh.Signer, name string) {
	if k.has(s.PublicKey()) {
		return
	}
	k.signers = append(k.signers, s)
	k.names = append(k.names, fmt.Sprintf("%s (%s)", name, ssh.FingerprintSHA256(s.PublicKey())))
}

// agent asks the user's agent for its keys; the connection stays, for them to
// sign by.
func (k *keyring) agent() ([]ssh.Signer, error) {
	if k.socket == "" {
		return nil, errors.New("SSH_AUTH_SOCK is not set")
	}
	conn, err := net.Dial("unix", k.socket)
	if err != nil {
		return nil, err
	}
	signers, err := agent.NewClient(conn).Signers()
	if err != nil || len(signers) == 0 {
		conn.Close()
	}
	return signers, err
}

func (k *keyring) none() error {
	if len(k.locked) > 0 {
		return &problem{"there is no key to log in with: " + strings.Join(k.locked, ", ") + " is encrypted, and the SSH agent does not have it",
			"nobody is asked for passphrases here: give it to the agent with ssh-add"}
	}
	return &problem{fmt.Sprintf("there is no key to log in with: the SSH agent has none, and %s neither", k.dir), "make one with ssh-keygen and have the hosts let it in, or name one: the setting key"}
}

// refused says with which keys it was tried.
func (k *keyring) refused(h Host) error {
	text := fmt.Sprintf("login as %s was refused, with these keys: %s", h.User, strings.Join(k.names, ", "))
	hint := fmt.Sprintf("put the public key into ~%s/.ssh/authorized_keys there, or name another user or key", h.User)
	if len(k.locked) > 0 {
		text += "; not tried, as they are encrypted and the SSH agent does not have them: " + strings.Join(k.locked, ", ")
		hint = "give the key to the agent with ssh-add, or: " + hint
	}
	return &problem{text, hint}
}

// readKey reads a private key. Of one that is encrypted it tells the public
// part, where that can be found.
func readKey(path string) (ssh.Signer, ssh.PublicKey, error) {
	content, err := readBounded(path)
	if err != nil {
		return nil, nil, err
	}
	signer, err := ssh.ParsePrivateKey(content)
	var locked *ssh.PassphraseMissingError
	if !errors.As(err, &locked) {
		if err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
		return signer, nil, err
	}
	public := locked.PublicKey
	if content, err := readBounded(path + ".pub"); public == nil && err == nil {
		public, _, _, _, _ = ssh.ParseAuthorizedKey(content)
	}
	return nil, public, err
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("no regular file")}
	}
	content, err := io.ReadAll(io.LimitReader(f, maxKey+1))
	if err == nil && len(content) > maxKey {
		err = fmt.Errorf("%s: larger than %d KiB", path, maxKey>>10)
	}
	return content, err
}
