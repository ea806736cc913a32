package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"nimbus/broker/wire"
)

// version of the metadata paths: the one that every such server knows.
const version = "/2007-01-19/"

// A patience says when a server is asked: so long after the start, and each
// time for so long.
type patience struct {
	tries []time.Duration
	each  time.Duration
}

// hasty suits a machine that probably has no metadata server: three tries in
// five seconds. Patient is for one that has, and may have to wait for its own
// network first: two minutes.
var (
	hasty   = patience{[]time.Duration{0, 500 * time.Millisecond, 3500 * time.Millisecond}, 1500 * time.Millisecond}
	patient = patience{every(5*time.Second, 500*time.Millisecond, 2*time.Second, 25), 5 * time.Second}
)

// every starts at once, then after the second time, then regularly.
func every(interval, second, third time.Duration, count int) []time.Duration {
	tries := []time.Duration{0, second, third}
	for len(tries) < count {
		tries = append(tries, tries[len(tries)-1]+interval)
	}
	return tries
}

// Metadata is an EC2-style metadata server.
type Metadata struct {
	base     string
	patience patience
	client   *http.Client
	log      *slog.Logger
	silent   bool // it never answered
}

func newMetadata(base string, p patience, log *slog.Logger) *Metadata {
	return &Metadata{
		base:     strings.TrimRight(base, "/"),
		patience: p,
		log:      log,
		client: &http.Client{
			// No proxy: the server is beside this machine, and knows it by its
			// address. No redirect either: it would leave that server.
			Transport:     &http.Transport{IdleConnTimeout: 10 * time.Second, MaxIdleConns: 1},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// metadata is the cloud's own server.
func (p Places) metadata(ctx context.Context) (*Found, error) {
	tries := hasty
	if cloud := namedCloud(p.DMI); cloud != "" {
		p.Log.Debug("this machine was made by a cloud", "cloud", cloud)
		tries = patient
	}
	m := newMetadata(p.MetadataURL, tries, p.Log)
	f, err := m.bootstrap(ctx)
	if err != nil && m.silent {
		// Most machines have no such server: silence is an answer.
		err = nothing(err.Error())
	}
	return f, err
}

// bootstrap asks for the user data until there is an answer.
func (m *Metadata) bootstrap(ctx context.Context) (*Found, error) {
	where := m.base + version + "user-data"
	var last error
	start := time.Now()
	for _, at := range m.patience.tries {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Until(start.Add(at))):
		}
		status, body, err := m.get(ctx, "user-data", wire.MaxBootstrap+1)
		if err == nil {
			switch {
			case status == http.StatusOK:
				return found(body, where, m)
			case status < 500 && status != http.StatusTooManyRequests:
				return nil, nothing(fmt.Sprintf("%s answered %d %s", where, status, http.StatusText(status)))
			}
			err = fmt.Errorf("it answered %d %s", status, http.StatusText(status))
		}
		m.log.Debug("no user data yet", "url", where, "error", err)
		last = err
	}
	m.silent = true
	return nil, fmt.Errorf("%s gave no answer (%d tries in %v): %w", where, len(m.patience.tries), time.Since(start).Round(time.Second), last)
}

// Value asks for one value of the machine's metadata, such as
// "local-hostname"; empty when the server has none that fits in a line.
func (m *Metadata) Value(ctx context.Context, name string) string {
	for range 2 {
		status, body, err := m.get(ctx, "meta-data/"+name, 1<<10)
		if err != nil || status >= 500 {
			continue
		}
		value := strings.TrimSpace(string(body))
		if status != http.StatusOK || len(body) >= 1<<10 || strings.ContainsAny(value, "\r\n") {
			return ""
		}
		return value
	}
	return ""
}

// get returns the status and at most so many bytes of the answer.
func (m *Metadata) get(ctx context.Context, path string, limit int64) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, m.patience.each)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, m.base+version+path, nil)
	if err != nil {
		return 0, nil, err
	}
	response, err := m.client.Do(request)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // the URL is named by the caller
		}
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, limit))
	return response.StatusCode, body, err
}
