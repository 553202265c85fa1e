package event

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

func textOf(dst *string, v []byte, where string) *Error {
	if isNull(v) {
		return nil
	}
	if v[0] != '"' {
		return &Error{Pointer: where, Reason: "must be a string"}
	}
	s := unquote(v)
	if msg := checkText(s); msg != "" {
		return &Error{Pointer: where, Reason: msg}
	}
	*dst = s
	return nil
}

// checkText says what is wrong with a plain text member, or "".
func checkText(s string) string {
	if utf8.RuneCountInString(s) > MaxFieldLength {
		return "must be at most " + strconv.Itoa(MaxFieldLength) + " characters long"
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return "must not contain control characters"
	}
	return ""
}

// CheckID says what is wrong with an eventId, or "".
func CheckID(id string) string {
	switch {
	case id == "":
		return "must not be empty; leave it out to have one made"
	case len(id) > MaxIDLength:
		return "must be at most " + strconv.Itoa(MaxIDLength) + " bytes long"
	case id == "." || id == "..":
		return "must not be . or .."
	case !printable(id):
		return "may hold printable characters only"
	}
	return ""
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

func (e *Event) takeID(v []byte, where string) *Error {
	if isNull(v) {
		return nil
	}
	if v[0] != '"' {
		return &Error{Pointer: where, Reason: "must be a string"}
	}
	id := unquote(v)
	if msg := CheckID(id); msg != "" {
		return &Error{Pointer: where, Reason: msg}
	}
	e.ID, e.GivenID = id, true
	return nil
}

func timeOf(dst *time.Time, v []byte, where string) *Error {
	if isNull(v) {
		return nil
	}
	t, ok := time.Time{}, false
	if v[0] == '"' {
		t, ok = parseTime(unquote(v))
	}
	if !ok {
		return &Error{Pointer: where, Reason: badTime}
	}
	*dst = t
	return nil
}

const badTime = "must be a time such as 2026-01-31T12:00:00Z (RFC 3339)"

func parseTime(s string) (t time.Time, ok bool) {
	if t.UnmarshalText([]byte(s)) != nil || t.UTC().Year() < 1 || t.UTC().Year() > 9999 {
		return time.Time{}, false
	}
	return t.UTC(), true
}

func (e *Event) takePayload(v []byte, where string) *Error {
	if isNull(v) {
		return nil // complete names it
	}
	if v[0] != '{' {
		return &Error{Pointer: where, Reason: "must be an object"}
	}
	var b bytes.Buffer
	b.Grow(len(v))
	_ = json.Compact(&b, v) // checked by skip: cannot fail
	e.Payload = b.Bytes()
	return nil
}
