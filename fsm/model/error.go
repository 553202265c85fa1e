package model

import (
	"errors"
	"fmt"
	"slices"
)

// Code is the stable, machine-readable class of an Error. Codes cross the peer
// wire and are mapped to HTTP statuses in one table in package api.
type Code string

// The codes an Error can carry. A code keeps its meaning for ever.
const (
	// CodeInvalid: the request breaks a rule of shape or hierarchy. 400.
	CodeInvalid Code = "invalid"
	// CodeNotFound: the object does not exist in the caller's account. 404.
	CodeNotFound Code = "not_found"
	// CodeExists: an object with this id exists already. 400 on the config
	// API, which knows no 409.
	CodeExists Code = "already_exists"
	// CodeInUse: the object is referred to and cannot be deleted. 400.
	CodeInUse Code = "in_use"
	// CodeUnauthorized: no or wrong credentials. 401.
	CodeUnauthorized Code = "unauthorized"
	// CodeForbidden: known caller, missing scope. 403.
	CodeForbidden Code = "forbidden"
	// CodeLimit: a rate was exceeded; RetryAfter may be set. 429.
	CodeLimit Code = "limit"
	// CodeQuota: a replicated quota of the account is used up. 400.
	CodeQuota Code = "quota"
	// CodeConflict: the same idempotency key with another content. 409 on
	// belfry's own surfaces.
	CodeConflict Code = "conflict"
	// CodeTooLarge: the body is over its limit. 413 on belfry's own
	// surfaces, 400 on the config API.
	CodeTooLarge Code = "too_large"
	// CodeUnavailable: no leader or no quorum; provably nothing was appended,
	// so the caller may retry. 503 with Retry-After.
	CodeUnavailable Code = "unavailable"
	// CodeUnknownOutcome: the proposal may still be applied. Never retried
	// silently; repeating it with the same id is safe. 503.
	CodeUnknownOutcome Code = "unknown_outcome"
	// CodeInternal: everything else. Its text is logged, never sent. 500.
	CodeInternal Code = "internal"
)

// Error is the one error type that callers of the API get to see. Anything
// else is CodeInternal: its text stays in the log.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	// Field is the JSON path of the offending member in the request
	// ("profile.webhook.notifyUrl"), or empty.
	Field string `json:"field,omitempty"`
	// Fields holds further violations, when a request has several.
	Fields []FieldError `json:"fields,omitempty"`
	// RetryAfter is in seconds; 0 says nothing.
	RetryAfter int `json:"retryAfter,omitempty"`

	cause error
}

// FieldError is one violation: the JSON path of a member and what is wrong.
type FieldError struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// Error gives the message with its field; it never contains secret values.
func (e *Error) Error() string {
	if e.Field != "" {
		return e.Field + ": " + e.Message
	}
	return e.Message
}

// Unwrap gives the cause, which is for logs only.
func (e *Error) Unwrap() error { return e.cause }

// WithCause returns a copy of e that wraps cause.
func (e *Error) WithCause(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// Violations returns every field violation e carries, Field first.
func (e *Error) Violations() []FieldError {
	if e.Field == "" {
		return e.Fields
	}
	return slices.Concat([]FieldError{{Field: e.Field, Message: e.Message}}, e.Fields)
}

// Errorf makes an Error without a field.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Invalid makes a CodeInvalid Error on one field.
func Invalid(field, format string, args ...any) *Error {
	return &Error{Code: CodeInvalid, Field: field, Message: fmt.Sprintf(format, args...)}
}

// CodeOf returns the code of the first Error in err's chain, CodeInternal for
// any other error and the empty code for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}

// Violations collects field violations while a request is checked. The zero
// value is ready; it holds at most MaxViolations and drops the rest, so that a
// hostile request cannot make a large answer.
type Violations struct{ list []FieldError }

// MaxViolations is how many field violations one error answer names.
const MaxViolations = 32

// Add records a violation of field.
func (v *Violations) Add(field, format string, args ...any) {
	if len(v.list) < MaxViolations {
		v.list = append(v.list, FieldError{Field: field, Message: fmt.Sprintf(format, args...)})
	}
}

// Empty reports whether nothing was recorded.
func (v *Violations) Empty() bool { return len(v.list) == 0 }

// Err returns nil when nothing was recorded, else a CodeInvalid *Error.
func (v *Violations) Err() error {
	if len(v.list) == 0 {
		return nil
	}
	return &Error{Code: CodeInvalid, Message: "the request is not valid", Fields: slices.Clone(v.list)}
}
