package event

import (
	"mime"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

func (e *Event) takeWebhook(v []byte, where string) *Error {
	if isNull(v) {
		return nil
	}
	if v[0] != '{' {
		return &Error{Pointer: where, Reason: "must be an object"}
	}
	var w Webhook
	err := members(v, where, func(name string, v []byte) (bool, *Error) {
		at := where + "/" + name
		switch name {
		case "url":
			return true, urlOf(&w.URL, v, at)
		case "contentType":
			if err := textOf(&w.ContentType, v, at); err != nil {
				return true, err
			}
			if w.ContentType != "" && !deliverable(w.ContentType) {
				return true, &Error{Pointer: at, Reason: "must be " + ContentTypeJSON + " or " + ContentTypeXML}
			}
			return true, nil
		case "notify":
			if isNull(v) {
				return true, nil
			}
			if v[0] != 't' && v[0] != 'f' {
				return true, &Error{Pointer: at, Reason: "must be true or false"}
			}
			notify := v[0] == 't'
			w.Notify = &notify
			return true, nil
		default:
			return false, nil
		}
	})
	if err != nil {
		return err
	}
	e.Webhook = &w
	return nil
}

// deliverable reports whether deliveries can be asked for in this form.
func deliverable(contentType string) bool {
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && (t == ContentTypeJSON || t == ContentTypeXML)
}

func urlOf(dst *string, v []byte, where string) *Error {
	if isNull(v) {
		return nil
	}
	if v[0] != '"' {
		return &Error{Pointer: where, Reason: "must be a string"}
	}
	s := unquote(v)
	if s == "" {
		return nil
	}
	if msg := CheckURL(s); msg != "" {
		return &Error{Pointer: where, Reason: msg}
	}
	*dst = s
	return nil
}

// CheckURL says what is wrong with the shape of a webhook URL, or "". Whether
// its address may be dialled is decided where the dial happens.
func CheckURL(s string) string {
	if len(s) > MaxURLLength {
		return "must be at most " + strconv.Itoa(MaxURLLength) + " bytes long"
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' || unicode.IsControl(r) }) {
		return "must not contain spaces, control characters or backslashes"
	}
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "must be an absolute http or https URL"
	}
	if u.User != nil {
		return "must not contain a user name or password; use a security setting"
	}
	if strings.ContainsRune(s, '#') {
		return "must not contain a fragment"
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return "must have a port between 1 and 65535"
		}
	}
	return ""
}
