package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// slowest is how many bytes a second a large body must bring at least.
const slowest = 50 << 10

// patience is how long a call with a body of so many bytes may take.
func patience(size int64) time.Duration {
	return MaxHold + 40*time.Second + time.Duration(size/slowest)*time.Second
}

// send puts a body of a known size.
func (c *caller) send(ctx context.Context, path string, size int64, body io.Reader) error {
	ctx, cancel := context.WithTimeout(ctx, patience(size))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, c.base+path, io.LimitReader(body, size))
	if err != nil {
		return err
	}
	request.ContentLength = size
	request.Header.Set("Content-Type", "application/gzip")
	c.authorize(request.Header)
	response, err := c.http.Do(request)
	if err != nil {
		return plainError(err)
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		return readError(response)
	}
	return nil
}

// fetch gets a body of at most so many bytes, and returns how many it had. One
// that was cut is an error.
func (c *caller) fetch(ctx context.Context, path string, into io.Writer, most int64) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, patience(most))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Accept-Encoding", "identity") // it is compressed
	c.authorize(request.Header)
	response, err := c.http.Do(request)
	if err != nil {
		return 0, plainError(err)
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		return 0, readError(response)
	}
	n, err := io.Copy(into, io.LimitReader(response.Body, most+1))
	if err != nil {
		return n, fmt.Errorf("broker: %w", err)
	}
	return n, nil
}

// plainError leaves out the URL, which says nothing that the caller does not
// know.
func plainError(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fmt.Errorf("broker: %w", err)
}
