package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"
)

// file is the bootstrap document as a local file, put there by whatever made
// the machine.
func (p Places) file(context.Context) (*Found, error) {
	data, err := readFile(p.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nothing(fmt.Sprintf("bootstrap file '%s' does not exist", p.File))
	}
	if err != nil {
		return nil, fmt.Errorf("bootstrap file: %w", err)
	}
	return found(data, p.File, nil)
}

// urlFile is the metadata server that a local file names, as Nimbus clouds put
// it there.
func (p Places) urlFile(ctx context.Context) (*Found, error) {
	data, err := readFile(p.URLFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nothing(fmt.Sprintf("metadata server URL path '%s' does not exist on filesystem", p.URLFile))
	}
	if err != nil {
		return nil, fmt.Errorf("metadata server URL file: %w", err)
	}
	base := strings.TrimSpace(string(data))
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || len(base) > 1<<10 {
		return nil, fmt.Errorf("metadata server URL file %s: it must hold one URL, such as http://192.0.2.1:8081", p.URLFile)
	}
	m := newMetadata(base, patient, p.Log)
	f, err := m.bootstrap(ctx)
	var none nothing
	if err != nil && m.silent && !errors.As(err, &none) {
		err = &silentError{err}
	}
	return f, err
}
