package pki

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"nimbus/broker/wire"
)

// Secrets are the keys that a broker keeps in its directory, each in a file
// for its owner only.
type Secrets struct {
	master []byte // context keys derive from it
	owner  string // the account key of the broker's owner
	path   string
}

// OpenSecrets reads the keys, and makes them the first time.
func OpenSecrets(dir string) (*Secrets, error) {
	master, err := secret(filepath.Join(dir, "master.key"))
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "owner.key")
	owner, err := secret(path)
	if err != nil {
		return nil, err
	}
	return &Secrets{master: master, owner: hex.EncodeToString(owner), path: path}, nil
}

// secret reads 32 bytes, written as hexadecimal digits.
func secret(path string) ([]byte, error) {
	text, err := readSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		key := make([]byte, 32)
		if _, err := rand.Read(key); err != nil {
			return nil, err
		}
		if err := writeSecret(path, []byte(hex.EncodeToString(key)+"\n")); err != nil {
			return nil, fmt.Errorf("make key: %w", err)
		}
		return key, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != 32 {
		return nil, fmt.Errorf("read key: %s does not hold 64 hexadecimal digits", path)
	}
	return key, nil
}

// OwnerKeyFile names the file that the owner's key is in.
func (s *Secrets) OwnerKeyFile() string { return s.path }

// IsOwner tells whether a key is the owner's.
func (s *Secrets) IsOwner(key string) bool {
	return subtle.ConstantTimeCompare([]byte(key), []byte(s.owner)) == 1
}

// Token makes the credential for one place of a context, or with AnyIndex for
// any free place of a workspace. Nothing is stored: the broker knows its own
// tokens again.
func (s *Secrets) Token(context, workspace string, index int) string {
	t := wire.Token{Workspace: workspace, Index: index}
	t.MAC = base64.RawURLEncoding.EncodeToString(s.mac(context, t))
	return t.String()
}

// Verify tells whether this broker made a token for that context.
func (s *Secrets) Verify(context string, t wire.Token) bool {
	given, err := base64.RawURLEncoding.DecodeString(t.MAC)
	return err == nil && hmac.Equal(given, s.mac(context, t))
}

func (s *Secrets) mac(context string, t wire.Token) []byte {
	key, err := hkdf.Key(sha256.New, s.master, nil, "nimbus context "+context, 32)
	if err != nil {
		panic(err) // the length is a constant
	}
	m := hmac.New(sha256.New, key)
	m.Write([]byte("node\x00" + t.Workspace + "\x00" + strconv.Itoa(t.Index)))
	return m.Sum(nil)
}

// HashClaim is what the broker remembers of a machine's claim.
func HashClaim(claim string) string {
	sum := sha256.Sum256([]byte(claim))
	return hex.EncodeToString(sum[:])
}

// NewContextID makes an id that nobody can guess.
func NewContextID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // crypto/rand does not fail
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// MakeDir makes a directory for secrets, and refuses one that others may
// enter.
func MakeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s is open to others (mode %v): chmod 700 it, or choose another directory", dir, info.Mode().Perm())
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d, who could read every key in it: choose another directory", dir, stat.Uid)
	}
	return nil
}
