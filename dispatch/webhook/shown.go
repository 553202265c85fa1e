package webhook

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// secretWords are in the names of headers whose values nobody is shown.
var secretWords = []string{"auth", "key", "token", "secret", "cookie", "passw", "credential", "signature", "session", "csrf", "xsrf"}

// secretName reports whether a header of this name may carry a secret. A
// challenge is for everybody who asks, and says why credentials were refused.
func secretName(canonical string) bool {
	if canonical == "Www-Authenticate" {
		return false
	}
	lower := strings.ToLower(canonical)
	return slices.ContainsFunc(secretWords, func(w string) bool { return strings.Contains(lower, w) })
}

// showHeaders puts into res what went out and what came back. sent are the
// headers of r as they were made; got may be nil.
//
// INV webhook-12: credentials are not in a result: not those of the security
// setting, and not what stands in a header that is named like a secret.
func (s *Sender) showHeaders(res *Result, r *Request, sent, got http.Header, m *masker) {
	var cut [2]bool
	res.RequestHeaders, cut[0] = shown(sent, func(name, value string) string { return s.shownRequest(r, name, value, m) })
	res.ResponseHeaders, cut[1] = shown(got, func(name, value string) string {
		switch {
		case secretName(name):
			return masked
		case m.harmless(name, value):
			return value
		}
		return m.text(value)
	})
	res.HeadersCut = cut[0] || cut[1]
}

// shownRequest is the value of a header of a request as people may see it.
func (s *Sender) shownRequest(r *Request, name, value string, m *masker) string {
	a := r.Destination.Auth
	_, ours := r.Headers[name]
	switch {
	case name == "Authorization":
		scheme, _, _ := strings.Cut(value, " ")
		if scheme == "Basic" || scheme == "Bearer" {
			return scheme + " " + masked
		}
		return masked
	case a != nil && a.Type == model.CredentialsCustom && ofSetting(a, name):
		return masked
	case ours, isReserved(name), name == s.signatureHeader(a): // made here, and no secret
		return value
	case secretName(name):
		return masked
	case m.harmless(name, value):
		return value
	}
	return m.text(value)
}

// ofSetting reports whether a CUSTOM setting sends a header of this name.
func ofSetting(a *Auth, canonical string) bool {
	for name := range a.Headers {
		if http.CanonicalHeaderKey(name) == canonical {
			return true
		}
	}
	return false
}

// shown lists headers by name, as many as fit: what does not is left out as a
// whole, and cut says so.
func shown(h http.Header, show func(name, value string) string) (out []event.HeaderField, cut bool) {
	left := event.MaxHeaderBytes
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			if len(out) == event.MaxHeaders || len(name)+len(value) > left {
				cut = true
				continue
			}
			f := event.HeaderField{Name: strings.ToValidUTF8(name, "\uFFFD"), Value: strings.ToValidUTF8(show(name, value), "\uFFFD")}
			if n := len(f.Name) + len(f.Value); n <= left { // longer than it was, where bytes were replaced
				left -= n
				out = append(out, f)
			} else {
				cut = true
			}
		}
	}
	return out, cut
}

// commonValues stand in answers that show nothing of what they were sent.
var commonValues = map[string]bool{
	"application/json": true, "application/json; charset=utf-8": true, "text/plain": true, "text/plain; charset=utf-8": true, "text/html; charset=utf-8": true,
	"keep-alive": true, "close": true, "nosniff": true, "chunked": true, "nginx": true, "cloudflare": true, "Accept-Encoding": true, "no-cache": true, "no-store": true,
	DefaultUserAgent: true,
}

// harmless reports whether a value certainly holds no secret, so that the
// notations of all secrets need not be made to look for them.
func (m *masker) harmless(name, value string) bool {
	if len(value) < minSecret {
		return true
	}
	common := commonValues[value]
	if !common && name == "Date" {
		_, err := http.ParseTime(value)
		common = err == nil
	}
	return common && !slices.ContainsFunc(m.secrets, func(s string) bool { return len(s) >= minSecret && strings.Contains(value, s) })
}
