package agent

import "fmt"

// Exit codes of the agent, as images of the original know them.
const (
	CodeUsage       = 1  // bad arguments
	CodeConfig      = 2  // bad configuration
	CodeEnvironment = 3  // this machine does not let the agent work
	CodeFailed      = 4  // everything that failed while working
	CodeBusy        = 5  // another agent is at work on this machine
	CodeInternal    = 42 // a mistake of the agent itself
)

// ExitError is an error with the exit code that belongs to it.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string { return e.Err.Error() }
func (e *ExitError) Unwrap() error { return e.Err }

// ExitCode is what the process should end with.
func (e *ExitError) ExitCode() int { return e.Code }

func exitf(code int, format string, args ...any) error {
	return &ExitError{code, fmt.Errorf(format, args...)}
}
