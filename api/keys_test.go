package api

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/belfry/fsm/model"
)

const acmeKeys = accountsPath + "/acme/keys"

// createKey makes a key and returns the answer.
func (h *harness) createKey(t *testing.T, body string) keyCreatedOut {
	t.Helper()
	var out keyCreatedOut
	if err := json.Unmarshal([]byte(h.must(t, "POST", acmeKeys, keyFull, body, 201)), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// A key from its making to its end: it is shown once and never again, works at
// once, and what changes of it counts at once.
func TestKey_life(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	body := `{"name":"Billing","scopes":["subscriptions:manage","events:write"],"expiresAt":"2026-11-23T13:00:00.0009+01:00","cidrs":["192.0.2.77/24","2001:db8::1"]}`
	res := h.do(t, scenario{method: "POST", url: acmeKeys, key: keyFull, body: body})
	var made keyCreatedOut
	if err := json.Unmarshal(res.Body.Bytes(), &made); err != nil || res.Code != 201 {
		t.Fatalf("%d %v\n%s", res.Code, err, res.Body)
	}
	url := acmeKeys + "/" + made.KeyID
	if id, _ := HashKey(made.Key); id != made.KeyID || !keyForm.MatchString(made.Key) || res.Header().Get("Location") != url {
		t.Errorf("key %s of id %s at %s", made.Key, made.KeyID, res.Header().Get("Location"))
	}
	want := `{"keyId":"` + made.KeyID + `","accountId":"acme","name":"Billing","scopes":["subscriptions:manage","events:write"],"expiresAt":"2026-11-23T12:00:00Z",` +
		`"cidrs":["192.0.2.0/24","2001:db8::1/128"],"disabled":false,"createdAt":"2026-11-23T10:00:00Z","updatedAt":"2026-11-23T10:00:00Z"}`
	if got := h.must(t, "GET", url, keyFull, "", 200); got != want {
		t.Errorf("shown: %s\nwant %s", got, want)
	}
	h.must(t, "GET", profiles, made.Key, "", 200)

	_, secret, _ := strings.Cut(strings.TrimPrefix(made.Key, keyPrefix), "_")
	row, err := h.config.Key(made.KeyID)
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{
		"list": h.must(t, "GET", acmeKeys, keyFull, "", 200), "change": h.must(t, "PUT", url, keyFull, `{"name":null}`, 200), "audit": h.must(t, "GET", accountsPath+"/acme/audit", keyFull, "", 200),
		"log": h.log.String(), "row": fmt.Sprintf("%+v", row), "metrics": h.must(t, "GET", "/metrics", "", "", 200),
	} {
		if strings.Contains(text, secret) || strings.Contains(text, `"key":`) {
			t.Errorf("%s shows the key: %s", what, text)
		}
	}

	for _, step := range []struct {
		body   string
		status int // of a use of the key
	}{
		{`{"disabled":true}`, 401},
		{`{"disabled":null}`, 200},
		{`{"cidrs":["203.0.113.0/24"]}`, 401},
		{`{"cidrs":[]}`, 200},
		{`{"cidrs":["203.0.113.0/24"]}`, 401},
		{`{"cidrs":null}`, 200},
		{`{"scopes":["events:write"]}`, 403},
		{`{"scopes":["subscriptions:read"]}`, 200},
		{`{"scopes":null}`, 403},
		{`{"scopes":["subscriptions:read"],"expiresAt":null}`, 200},
		{`{}`, 200},
	} {
		h.must(t, "PUT", url, keyFull, step.body, 200)
		if res := h.do(t, scenario{method: "GET", url: profiles, key: made.Key}); res.Code != step.status {
			t.Errorf("after %s: %d, want %d", step.body, res.Code, step.status)
		}
	}
	h.advance(3 * time.Hour) // past the time that was cleared
	h.must(t, "GET", profiles, made.Key, "", 200)
	h.must(t, "PUT", url, keyFull, `{"expiresAt":"2026-11-23T13:00:00.001Z"}`, 200)
	h.must(t, "GET", profiles, made.Key, "", 200)
	h.advance(time.Millisecond)
	h.must(t, "GET", profiles, made.Key, "", 401)
	h.must(t, "DELETE", url, keyFull, "", 204)
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		h.must(t, method, url, keyFull, `{}`, 404)
	}
}

// The address ranges of a key, at their limit and one above, and those that
// would never match.
func TestKey_addressRanges(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	ranges := func(n int) string {
		var list []string
		for i := range n {
			list = append(list, jsonf(`"10.0.%d.0/24"`, i))
		}
		return "[" + strings.Join(list, ",") + "]"
	}
	made := h.createKey(t, `{"scopes":[],"cidrs":`+ranges(maxCIDRs)+`}`)
	if len(made.CIDRs) != maxCIDRs {
		t.Errorf("%d ranges, want %d", len(made.CIDRs), maxCIDRs)
	}
	for method, url := range map[string]string{"POST": acmeKeys, "PUT": acmeKeys + "/" + made.KeyID} {
		if _, at := refusal(t, h.must(t, method, url, keyFull, `{"scopes":[],"cidrs":`+ranges(maxCIDRs+1)+`}`, 400)); at["/cidrs"] != "must hold at most 64 items" {
			t.Errorf("%s of 65 ranges names %v", method, at)
		}
		bad := []string{"", "x", "10.0.0.0/33", "10.0.0/8", "::ffff:10.0.0.1", "::ffff:10.0.0.0/104", "fe80::1%eth0", "fe80::/10%eth0", "10.0.0.1/", " 10.0.0.1", "2001:db8::/129"}
		list := must(json.Marshal(append([]string{"10.0.0.1"}, bad...)))
		_, at := refusal(t, h.must(t, method, url, keyFull, `{"scopes":[],"cidrs":`+string(list)+`}`, 400))
		if len(at) != len(bad) || at["/cidrs/0"] != "" {
			t.Errorf("%s names %d of %d ranges: %v", method, len(at), len(bad), at)
		}
	}
	for in, want := range map[string]string{"0.0.0.0/0": "0.0.0.0/0", "::/0": "::/0", "192.0.2.255/25": "192.0.2.128/25", "2001:DB8:0::5/64": "2001:db8::/64", "10.0.0.1": "10.0.0.1/32"} {
		if made := h.createKey(t, `{"scopes":[],"cidrs":["`+in+`"]}`); !slices.Equal(made.CIDRs, []string{want}) {
			t.Errorf("%s becomes %v", in, made.CIDRs)
		}
	}
}

// A time that has passed, and one that could never be shown, are refused; the
// zero time is not "never".
func TestKey_expiry(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	made := h.createKey(t, `{"scopes":[]}`)
	if made.ExpiresAt != nil {
		t.Errorf("without an end it ends %v", made.ExpiresAt)
	}
	scenario{method: "POST", url: acmeKeys, key: keyFull, body: `{"scopes":[],"expiresAt":null}`, offSpec: true, status: 201, hasNot: []string{"expiresAt"}}.on(t, h)
	for at, status := range map[string]int{
		"2026-11-23T10:00:00.001Z": 200, "9999-12-31T23:59:59.999Z": 200, "9999-12-31T22:59:59-01:00": 200,
		"2026-11-23T10:00:00Z": 400, "2026-11-23T10:00:00.0009Z": 400, "2026-11-23T10:59:59+01:00": 400, "0001-01-01T00:00:00Z": 400, "0000-01-01T00:00:00+01:00": 400,
		"9999-12-31T23:59:59-01:00": 400, "10000-01-01T00:00:00Z": 400, "tomorrow": 400, "": 400,
	} {
		body := `{"scopes":[],"expiresAt":"` + at + `"}`
		created := status
		if status == 200 {
			created = 201
		}
		for method, url := range map[string]string{"POST": acmeKeys, "PUT": acmeKeys + "/" + made.KeyID} {
			want := status
			if method == "POST" {
				want = created
			}
			res := h.do(t, scenario{method: method, url: url, key: keyFull, body: body})
			if res.Code != want {
				t.Errorf("%s %s: %d, want %d\n%s", method, at, res.Code, want, res.Body)
			}
			if _, fields := refusal(t, res.Body.String()); want == 400 && (len(fields) != 1 || fields["/expiresAt"] == "") {
				t.Errorf("%s %s names %v", method, at, fields)
			}
		}
	}
	h.must(t, "GET", acmeKeys+"?size=100", keyFull, "", 200)
}

// What a key cannot be, and whose keys one sees.
func TestKey_refused(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	before := h.config.changes()
	for body, want := range map[string][]string{
		`{}`:               {"/scopes"},
		`{"scopes":null}`:  {"/scopes"},
		`{"scopes":"all"}`: {"/scopes"},
		`{"scopes":["all","events:read","events:read"]}`:                                    {"/scopes/0", "/scopes/2"},
		`{"scopes":[],"name":"` + strings.Repeat("x", 256) + `"}`:                           {"/name"},
		`{"scopes":[],"keyId":"x"}`:                                                         {"/keyId"},
		`{"scopes":[],"key":"choose-my-own-key-please"}`:                                    {"/key"},
		`{"scopes":["x"],"name":"\u0007","cidrs":["x"],"expiresAt":"2020-01-01T00:00:00Z"}`: {"/scopes/0", "/name", "/cidrs/0", "/expiresAt"},
	} {
		_, at := refusal(t, h.must(t, "POST", acmeKeys, keyFull, body, 400))
		for _, f := range want {
			if at[f] == "" || len(at) != len(want) {
				t.Errorf("%s names %v, want %v", body, at, want)
			}
		}
	}
	p, at := refusal(t, h.must(t, "POST", acmeKeys, keyFull, `{"scopes":["events:read","admin:accounts"]}`, 403))
	if p.Code != model.CodeForbidden || at["/scopes/1"] != "cannot be granted by a caller that does not hold it" {
		t.Errorf("a scope that the caller lacks: %+v", p)
	}
	other, _ := HashKey(keyOther)
	acme, _ := HashKey(keyManage)
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		for _, url := range []string{acmeKeys + "/" + other, acmeKeys + "/none", acmeKeys + "/", accountsPath + "/other/keys/" + acme, accountsPath + "/other/keys/" + other, accountsPath + "/none/keys/x"} {
			if p, _ := refusal(t, h.must(t, method, url, keyFull, `{}`, 404)); strings.Contains(p.Detail, other) || strings.Contains(p.Detail, acme) {
				t.Errorf("%s %s: %s", method, url, p.Detail)
			}
		}
	}
	if h.config.changes() != before {
		t.Error("something was changed")
	}
	// The operator sees both, each under its account only.
	h.must(t, "GET", accountsPath+"/other/keys/"+other, keyAdmin, "", 200)
	h.must(t, "GET", accountsPath+"/acme/keys/"+other, keyAdmin, "", 404)
	h.config.fail = model.Invalid("id", "is in use")
	if _, at := refusal(t, h.must(t, "POST", acmeKeys, keyFull, `{"scopes":[]}`, 400)); at["/keyId"] == "" {
		t.Errorf("a refusal of the state machine names %v", at)
	}
}

// An operator can make keys of an account, but none that does more than the
// operator may.
func TestKey_operator(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.addKey(t, "operator-of-accounts-only", model.Key{Account: model.DefaultAccount, Scopes: []model.Scope{model.ScopeAdminAccounts}})
	for scope, status := range map[string]int{
		"admin:accounts": 201, "accounts:manage": 201, "audit:read": 201, "admin:cluster": 403, "events:write": 403, "subscriptions:read": 403, "security:reveal": 403,
	} {
		h.must(t, "POST", acmeKeys, "operator-of-accounts-only", `{"scopes":["`+scope+`"]}`, status)
		h.must(t, "POST", acmeKeys, keyAdmin, `{"scopes":["`+scope+`"]}`, 201)
	}
}
