package webhook

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"example.com/belfry/fsm/model"
)

const (
	// masked stands where a secret was.
	masked = "***"
	// minSecret is the shortest secret that is masked: a shorter one would be
	// found in every other word.
	minSecret = 4
	// maskWindow is how much of an answer is looked at for the KiB that is kept,
	// beside the longest form of a secret.
	maskWindow = 4 << 10
)

// secretsOf lists what of an attempt nobody may see who sees its result. An
// Authorization header is one whoever configured it.
func secretsOf(a *Auth, bearer model.Secret, sent http.Header) (out []string) {
	if value := sent.Get("Authorization"); value != "" {
		scheme, token, _ := strings.Cut(value, " ")
		out = append(out, value, token)
		if pair, err := base64.StdEncoding.DecodeString(token); err == nil && strings.EqualFold(scheme, "Basic") {
			_, password, _ := strings.Cut(string(pair), ":")
			out = append(out, string(pair), password)
		}
	}
	if a == nil {
		return out
	}
	out = append(out,
		a.Password.Reveal(), a.SecretKey.Reveal(), a.PreviousSecretKey.Reveal(), a.ClientSecret.Reveal(), a.RefreshToken.Reveal(), bearer.Reveal())
	for _, key := range [...]model.Secret{a.SecretKey, a.PreviousSecretKey} {
		if encoded, ok := strings.CutPrefix(key.Reveal(), secretPrefix); ok {
			out = append(out, encoded)
			if raw, err := base64.StdEncoding.DecodeString(encoded); err == nil {
				out = append(out, string(raw))
			}
		}
	}
	for _, value := range a.Headers {
		out = append(out, value.Reveal())
	}
	return out
}

// masker takes the secrets of one attempt out of what its result shows.
//
// INV webhook-11: no result holds a secret of its attempt that is minSecret or
// longer, as it is, in base64, or escaped for a URL, JSON or HTML.
type masker struct {
	secrets []string
	forms   map[string]struct{} // of the secrets; nil: not made yet
	longest int                 // of the forms
}

func newMasker(secrets []string) *masker { return &masker{secrets: secrets} }

// prepare makes the forms, which takes longer than all the rest and is often
// not needed.
func (m *masker) prepare() {
	if m.forms != nil {
		return
	}
	m.forms = map[string]struct{}{}
	for i, s := range m.secrets {
		if !slices.Contains(m.secrets[:i], s) {
			addForms(m.forms, s)
		}
	}
	for f := range m.forms {
		m.longest = max(m.longest, len(f))
	}
}

// body returns the first KiB of an answer with *** in place of every secret: a
// receiver may show what it was sent, and in another notation. A part of one
// that the end of the body has cut is masked too.
func (m *masker) body(body []byte) []byte {
	if len(body) == 0 {
		return nil
	}
	if len(body) >= minSecret {
		m.prepare()
	}
	if len(m.forms) == 0 {
		return bytes.Clone(body[:min(len(body), keptBody)])
	}
	body = body[:min(len(body), maskWindow+m.longest)]
	hidden := m.find(body)
	for f := range m.forms {
		for n := min(len(f), len(body)); n >= minSecret; n-- {
			if f[n-1] == body[len(body)-1] && bytes.HasSuffix(body, []byte(f[:n])) {
				hidden = hide(hidden, len(body), len(body)-n, len(body))
				break
			}
		}
	}
	return without(body, hidden, keptBody)
}

// text returns s with *** in place of every secret.
func (m *masker) text(s string) string {
	if len(s) < minSecret {
		return s
	}
	m.prepare()
	hidden := m.find([]byte(s))
	if hidden == nil {
		return s
	}
	return string(without([]byte(s), hidden, len(s)+len(masked)))
}

// find marks the bytes that are of a secret; nil: none is.
func (m *masker) find(b []byte) (hidden []bool) {
	for f := range m.forms {
		form := []byte(f)
		for at := 0; ; at++ {
			i := bytes.Index(b[at:], form)
			if i < 0 {
				break
			}
			at += i
			hidden = hide(hidden, len(b), at, at+len(form))
		}
	}
	return hidden
}

// hide marks some of n bytes.
func hide(hidden []bool, n, from, to int) []bool {
	if hidden == nil {
		hidden = make([]bool, n)
	}
	for i := from; i < to; i++ {
		hidden[i] = true
	}
	return hidden
}

// without copies at most limit bytes of b with *** in place of what is hidden.
func without(b []byte, hidden []bool, limit int) []byte {
	if hidden == nil {
		return bytes.Clone(b[:min(len(b), limit)])
	}
	out := make([]byte, 0, limit+len(masked))
	for i, c := range b {
		switch {
		case len(out) >= limit:
			return out[:limit]
		case !hidden[i]:
			out = append(out, c)
		case i == 0 || !hidden[i-1]:
			out = append(out, masked...)
		}
	}
	return out[:min(len(out), limit)]
}

// addForms adds the notations in which a receiver may show a secret.
func addForms(forms map[string]struct{}, s string) {
	if len(s) < minSecret {
		return
	}
	addEscaped(forms, s)
	for _, e := range [...]*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		addEscaped(forms, e.EncodeToString([]byte(s)))
		// As a part of something longer, at each of the three places that a byte
		// can have in a group: what its neighbours do not decide.
		for before := range 3 {
			text := e.EncodeToString(append(make([]byte, before), s...))
			text = text[[...]int{0, 2, 3}[before]:]
			if (before+len(s))%3 != 0 {
				text = text[:len(text)-1]
			}
			addEscaped(forms, text)
		}
	}
}

func addEscaped(forms map[string]struct{}, s string) {
	if len(s) < minSecret {
		return
	}
	forms[s] = struct{}{}
	plain := true
	for i := range len(s) {
		c := s[i]
		plain = plain && ('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_')
	}
	if plain {
		return // nothing to escape in any notation
	}
	for _, f := range [...]string{url.QueryEscape(s), url.PathEscape(s)} {
		forms[f] = struct{}{}
		forms[lowerEscapes(f)] = struct{}{}
	}
	shown := html.EscapeString(s)
	forms[shown] = struct{}{}
	forms[strings.ReplaceAll(shown, "&#34;", "&quot;")] = struct{}{}
	inJSON, inScript := jsonText(s, false), jsonText(s, true)
	for _, f := range [...]string{inJSON, inScript, asciiText(inJSON), asciiText(inScript)} {
		forms[f] = struct{}{}
		forms[strings.ReplaceAll(f, "/", `\/`)] = struct{}{}
	}
}

// lowerEscapes turns the digits of %2F into lower case.
func lowerEscapes(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:i+3], bytes.ToLower(b[i+1:i+3]))
			i += 2
		}
	}
	return string(b)
}

// jsonText is s within the quotes of a JSON string.
func jsonText(s string, escapeHTML bool) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(escapeHTML)
	_ = e.Encode(s) // a string always can
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimSuffix(b.String(), "\n"), `"`), `"`)
}

// asciiText escapes what is beyond ASCII too, as many JSON encoders do.
func asciiText(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < utf8.RuneSelf {
			b.WriteRune(r)
			continue
		}
		for _, u := range utf16.Encode([]rune{r}) {
			b.WriteString(`\u` + strconv.FormatInt(0x10000+int64(u), 16)[1:])
		}
	}
	return b.String()
}
