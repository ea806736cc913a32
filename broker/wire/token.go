package wire

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"nimbus/broker/cluster"
)

// Token is a node's first credential as it is written down,
// "workspace:index:mac"; index is "any" where many machines get the same one.
// What the mac says is the broker's business (package pki).
type Token struct {
	Workspace string
	Index     int    // AnyIndex: the broker chooses a free one
	MAC       string // base64url
}

// AnyIndex stands for "whichever place of the workspace is free".
const AnyIndex = -1

// String writes the token down.
func (t Token) String() string {
	index := "any"
	if t.Index != AnyIndex {
		index = strconv.Itoa(t.Index)
	}
	return t.Workspace + ":" + index + ":" + t.MAC
}

// ParseToken reads a token back. Its text is a secret: the error does not
// repeat it.
func ParseToken(text string) (Token, error) {
	parts := strings.Split(text, ":")
	if len(parts) != 3 || len(text) > 512 {
		return Token{}, errors.New("token: it must read workspace:index:mac")
	}
	if err := cluster.CheckName(parts[0]); err != nil {
		return Token{}, fmt.Errorf("token: workspace: %w", err)
	}
	t := Token{Workspace: parts[0], Index: AnyIndex, MAC: parts[2]}
	if parts[1] != "any" {
		index, err := strconv.Atoi(parts[1])
		if err != nil || index < 0 || index >= cluster.MaxQuantity {
			return Token{}, errors.New("token: the index is not a number of a node")
		}
		t.Index = index
	}
	if t.MAC == "" || t.String() != text {
		return Token{}, errors.New("token: it must read workspace:index:mac")
	}
	return t, nil
}
