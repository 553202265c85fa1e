package api

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/fsm/model"
)

// lockOut is what the state machine says when nobody could administer any more.
const lockOut = "this would leave no enabled key with the scope admin:accounts that does not expire: create another one first"

// An account from its making to its end.
func TestAccount_life(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	const made = `{"accountId":"new","name":"New Ltd","disabled":false,"createdAt":"2026-11-23T10:00:00Z","updatedAt":"2026-11-23T10:00:00Z"}`
	body := scenario{
		method: "POST", url: accountsPath, key: keyAdmin, body: `{"accountId":"new","name":"New Ltd"}`, status: 201, headers: map[string]string{"Location": accountsPath + "/new"},
	}.on(t, h)
	if body != made {
		t.Errorf("made: %s", body)
	}
	const url = accountsPath + "/new"
	if got := h.must(t, "GET", url, keyAdmin, "", 200); got != made {
		t.Errorf("shown: %s", got)
	}
	h.advance(time.Second)
	changed := strings.Replace(made, `"updatedAt":"2026-11-23T10:00:00Z"`, `"updatedAt":"2026-11-23T10:00:01Z"`, 1)
	for change, want := range map[string]string{
		`{}`: changed, `{"name":null}`: strings.Replace(changed, `"name":"New Ltd",`, "", 1),
	} {
		if got := h.must(t, "PUT", url, keyAdmin, change, 200); got != want {
			t.Errorf("%s gives %s", change, got)
		}
		h.must(t, "PUT", url, keyAdmin, `{"name":"New Ltd"}`, 200)
	}
	h.addKey(t, "key-of-the-new-account", model.Key{Account: "new", Scopes: []model.Scope{model.ScopeSubscriptionsManage}})
	h.must(t, "GET", profiles, "key-of-the-new-account", "", 200)
	h.must(t, "PUT", url, keyAdmin, `{"disabled":true}`, 200)
	h.must(t, "GET", profiles, "key-of-the-new-account", "", 401)
	h.must(t, "PUT", url, keyAdmin, `{"disabled":null}`, 200)
	h.must(t, "POST", profiles, "key-of-the-new-account", `{"profileId":"p",`+hook+`}`, 201)
	scenario{method: "DELETE", url: url, key: keyAdmin, status: 409, has: []string{"account new still owns profile p", `"code":"in_use"`}}.on(t, h)
	h.must(t, "DELETE", profiles+"/p", "key-of-the-new-account", "", 200)
	h.must(t, "DELETE", url, keyAdmin, "", 204)
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		h.must(t, method, url, keyAdmin, `{}`, 404)
	}
}

func TestAccount_refused(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	text := func(n int) string { return strings.Repeat("ü", n) }
	for body, want := range map[string]string{
		`{"name":"x"}`:        "/accountId",
		`{"accountId":null}`:  "/accountId",
		`{"accountId":""}`:    "/accountId",
		`{"accountId":"a b"}`: "/accountId",
		`{"accountId":"` + strings.Repeat("x", model.MaxIDLength+1) + `"}`: "/accountId",
		`{"accountId":"a","name":"` + text(model.MaxTextLength+1) + `"}`:   "/name",
		`{"accountId":"a","name":"a\u0000"}`:                               "/name",
		`{"accountId":"a","owner":"x"}`:                                    "/owner",
		`{"accountId":"a","createdAt":"2026-11-23T10:00:00Z"}`:             "/createdAt",
	} {
		if _, at := refusal(t, h.must(t, "POST", accountsPath, keyAdmin, body, 400)); len(at) != 1 || at[want] == "" {
			t.Errorf("%s names %v, want %s", body, at, want)
		}
	}
	longest := strings.Repeat("x", model.MaxIDLength)
	h.must(t, "POST", accountsPath, keyAdmin, `{"accountId":"`+longest+`","name":"`+text(model.MaxTextLength)+`"}`, 201)
	h.must(t, "GET", accountsPath+"/"+longest, keyAdmin, "", 200)
	scenario{method: "POST", url: accountsPath, key: keyAdmin, body: `{"accountId":"acme"}`, status: 409, has: []string{`"code":"already_exists"`}}.on(t, h)
	if _, at := refusal(t, h.must(t, "PUT", accountsPath+"/acme", keyAdmin, `{"name":"`+text(model.MaxTextLength+1)+`"}`, 400)); at["/name"] == "" {
		t.Errorf("PUT names %v", at)
	}
	if _, at := refusal(t, h.must(t, "PUT", accountsPath+"/acme", keyAdmin, `{"accountId":"b"}`, 400)); at["/accountId"] == "" {
		t.Errorf("an id that changes names %v", at)
	}
	// The state machine calls it id; on the wire it has another name.
	h.config.fail = model.Invalid("id", "is kept for the node")
	if _, at := refusal(t, h.must(t, "POST", accountsPath, keyAdmin, `{"accountId":"b"}`, 400)); at["/accountId"] != "is kept for the node" {
		t.Errorf("a refusal of the state machine names %v", at)
	}
}

// The last key that can administer is protected in every way it could go, and
// the text says what to do first.
func TestLastAdminKey(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	id, _ := HashKey(keyAdmin)
	h.config.fail = model.Errorf(model.CodeInUse, lockOut)
	const account = accountsPath + "/default"
	for _, row := range [][3]string{
		{"DELETE", account + "/keys/" + id, ""},
		{"PUT", account + "/keys/" + id, `{"disabled":true}`},
		{"PUT", account + "/keys/" + id, `{"scopes":["events:read"]}`},
		{"PUT", account + "/keys/" + id, `{"expiresAt":"2030-01-01T00:00:00Z"}`},
		{"PUT", account, `{"disabled":true}`},
		{"DELETE", account, ""},
	} {
		p, at := refusal(t, h.must(t, row[0], row[1], keyAdmin, row[2], 409))
		if p.Detail != lockOut || p.Code != model.CodeInUse || len(at) > 0 {
			t.Errorf("%v: %+v", row, p)
		}
	}
}

// An account that another node made a moment ago is found by a change here:
// only a node that has caught up says that there is none.
func TestAccount_madeElsewhere(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	n := h.cluster.linearized
	url := accountsPath + "/late/keys"
	h.cluster.catchUp = func() {
		if _, err := h.config.CreateAccount(t.Context(), model.Actor{Name: "system"}, model.Account{ID: "late"}); err != nil {
			t.Error(err)
		}
	}
	h.must(t, "POST", url, keyAdmin, `{"scopes":[]}`, 201)
	h.must(t, "POST", url, keyAdmin, `{"scopes":[]}`, 201)
	h.must(t, "POST", accountsPath+"/acme/keys", keyFull, `{"scopes":[]}`, 201)
	if h.cluster.linearized != n+1 {
		t.Errorf("the leader was asked %d times, want once", h.cluster.linearized-n)
	}
	h.cluster.catchUp = nil
	h.must(t, "POST", accountsPath+"/none/keys", keyAdmin, `{"scopes":[]}`, 404)
	h.cluster.err = model.Errorf(model.CodeUnavailable, "there is no leader right now")
	h.must(t, "POST", accountsPath+"/none/keys", keyAdmin, `{"scopes":[]}`, 503)
	h.must(t, "POST", accountsPath+"/late/keys", keyAdmin, `{"scopes":[]}`, 201)
}

// Every list of the own surfaces is paged, newest first, and knows its limits.
func TestOwnLists_paging(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	const account = accountsPath + "/paged"
	h.must(t, "POST", accountsPath, keyAdmin, `{"accountId":"paged"}`, 201)
	for _, name := range []string{"a", "b", "c"} {
		h.must(t, "POST", accountsPath, keyAdmin, `{"accountId":"`+name+`"}`, 201)
		h.must(t, "POST", account+"/keys", keyAdmin, `{"name":"`+name+`","scopes":[]}`, 201)
		h.addUser(t, model.User{Account: "paged", Username: name})
	}
	for url, list := range map[string]struct {
		member string
		newest []string
		total  int
	}{
		accountsPath:       {"accountId", []string{"c", "b", "a", "paged", accOther, accAcme, model.DefaultAccount}, 7},
		account + "/keys":  {"name", []string{"c", "b", "a"}, 3},
		account + "/users": {"username", []string{"c", "b", "a"}, 3},
		account + "/audit": {"action", []string{"user.create", "key.create", "user.create", "key.create", "user.create", "key.create", "account.create"}, 7},
	} {
		var seen []string
		pages := (list.total + 1) / 2
		for page := range pages + 1 {
			var out pageOf[map[string]any]
			if err := json.Unmarshal([]byte(h.must(t, "GET", url+jsonf("?size=2&page=%d", page), keyAdmin, "", 200)), &out); err != nil {
				t.Fatal(err)
			}
			if want := (paging{Page: page, Size: 2, TotalPages: pages, TotalResults: list.total}); out.Paging != want {
				t.Errorf("%s: page %d has %+v, want %+v", url, page, out.Paging, want)
			}
			for _, it := range out.Results {
				seen = append(seen, it[list.member].(string))
			}
		}
		if diff := cmp.Diff(list.newest, seen); diff != "" {
			t.Errorf("%s: %s", url, diff)
		}
		for query, status := range map[string]int{
			"?size=1": 200, "?size=" + jsonf("%d", model.MaxPageSize): 200, "?page=0": 200, "": 200,
			"?size=0": 400, "?size=" + jsonf("%d", model.MaxPageSize+1): 400, "?page=-1": 400, "?page=x": 400, "?size=1&size=2": 400, "?page=%zz": 400,
		} {
			h.must(t, "GET", url+query, keyAdmin, "", status)
		}
	}
}

// The audit log says who did what from where, and shows an account its own.
func TestAudit(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	id, _ := HashKey(keyAdmin)
	scenario{method: "POST", url: accountsPath, key: keyAdmin, body: `{"accountId":"new"}`, header: map[string]string{headerRequestID: "req-7"}, status: 201}.on(t, h)
	var out pageOf[auditOut]
	if err := json.Unmarshal([]byte(h.must(t, "GET", accountsPath+"/new/audit", keyAdmin, "", 200)), &out); err != nil {
		t.Fatal(err)
	}
	want := []auditOut{{Index: out.Results[0].Index, At: h.o.Now(), Actor: "key:" + id, ActorFrom: "192.0.2.1", RequestID: "req-7", Action: "account.create", Object: "new"}}
	if diff := cmp.Diff(want, out.Results); diff != "" {
		t.Error(diff)
	}
	own := h.must(t, "GET", accountsPath+"/acme/audit", keyFull, "", 200)
	if strings.Contains(own, `"new"`) || !strings.Contains(own, `"actor":"system"`) {
		t.Errorf("acme sees %s", own)
	}
	h.must(t, "GET", accountsPath+"/acme/audit", keyManage, "", 403)
	a := withoutID(t, h.must(t, "GET", accountsPath+"/other/audit", keyFull, "", 404))
	if b := withoutID(t, h.must(t, "GET", accountsPath+"/none/audit", keyFull, "", 404)); a != b {
		t.Errorf("another account is told from none:\n%s\n%s", a, b)
	}
	h.must(t, "GET", accountsPath+"/none/audit", keyAdmin, "", 404)
}

// The audit log names members as the API does.
func TestAudit_changes(t *testing.T) {
	t.Parallel()
	got := auditWire(model.AuditRecord{ChangesCut: true, Changes: []model.AuditChange{
		{Object: "profile orders", Member: "url", Before: "a", After: "b"}, {Object: "user ana", Member: "passwordHash", After: model.AuditMask}, {Object: "profile orders", Member: "rateLimit", After: "5"},
	}})
	want := []auditChangeOut{{"profile orders", "webhook.notifyUrl", "a", "b"}, {"user ana", "password", "", model.AuditMask}, {"profile orders", "rateLimit", "", "5"}}
	if diff := cmp.Diff(want, got.Changes); diff != "" || !got.More {
		t.Errorf("more %t\n%s", got.More, diff)
	}
}
