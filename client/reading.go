package client

import "context"

// reading does what may wait for somebody who never comes: it opens a pipe, or
// reads from it or from a terminal. It ends with the context; what waits there
// ends with the program.
func reading[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	got := make(chan answer, 1)
	go func() {
		value, err := read()
		got <- answer{value, err}
	}()
	select {
	case a := <-got:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, &Failure{Code: exitInterrupted, Text: "interrupted"}
	}
}
