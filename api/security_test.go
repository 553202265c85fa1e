package api

import (
	"errors"
	"strings"
	"testing"
	"time"

	"example.com/belfry/fsm/model"
)

// full has every member of each type.
var fullCredentials = map[string]string{
	"BASIC": `{"username":"belfry","password":"` + canary + `"}`,
	"HMAC": `{"secretKey":"` + canary + `","algorithm":"HMAC_SHA_384","headerName":"X-Sig","encoding":"base64","previousSecretKey":"` + canary +
		`","previousSecretKeyValidUntil":"2026-12-01T00:00:00Z"}`,
	"OAUTH": `{"username":"u","password":"` + canary + `","tokenUrl":"https://id.acme.example/token","grantType":"password","clientId":"c","clientSecret":"` + canary +
		`","scope":"s","resource":"r","refreshToken":"` + canary + `","headers":{"X-Tenant":"` + canary + `"}}`,
	"CUSTOM": `{"headers":{"Authorization":"Key ` + canary + `","X-Api-Key":"` + canary + `"}}`,
}

func masked(credentials string) string {
	return strings.NewReplacer(`"Key `+canary+`"`, `"`+model.SecretMask+`"`, `"`+canary+`"`, `"`+model.SecretMask+`"`).Replace(credentials)
}

// A setting of each type comes back masked, revealed to those who may, and
// unchanged when the masked answer is sent back.
func TestSecurity_typesMasksAndReveal(t *testing.T) {
	t.Parallel()
	for typ, cred := range fullCredentials {
		t.Run(typ, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			in := jsonf(`{"authId":"s","type":%q,"credentials":%s}`, typ, cred)
			h.must(t, "POST", security, keyManage, in, 201)
			hidden := masked(in)
			for _, u := range []string{security + "/s", security + "/s?reveal=false"} {
				if got := h.must(t, "GET", u, keyReveal, "", 200); got != hidden {
					t.Errorf("%s: %s\nwant %s", u, got, hidden)
				}
			}
			if got := h.must(t, "GET", security+"?reveal=true", keyReveal, "", 200); strings.Contains(got, canary) || !strings.Contains(got, hidden) {
				t.Errorf("the list is not masked: %s", got)
			}
			for _, key := range []string{keyManage, keyRead} {
				scenario{method: "GET", url: security + "/s?reveal=true", key: key, status: 403, hasNot: []string{canary}}.on(t, h)
			}
			if len(h.config.reveals) != 0 {
				t.Errorf("reveals %v before one was allowed", h.config.reveals)
			}
			if got := h.must(t, "GET", security+"/s?reveal=true", keyReveal, "", 200); got != in {
				t.Errorf("revealed %s\nwant %s", got, in)
			}
			id, _ := HashKey(keyReveal)
			last := h.config.audit[len(h.config.audit)-1]
			if last.Action != "security.reveal" || last.Actor != "key:"+id || last.Object != "s" || last.ActorFrom != "192.0.2.1" {
				t.Errorf("the audit record is %+v", last)
			}
			h.must(t, "PUT", security+"/s", keyManage, hidden, 200) // edited nowhere
			if got := h.must(t, "GET", security+"/s?reveal=true", keyReveal, "", 200); got != in {
				t.Errorf("after PUT of the mask %s\nwant %s", got, in)
			}
			if strings.Contains(h.log.String(), canary) {
				t.Error("a secret is in the log")
			}
		})
	}
}

// INV api-7: no clear text leaves before its audit record is committed.
func TestSecurity_revealNeedsItsRecord(t *testing.T) {
	t.Parallel()
	h := contractHarness(t)
	const u = security + "/sec-1?reveal=true"
	h.config.fail = model.Errorf(model.CodeUnavailable, "there is no leader right now")
	scenario{method: "GET", url: u, key: keyReveal, status: 503, hasNot: []string{canary}}.on(t, h)
	h.config.fail = errors.New("disk")
	scenario{method: "GET", url: u, key: keyReveal, status: 500, hasNot: []string{canary, "disk"}}.on(t, h)
	h = contractHarness(t, func(o *Options) { o.Opener = nil })
	scenario{method: "GET", url: u, key: keyReveal, status: 503, hasNot: []string{canary}}.on(t, h)
	h = contractHarness(t, func(o *Options) { o.Opener = brokenOpener{} })
	scenario{method: "GET", url: u, key: keyReveal, status: 500, hasNot: []string{"master key"}}.on(t, h)
	if len(h.config.reveals) != 0 {
		t.Error("a reveal that failed is recorded as one")
	}
}

type brokenOpener struct{}

func (brokenOpener) Open(string, model.Entity, string, model.SecretField, model.Sealed) (model.Secret, error) {
	return model.Secret{}, errors.New("master key 7 is not in the ring")
}

// PUT merges, null clears what is optional, and another type starts anew.
func TestSecurity_putMerges(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		typ, body string
		want      string // credentials as revealed; "": refused
		field     string
	}{
		"nothing":             {"BASIC", `{}`, fullCredentials["BASIC"], ""},
		"empty credentials":   {"BASIC", `{"credentials":{}}`, fullCredentials["BASIC"], ""},
		"same type":           {"BASIC", `{"type":"BASIC"}`, fullCredentials["BASIC"], ""},
		"username":            {"BASIC", `{"credentials":{"username":"v"}}`, `{"username":"v","password":"` + canary + `"}`, ""},
		"password":            {"BASIC", `{"credentials":{"password":"new"}}`, `{"username":"belfry","password":"new"}`, ""},
		"foreign members":     {"BASIC", `{"credentials":{"secretKey":"x","tokenUrl":"nonsense"}}`, fullCredentials["BASIC"], ""},
		"password cleared":    {"BASIC", `{"credentials":{"password":null}}`, "", "credentials.password"},
		"password empty":      {"BASIC", `{"credentials":{"password":""}}`, "", "credentials.password"},
		"colon":               {"BASIC", `{"credentials":{"username":"a:b"}}`, "", "credentials.username"},
		"optional cleared":    {"HMAC", `{"credentials":{"headerName":null,"encoding":null,"previousSecretKeyValidUntil":null}}`, `{"secretKey":"` + canary + `","algorithm":"HMAC_SHA_384"}`, ""},
		"algorithm cleared":   {"HMAC", `{"credentials":{"algorithm":null}}`, "", "credentials.algorithm"},
		"header name":         {"HMAC", `{"credentials":{"headerName":"X Y"}}`, "", "credentials.headerName"},
		"encoding":            {"HMAC", `{"credentials":{"encoding":"base32"}}`, "", "credentials.encoding"},
		"time":                {"HMAC", `{"credentials":{"previousSecretKeyValidUntil":"tomorrow"}}`, "", "credentials.previousSecretKeyValidUntil"},
		"headers are a set":   {"CUSTOM", `{"credentials":{"headers":{"X-Api-Key":"********","X-B":"b"}}}`, `{"headers":{"X-Api-Key":"` + canary + `","X-B":"b"}}`, ""},
		"mask of none":        {"CUSTOM", `{"credentials":{"headers":{"X-New":"********"}}}`, "", "credentials.headers"},
		"no headers":          {"CUSTOM", `{"credentials":{"headers":null}}`, "", "credentials.headers"},
		"optional of oauth":   {"OAUTH", `{"credentials":{"grantType":"client_credentials","username":"","password":"","clientId":null,"clientSecret":null,"scope":"","resource":null,"refreshToken":"","headers":null}}`, `{"tokenUrl":"https://id.acme.example/token","grantType":"client_credentials"}`, ""},
		"password grant":      {"OAUTH", `{"credentials":{"password":null}}`, "", "credentials.password"},
		"refresh token grant": {"OAUTH", `{"credentials":{"grantType":"refresh_token","refreshToken":null}}`, "", "credentials.refreshToken"},
		"grant":               {"OAUTH", `{"credentials":{"grantType":"implicit"}}`, "", "credentials.grantType"},
		"token url":           {"OAUTH", `{"credentials":{"tokenUrl":"id.acme.example"}}`, "", "credentials.tokenUrl"},
		"token url too long":  {"OAUTH", `{"credentials":{"tokenUrl":"https://id.acme.example/` + strings.Repeat("x", 255) + `"}}`, "", "credentials.tokenUrl"},
		"other type":          {"OAUTH", `{"type":"BASIC","credentials":{"username":"v","password":"new"}}`, `{"username":"v","password":"new"}`, ""},
		"other, incomplete":   {"HMAC", `{"type":"BASIC","credentials":{"username":"v"}}`, "", "credentials.password"},
		"other, with mask":    {"OAUTH", `{"type":"BASIC","credentials":{"username":"v","password":"********"}}`, "", "credentials.password"},
		"unknown type":        {"BASIC", `{"type":"basic"}`, "", "type"},
		"type null":           {"BASIC", `{"type":null}`, "", "type"},
		"credentials null":    {"BASIC", `{"credentials":null}`, "", "credentials"},
		"credentials a list":  {"BASIC", `{"credentials":[]}`, "", "credentials"},
		"255":                 {"BASIC", `{"credentials":{"password":"` + strings.Repeat("ü", 255) + `"}}`, `{"username":"belfry","password":"` + strings.Repeat("ü", 255) + `"}`, ""},
		"256":                 {"BASIC", `{"credentials":{"password":"` + strings.Repeat("ü", 256) + `"}}`, "", "credentials.password"},
		"control character":   {"BASIC", `{"credentials":{"password":"a\u0000"}}`, "", "credentials.password"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.must(t, "POST", security, keyManage, jsonf(`{"authId":"s","type":%q,"credentials":%s}`, tt.typ, fullCredentials[tt.typ]), 201)
			want := tt.want
			if want == "" {
				want = fullCredentials[tt.typ]
				sc := scenario{method: "PUT", url: security + "/s", key: keyManage, body: tt.body, status: 400, hasNot: []string{canary}}
				if e := readContractError(t, sc.on(t, h)); len(e.Errors[tt.field]) == 0 {
					t.Errorf("names %v, want %s", e.Errors, tt.field)
				}
			} else {
				h.must(t, "PUT", security+"/s", keyManage, tt.body, 200)
			}
			if got := h.must(t, "GET", security+"/s?reveal=true", keyReveal, "", 200); !strings.Contains(got, `"credentials":`+want+`}`) {
				t.Errorf("now %s\nwant %s", got, want)
			}
		})
	}
}

// What a new setting must have, by type.
func TestSecurity_createLimits(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	long, longer := strings.Repeat("x", 255), strings.Repeat("x", 256)
	basic := func(u, p string) string {
		return jsonf(`"type":"BASIC","credentials":{"username":%q,"password":%q}`, u, p)
	}
	hmac := func(k, a string) string {
		return jsonf(`"type":"HMAC","credentials":{"secretKey":%q,"algorithm":%q}`, k, a)
	}
	oauth := func(more string) string {
		return `"type":"OAUTH","credentials":{"tokenUrl":"https://id.acme.example/","grantType":"client_credentials"` + more + `}`
	}
	tests := []struct{ good, bad, field string }{
		{basic("u", "p"), basic("", "p"), "credentials.username"},
		{basic(long, long), basic(longer, "p"), "credentials.username"},
		{"", basic("u", longer), "credentials.password"},
		{"", basic("u", ""), "credentials.password"},
		{"", basic("u", model.SecretMask), "credentials.password"},
		{"", `"type":"BASIC"`, "credentials"},
		{"", `"credentials":{"username":"u","password":"p"}`, "type"},
		{"", `"type":null,"credentials":null`, "type"},
		{"", `"type":"JWT","credentials":{}`, "type"},
		{hmac(long, "HMAC_MD5"), hmac(longer, "HMAC_MD5"), "credentials.secretKey"},
		{hmac("k", "HMAC_SHA_1"), hmac("k", "HMAC_SHA_3"), "credentials.algorithm"},
		{hmac("k", "HMAC_SHA_224"), hmac("", "HMAC_SHA_224"), "credentials.secretKey"},
		{hmac("k", "HMAC_SHA_512"), hmac("k", ""), "credentials.algorithm"},
		{"", `"type":"HMAC","credentials":{"secretKey":"k","algorithm":"HMAC_MD5","previousSecretKey":"old"}`, "credentials.previousSecretKeyValidUntil"},
		{oauth(`,"clientId":"` + long + `","clientSecret":"` + long + `","scope":"` + long + `","resource":"` + long + `"`), oauth(`,"clientId":"` + longer + `"`), "credentials.clientId"},
		{oauth(`,"clientId":"","clientSecret":"","scope":"","username":"","password":"","resource":"","refreshToken":""`), oauth(`,"clientSecret":"` + longer + `"`), "credentials.clientSecret"},
		{"", oauth(`,"scope":"` + longer + `"`), "credentials.scope"},
		{"", oauth(`,"resource":"` + longer + `"`), "credentials.resource"},
		{"", oauth(`,"refreshToken":"` + longer + `"`), "credentials.refreshToken"},
		{oauth(`,"headers":{"X-A":"1"}`), oauth(`,"headers":{"X A":"1"}`), "credentials.headers"},
		{"", oauth(`,"headers":{"":"1"}`), "credentials.headers"},
		{"", oauth(`,"headers":{"X-A":"` + model.SecretMask + `"}`), "credentials.headers.X-A"},
		{"", `"type":"OAUTH","credentials":{"grantType":"client_credentials"}`, "credentials.tokenUrl"},
		{"", `"type":"OAUTH","credentials":{"tokenUrl":"https://id.acme.example/"}`, "credentials.grantType"},
		{`"type":"CUSTOM","credentials":{"headers":{"X-A":""}}`, `"type":"CUSTOM","credentials":{"headers":{}}`, "credentials.headers"},
		{"", `"type":"CUSTOM","credentials":{"headers":{"X-A":"1","x-a":"2"}}`, "credentials.headers.x-a"},
		{"", `"type":"CUSTOM","credentials":{"headers":{"X-A":"a\nb"}}`, "credentials.headers.X-A"},
	}
	for i, tt := range tests {
		if tt.good != "" {
			h.must(t, "POST", security, keyManage, jsonf(`{"authId":"good-%d",%s}`, i, tt.good), 201)
		}
		before := h.config.changes()
		e := readContractError(t, h.must(t, "POST", security, keyManage, jsonf(`{"authId":"bad-%d",%s}`, i, tt.bad), 400))
		if len(e.Errors[tt.field]) != 1 {
			t.Errorf("%.60s names %v, want %s", tt.bad, e.Errors, tt.field)
		}
		if h.config.changes() != before {
			t.Errorf("%.60s changed something", tt.bad)
		}
	}
}

// An update without a type depends on what is stored, so that it must see
// every acknowledged write.
func TestSecurity_putReadsCurrentState(t *testing.T) {
	t.Parallel()
	h := contractHarness(t)
	n := h.cluster.linearized
	h.must(t, "PUT", security+"/sec-1", keyManage, `{"credentials":{"secretKey":"new"}}`, 200)
	if h.cluster.linearized != n+1 {
		t.Error("the type was read without asking the leader")
	}
	h.cluster.stale = 1500 * time.Millisecond
	scenario{
		method: "PUT", url: security + "/sec-1?consistency=stale", key: keyManage, body: `{"credentials":{"secretKey":"new"}}`, status: 200,
		headers: map[string]string{headerStaleness: "1500"},
	}.on(t, h)
	if h.cluster.linearized != n+1 {
		t.Error("consistency=stale asked the leader")
	}
}
