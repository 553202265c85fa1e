package console

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/api/client"
	"example.com/belfry/fsm/model"
)

const accountsRoute = "GET /accounts/1/accounts"

func testKeyOf(id, name string, scopes ...model.Scope) client.Key {
	return client.Key{KeyID: id, AccountID: "acme", Name: name, Scopes: scopes, CIDRs: []string{}, CreatedAt: now.Add(-100 * time.Hour), UpdatedAt: now}
}

func testUserOf(name string, scopes ...model.Scope) client.User {
	return client.User{Username: name, AccountID: "acme", Scopes: scopes, CreatedAt: now.Add(-100 * time.Hour), UpdatedAt: now}
}

// accessOf has one account, key and user with the name, and n of each in the
// lists.
func accessOf(name string, n int) func(*fakeAPI) {
	return func(f *fakeAPI) {
		accounts, keys, users, records := []client.Account{}, []client.Key{}, []client.User{}, []client.AuditRecord{}
		for i := range n {
			id := fmt.Sprintf("%s-%d", name, i)
			accounts = append(accounts, client.Account{AccountID: fmt.Sprintf("acc-%d", i), Name: id, Disabled: i%3 == 1, CreatedAt: now, UpdatedAt: now})
			k := testKeyOf(fmt.Sprintf("k%d", i), id, model.ScopeEventsWrite, model.ScopeEventsRead)
			switch i % 4 {
			case 1:
				k.ExpiresAt, k.CIDRs = now.Add(5*24*time.Hour), []string{"192.0.2.0/24", "2001:db8::/32"}
			case 2:
				k.Disabled = true
			case 3:
				k.ExpiresAt = now.Add(-time.Hour)
			}
			keys = append(keys, k)
			u := testUserOf(id, model.ScopeSubscriptionsManage)
			u.Disabled = i%3 == 1
			users = append(users, u)
			changes := []client.AuditChange{
				{Object: "profile " + name, Member: "rateLimit", Before: "10", After: "50"},
				{Object: "profile " + name, Member: "webhook.notifyUrl", Before: name, After: "https:" + "//example.com/" + name},
				{Object: "security " + name, Member: "secrets", Before: model.AuditMask, After: model.AuditMask},
				{Object: "security " + name, Member: "scope", After: `["` + name + `"]`},
			}
			records = append(records, client.AuditRecord{
				Index: uint64(n - i), At: now.Add(-time.Duration(i) * 7 * time.Hour), Actor: "user:" + name, ActorFrom: "192.0.2.7", RequestID: fmt.Sprintf("req-%d", i),
				Action: []string{"profile.update", "key.create", "subscription.delete", "security.reveal"}[i%4], Object: id,
				Changes: changes[:[]int{4, 3, 2, 0}[i%4]], MoreChanges: i%4 == 1,
			})
		}
		f.set(accountsRoute, paged(accounts))
		f.set(accountsRoute+"/acme/keys", paged(keys))
		f.set(accountsRoute+"/acme/users", paged(users))
		f.set(accountsRoute+"/acme/audit", paged(records))
		f.set(accountsRoute+"/acme", client.Account{AccountID: "acme", Name: name, CreatedAt: now, UpdatedAt: now})
		f.set(accountsRoute+"/acme/keys/k1", testKeyOf("k1", name, model.ScopeEventsWrite))
		f.set(accountsRoute+"/acme/users/"+name, testUserOf(name, model.ScopeEventsRead))
	}
}

// accessFixturesOf are the fixtures of a list of the menu.
func accessFixturesOf(path, empty string, one ...string) []fixture {
	out := []fixture{
		{screen: path, path: path, kind: "empty", api: accessOf("", 0), want: []string{empty, "curl"}},
		{screen: path, path: path, kind: "one", api: accessOf("billing", 4), want: one},
		{screen: path, path: path + "?page=3", kind: "many", api: accessOf("p", 10_000), want: []string{"p-149", "page 3 of 200"}},
		{screen: path, path: path + "?page=9", kind: "beyond", api: accessOf("p", 4), want: []string{"nothing on this page"}},
	}
	for kind, name := range map[string]string{"unicode": textUnicode, "rtl": textRTL, "long": longText} {
		out = append(out, fixture{screen: path, path: path, kind: kind, api: accessOf(name, 2)})
	}
	return out
}

func accountFixtures() []fixture {
	one := accessOf("Acme Ltd", 2)
	return append(accessFixturesOf("/accounts", "No accounts yet", "acc-1", "billing-1", "disabled"),
		fixture{screen: "/new-account", path: "/new-account", kind: "one", want: []string{"Create the account"}},
		fixture{screen: "/accounts/{account}", path: "/accounts/acme", kind: "one", api: one, want: []string{"Acme Ltd", "2 keys", "2 users", "your account"}},
		fixture{screen: "/accounts/{account}", path: "/accounts/acme", kind: "unicode", api: accessOf(textUnicode, 1)},
		fixture{screen: "/accounts/{account}/edit", path: "/accounts/acme/edit", kind: "one", api: one, want: []string{"Acme Ltd", "your own account"}},
		fixture{screen: "/accounts/{account}/delete", path: "/accounts/acme/delete", kind: "one", api: one, want: []string{"2 keys and 2 users go with it", "signed in with this account"}},
	)
}

func keyFixtures() []fixture {
	one := accessOf("billing", 4)
	return append(accessFixturesOf("/keys", "No keys yet", "billing-0", "expires in 5 d 0 h", "disabled", "expired", "192.0.2.0/24"),
		fixture{screen: "/new-key", path: "/new-key", kind: "one", want: []string{"events:write: publish events", "Expires at (UTC)"}},
		fixture{screen: "/keys/{key}", path: "/keys/k1", kind: "one", api: one, want: []string{"billing", "events:write", "anywhere"}},
		fixture{screen: "/keys/{key}", path: "/keys/k1", kind: "unicode", api: accessOf(textUnicode, 1)},
		fixture{screen: "/keys/{key}/edit", path: "/keys/k1/edit", kind: "one", api: one, want: []string{`value="billing"`, "Save"}},
		fixture{screen: "/keys/{key}/delete", path: "/keys/k1/delete", kind: "one", api: one, want: []string{"Delete the key billing?"}},
	)
}

func userFixtures() []fixture {
	one := accessOf("ana", 3)
	return append(accessFixturesOf("/users", "No users yet", "billing-0", "disabled", "subscriptions:manage"),
		fixture{screen: "/new-user", path: "/new-user", kind: "one", want: []string{"12 to 128 characters"}},
		fixture{screen: "/users/{user}", path: "/users/ana", kind: "one", api: one, want: []string{"ana", ">you<", "events:read"}},
		fixture{screen: "/users/{user}/edit", path: "/users/ana/edit", kind: "one", api: one, want: []string{"This is you"}},
		fixture{screen: "/users/{user}/password", path: "/users/ana/password", kind: "one", api: one, want: []string{"The same again"}},
		fixture{screen: "/users/{user}/delete", path: "/users/ana/delete", kind: "one", api: one, want: []string{"Delete the user ana?", "You are signed in as this user"}},
	)
}

func auditFixtures() []fixture {
	return accessFixturesOf("/audit", "Nothing was changed yet", "profile update", "billing-1", "req-2", "192.0.2.7", "Wednesday, 25 November 2026", "4 members changed", "3 members changed, and more", "<del><bdi>10</bdi></del>", "<ins><bdi>50</bdi></ins>", "security billing")
}

// bodyOf is the JSON of the one call to a route.
func bodyOf(t *testing.T, api *fakeAPI, route string) map[string]any {
	t.Helper()
	calls := api.seen(route)
	if len(calls) != 1 {
		t.Fatalf("%s was called %d times", route, len(calls))
	}
	var m map[string]any
	if err := json.Unmarshal([]byte(calls[0].Body), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func wantRedirect(t *testing.T, res *httptest.ResponseRecorder, to string) {
	t.Helper()
	if res.Code != http.StatusSeeOther || res.Header().Get("Location") != to {
		t.Fatalf("the answer is %d to %q, want a redirect to %q\n%s", res.Code, res.Header().Get("Location"), to, res.Body)
	}
}

// INV console-5: a new key is on one page, and in no address, cookie or other
// page.
func TestKeys_shownOnce(t *testing.T) {
	t.Parallel()
	const secret = "blf_CANARY-of-a-new-key"
	api := newFakeAPI()
	accessOf("billing", 1)(api)
	api.set("POST /accounts/1/accounts/acme/keys", map[string]any{"keyId": "k1", "accountId": "acme", "name": "billing", "scopes": []string{"events:write"}, "cidrs": []string{}, "key": secret})
	c := newConsole(t, api)
	res := post(t, c, "/new-key", url.Values{"name": {" billing "}, "scopes": {"events:write"}, "expiresAt": {"2027-01-31T12:30"}, "cidrs": {"192.0.2.0/24\r\n\r\n 2001:db8::1 \r\n"}})
	if res.Code != http.StatusCreated || !strings.Contains(res.Body.String(), `value="`+secret+`"`) {
		t.Fatalf("%d, or the key is not there to copy\n%s", res.Code, res.Body)
	}
	checkPage(t, c, res.Body.String())
	if h := fmt.Sprint(res.Header()); strings.Contains(h, secret) || res.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("headers: %s", h)
	}
	want := map[string]any{"name": "billing", "scopes": []any{"events:write"}, "expiresAt": "2027-01-31T12:30:00Z", "cidrs": []any{"192.0.2.0/24", "2001:db8::1"}}
	if diff := cmp.Diff(want, bodyOf(t, api, "POST /accounts/1/accounts/acme/keys")); diff != "" {
		t.Errorf("what was asked for:\n%s", diff)
	}
	for _, path := range []string{"/keys", "/keys/k1", "/keys/k1/edit"} {
		if strings.Contains(get(t, c, path).Body.String(), secret) {
			t.Errorf("%s shows the key", path)
		}
	}
}

func TestKeys_errorsAtTheirFields(t *testing.T) {
	t.Parallel()
	api := newFakeAPI()
	var vs model.Violations
	vs.Add("/scopes/0", "cannot be granted")
	vs.Add("/cidrs/1", "is not an address range")
	api.set("POST /accounts/1/accounts/acme/keys", vs.Err())
	c := newConsole(t, api)
	res := post(t, c, "/new-key", url.Values{"name": {"kept"}, "scopes": {"events:write"}, "cidrs": {"1\n2"}})
	body := res.Body.String()
	for _, want := range []string{`id="f-scopes-error"`, `id="f-cidrs-error"`, "Is not an address range", `value="kept"`, `value="events:write" checked`} {
		if res.Code != http.StatusUnprocessableEntity || !strings.Contains(body, want) {
			t.Errorf("%d without %q", res.Code, want)
		}
	}
	checkPage(t, c, body)
	if res = post(t, c, "/new-key", url.Values{"expiresAt": {"tomorrow"}}); !strings.Contains(res.Body.String(), `id="f-expiresAt-error"`) {
		t.Errorf("a time that is none is not said at its field")
	}
}

// An edit sends what it changes and nothing else; credentials that can do more
// than the caller can only be disabled.
func TestKeys_edit(t *testing.T) {
	t.Parallel()
	end := now.Add(50*24*time.Hour + 17*time.Second)
	old := testKeyOf("k1", "billing", model.ScopeEventsWrite)
	old.ExpiresAt, old.CIDRs = end, []string{"192.0.2.0/24"}
	same := url.Values{"name": {"billing"}, "scopes": {"events:write"}, "expiresAt": {end.Format(formTime)}, "cidrs": {"192.0.2.0/24"}}
	with := func(name string, values ...string) url.Values {
		out := url.Values{}
		maps.Copy(out, same)
		out[name] = values
		return out
	}
	tests := map[string]struct {
		form url.Values
		want map[string]any
		key  client.Key
	}{
		"nothing":   {same, map[string]any{"disabled": false}, old},
		"name":      {with("name", ""), map[string]any{"disabled": false, "name": nil}, old},
		"scopes":    {with("scopes", "events:read"), map[string]any{"disabled": false, "scopes": []any{"events:read"}}, old},
		"no end":    {with("expiresAt", ""), map[string]any{"disabled": false, "expiresAt": nil}, old},
		"other end": {with("expiresAt", "2028-01-01T00:00"), map[string]any{"disabled": false, "expiresAt": "2028-01-01T00:00:00Z"}, old},
		"anywhere":  {with("cidrs", ""), map[string]any{"disabled": false, "cidrs": []any{}}, old},
		"stronger":  {with("disabled", "true"), map[string]any{"disabled": true}, testKeyOf("k1", "root", model.ScopeAdminCluster)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := newFakeAPI().set("PUT /accounts/1/accounts/acme/keys/k1", old).set(accountsRoute+"/acme/keys/k1", tt.key)
			api.caller.Scopes = []model.Scope{model.ScopeAccountsManage, model.ScopeEventsWrite, model.ScopeEventsRead}
			c := newConsole(t, api)
			if strings.Contains(get(t, c, "/keys/k1/edit").Body.String(), "disable and delete it, and nothing else") != (name == "stronger") {
				t.Error("the form is the wrong one")
			}
			wantRedirect(t, post(t, c, "/keys/k1/edit", tt.form), Prefix+"/keys/k1")
			if diff := cmp.Diff(tt.want, bodyOf(t, api, "PUT /accounts")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Keys, users and accounts are deleted by their names only.
func TestAccess_delete(t *testing.T) {
	t.Parallel()
	tests := []struct{ page, name, route, to string }{
		{"/keys/k1/delete", "ana", "DELETE /accounts/1/accounts/acme/keys/k1", "/keys"},
		{"/users/ana/delete", "ana", "DELETE /accounts/1/accounts/acme/users/ana", "/users"},
		{"/users/ana/delete?account=other", "ana", "DELETE /accounts/1/accounts/other/users/ana", "/users?account=other"},
		{"/accounts/other/delete", "other", "DELETE /accounts/1/accounts/other", "/accounts"},
	}
	for _, tt := range tests {
		api := newFakeAPI().set(tt.route, nil)
		accessOf("ana", 1)(api)
		api.set(accountsRoute+"/other", client.Account{AccountID: "other"}).set(accountsRoute+"/other/keys", paged([]client.Key{})).set(accountsRoute+"/other/users", paged([]client.User{}))
		api.set(accountsRoute+"/other/users/ana", testUserOf("ana"))
		c := newConsole(t, api)
		if res := post(t, c, tt.page, url.Values{"confirm": {"anna"}}); res.Code != http.StatusUnprocessableEntity || len(api.seen("DELETE ")) > 0 {
			t.Errorf("%s: a wrong name is answered %d", tt.page, res.Code)
		}
		wantRedirect(t, post(t, c, tt.page, url.Values{"confirm": {tt.name}}), Prefix+tt.to)
		api.set(tt.route, model.Errorf(model.CodeInUse, "it is in use"))
		if res := post(t, c, tt.page, url.Values{"confirm": {tt.name}}); res.Code != http.StatusConflict || !strings.Contains(res.Body.String(), "It is in use") {
			t.Errorf("%s: a refusal is answered %d", tt.page, res.Code)
		}
	}
}

// INV console-5: no password comes back.
func TestUsers_passwords(t *testing.T) {
	t.Parallel()
	const password = "CANARY correct horse"
	api := newFakeAPI()
	accessOf("ana", 1)(api)
	refuse := &model.Error{Code: model.CodeInvalid, Field: "/password", Message: "is too common"}
	api.set("POST /accounts/1/accounts/acme/users", refuse).set("PUT /accounts/1/accounts/acme/users/ana", refuse)
	c := newConsole(t, api)
	for path, form := range map[string]url.Values{
		"/new-user":           {"username": {"bo"}, "password": {password}, "scopes": {"events:read"}},
		"/users/ana/password": {"password": {password}, "again": {password}},
	} {
		res := post(t, c, path, form)
		if body := res.Body.String(); res.Code != http.StatusUnprocessableEntity || strings.Contains(body, "CANARY") || !strings.Contains(body, `id="f-password-error"`) {
			t.Errorf("%s: %d\n%s", path, res.Code, body)
		}
	}
	if res := post(t, c, "/users/ana/password", url.Values{"password": {password}, "again": {"other"}}); !strings.Contains(res.Body.String(), `id="f-again-error"`) {
		t.Errorf("two passwords that differ are taken: %d", res.Code)
	}
	api.set("PUT /accounts/1/accounts/acme/users/ana", testUserOf("ana"))
	wantRedirect(t, post(t, c, "/users/ana/password", url.Values{"password": {password}, "again": {password}}), Prefix+"/users/ana")
	wantRedirect(t, post(t, c, "/users/ana/edit", url.Values{"scopes": {"events:read", "audit:read"}, "disabled": {"true"}}), Prefix+"/users/ana")
	calls := api.seen("PUT /accounts/1/accounts/acme/users/ana")
	if got, want := calls[len(calls)-1].Body, `{"scopes":["events:read","audit:read"],"disabled":true}`; got != want {
		t.Errorf("the edit sends %s, want %s", got, want)
	}
}

func TestAccounts_createAndEdit(t *testing.T) {
	t.Parallel()
	api := newFakeAPI().set("POST /accounts/1/accounts", client.Account{AccountID: "new"}).set("PUT /accounts/1/accounts/acme", client.Account{AccountID: "acme"})
	accessOf("Acme", 1)(api)
	c := newConsole(t, api)
	wantRedirect(t, post(t, c, "/new-account", url.Values{"accountId": {"new"}, "name": {"New"}}), Prefix+"/accounts/new")
	wantRedirect(t, post(t, c, "/accounts/acme/edit", url.Values{"name": {""}, "disabled": {"true"}}), Prefix+"/accounts/acme")
	if diff := cmp.Diff(map[string]any{"name": nil, "disabled": true}, bodyOf(t, api, "PUT /accounts")); diff != "" {
		t.Error(diff)
	}
	api.set("POST /accounts/1/accounts", &model.Error{Code: model.CodeExists, Field: "/accountId", Message: "is taken"})
	if res := post(t, c, "/new-account", url.Values{"accountId": {"new"}}); res.Code != http.StatusConflict || !strings.Contains(res.Body.String(), `id="f-accountId-error"`) {
		t.Errorf("an id that is taken is answered %d", res.Code)
	}
}

// The lists of another account stay with it.
func TestAccess_otherAccount(t *testing.T) {
	t.Parallel()
	api := newFakeAPI().set(accountsRoute+"/other/keys", paged([]client.Key{testKeyOf("k7", "theirs")})).set(accountsRoute+"/other/users", paged([]client.User{testUserOf("bo")})).set(accountsRoute+"/other/audit", paged([]client.AuditRecord{{Action: "key.create", Actor: "system"}}))
	c := newConsole(t, api)
	for path, want := range map[string]string{
		"/keys?account=other": `href="/console/keys/k7?account=other"`, "/users?account=other": `href="/console/users/bo?account=other"`, "/audit?account=other": `href="/console/accounts/other"`,
	} {
		if body := get(t, c, path).Body.String(); !strings.Contains(body, want) {
			t.Errorf("%s lacks %s", path, want)
		}
	}
}
