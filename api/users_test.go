package api

import (
	"encoding/json"
	"maps"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/belfry/fsm/model"
)

const acmeUsers = accountsPath + "/acme/users"

// A user from making to end: the password is never shown and a new one ends
// the old one at once, even one that is still remembered as right.
func TestUser_life(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	const name = "ana/müller@acme.example"
	escaped := acmeUsers + "/" + url.PathEscape(name)
	body := scenario{
		method: "POST", url: acmeUsers, key: keyFull, body: `{"username":"` + name + `","password":"` + password + `","scopes":["subscriptions:read"]}`, status: 201,
		headers: map[string]string{"Location": escaped},
	}.on(t, h)
	want := `{"username":"` + name + `","accountId":"acme","scopes":["subscriptions:read"],"disabled":false,"createdAt":"2026-11-23T10:00:00Z","updatedAt":"2026-11-23T10:00:00Z"}`
	if body != want {
		t.Errorf("made: %s", body)
	}
	if got := h.must(t, "GET", escaped, keyFull, "", 200); got != want {
		t.Errorf("shown: %s", got)
	}
	h.with(t, basicOf(name, password), 200)
	h.must(t, "PUT", escaped, keyFull, `{"password":"another-`+password+`"}`, 200)
	h.with(t, basicOf(name, password), 401)
	h.with(t, basicOf(name, "another-"+password), 200)
	h.must(t, "PUT", escaped, keyFull, `{"scopes":["events:read"]}`, 200)
	h.with(t, basicOf(name, "another-"+password), 403)
	h.must(t, "PUT", escaped, keyFull, `{"scopes":["subscriptions:manage"]}`, 200)
	h.advance(passwordCacheTTL + time.Second)
	h.with(t, basicOf(name, "another-"+password), 200)
	h.must(t, "PUT", escaped, keyFull, `{"disabled":true}`, 200)
	h.with(t, basicOf(name, "another-"+password), 401)
	h.must(t, "PUT", escaped, keyFull, `{"disabled":false}`, 200)
	h.must(t, "PUT", escaped, keyFull, `{}`, 200)
	h.with(t, basicOf(name, "another-"+password), 200)
	for what, text := range map[string]string{
		"list": h.must(t, "GET", acmeUsers, keyFull, "", 200), "audit": h.must(t, "GET", accountsPath+"/acme/audit", keyFull, "", 200), "log": h.log.String(),
	} {
		if strings.Contains(text, canary) || strings.Contains(text, "argon2id") {
			t.Errorf("%s shows the password or its hash: %s", what, text)
		}
	}
	h.must(t, "DELETE", escaped, keyFull, "", 204)
	h.with(t, basicOf(name, "another-"+password), 401)
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		h.must(t, method, escaped, keyFull, `{}`, 404)
	}
}

// Names and passwords, at their limits and one beyond.
func TestUser_limits(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	text := func(n int) string { return strings.Repeat("ü", n) }
	h.must(t, "POST", acmeUsers, keyFull, `{"username":"`+text(model.MaxTextLength)+`","password":"`+text(maxPasswordLength)+`","scopes":[]}`, 201)
	h.must(t, "POST", acmeUsers, keyFull, `{"username":"u","password":"`+text(minPasswordLength)+`","scopes":[]}`, 201)
	h.with(t, basicOf("u", text(minPasswordLength)), 403)
	h.with(t, basicOf(text(model.MaxTextLength), text(maxPasswordLength)), 403)
	good := map[string]any{"username": "v", "password": password, "scopes": []string{}}
	for name, tt := range map[string]struct {
		member string
		value  any
	}{
		"empty name":     {"username", ""},
		"long name":      {"username", text(model.MaxTextLength + 1)},
		"colon":          {"username", "a:b"},
		"dot":            {"username", "."},
		"dots":           {"username", ".."},
		"control":        {"username", "a\nb"},
		"name of null":   {"username", nil},
		"empty password": {"password", ""},
		"short":          {"password", text(minPasswordLength - 1)},
		"long":           {"password", text(maxPasswordLength + 1)},
		"line end":       {"password", password + "\n"},
		"pass of null":   {"password", nil},
		"no scopes":      {"scopes", nil},
		"unknown":        {"role", "root"},
	} {
		in := maps.Clone(good)
		in[tt.member] = tt.value
		body := h.must(t, "POST", acmeUsers, keyFull, string(must(json.Marshal(in))), 400)
		if _, at := refusal(t, body); len(at) != 1 || at["/"+tt.member] == "" || strings.Contains(body, canary) {
			t.Errorf("%s names %v", name, at)
		}
	}
	for body, field := range map[string]string{
		`{"password":null}`: "/password", `{"password":"short"}`: "/password", `{"username":"w"}`: "/username", `{"scopes":["root"]}`: "/scopes/0", `{"scopes":["events:read","events:read"]}`: "/scopes/1",
	} {
		if _, at := refusal(t, h.must(t, "PUT", acmeUsers+"/u", keyFull, body, 400)); len(at) != 1 || at[field] == "" {
			t.Errorf("PUT %s names %v, want %s", body, at, field)
		}
	}
}

// A name is taken over all accounts, because Basic names none; the answer
// tells nothing of whose it is.
func TestUser_accounts(t *testing.T) {
	t.Parallel()
	h := userHarness(t)
	h.addUser(t, model.User{Account: accOther, Username: "ben"})
	p, _ := refusal(t, h.must(t, "POST", acmeUsers, keyFull, `{"username":"ben","password":"`+password+`","scopes":[]}`, 409))
	if p.Code != model.CodeExists || strings.Contains(p.Detail, accOther) {
		t.Errorf("a name that is taken: %+v", p)
	}
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		for _, u := range []string{acmeUsers + "/ben", acmeUsers + "/none", accountsPath + "/other/users/ben", accountsPath + "/other/users/ana"} {
			if p, _ := refusal(t, h.must(t, method, u, keyFull, `{}`, 404)); strings.Contains(p.Detail, "ben") {
				t.Errorf("%s %s: %s", method, u, p.Detail)
			}
		}
	}
	if body := h.must(t, "GET", acmeUsers, keyFull, "", 200); strings.Contains(body, "ben") {
		t.Errorf("acme sees %s", body)
	}
	h.must(t, "GET", accountsPath+"/other/users/ben", keyAdmin, "", 200)
	h.must(t, "DELETE", accountsPath+"/other/users/ben", keyAdmin, "", 204)
}
