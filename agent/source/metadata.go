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

// maxToken is the longest session token in bytes.
const maxToken = 1 << 10

// A patience says when a server is asked: so long after the start, and each
// time for so long.
type patience struct {
	tries []time.Duration
	each  time.Duration
}

// hasty suits a machine that probably has no metadata server: three tries in
// five seconds. Patient is for one that has, and may have to wait for its own
// network first: two minutes. Once is for one that has just been asked.
var (
	hasty   = patience{[]time.Duration{0, 500 * time.Millisecond, 3500 * time.Millisecond}, 1500 * time.Millisecond}
	patient = patience{every(5*time.Second, 500*time.Millisecond, 2*time.Second, 25), 5 * time.Second}
	once    = patience{[]time.Duration{0}, 1500 * time.Millisecond}
)

// every starts at once, then after the second time, then regularly.
func every(interval, second, third time.Duration, count int) []time.Duration {
	tries := []time.Duration{0, second, third}
	for len(tries) < count {
		tries = append(tries, tries[len(tries)-1]+interval)
	}
	return tries
}

// Metadata is a metadata server as EC2 and OpenStack have them.
type Metadata struct {
	base     string
	patience patience
	client   *http.Client
	log      *slog.Logger
	silent   bool   // it never answered
	token    string // of a session; empty: none
	answered bool   // the question for one
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
		f, err := m.try(ctx)
		var later *laterError
		if !errors.As(err, &later) {
			return f, err
		}
		m.log.Debug("no user data yet", "url", where, "error", err)
		last = err
	}
	m.silent = true
	return nil, fmt.Errorf("%s gave no answer (%d tries in %v): %w", where, len(m.patience.tries), time.Since(start).Round(time.Second), last)
}

// laterError is why a server may still answer otherwise.
type laterError struct{ error }

func (e *laterError) Unwrap() error { return e.error }

// try asks once, as EC2 is asked and then as OpenStack, whose servers need not
// know the other way.
func (m *Metadata) try(ctx context.Context) (*Found, error) {
	status, body, err := m.user(ctx, version+"user-data")
	if err != nil {
		return nil, err
	}
	if status == http.StatusOK {
		return found(body, m.base+version+"user-data", m)
	}
	answered := nothing(fmt.Sprintf("%s answered %d %s", m.base+version+"user-data", status, http.StatusText(status)))
	status, body, err = m.user(ctx, openStack+"user_data")
	if err != nil {
		return nil, err
	}
	if status == http.StatusOK {
		return found(body, m.base+openStack+"user_data", m)
	}
	return nil, answered
}

// user asks for user data; the error is a *laterError.
func (m *Metadata) user(ctx context.Context, path string) (status int, body []byte, err error) {
	status, body, err = m.get(ctx, path, wire.MaxBootstrap+1)
	switch {
	case err != nil:
	case status == http.StatusUnauthorized && !m.answered:
		err = errors.New("it wants a session token, and did not answer when it was asked for one")
	case status >= 500 || status == http.StatusTooManyRequests:
		err = fmt.Errorf("it answered %d %s", status, http.StatusText(status))
	}
	if err != nil {
		return 0, nil, &laterError{err}
	}
	return status, body, nil
}

// Value asks for one value of the machine's metadata, such as
// "local-hostname"; empty when the server has none that fits in a line.
func (m *Metadata) Value(ctx context.Context, name string) string {
	value := oneLine(m.meta(ctx, version+"meta-data/"+name, 1<<10))
	if value == "" && name == localHostname {
		value = openStackName(m.meta(ctx, openStack+openStackMeta, maxMeta))
	}
	return value
}

// meta asks for metadata, once again when that fails; nil when there is none.
func (m *Metadata) meta(ctx context.Context, path string, limit int64) []byte {
	for range 2 {
		status, body, err := m.get(ctx, path, limit+1)
		if err != nil || status >= 500 {
			continue
		}
		if status != http.StatusOK || int64(len(body)) > limit {
			return nil
		}
		return body
	}
	return nil
}

// oneLine is a text that fits in a line, or empty.
func oneLine(text []byte) string {
	value := strings.TrimSpace(string(text))
	if len(value) > 1<<10 || strings.ContainsAny(value, "\r\n") {
		return ""
	}
	return value
}

// get returns the status and at most so many bytes of the answer, after asking
// for a session token where that has no answer yet or is too old.
func (m *Metadata) get(ctx context.Context, path string, limit int64) (status int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, m.patience.each)
	defer cancel()
	for range 2 {
		if m.token == "" && !m.answered {
			m.open(ctx)
		}
		if status, body, err = m.ask(ctx, http.MethodGet, path, limit); err != nil || status != http.StatusUnauthorized || m.token == "" {
			break
		}
		m.token, m.answered = "", false
	}
	return status, body, err
}

// open begins a session with the server, as version 2 of EC2's has them: some
// answer nobody without. One that does not know of sessions is asked as ever.
func (m *Metadata) open(ctx context.Context) {
	// A server may be silent to this alone: half of the time is for the question.
	ctx, cancel := context.WithTimeout(ctx, m.patience.each/2)
	defer cancel()
	status, body, err := m.ask(ctx, http.MethodPut, "/latest/api/token", maxToken+1)
	m.answered = err == nil && status < 500
	token := strings.TrimSpace(string(body))
	if err == nil && status == http.StatusOK && len(token) <= maxToken && !strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c > '~' }) {
		m.token = token
	}
}

// ask sends one request.
func (m *Metadata) ask(ctx context.Context, method, path string, limit int64) (int, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, m.base+path, nil)
	if err != nil {
		return 0, nil, err
	}
	if method == http.MethodPut {
		request.Header.Set("X-aws-ec2-metadata-token-ttl-seconds", "21600")
	} else if m.token != "" {
		request.Header.Set("X-aws-ec2-metadata-token", m.token)
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
