// Package source knows the places where a machine may find its bootstrap
// document: one small file each. Looking leaves nothing behind.
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"nimbus/broker/wire"
)

// Places is where to look, in this order.
type Places struct {
	Given       string // a file that somebody named: if set, the only place of a document
	File        string
	URLFile     string // a file that holds the base URL of a metadata server
	Drives      Drives
	MetadataURL string // base URL of the cloud's metadata server
	DMI         fs.FS  // /sys/class/dmi/id: tells whether a cloud made this machine
	// CloudInit is cloud-init's directory, with seeds that were put there and
	// its copy of user data; CloudInitRun is what it writes in each boot.
	CloudInit    string
	CloudInitRun string
	Log          *slog.Logger
}

// Found is a bootstrap document and where it was.
type Found struct {
	*wire.Bootstrap
	Where string
	// Values is what else is known there of the machine, by the names that EC2
	// gave it, such as "local-hostname"; nil: nothing.
	Values Values
}

// Values are what a cloud says of a machine; empty is what it does not say.
type Values interface {
	Value(ctx context.Context, name string) string
}

// A fixed set of values.
type fixed map[string]string

// Value is one of them.
func (f fixed) Value(_ context.Context, name string) string { return f[name] }

// NotFoundError says where there was none: this machine is no part of a
// context.
type NotFoundError struct{ Looked []string }

func (e *NotFoundError) Error() string {
	return "no bootstrap document, nothing to do: " + strings.Join(e.Looked, "; ")
}

// Find looks for the bootstrap document. The error is a *NotFoundError when
// there is none, any other when there is one that cannot be read.
func (p Places) Find(ctx context.Context) (*Found, error) {
	if p.Given != "" {
		data, err := readFile(p.Given)
		if err != nil {
			return nil, fmt.Errorf("bootstrap file: %w", err)
		}
		f, err := found(data, p.Given, nil)
		if err == nil {
			f.Values = p.values(ctx, f.Token)
		}
		return f, err
	}
	// What is on this machine comes before what may have to be waited for.
	// cloud-init's copy is last: it is of a place that nothing before knows.
	places := []func(context.Context) (*Found, error){p.file, p.urlFile, p.drives, p.seeds, p.metadata, p.copied}
	var looked []string
	var unreachable error
	for _, look := range places {
		f, err := look(ctx)
		var none nothing
		var silent *silentError
		switch {
		case err == nil:
			return f, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.As(err, &none):
			looked = append(looked, string(none))
		case errors.As(err, &silent):
			// The other places may still know; if not, this one should have.
			looked, unreachable = append(looked, err.Error()), err
		default:
			return nil, err
		}
	}
	if unreachable != nil {
		return nil, fmt.Errorf("no bootstrap document: %s", strings.Join(looked, "; "))
	}
	return nil, &NotFoundError{looked}
}

// nothing is why a place has no bootstrap document.
type nothing string

func (n nothing) Error() string { return string(n) }

// silentError is a server that somebody named for this machine, and that does
// not answer.
type silentError struct{ error }

func (e *silentError) Unwrap() error { return e.error }

// found reads a document; data that is something else is nothing.
func found(data []byte, where string, values Values) (*Found, error) {
	b, err := wire.ParseBootstrap(data)
	if errors.Is(err, wire.ErrNoBootstrap) {
		return nil, nothing(where + " is not a bootstrap document")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	return &Found{Bootstrap: b, Where: where, Values: values}, nil
}

// readFile reads no more than a bootstrap document may have; a larger file is
// refused by its reader.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, wire.MaxBootstrap+1))
}
