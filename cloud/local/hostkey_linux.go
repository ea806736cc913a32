package local

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"strings"

	"golang.org/x/crypto/ssh"
)

// hostKey is an SSH host key as its two files have it. The keeper makes it, so
// that it is known before the instance has booted.
type hostKey struct {
	Private string
	Public  string // one line, with a comment, without a newline
}

func newHostKey(name string) (hostKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return hostKey{}, err
	}
	comment := "root@" + name
	block, err := ssh.MarshalPrivateKey(private, comment)
	if err != nil {
		return hostKey{}, err
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return hostKey{}, err
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
	return hostKey{Private: string(pem.EncodeToMemory(block)), Public: line + " " + comment}, nil
}
