package ssh

import (
	"crypto/sha256"
	"encoding/hex"
)

// tagLength is that of a tag in an instance's ID.
const tagLength = 8

// instanceID names a host and what it is used for: the same host in another
// launch is another instance.
func instanceID(h Host, launch, token string) string {
	return h.String() + "/" + tagOf(launch, token)
}

// tagOf is short for a place in a launch.
func tagOf(launch, token string) string {
	sum := sha256.Sum256([]byte(launch + "\x00" + token))
	return hex.EncodeToString(sum[:])[:tagLength]
}
