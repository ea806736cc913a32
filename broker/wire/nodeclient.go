package wire

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"nimbus/broker/cluster"
)

// NodeClient is the broker as a node sees it.
type NodeClient struct {
	caller
	context string // path prefix
}

// NewNodeClient makes the client that a bootstrap document describes. The
// claim is the secret that binds the node's place to this machine; it must be
// on disk before the first join, and be the same ever after.
func NewNodeClient(b *Bootstrap, claim string) (*NodeClient, error) {
	transport, base, err := transportTo(b.Brokers, b.BrokerID, b.CA, b.Issued, direct)
	if err != nil {
		return nil, err
	}
	return &NodeClient{
		caller: caller{httpClient(transport), base, func(h http.Header) {
			h.Set("Authorization", NodeScheme+" "+b.Token)
			h.Set(ClaimHeader, claim)
		}},
		context: "/v1/contexts/" + url.PathEscape(b.Context),
	}, nil
}

// Join makes the node known. The same join again gets the same place.
func (c *NodeClient) Join(ctx context.Context, join Join) (joined Joined, err error) {
	_, err = c.call(ctx, http.MethodPost, c.context+"/join", join, &joined, maxAnswer)
	if err == nil {
		if e := cluster.CheckName(joined.Workspace); e != nil {
			err = fmt.Errorf("broker: %w", e)
		}
	}
	return joined, err
}

// Manifest asks for a stage's answer. The broker holds the request until the
// answer is complete, or for MaxHold; then the manifest is nil and the strings
// say what is still missing.
func (c *NodeClient) Manifest(ctx context.Context, stage int) (*cluster.Manifest, []string, error) {
	var reply struct {
		cluster.Manifest
		Waiting
	}
	status, err := c.call(ctx, http.MethodGet, c.context+"/manifest?stage="+strconv.Itoa(stage), nil, &reply, maxManifest)
	if err != nil {
		return nil, nil, err
	}
	if status == http.StatusAccepted {
		return nil, reply.For, nil
	}
	if err := reply.Manifest.Check(); err != nil {
		// Asking again would bring the same: this is no accident of the network.
		return nil, nil, Errorf(BadRequest, "the broker's answer cannot be acted on: %v", err)
	}
	return &reply.Manifest, nil, nil
}

// Pack brings the scripts that belong to this node's workspace. What is
// written may be less than the pack, or something else, when there is an error.
func (c *NodeClient) Pack(ctx context.Context, pack Pack, into io.Writer) error {
	if err := pack.Check(); err != nil {
		return Errorf(BadRequest, "the broker's answer cannot be acted on: %v", err)
	}
	h := sha256.New()
	n, err := c.fetch(ctx, c.context+"/pack", io.MultiWriter(h, into), pack.Size)
	if err != nil {
		return err
	}
	if n != pack.Size || hex.EncodeToString(h.Sum(nil)) != pack.SHA256 {
		// Asking again would bring the same: this is no accident of the network.
		return Errorf(BadRequest, "the broker sent other scripts than it had announced")
	}
	return nil
}

// Report tells how a stage ended. A node that could not even join may report
// an error, too. The same report again is success.
func (c *NodeClient) Report(ctx context.Context, report Report) error {
	_, err := c.call(ctx, http.MethodPost, c.context+"/report", report, nil, maxAnswer)
	return err
}

// Log sends a piece of the node's log, for those who watch.
func (c *NodeClient) Log(ctx context.Context, piece LogText) error {
	_, err := c.call(ctx, http.MethodPost, c.context+"/log", piece, nil, maxAnswer)
	return err
}

// Retry takes this node's report back: it begins again. Where there is no
// report it changes nothing.
func (c *NodeClient) Retry(ctx context.Context) error {
	_, err := c.call(ctx, http.MethodPost, c.context+"/retry", nil, nil, maxAnswer)
	return err
}
