package api

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"example.com/belfry/fsm/model"
)

// matrixKeys adds the keys of one row of the matrix.
type matrixKeys struct{ exact, other, under string }

func addMatrixKeys(t *testing.T, h *harness, scope model.Scope) matrixKeys {
	t.Helper()
	k := matrixKeys{exact: "exact-key-of-the-matrix-", other: "other-key-of-the-matrix-", under: "under-key-of-the-matrix-"}
	var exact, under []model.Scope
	if scope.Known() {
		exact = []model.Scope{scope}
	}
	for _, s := range model.AllScopes() {
		if !scope.Allows([]model.Scope{s}) {
			under = append(under, s)
		}
	}
	h.addKey(t, k.exact, model.Key{Account: accAcme, Scopes: exact})
	h.addKey(t, k.other, model.Key{Account: accOther, Scopes: exact})
	h.addKey(t, k.under, model.Key{Account: accAcme, Scopes: under})
	return k
}

// authorization is how a key comes with the sample.
func (h *harness) authorization(t *testing.T, s sample, key string) string {
	t.Helper()
	if !s.token {
		return "App " + key
	}
	id, _ := HashKey(key)
	row, err := h.config.Key(id)
	if err != nil {
		t.Fatal(err)
	}
	token := h.tokens.issue(tokenBearer, "key:"+id, row.CreatedIndex, time.Hour)
	return "Bearer " + token
}

// unauthorized are credentials that open nothing, by name.
func (h *harness) unauthorized(t *testing.T, s sample) map[string]string {
	t.Helper()
	basic := func(text string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(text)) }
	old := h.tokens.issue(tokenBearer, "key:none", 1, -time.Hour)
	return map[string]string{
		"missing": "", "garbage": "App nonsense-nonsense-nonsense", "no scheme": keyAdmin, "scheme alone": "App", "unknown scheme": "Digest " + keyAdmin,
		"basic garbage": "Basic %%%", "basic, no colon": basic("ana"),
		"token garbage": "Bearer a.b", "token of another kind": "IBSSO " + strings.TrimPrefix(h.authorization(t, sample{token: true}, keyFull), "Bearer "), "old token": "Bearer " + old,
		"expired": h.authorization(t, s, keyExpired), "disabled": h.authorization(t, s, keyOff), "from elsewhere": h.authorization(t, s, keyElse), "too long": "App " + strings.Repeat("x", maxAuthorization),
	}
}

// marks are parts of what account acme owns.
var marks = []string{"acme.example", canary, "cert-1.", "sub-1"}

// INV api-4: the matrix of every route by every kind of credentials. What must
// come of it follows from the scope in the table.
func TestAuthorization_matrix(t *testing.T) {
	t.Parallel()
	all := samples()
	for _, r := range newHarness(t).table {
		t.Run(r.method+" "+r.path, func(t *testing.T) {
			t.Parallel()
			s, ok := all[r.method+" "+r.path]
			if !ok {
				t.Fatal("the route has no sample")
			}
			h := sampleHarness(t)
			k := addMatrixKeys(t, h, r.scope)
			before, written := h.config.changes(), h.cluster.calls()
			if r.scope != scopePublic {
				for name, auth := range h.unauthorized(t, s) {
					res := h.send(t, &r, s, auth, "")
					wantRefusal(t, name, res, 401)
					if res.Header().Get("Www-Authenticate") == "" {
						t.Errorf("%s: no WWW-Authenticate", name)
					}
				}
				if r.scope != scopeCaller {
					wantRefusal(t, "under-scoped", h.send(t, &r, s, h.authorization(t, s, k.under), ""), 403)
				}
			} else if !s.ownAuth {
				for name, auth := range h.unauthorized(t, s) {
					if res := h.send(t, &r, s, auth, ""); res.Code != s.status {
						t.Errorf("%s on a public route: %d, want %d", name, res.Code, s.status)
					}
				}
			}
			if h.config.changes() != before || h.cluster.calls() != written {
				t.Error("credentials that open nothing changed something")
			}
			checkOther(t, h, &r, s, k)
			if res := h.send(t, &r, s, h.ownCredentials(t, &r, s, k), ""); res.Code != s.status {
				t.Errorf("own: %d, want %d\n%s", res.Code, s.status, res.Body)
			}
		})
	}
}

func (h *harness) ownCredentials(t *testing.T, r *route, s sample, k matrixKeys) string {
	t.Helper()
	if r.scope == scopePublic {
		return ""
	}
	return h.authorization(t, s, k.exact)
}

// checkOther: the same scope in another account gets nothing of acme's and
// changes nothing of it.
func checkOther(t *testing.T, h *harness, r *route, s sample, k matrixKeys) {
	t.Helper()
	operator := strings.HasPrefix(string(r.scope), "admin:")
	if r.scope == scopePublic || s.token || operator {
		if s.other != 0 {
			t.Error("the sample has a status for another account, but the route serves all alike")
		}
		return
	}
	before := h.config.owned(accAcme)
	res := h.send(t, r, s, h.authorization(t, s, k.other), "")
	if res.Code != s.other {
		t.Errorf("other account: %d, want %d\n%s", res.Code, s.other, res.Body)
	}
	for _, m := range marks {
		if strings.Contains(res.Body.String(), m) && !strings.Contains(s.url+s.body, m) {
			t.Errorf("other account sees %s in\n%s", m, res.Body)
		}
	}
	if after := h.config.owned(accAcme); after != before {
		t.Errorf("other account changed acme: %s, then %s", before, after)
	}
}

// wantRefusal wants a status and nothing of what acme owns.
func wantRefusal(t *testing.T, name string, res *httptest.ResponseRecorder, status int) {
	t.Helper()
	if res.Code != status {
		t.Errorf("%s: %d, want %d\n%s", name, res.Code, status, res.Body)
	}
	for _, m := range marks {
		if strings.Contains(res.Body.String(), m) {
			t.Errorf("%s: sees %s in\n%s", name, m, res.Body)
		}
	}
}

// calls counts the changes that were asked of the cluster.
func (c *fakeCluster) calls() int { return c.transfers + len(c.removed) + len(c.drains) }

// owned sums up what an account owns.
func (f *fakeConfig) owned(account string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := map[string]int{}
	for _, a := range f.audit {
		if a.Account == account {
			n[account]++
		}
	}
	for _, k := range f.keys {
		if k.Account == account {
			n["keys"]++
		}
	}
	return jsonf("%v", n)
}

// A key that is bound to an address works from it and from nowhere else.
func TestAuthorization_address(t *testing.T) {
	t.Parallel()
	h := sampleHarness(t)
	r := &route{method: "GET", path: profiles}
	for remote, want := range map[string]int{
		"203.0.113.0:1": 200, "203.0.113.255:1": 200, "[::ffff:203.0.113.7]:1": 200, "203.0.114.0:1": 401, "203.0.112.255:1": 401, "[2001:db8::1]:1": 401, "nonsense": 401, "": 401,
	} {
		if res := h.send(t, r, sample{url: profiles}, "App "+keyElse, remote); res.Code != want {
			t.Errorf("from %q: %d, want %d", remote, res.Code, want)
		}
	}
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, profiles, nil)
	req.Header.Set("Authorization", "App "+keyElse)
	req.Header.Set("X-Forwarded-For", "203.0.113.7")
	res := httptest.NewRecorder()
	if h.ServeHTTP(res, req); res.Code != 401 {
		t.Errorf("X-Forwarded-For is believed: %d", res.Code)
	}
	req.Header.Add("Authorization", "App "+keyManage)
	res = httptest.NewRecorder()
	if h.ServeHTTP(res, req); res.Code != 401 {
		t.Errorf("two Authorization headers: %d", res.Code)
	}
}

// Name and password open what the user's scopes do, as long as the user and
// the account are enabled; every other answer is the same.
func TestAuthorization_basic(t *testing.T) {
	t.Parallel()
	h := sampleHarness(t)
	ctx, by := t.Context(), model.Actor{Name: "system"}
	u := model.User{Account: accAcme, Username: "reader", PasswordHash: sampleHash(), Scopes: []model.Scope{model.ScopeSubscriptionsRead}}
	if _, err := h.config.CreateUser(ctx, by, u); err != nil {
		t.Fatal(err)
	}
	r := &route{method: "GET", path: profiles}
	try := func(credentials string, want int) string {
		t.Helper()
		res := h.send(t, r, sample{url: profiles}, "Basic "+base64.StdEncoding.EncodeToString([]byte(credentials)), "")
		if res.Code != want {
			t.Errorf("%d, want %d\n%s", res.Code, want, res.Body)
		}
		return res.Body.String()
	}
	const right = "reader:" + canary + "-password"
	try(right, 200)
	try("ana:"+canary+"-password", 403) // no scopes
	wrong := try("reader:nonsense-nonsense", 401)
	if unknown := try("nobody:nonsense-nonsense", 401); unknown != wrong {
		t.Errorf("an unknown user is answered with\n%s\na wrong password with\n%s", unknown, wrong)
	}
	if _, err := h.config.UpdateUser(ctx, by, accAcme, "reader", model.UserPatch{Disabled: model.Some(true)}); err != nil {
		t.Fatal(err)
	}
	if disabled := try(right, 401); disabled != wrong { // the password is still remembered as right
		t.Errorf("a disabled user is answered with\n%s", disabled)
	}
}

// INV api-5: nobody makes or changes credentials that hold more than they do;
// disabling and deleting stronger ones is allowed.
func TestAuthorization_grants(t *testing.T) {
	t.Parallel()
	h := sampleHarness(t)
	const key = "manager-key-of-acme-tests"
	h.addKey(t, key, model.Key{Account: accAcme, Scopes: []model.Scope{model.ScopeAccountsManage, model.ScopeEventsRead}})
	strong, _ := HashKey(keyFull)
	weak, _ := HashKey(keyNone)
	const keys, users = accountsPath + "/acme/keys", accountsPath + "/acme/users"
	const password = `"password":"` + canary + `-password"`
	for _, row := range []struct {
		method, url, body string
		status            int
	}{
		{"POST", keys, `{"scopes":["events:read"]}`, 201},
		{"POST", keys, `{"scopes":["events:read","events:write"]}`, 403},
		{"POST", keys, `{"scopes":["admin:accounts"]}`, 403},
		{"POST", keys, `{"scopes":["root"]}`, 400},
		{"PUT", keys + "/" + weak, `{"scopes":["events:read"]}`, 200},
		{"PUT", keys + "/" + weak, `{"scopes":["security:reveal"]}`, 403},
		{"PUT", keys + "/" + strong, `{"cidrs":null}`, 403},
		{"PUT", keys + "/" + strong, `{"disabled":false}`, 403},
		{"PUT", keys + "/" + strong, `{"disabled":true,"name":"x"}`, 403},
		{"PUT", keys + "/" + strong, `{"disabled":true}`, 200},
		{"DELETE", keys + "/" + strong, ``, 204},
		{"POST", users, `{"username":"u",` + password + `,"scopes":["events:write"]}`, 403},
		{"POST", users, `{"username":"u",` + password + `,"scopes":["events:read"]}`, 201},
		{"PUT", users + "/u", `{"scopes":["accounts:manage","audit:read"]}`, 403},
		{"PUT", users + "/u", `{` + password + `}`, 200},
	} {
		h.must(t, row.method, row.url, key, row.body, row.status)
	}
}
