package api

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/belfry/fsm/model"
)

// password is that of every user that tests sign in as.
const password = canary + "-password"

// userHarness has the user ana of acme, who may read subscriptions.
func userHarness(t *testing.T, change ...func(*Options)) *harness {
	t.Helper()
	h := newHarness(t, change...)
	h.addUser(t, model.User{Account: accAcme, Username: "ana", Scopes: []model.Scope{model.ScopeSubscriptionsRead}})
	return h
}

func (h *harness) addUser(t *testing.T, u model.User) {
	t.Helper()
	u.PasswordHash = sampleHash()
	if _, err := h.config.CreateUser(t.Context(), model.Actor{Name: "system"}, u); err != nil {
		t.Fatal(err)
	}
}

// signIn opens a session and returns its Authorization header.
func signIn(t *testing.T, h *harness, username string) string {
	t.Helper()
	var out sessionOut
	body := must(json.Marshal(map[string]string{"username": username, "password": password}))
	if err := json.Unmarshal([]byte(h.must(t, "POST", sessionPath, "", string(body), 200)), &out); err != nil {
		t.Fatal(err)
	}
	return "IBSSO " + out.Token
}

func mustRequest(t *testing.T, method, url string) *http.Request {
	t.Helper()
	return httptest.NewRequestWithContext(t.Context(), method, url, nil)
}

// node makes another node of the same cluster: the same state and token key.
func (h *harness) node(t *testing.T) *harness {
	t.Helper()
	o := h.o
	o.Registerer = nil
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	other := *h
	other.Server = s
	return &other
}

// A session opens what its user may do, on every node, until its time is over.
func TestSession_useAndExpiry(t *testing.T) {
	t.Parallel()
	h := userHarness(t, func(o *Options) { o.Limits.SessionLifetime = 10 * time.Minute })
	token := signIn(t, h, "ana")
	for _, n := range []*harness{h, h.node(t)} {
		n.with(t, token, 200)
		scenario{method: "POST", url: profiles, body: `{"profileId":"p",` + hook + `}`, header: map[string]string{"Authorization": token}, status: 403}.on(t, n)
	}
	h.with(t, "Bearer "+strings.TrimPrefix(token, "IBSSO "), 401)
	h.advance(10*time.Minute - time.Second)
	h.with(t, token, 200)
	h.advance(time.Second)
	h.with(t, token, 401)
}

// DELETE ends the token it came with, on every node and for ever, and no other.
func TestSession_end(t *testing.T) {
	t.Parallel()
	h := userHarness(t)
	other := h.node(t)
	token, kept := signIn(t, h, "ana"), signIn(t, other, "ana")
	bearer := "Bearer " + h.bearer(t, tokenForm())
	end := func(n *harness, authorization string, status int) string {
		t.Helper()
		return scenario{method: "DELETE", url: sessionPath, header: map[string]string{"Authorization": authorization}, status: status}.on(t, n)
	}
	for _, a := range []string{token, bearer} {
		end(other, a, 204)
		for _, n := range []*harness{h, other} {
			n.with(t, a, 401)
			end(n, a, 401)
		}
	}
	h.with(t, kept, 200)
	h.with(t, "App "+keyManage, 200)
	acme, err := h.config.ListAudit(accAcme, 0, 2)
	if err != nil || len(acme.Items) != 2 || acme.Items[1].Action != "token.revoke" || acme.Items[1].Actor != "user:ana" {
		t.Errorf("the audit log has %+v, %v", acme.Items, err)
	}
	for _, a := range []string{"App " + keyManage, basicOf("ana", password)} {
		if p, _ := refusal(t, end(h, a, 400)); !strings.HasPrefix(p.Detail, "this ends a token") {
			t.Errorf("without a token: %+v", p)
		}
	}
	h.config.fail = &model.Error{Code: model.CodeUnavailable, Message: "there is no leader right now", RetryAfter: 2}
	end(h, kept, 503)
	h.config.fail = nil
	h.with(t, kept, 200)
}

// Every reason for a refusal has the same answer; what is missing is named.
func TestSession_refused(t *testing.T) {
	t.Parallel()
	h := userHarness(t)
	h.addUser(t, model.User{Account: accAcme, Username: "off", Disabled: true})
	h.addUser(t, model.User{Account: accOther, Username: "of-other"})
	h.must(t, "PUT", accountsPath+"/other", keyAdmin, `{"disabled":true}`, 200)
	answers := map[string]bool{}
	for _, in := range [][2]string{
		{"ana", "wrong-" + canary}, {"nobody", password}, {"off", password}, {"of-other", password}, {"ana", strings.Repeat("x", maxPassword+1)}, {strings.Repeat("x", maxUsername+1), password},
	} {
		body := string(must(json.Marshal(map[string]string{"username": in[0], "password": in[1]})))
		answers[withoutID(t, h.must(t, "POST", sessionPath, "", body, 401))] = true
	}
	if len(answers) != 1 {
		t.Errorf("the reasons can be told apart: %v", slices.Collect(maps.Keys(answers)))
	}
	for body, field := range map[string]string{
		`{"username":"ana"}`: "/password", `{"password":"x"}`: "/username", `{"username":"ana","password":"x","remember":true}`: "/remember",
		`{"username":7,"password":"x"}`: "/username",
	} {
		if _, at := refusal(t, h.must(t, "POST", sessionPath, "", body, 400)); len(at) != 1 || at[field] == "" {
			t.Errorf("%s names %v, want %s", body, at, field)
		}
	}
	for _, body := range []string{`{"username":"","password":"x"}`, `{"username":"ana","password":""}`} {
		h.must(t, "POST", sessionPath, "", body, 400)
	}
	if strings.Contains(h.log.String(), canary) {
		t.Error("a password is in the log")
	}
}

// What becomes of a user counts for their sessions at once.
func TestSession_followsItsUser(t *testing.T) {
	t.Parallel()
	const ana = accountsPath + "/acme/users/ana"
	for name, tt := range map[string]struct {
		method, url, body string
		status            int
		anew              bool
		then              int
	}{
		"disabled":         {"PUT", ana, `{"disabled":true}`, 200, false, 401},
		"scopes taken":     {"PUT", ana, `{"scopes":null}`, 200, false, 403},
		"account disabled": {"PUT", accountsPath + "/acme", `{"disabled":true}`, 200, false, 401},
		"deleted":          {"DELETE", ana, "", 204, false, 401},
		"made anew":        {"DELETE", ana, "", 204, true, 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := userHarness(t)
			token := signIn(t, h, "ana")
			h.must(t, tt.method, tt.url, keyAdmin, tt.body, tt.status)
			if tt.anew {
				h.addUser(t, model.User{Account: accAcme, Username: "ana", Scopes: model.AllScopes()})
			}
			h.with(t, token, tt.then)
		})
	}
}

// The longest name there can be signs in both ways, whatever its bytes.
func TestSession_longestName(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	name := strings.Repeat("𝛼", model.MaxTextLength) // four bytes each
	body := string(must(json.Marshal(map[string]any{"username": name, "password": password, "scopes": []string{"subscriptions:read"}})))
	h.must(t, "POST", accountsPath+"/acme/users", keyAdmin, body, 201)
	h.with(t, signIn(t, h, name), 200)
	h.with(t, basicOf(name, password), 200)
	h.with(t, basicOf(name+"x", password), 401)
}

// A token in use is renewed until the session has lasted for its limit, on any
// node; the one before goes on until its own end. INV api-12.
func TestSession_renewal(t *testing.T) {
	t.Parallel()
	h := userHarness(t, func(o *Options) {
		o.Limits.SessionLifetime, o.Limits.BearerLifetime, o.Limits.SessionLimit = 10*time.Minute, 10*time.Minute, 25*time.Minute
	})
	other := h.node(t)
	renew := func(n *harness, authorization string, status int) (renewedOut, string) {
		t.Helper()
		var out renewedOut
		body := scenario{method: "POST", url: sessionPath + "/renewal", header: map[string]string{"Authorization": authorization}, status: status}.on(t, n)
		if status == 200 {
			if err := json.Unmarshal([]byte(body), &out); err != nil {
				t.Fatal(err)
			}
		}
		return out, body
	}
	begun := h.o.Now()
	for scheme, first := range map[string]string{"IBSSO": strings.TrimPrefix(signIn(t, h, "ana"), "IBSSO "), "Bearer": h.bearer(t, tokenForm())} {
		h.now.Store(begun.UnixNano())
		end := begun.Add(25 * time.Minute)
		h.advance(9 * time.Minute)
		second, _ := renew(other, scheme+" "+first, 200)
		if !second.TokenExpiresAt.Equal(begun.Add(19*time.Minute).Truncate(time.Second)) || !second.SessionEndsAt.Equal(end.Truncate(time.Second)) {
			t.Errorf("%s: %+v, begun %v", scheme, second, begun)
		}
		h.with(t, scheme+" "+first, 200)
		h.advance(time.Minute)
		h.with(t, scheme+" "+first, 401)
		renew(h, scheme+" "+first, 401)
		h.advance(8 * time.Minute)
		third, _ := renew(h, scheme+" "+second.Token, 200)
		if !third.TokenExpiresAt.Equal(third.SessionEndsAt) || !third.SessionEndsAt.Equal(second.SessionEndsAt) {
			t.Errorf("%s: beyond the limit: %+v", scheme, third)
		}
		h.advance(7*time.Minute - time.Second)
		last, _ := renew(h, scheme+" "+third.Token, 200)
		if !last.TokenExpiresAt.Equal(third.SessionEndsAt) {
			t.Errorf("%s: a second before its end: %+v", scheme, last)
		}
		h.advance(time.Second)
		for _, token := range []string{third.Token, last.Token} {
			h.with(t, scheme+" "+token, 401)
			renew(h, scheme+" "+token, 401)
		}
	}
	for _, a := range []string{"App " + keyManage, basicOf("ana", password)} {
		if _, body := renew(h, a, 400); !strings.Contains(body, "this renews a token") {
			t.Errorf("without a token: %s", body)
		}
	}
	if d := newHarness(t).o.Limits.SessionLimit; d != DefaultSessionLimit {
		t.Errorf("the default is %v", d)
	}
}

// The end of a session ends every token of it, those of other nodes included,
// as long as there can be any.
func TestSession_renewalAndEnd(t *testing.T) {
	t.Parallel()
	h := userHarness(t)
	first := signIn(t, h, "ana")
	scenario{method: "POST", url: sessionPath + "/renewal", header: map[string]string{"Authorization": first}, body: `{"for":"ever"}`, status: 400}.on(t, h)
	var second renewedOut
	body := scenario{method: "POST", url: sessionPath + "/renewal", header: map[string]string{"Authorization": first}, body: "{}", status: 200}.on(t, h)
	if err := json.Unmarshal([]byte(body), &second); err != nil {
		t.Fatal(err)
	}
	who := h.withBody(t, "IBSSO "+second.Token)
	if who.SessionEndsAt == nil || !who.SessionEndsAt.Equal(second.SessionEndsAt) || !who.TokenExpiresAt.Equal(second.TokenExpiresAt) {
		t.Errorf("the session shows %+v, the renewal %+v", who, second)
	}
	scenario{method: "DELETE", url: sessionPath, header: map[string]string{"Authorization": first}, status: 204}.on(t, h)
	for _, a := range []string{first, "IBSSO " + second.Token} {
		h.with(t, a, 401)
		scenario{method: "POST", url: sessionPath + "/renewal", header: map[string]string{"Authorization": a}, status: 401}.on(t, h)
	}
	cl, ok := h.tokens.parse(second.Token)
	if until := h.config.revoked[cl.ID]; !ok || !until.Equal(second.SessionEndsAt) {
		t.Errorf("it is remembered until %v, the session could last until %v", until, second.SessionEndsAt)
	}

	// A token of a build that did not know when its holder signed in.
	old := h.tokens.seal(claims{ID: "old", Kind: tokenSession, Subject: "user:ana", Generation: cl.Generation, Expires: cl.Expires})
	h.with(t, "IBSSO "+old, 200)
	scenario{method: "POST", url: sessionPath + "/renewal", header: map[string]string{"Authorization": "IBSSO " + old}, status: 400, has: []string{"earlier version"}}.on(t, h)
	if who := h.withBody(t, "IBSSO "+old); !who.SessionEndsAt.Equal(*who.TokenExpiresAt) {
		t.Errorf("it could be renewed: %+v", who)
	}
}

// withBody asks who the credentials are.
func (h *harness) withBody(t *testing.T, authorization string) (out callerOut) {
	t.Helper()
	body := scenario{method: "GET", url: sessionPath, header: map[string]string{"Authorization": authorization}, status: 200}.on(t, h)
	if err := json.Unmarshal([]byte(body), &out); err != nil {
		t.Fatal(err)
	}
	return out
}
