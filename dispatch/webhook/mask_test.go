package webhook

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"example.com/belfry/fsm/model"
)

// echo answers with everything it got, in several notations: the first KiB has
// the headers, so each notation is asked for by itself.
func echo(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/token" {
		_, _ = io.WriteString(w, `{"access_token":"acc/ess+t\u00f6ken<1>","token_type":"Bearer"}`)
		return
	}
	var all strings.Builder
	for _, name := range []string{"Authorization", "X-Api-Key", "X-Other-Key"} {
		for _, v := range r.Header.Values(name) {
			fmt.Fprintf(&all, "%s: %s\n", name, v)
		}
	}
	body, _ := io.ReadAll(r.Body)
	all.Write(body)
	text := all.String()
	notation := r.URL.Query().Get("as")
	w.WriteHeader(http.StatusBadRequest)
	switch notation {
	case "json":
		b, _ := json.Marshal(text)
		text = string(b)
	case "slashes":
		b, _ := json.Marshal(text)
		text = strings.ReplaceAll(string(b), "/", `\/`)
	case "ascii":
		text = asciiText(text)
	case "form":
		text = url.QueryEscape(text)
	case "lower":
		text = lowerEscapes(url.PathEscape(text))
	case "html":
		text = html.EscapeString(text)
	case "base64":
		text = base64.StdEncoding.EncodeToString([]byte(text))
	case "base64url":
		text = base64.URLEncoding.EncodeToString([]byte("xy" + text))
	case "decoded": // what a receiver makes of the credentials
		_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		pair, _ := base64.StdEncoding.DecodeString(token)
		text = string(pair) + text
	}
	_, _ = io.WriteString(w, text)
}

// INV webhook-11: a receiver that shows what it got cannot put a secret into
// the result.
func TestSend_masksSecrets(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(echo))
	t.Cleanup(srv.Close)
	s := newSender(t, newMemory(t), local)
	secret := model.NewSecret
	for _, tt := range []struct {
		name    string
		auth    *Auth
		headers map[string]string
		body    string
		secrets []string
	}{
		{
			name: "basic", auth: &Auth{Type: model.CredentialsBasic, Username: "ana", Password: secret(`pass"wörd/<&>+?`)},
			secrets: []string{`pass"wörd/<&>+?`},
		},
		{
			name: "hmac", auth: &Auth{Type: model.CredentialsHMAC, SecretKey: secret("whsec_c2VjcmV0LWtleS1vZi1vdXJz"), PreviousSecretKey: secret("old/key of ours"), Algorithm: model.HMACSHA256},
			body: "whsec_c2VjcmV0LWtleS1vZi1vdXJz old/key of ours secret-key-of-ours", secrets: []string{"c2VjcmV0LWtleS1vZi1vdXJz", "secret-key-of-ours", "old/key of ours"},
		},
		{
			name: "custom", auth: &Auth{Type: model.CredentialsCustom, Headers: map[string]model.Secret{"x-api-key": secret("k/1&2 <three>"), "x-other-key": secret("abc")}},
			secrets: []string{"k/1&2 <three>"},
		},
		{
			name: "oauth", auth: &Auth{
				Type: model.CredentialsOAuth, GrantType: model.GrantPassword, TokenURL: srv.URL + "/token", ClientID: "c", ClientSecret: secret("client/secret"),
				Username: "ana", Password: secret("ana's password"), RefreshToken: secret("refresh+token"), Headers: map[string]model.Secret{"x-tenant": secret("tenant=7/8")},
			},
			body: "client/secret ana's password refresh+token tenant=7/8", secrets: []string{"acc/ess+töken<1>", "client/secret", "ana's password", "refresh+token", "tenant=7/8"},
		},
		{
			name: "header of the profile", headers: map[string]string{"Authorization": "Basic YW5hOm9wZW4gc2VzYW1l"},
			secrets: []string{"YW5hOm9wZW4gc2VzYW1l", "open sesame"},
		},
	} {
		for _, as := range []string{"", "json", "slashes", "ascii", "form", "lower", "html", "base64", "base64url", "decoded"} {
			t.Run(tt.name+"/"+as, func(t *testing.T) {
				t.Parallel()
				d := &Destination{Account: "acme", URL: srv.URL + "/in?as=" + as, Headers: tt.headers, Auth: tt.auth}
				res := s.Send(t.Context(), &Request{Destination: d, WebhookID: testWebhookID, Body: []byte("event " + tt.body)})
				if res.StatusCode != http.StatusBadRequest || !bytes.Contains(res.Body, []byte(masked)) {
					t.Fatalf("%d: %q, %q", res.StatusCode, res.Body, res.Error)
				}
				shown := string(res.Body)
				for _, from := range []func(string) string{
					func(s string) string { return s }, unquoted, unescaped, html.UnescapeString, func(s string) string { return decoded(s, 0) },
					func(s string) string { return decoded(s, 1) }, func(s string) string { return decoded(s, 2) }, func(s string) string { return decoded(s, 3) },
				} {
					for _, sec := range tt.secrets {
						for _, part := range []string{sec, base64.RawStdEncoding.EncodeToString([]byte(sec))} {
							if plain := from(shown); strings.Contains(plain, part) {
								t.Errorf("%q shows %q", shown, part)
							}
						}
					}
				}
			})
		}
	}
}

func unquoted(s string) string {
	var out string
	s = strings.ReplaceAll(strings.ReplaceAll(s, `"`, ``), "\n", `\n`)
	_ = json.Unmarshal([]byte(`"`+s+`"`), &out)
	return out
}

func unescaped(s string) string {
	out, _ := url.QueryUnescape(s)
	return out
}

// decoded reads each piece between masked ones from an offset on as base64.
func decoded(s string, from int) (out string) {
	for piece := range strings.SplitSeq(s, masked) {
		piece = strings.NewReplacer("-", "+", "_", "/", "=", "").Replace(piece)
		piece = piece[min(from, len(piece)):]
		b, _ := base64.RawStdEncoding.DecodeString(piece[:len(piece)-len(piece)%4])
		out += string(b) + "|"
	}
	return out
}

func TestMask_edges(t *testing.T) {
	t.Parallel()
	const secret = "hunter2-hunter2"
	x := func(n int) string { return strings.Repeat("x", n) }
	for _, tt := range []struct{ name, body, secret, want string }{
		{"empty", "", secret, ""},
		{"nothing in it", "all fine", secret, "all fine"},
		{"alone", secret, secret, "***"},
		{"twice", secret + secret + "," + secret, secret, "***,***"},
		{"overlapping itself", "say aaaaaaa", "aaaa", "say ***"},
		{"too short to mask", "abc", "abc", "abc"},
		{"just long enough", "see abcd", "abcd", "see ***"},
		{"cut by the body's end", "it was hunter2-h", secret, "it was ***"},
		{"too little of it", "it was hun", secret, "it was hun"},
		{"ends at the limit", x(keptBody-len(secret)) + secret, secret, x(keptBody-len(secret)) + "***"},
		{"cut by the limit", x(keptBody-5) + secret + "y", secret, x(keptBody-5) + "***y"},
		{"the mask is cut by the limit", x(keptBody-1) + secret, secret, x(keptBody-1) + "*"},
		{"behind the limit", x(keptBody) + secret, secret, x(keptBody)},
		{"moved to the front by a mask", strings.Repeat("s"+secret, 20) + x(2*keptBody), secret, strings.Repeat("s***", 20) + x(keptBody-80)},
		{"larger than the window", x(8) + strings.Repeat("ab", maskWindow) + x(9), strings.Repeat("ab", maskWindow), x(8) + "***" + x(9)},
	} {
		got := string(newMasker([]string{tt.secret}).body([]byte(tt.body)))
		if got != tt.want {
			t.Errorf("%s: %d bytes %.60q, want %d bytes %.60q", tt.name, len(got), got, len(tt.want), tt.want)
		}
	}
	if newMasker([]string{secret}).body(nil) != nil {
		t.Error("a body that is not there is there")
	}
}

func BenchmarkMask(b *testing.B) {
	d := &Auth{Type: model.CredentialsBasic, Username: "ana", Password: model.NewSecret("correct horse battery staple")}
	h := http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("ana:correct horse battery staple"))}}
	for _, size := range []int{2, 200, bodyLimit} {
		body := bytes.Repeat([]byte(`{"status":"accepted"} `), size/22+1)[:size]
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			for b.Loop() {
				newMasker(secretsOf(d, model.Secret{}, h)).body(body)
			}
		})
	}
}
