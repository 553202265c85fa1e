package webhook

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestTokenLife(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]time.Duration{
		`3600`: time.Hour, `"3600"`: time.Hour, `0.5`: 500 * time.Millisecond, ``: defaultTokenLife, `null`: defaultTokenLife, `0`: defaultTokenLife,
		`-1`: defaultTokenLife, `"soon"`: defaultTokenLife, `{}`: defaultTokenLife, `"NaN"`: defaultTokenLife, `"-Inf"`: defaultTokenLife,
		`86400`: maxTokenLife, `86401`: maxTokenLife, `1e300`: maxTokenLife, `"Inf"`: maxTokenLife,
	} {
		if got := tokenLife(json.RawMessage(raw)); got != want {
			t.Errorf("%s: %s, want %s", raw, got, want)
		}
	}
}

func TestParseToken(t *testing.T) {
	t.Parallel()
	padded := func(n int) string {
		head := `{"access_token":"t","pad":"`
		return head + strings.Repeat("x", n-len(head)-2) + `"}`
	}
	for _, tt := range []struct {
		name   string
		status int
		body   string
		want   string // "": fine
	}{
		{"minimal", 200, `{"access_token":"t"}`, ""},
		{"created", 201, `{"access_token":"t","token_type":"bEARER"}`, ""},
		{"at the limit", 200, padded(maxTokenBody), ""},
		{"above", 200, padded(maxTokenBody + 1), "the answer of the token endpoint exceeds 64 KiB"},
		{"empty", 200, ``, "the answer of the token endpoint holds no access token"},
		{"html", 200, `<html>secret</html>`, "the answer of the token endpoint holds no access token"},
		{"no token", 200, `{"access_token":""}`, "the answer of the token endpoint holds no access token"},
		{"line break", 200, `{"access_token":"a\r\nX-Admin: 1"}`, "the answer of the token endpoint holds no access token"},
		{"mac", 200, `{"access_token":"t","token_type":"mac"}`, "the token endpoint issues tokens of a type other than Bearer"},
		{"redirect", 302, `{"access_token":"t"}`, "the token endpoint answered 302"},
		{"known error", 400, `{"error":"invalid_grant"}`, "the token endpoint answered 400 (invalid_grant)"},
		{"unknown error", 400, `{"error":"password hunter2 is wrong"}`, "the token endpoint answered 400"},
		{"unavailable", 503, ``, "the token endpoint answered 503"},
	} {
		r, f := parseToken(answer{status: tt.status, body: []byte(tt.body)})
		if (f == nil) != (tt.want == "") || f != nil && f.text != tt.want || f == nil && r.access.Reveal() != "t" {
			t.Errorf("%s: %v", tt.name, f)
		}
	}
}
