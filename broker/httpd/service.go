// Package httpd puts the broker on the network: who may call what, in which
// form, and how much of it. What the calls mean is the Service's business.
package httpd

import (
	"context"
	"io"
	"time"

	"nimbus/broker/software"
	"nimbus/broker/wire"
)

// Service is what the broker does for its callers. Errors that a caller should
// see are *wire.Error; any other is an accident, logged here and hidden.
type Service interface {
	Create(ctx context.Context, owner string, c wire.Create) (wire.Created, error)
	Contexts(ctx context.Context, owner string) ([]wire.Summary, error)
	// Status holds its answer until the context's Seq is greater than after,
	// or for wire.MaxHold.
	Status(ctx context.Context, owner, id string, after uint64) (wire.Status, error)
	Nodes(ctx context.Context, owner, id string) ([]wire.Node, error)
	AddData(ctx context.Context, owner, id string, d wire.AddData) error
	Lock(ctx context.Context, owner, id string) error
	Release(ctx context.Context, owner, id, node string) error
	Extend(ctx context.Context, owner, id string, expires time.Time) error
	// NodeLog holds its answer until the node has logged something behind the
	// offset, or has finished, or for wire.MaxHold; with a negative offset it
	// answers at once with all that is there.
	NodeLog(ctx context.Context, owner, id, node string, offset int64) (wire.NodeLog, error)
	Delete(ctx context.Context, owner, id string) error
	// PutPack takes in a pack of scripts that the context was created with.
	PutPack(ctx context.Context, owner, id, sha256 string, content io.Reader) error

	Join(ctx context.Context, node Node, j wire.Join) (wire.Joined, error)
	// Answer holds until the node's answer is complete; after wire.MaxHold it
	// says what is missing instead.
	Answer(ctx context.Context, node Node, stage int) (*Answer, []string, error)
	Report(ctx context.Context, node Node, r wire.Report) error
	Retry(ctx context.Context, node Node) error
	TakeLog(ctx context.Context, node Node, l wire.LogText) error
	// Pack opens the scripts of the node's workspace.
	Pack(ctx context.Context, node Node) (content io.ReadCloser, size int64, err error)

	Info(ctx context.Context) wire.Info

	// Build opens the program for a platform; nil when there is none to hand
	// out. Info says which there are.
	Build(ctx context.Context, platform string) (*software.File, error)
	// InstallScript is install.sh for a caller who came by a URL; empty, where
	// that is not known.
	InstallScript(ctx context.Context, url string) []byte
}

// Node is a caller whose token was verified.
type Node struct {
	Context string
	Token   wire.Token
	Claim   string // hash of its machine's secret
	From    string // its address
}

// Answer is a manifest ready to be sent to everyone who waits for it.
type Answer struct {
	JSON []byte
	Gzip []byte // the same compressed; nil when that is not worth it
}

// Guard tells good credentials from bad ones.
type Guard interface {
	// IsOwner tells whether an account key is the broker owner's.
	IsOwner(key string) bool
	// Verify tells whether this broker made a token for that context.
	Verify(context string, t wire.Token) bool
}

// Owner is the account of whoever the broker belongs to: the holder of the
// owner's key, and whoever can open the local socket.
const Owner = "owner"
