package api

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/url"
	"strings"
	"testing"
	"time"

	"example.com/belfry/fsm/model"
)

const tokenPath = "/auth/1/oauth2/token"

// tokenForm is the form that keyManage gets a token with, changed by pairs of
// name and value; an empty value drops the member.
func tokenForm(pairs ...string) string {
	id, _ := HashKey(keyManage)
	f := url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {keyManage}}
	for i := 0; i < len(pairs); i += 2 {
		if f.Set(pairs[i], pairs[i+1]); pairs[i+1] == "" {
			f.Del(pairs[i])
		}
	}
	return f.Encode()
}

// askToken posts a form to the token endpoint.
func (h *harness) askToken(t *testing.T, form string, status int, header map[string]string) string {
	t.Helper()
	all := map[string]string{"Content-Type": typeForm}
	maps.Copy(all, header)
	return scenario{method: "POST", url: tokenPath, body: form, header: all, status: status}.on(t, h)
}

func (h *harness) bearer(t *testing.T, form string) string {
	t.Helper()
	var out tokenOut
	if err := json.Unmarshal([]byte(h.askToken(t, form, 200, nil)), &out); err != nil {
		t.Fatal(err)
	}
	return out.AccessToken
}

// with makes a GET of the profiles with an Authorization header.
func (h *harness) with(t *testing.T, authorization string, status int) {
	t.Helper()
	scenario{method: "GET", url: profiles, header: map[string]string{"Authorization": authorization}, status: status}.on(t, h)
}

func basicOf(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// The answer has what RFC 6749 asks for, and the token opens what the key does
// until its time is over.
func TestToken_answerAndExpiry(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(o *Options) { o.Limits.BearerLifetime = 10 * time.Minute })
	id, _ := HashKey(keyManage)
	form := tokenForm("client_id", "", "client_secret", "", "scope", "subscriptions:manage")
	for name, send := range map[string]func() string{
		"form": func() string { return h.askToken(t, tokenForm(), 200, nil) },
		"basic": func() string {
			return h.askToken(t, form, 200, map[string]string{"Authorization": basicOf(id, keyManage)})
		},
		"basic, id in both": func() string {
			return h.askToken(t, tokenForm("client_secret", ""), 200, map[string]string{"Authorization": basicOf(id, keyManage)})
		},
	} {
		var out tokenOut
		if err := json.Unmarshal([]byte(send()), &out); err != nil {
			t.Fatal(err)
		}
		if out.TokenType != "Bearer" || out.ExpiresIn != 600 || out.Scope != "subscriptions:manage" || strings.Contains(out.AccessToken, keyManage) {
			t.Errorf("%s: %+v", name, out)
		}
		h.with(t, "Bearer "+out.AccessToken, 200)
		h.with(t, "bearer "+out.AccessToken, 200)
		h.with(t, "IBSSO "+out.AccessToken, 401)
		h.with(t, "App "+out.AccessToken, 401)
	}
	token := h.bearer(t, tokenForm())
	h.advance(10*time.Minute - time.Second)
	h.with(t, "Bearer "+token, 200)
	h.advance(time.Second)
	h.with(t, "Bearer "+token, 401)
}

// A key whose parts need encoding can be sent by Basic, form-encoded as RFC
// 6749 says.
func TestToken_basicIsFormEncoded(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	const key = "a key: 100 % + more / ü"
	h.addKey(t, key, model.Key{Account: accAcme})
	id, _ := HashKey(key)
	form := tokenForm("client_id", "", "client_secret", "")
	h.askToken(t, form, 200, map[string]string{"Authorization": basicOf(id, url.QueryEscape(key))})
	h.askToken(t, form, 400, map[string]string{"Authorization": basicOf(id, key)}) // "% " is no escape
	h.askToken(t, tokenForm("client_id", id, "client_secret", key), 200, nil)
}

// Errors come in the form that OAuth2 clients read and repeat nothing.
func TestToken_refusals(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	id, _ := HashKey(keyManage)
	bare := tokenForm("client_id", "", "client_secret", "")
	of := func(key string) string {
		id, _ := HashKey(key)
		return tokenForm("client_id", id, "client_secret", key)
	}
	for name, tt := range map[string]struct {
		form, auth string
		status     int
		code       string
	}{
		"empty":                    {"", "", 400, oauthInvalidRequest},
		"not encoded":              {"grant_type=%zz", "", 400, oauthInvalidRequest},
		"no grant":                 {tokenForm("grant_type", ""), "", 400, oauthInvalidRequest},
		"another grant":            {tokenForm("grant_type", "password"), "", 400, oauthGrantType},
		"grant twice":              {tokenForm() + "&grant_type=client_credentials", "", 400, oauthInvalidRequest},
		"secret twice":             {tokenForm() + "&client_secret=x", "", 400, oauthInvalidRequest},
		"no secret":                {tokenForm("client_secret", ""), "", 400, oauthInvalidRequest},
		"no id":                    {tokenForm("client_id", ""), "", 400, oauthInvalidRequest},
		"in both places":           {tokenForm(), basicOf(id, keyManage), 400, oauthInvalidRequest},
		"two ids":                  {tokenForm("client_id", "x", "client_secret", ""), basicOf(id, keyManage), 400, oauthInvalidRequest},
		"another scheme":           {bare, "App " + keyManage, 400, oauthInvalidRequest},
		"basic garbage":            {bare, "Basic %%%", 400, oauthInvalidRequest},
		"basic, secret not coded":  {bare, basicOf(id, "%zz"), 400, oauthInvalidRequest},
		"basic, id not coded":      {bare, basicOf("%zz", keyManage), 400, oauthInvalidRequest},
		"wrong secret":             {tokenForm("client_secret", "wrong-"+canary), "", 401, oauthInvalidClient},
		"wrong secret by basic":    {bare, basicOf(id, "wrong-"+canary), 401, oauthInvalidClient},
		"id of another key":        {tokenForm("client_id", "0123456789abcdef"), "", 401, oauthInvalidClient},
		"expired":                  {of(keyExpired), "", 401, oauthInvalidClient},
		"disabled":                 {of(keyOff), "", 401, oauthInvalidClient},
		"from elsewhere":           {of(keyElse), "", 401, oauthInvalidClient},
		"scope that is not held":   {tokenForm("scope", "subscriptions:manage events:write"), "", 400, oauthInvalidScope},
		"scope that is only meant": {tokenForm("scope", "subscriptions:read"), "", 400, oauthInvalidScope},
	} {
		header := map[string]string{}
		if tt.auth != "" {
			header["Authorization"] = tt.auth
		}
		body := h.askToken(t, tt.form, tt.status, header)
		var out oauthError
		if err := json.Unmarshal([]byte(body), &out); err != nil || out.Error != tt.code || out.Description == "" {
			t.Errorf("%s: %v %+v", name, err, out)
		}
		if strings.Contains(body, canary) || strings.Contains(body, keyManage) {
			t.Errorf("%s: the answer repeats a secret: %s", name, body)
		}
	}
	if log := h.log.String(); strings.Contains(log, canary) || strings.Contains(log, keyManage) {
		t.Error("a secret is in the log")
	}
	scenario{
		method: "POST", url: tokenPath, body: tokenForm("client_secret", "wrong"), header: map[string]string{"Content-Type": typeForm}, status: 401,
		headers: map[string]string{"Www-Authenticate": `Basic realm="belfry"`, "Cache-Control": "no-store"},
	}.on(t, h)
	scenario{method: "POST", url: tokenPath, body: `{}`, status: 415, has: []string{`"code":"unsupported_media_type"`}}.on(t, h)
	h.askToken(t, tokenForm("scope", strings.Repeat("x", defaultConfigBody)), 413, nil)
}

// Two Authorization headers are no credentials.
func TestToken_twoHeaders(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	r := &request{s: h.Server, http: mustRequest(t, "POST", tokenPath)}
	r.http.Header.Add("Authorization", basicOf("a", "b"))
	r.http.Header.Add("Authorization", basicOf("a", "b"))
	if _, _, ok := r.clientCredentials(url.Values{}); ok {
		t.Error("two Authorization headers are taken")
	}
}

// What becomes of a key counts for its tokens at once.
func TestToken_followsItsKey(t *testing.T) {
	t.Parallel()
	id, _ := HashKey(keyManage)
	own := accountsPath + "/acme/keys/" + id
	for name, tt := range map[string]struct {
		scenario
		anew   bool
		passes time.Duration
		then   int
	}{
		"disabled":         {scenario{method: "PUT", url: own, body: `{"disabled":true}`, status: 200}, false, 0, 401},
		"scopes taken":     {scenario{method: "PUT", url: own, body: `{"scopes":[]}`, status: 200}, false, 0, 403},
		"bound elsewhere":  {scenario{method: "PUT", url: own, body: `{"cidrs":["203.0.113.0/24"]}`, status: 200}, false, 0, 401},
		"bound to here":    {scenario{method: "PUT", url: own, body: `{"cidrs":["192.0.2.1"]}`, status: 200}, false, 0, 200},
		"account disabled": {scenario{method: "PUT", url: accountsPath + "/acme", body: `{"disabled":true}`, status: 200}, false, 0, 401},
		"deleted":          {scenario{method: "DELETE", url: own, status: 204}, false, 0, 401},
		"made anew":        {scenario{method: "DELETE", url: own, status: 204}, true, 0, 401},
		"expires":          {scenario{method: "PUT", url: own, body: `{"expiresAt":"2026-11-23T10:00:01Z"}`, status: 200}, false, time.Second, 401},
		"not yet":          {scenario{method: "PUT", url: own, body: `{"expiresAt":"2026-11-23T10:00:01Z"}`, status: 200}, false, time.Second - 1, 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			token := h.bearer(t, tokenForm())
			h.with(t, "Bearer "+token, 200)
			h.must(t, tt.method, tt.url, keyAdmin, tt.body, tt.status)
			if tt.anew {
				h.addKey(t, keyManage, model.Key{Account: accAcme, Scopes: []model.Scope{model.ScopeSubscriptionsManage}})
			}
			h.advance(tt.passes)
			h.with(t, "Bearer "+token, tt.then)
		})
	}
}

// A token is worth nothing when a byte of it is another, on a cluster with
// another key, and when it names nobody.
func TestToken_forged(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	token := h.bearer(t, tokenForm())
	for i := range len(token) - 1 { // the last digit carries bits that are not looked at
		c := byte('A')
		if token[i] == c {
			c = 'B'
		}
		forged := token[:i] + string(c) + token[i+1:]
		if _, ok := h.tokens.parse(forged); ok {
			t.Errorf("byte %d can be changed", i)
		}
	}
	other := newHarness(t, func(o *Options) { o.TokenKey = []byte(strings.Repeat("x", minTokenKey)) })
	other.with(t, "Bearer "+token, 401)
	h.with(t, "Bearer "+h.tokens.issue(tokenBearer, "nobody", 1, time.Hour), 401)
	h.with(t, "Bearer "+h.tokens.issue(tokenBearer, "key:none", 1, time.Hour), 401)
	h.with(t, "IBSSO "+h.tokens.issue(tokenSession, "user:none", 1, time.Hour), 401)
	if _, err := New(Options{Reader: h.config, Writer: h.config, Cluster: h.cluster, TokenKey: make([]byte, minTokenKey-1)}); err == nil {
		t.Error("a token key of 31 bytes is taken")
	}
	h.with(t, "Bearer "+token, 200)
}
