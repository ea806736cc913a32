package client

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"

	"github.com/urfave/cli/v2"
)

// results is the standard output of a command. It remembers how writing went:
// a result that got lost is no success.
type results struct {
	mu    sync.Mutex
	w     io.Writer
	wrote bool
	lost  error // the first
	left  bool  // nobody reads on
}

func (r *results) Write(text []byte) (int, error) {
	n, err := r.w.Write(text)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrote = r.wrote || n > 0
	// Who stops reading has what he wants.
	if errors.Is(err, syscall.EPIPE) {
		r.left = true
	} else if r.lost == nil && err != nil {
		r.lost = err
	}
	return n, err
}

// begin forgets what an earlier command wrote.
func (r *results) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrote, r.lost, r.left = false, nil, false
}

// unread tells whether somebody has stopped reading.
func (r *results) unread() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.left
}

func (r *results) end() (wrote bool, lost error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wrote, r.lost
}

// ErrorResult is what --json prints of a failure, where the command has no
// document of its own that tells it.
type ErrorResult struct {
	Error string `json:"error"`
	Hint  string `json:"hint,omitempty"`
}

func errorResult(err error) ErrorResult {
	result := ErrorResult{Error: err.Error()}
	var f *Failure
	if errors.As(err, &f) {
		result.Hint = f.Advice
	}
	return result
}

// answered makes a command keep what --json promises, one document whatever
// happens, and fail when its output cannot be written.
func (env *Env) answered(action cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		env.results.begin()
		err := action(c)
		env.answer(formatOf(c), err)
		if err == nil {
			err = env.Lost()
		}
		return err
	}
}

// Results is the standard output as the commands write to it; Commands makes
// it.
func (env *Env) Results() io.Writer { return env.results }

// Lost is the failure of a command whose output could not be written.
func (env *Env) Lost() error {
	if _, lost := env.results.end(); lost != nil {
		return &Failure{Code: exitFailed, Text: fmt.Sprintf("the output could not be written: %v", lost), Advice: "what the command did is done; only what it said is lost"}
	}
	return nil
}

// answer prints an error for programs, unless something was said already.
func (env *Env) answer(f format, err error) {
	if wrote, lost := env.results.end(); err != nil && !wrote && lost == nil {
		newOutput(env, f).document(errorResult(err))
	}
}
