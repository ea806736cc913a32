package wire

import (
	"errors"
	"fmt"
	"net/http"
)

// Error is how the broker says no. It is sent as JSON with the HTTP status
// that belongs to its code.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // what to do
}

// Code names a kind of refusal; programs compare it, people read the message.
type Code string

// The codes, in the order of their statuses.
const (
	BadRequest     Code = "bad-request"      // the document cannot be understood, or breaks a rule
	Unauthorized   Code = "unauthorized"     // no account, or a wrong token
	Forbidden      Code = "forbidden"        // the credential is good, but not for this
	NotFound       Code = "not-found"        // no such context (any more)
	PlaceTaken     Code = "place-taken"      // another machine holds this node's place
	AddressTaken   Code = "address-taken"    // another node has this IP or host name
	NotJoined      Code = "not-joined"       // the node must join first
	Reported       Code = "already-reported" // another report was stored before
	Locked         Code = "locked"           // no more data
	ContextFailing Code = "context-failing"  // a node failed; waiting has no sense
	ContextGone    Code = "context-gone"     // cancelled or expired: stop
	TooLarge       Code = "too-large"
	Internal       Code = "internal"
	Unavailable    Code = "unavailable" // try again
)

// statuses is the one table of codes and their HTTP statuses.
var statuses = map[Code]int{
	BadRequest:     http.StatusBadRequest,
	Unauthorized:   http.StatusUnauthorized,
	Forbidden:      http.StatusForbidden,
	NotFound:       http.StatusNotFound,
	PlaceTaken:     http.StatusConflict,
	AddressTaken:   http.StatusConflict,
	NotJoined:      http.StatusConflict,
	Reported:       http.StatusConflict,
	Locked:         http.StatusConflict,
	ContextFailing: http.StatusFailedDependency,
	ContextGone:    http.StatusGone,
	TooLarge:       http.StatusRequestEntityTooLarge,
	Internal:       http.StatusInternalServerError,
	Unavailable:    http.StatusServiceUnavailable,
}

// Status is the HTTP status of an error.
func (e *Error) Status() int {
	if s, ok := statuses[e.Code]; ok {
		return s
	}
	return http.StatusInternalServerError
}

func (e *Error) Error() string { return e.Message }

// Errorf makes an Error.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// CodeOf is the code of a broker's refusal, or empty for any other error.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// Final tells whether asking again cannot help: the broker understood, and
// said no.
func Final(err error) bool {
	switch CodeOf(err) {
	case "", Internal, Unavailable:
		return false
	}
	return true
}
