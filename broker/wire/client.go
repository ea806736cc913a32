package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Headers and the authorization scheme of a node. Owners of contexts use
// "Bearer" and their account's key; a broker's local socket asks for nothing.
const (
	NodeScheme  = "Nimbus-Node"  // Authorization: Nimbus-Node <token>
	ClaimHeader = "Nimbus-Claim" // the secret that the node made before its first join
)

// MaxHold is how long the broker holds a request open before it answers that
// nothing has changed.
const MaxHold = 50 * time.Second

// Bounds of an answer in bytes, after decompression.
const (
	maxAnswer   = 16 << 20
	maxManifest = 512 << 20
)

// A caller sends requests to one broker with one credential.
type caller struct {
	http      *http.Client
	base      string
	authorize func(http.Header)
}

// call sends a document (nil: none) and decodes the answer into reply (nil:
// ignored). It returns the HTTP status of an answer that is no error.
func (c *caller) call(ctx context.Context, method, path string, document, reply any, limit int64) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, MaxHold+40*time.Second)
	defer cancel()
	var body io.Reader
	if document != nil {
		out, err := json.Marshal(document)
		if err != nil {
			return 0, err
		}
		body = bytes.NewReader(out)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return 0, err
	}
	if document != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	c.authorize(request.Header)
	response, err := c.http.Do(request)
	if err != nil {
		return 0, plainError(err)
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		return 0, readError(response)
	}
	if reply == nil || response.StatusCode == http.StatusNoContent {
		return response.StatusCode, nil
	}
	limited := &io.LimitedReader{R: response.Body, N: limit}
	if err := json.NewDecoder(limited).Decode(reply); err != nil {
		if limited.N <= 0 {
			return 0, fmt.Errorf("broker: the answer is larger than %d MiB", limit>>20)
		}
		return 0, fmt.Errorf("broker: cannot read the answer: %w", err)
	}
	// The rest (a line's end) is read so that the connection serves again.
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<10))
	return response.StatusCode, nil
}

// readError turns an error answer into an *Error, also one that no broker of
// ours wrote.
func readError(response *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	var e Error
	if json.Unmarshal(body, &e) == nil && e.Code != "" {
		return &e
	}
	return fmt.Errorf("broker: unexpected answer %q: is this a Nimbus broker?", response.Status)
}

// Client is the broker as the owner of contexts sees it.
type Client struct{ caller }

// Endpoint says where a broker is and how to be known to it.
type Endpoint struct {
	URLs     []string
	CA       string // PEM of the broker's own CA; empty: verify by the URL's host and the system's CAs
	BrokerID string // the name to verify with CA; empty: the CA's own, which bears the broker's id
	Key      string // the account's key
}

// NewClient makes a client for a broker elsewhere.
func NewClient(e Endpoint) (*Client, error) {
	if e.CA != "" && e.BrokerID == "" {
		e.BrokerID = nameOf(e.CA)
	}
	transport, base, err := transportTo(e.URLs, e.BrokerID, e.CA, time.Time{}, ProxyFor)
	if err != nil {
		return nil, err
	}
	return &Client{caller{httpClient(transport), base, func(h http.Header) {
		if e.Key != "" {
			h.Set("Authorization", "Bearer "+e.Key)
		}
	}}}, nil
}

// NewLocalClient makes a client for a broker on this machine. Who may open its
// socket is its owner.
func NewLocalClient(socket string) *Client {
	return &Client{caller{httpClient(socketTransport(socket)), "http://local", func(http.Header) {}}}
}

// Create makes a context.
func (c *Client) Create(ctx context.Context, create Create) (created Created, err error) {
	_, err = c.call(ctx, http.MethodPost, "/v1/contexts", create, &created, maxAnswer)
	return created, err
}

// Contexts lists the caller's contexts, the newest last.
func (c *Client) Contexts(ctx context.Context) (list []Summary, err error) {
	_, err = c.call(ctx, http.MethodGet, "/v1/contexts", nil, &list, maxAnswer)
	return list, err
}

// Status tells how far a context is. With after > 0 the broker holds the
// answer until the context's Seq is greater, for MaxHold at most.
func (c *Client) Status(ctx context.Context, id string, after uint64) (status Status, err error) {
	path := "/v1/contexts/" + url.PathEscape(id)
	if after > 0 {
		path += "?after=" + strconv.FormatUint(after, 10)
	}
	_, err = c.call(ctx, http.MethodGet, path, nil, &status, maxAnswer)
	return status, err
}

// Nodes lists all expected nodes of a context in the order of the definition.
func (c *Client) Nodes(ctx context.Context, id string) (nodes []Node, err error) {
	_, err = c.call(ctx, http.MethodGet, "/v1/contexts/"+url.PathEscape(id)+"/nodes", nil, &nodes, maxManifest)
	return nodes, err
}

// PutPack sends a pack of scripts that the context was created with. The same
// again is success.
func (c *Client) PutPack(ctx context.Context, id string, pack Pack, content io.Reader) error {
	return c.send(ctx, "/v1/contexts/"+url.PathEscape(id)+"/packs/"+url.PathEscape(pack.SHA256), pack.Size, content)
}

// AddData adds a value to a context that is open.
func (c *Client) AddData(ctx context.Context, id string, data AddData) error {
	_, err := c.call(ctx, http.MethodPost, "/v1/contexts/"+url.PathEscape(id)+"/data", data, nil, maxAnswer)
	return err
}

// Lock ends the time in which data may be added.
func (c *Client) Lock(ctx context.Context, id string) error {
	_, err := c.call(ctx, http.MethodPost, "/v1/contexts/"+url.PathEscape(id)+"/lock", nil, nil, maxAnswer)
	return err
}

// Release frees the place of a node whose machine lost its claim.
func (c *Client) Release(ctx context.Context, id string, node string) error {
	_, err := c.call(ctx, http.MethodPost, "/v1/contexts/"+url.PathEscape(id)+"/release", Release{node}, nil, maxAnswer)
	return err
}

// Extend moves the time at which the broker forgets a context.
func (c *Client) Extend(ctx context.Context, id string, expires time.Time) error {
	_, err := c.call(ctx, http.MethodPost, "/v1/contexts/"+url.PathEscape(id)+"/extend", Extend{expires}, nil, maxAnswer)
	return err
}

// NodeLog returns what a node has logged from an offset on. Where there is
// nothing yet, and the node is at work, the broker holds the answer until there
// is, for MaxHold at most. A negative offset means all that there is, at once.
func (c *Client) NodeLog(ctx context.Context, id, node string, offset int64) (log NodeLog, err error) {
	path := "/v1/contexts/" + url.PathEscape(id) + "/nodes/" + url.PathEscape(node) + "/log"
	if offset >= 0 {
		path += "?offset=" + strconv.FormatInt(offset, 10)
	}
	_, err = c.call(ctx, http.MethodGet, path, nil, &log, maxAnswer)
	return log, err
}

// Delete cancels a context and makes the broker forget it. One that is not
// there is a NotFound error.
func (c *Client) Delete(ctx context.Context, id string) error {
	_, err := c.call(ctx, http.MethodDelete, "/v1/contexts/"+url.PathEscape(id), nil, nil, maxAnswer)
	return err
}

// Info asks who is there; it needs no account.
func (c *Client) Info(ctx context.Context) (info Info, err error) {
	_, err = c.call(ctx, http.MethodGet, "/v1/info", nil, &info, maxAnswer)
	return info, err
}

// Listen asks a broker on this machine to answer at one more of its
// addresses, and returns the URL that leads there. Only its socket takes this.
func (c *Client) Listen(ctx context.Context, address string) (brokerURL string, err error) {
	var reply struct {
		URL string `json:"url"`
	}
	_, err = c.call(ctx, http.MethodPost, "/v1/listen", Listen{address}, &reply, maxAnswer)
	return reply.URL, err
}

// Stop asks a broker on this machine to end. Only its socket takes this.
func (c *Client) Stop(ctx context.Context) error {
	_, err := c.call(ctx, http.MethodPost, "/v1/stop", nil, nil, maxAnswer)
	return err
}
