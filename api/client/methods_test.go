package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// method is one call of the client and the request it must make.
type method struct {
	call   func(context.Context, *Client) (any, error)
	line   string
	body   string
	answer string // default {}
	want   any    // nil: not looked at
}

func alone(err error) (any, error) { return nil, err }

func with[T any](v T, err error) (any, error) { return v, err }

// methods has a call of every method of the Client, by name; what follows a
// slash tells calls of one method apart.
func methods() map[string]method {
	const account, page = "/accounts/1/accounts/a%2Fb", `{"results":[],"paging":{"page":1,"size":2,"totalPages":3,"totalResults":6}}`
	stale := Read{Stale: true, Page: 1, Size: 2}
	const read = "?consistency=stale&page=1&size=2"
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	enabled := false
	m := map[string]method{
		"Do": {func(ctx context.Context, c *Client) (any, error) {
			return alone(c.Do(ctx, "PATCH", "/x%20y?z=1", map[string]int{"a": 1}, nil))
		}, "PATCH /x%20y?z=1", `{"a":1}`, "not looked at", nil},
		"Do/bare": {func(ctx context.Context, c *Client) (any, error) { return alone(c.Do(ctx, "GET", "/x", nil, nil)) }, "GET /x", "", "", nil},

		"Subscriptions": {func(ctx context.Context, c *Client) (any, error) {
			return with(c.Subscriptions(ctx, "SMS", Filter{ApplicationIDs: []string{"a", "b&c"}, EntityIDs: []string{"e"}, CallsConfigurationIDs: []string{"x"}, Resources: []string{"r"}, Users: []string{"u"}}, stale))
		}, "GET /subscriptions/1/subscription/SMS?applicationId=a&applicationId=b%26c&callsConfigurationId=x&consistency=stale&entityId=e&page=1&resource=r&size=2&user=u", "", page, nil},
		"Subscriptions/filters": {func(ctx context.Context, c *Client) (any, error) {
			return with(c.Subscriptions(ctx, "SMS", Filter{Search: "a b", ProfileID: "p", Event: "DELIVERY"}, Read{}))
		}, "GET /subscriptions/1/subscription/SMS?event=DELIVERY&profileId=p&search=a+b", "", page, nil},
		"AllSubscriptions": {func(ctx context.Context, c *Client) (any, error) {
			p, err := c.AllSubscriptions(ctx, Filter{Search: "x", Users: []string{"u"}}, stale)
			return p.Results, err
		}, "GET /subscriptions/1/subscription?consistency=stale&page=1&search=x&size=2&user=u", "", `{"results":[{"channel":"SMS","subscriptionId":"s"}]}`, []ChannelSubscription{{"SMS", Subscription{SubscriptionID: "s"}}}},
		"Profiles/all": {func(ctx context.Context, c *Client) (any, error) {
			return with(c.Profiles(ctx, ProfileFilter{}, Read{}))
		}, "GET /subscriptions/1/profiles", "", page, nil},
		"Subscriptions/all": {func(ctx context.Context, c *Client) (any, error) {
			return with(c.Subscriptions(ctx, "SMS", Filter{}, Read{}))
		}, "GET /subscriptions/1/subscription/SMS", "", page, nil},
		"Subscription": {func(ctx context.Context, c *Client) (any, error) { return with(c.Subscription(ctx, "SMS", "s", stale)) }, "GET /subscriptions/1/subscription/SMS/s" + read, "", `{"subscriptionId":"s","events":["A",{"event":"B","format":"F"}]}`, Subscription{SubscriptionID: "s", Events: []EventName{{"A", ""}, {"B", "F"}}}},
		"CreateSubscription": {func(ctx context.Context, c *Client) (any, error) {
			return with(c.CreateSubscription(ctx, "SMS", Subscription{Name: "n", Events: []EventName{{"A", ""}, {"B", "F"}}, Criteria: []Criterion{{ApplicationID: "a"}}, Profile: Profile{ProfileID: "p"}}))
		}, "POST /subscriptions/1/subscription/SMS", `{"name":"n","events":["A",{"event":"B","format":"F"}],"criteria":[{"applicationId":"a"}],"profile":{"profileId":"p"}}`, `{"subscriptionId":"s","profile":{"profileId":"p"}}`, Refs{"s", Profile{ProfileID: "p"}}},
		"ReplaceSubscription": {func(ctx context.Context, c *Client) (any, error) {
			return with(c.ReplaceSubscription(ctx, "SMS", "s", Subscription{Events: []EventName{}, Profile: Profile{ProfileID: "p"}}))
		}, "PUT /subscriptions/1/subscription/SMS/s", `{"events":[],"profile":{"profileId":"p"}}`, "", nil},
		"DeleteSubscription": {func(ctx context.Context, c *Client) (any, error) {
			return alone(c.DeleteSubscription(ctx, "SMS", "s/../t"))
		}, "DELETE /subscriptions/1/subscription/SMS/s%2F..%2Ft", "", "", nil},

		"Profiles": {func(ctx context.Context, c *Client) (any, error) {
			return with(c.Profiles(ctx, ProfileFilter{Search: "h k", AuthID: "a", ClientCertificateID: "k"}, stale))
		}, "GET /subscriptions/1/profiles?authId=a&clientCertificateId=k&consistency=stale&page=1&search=h+k&size=2", "", page, nil},
		"Profile": {func(ctx context.Context, c *Client) (any, error) { return with(c.Profile(ctx, "p", stale)) }, "GET /subscriptions/1/profiles/p" + read, "", `{"profileId":"p","enabled":false}`, Profile{ProfileID: "p", Enabled: &enabled}},
		"CreateProfile": {func(ctx context.Context, c *Client) (any, error) {
			return with(c.CreateProfile(ctx, Profile{ProfileID: "p", Webhook: &Webhook{NotifyURL: "https://x/"}, Retry: &RetryPolicy{Policy: "custom", Schedule: []int64{1}}}))
		}, "POST /subscriptions/1/profiles", `{"profileId":"p","webhook":{"notifyUrl":"https://x/"},"retry":{"policy":"custom","schedule":[1]}}`, "", nil},
		"UpdateProfile": {func(ctx context.Context, c *Client) (any, error) {
			return with(c.UpdateProfile(ctx, "p", ProfileUpdate{RateLimit: model.Null[int](), WindowSize: model.Some(30), Enabled: model.Some(false)}))
		}, "PUT /subscriptions/1/profiles/p", `{"windowSize":30,"rateLimit":null,"enabled":false}`, "", nil},
		"DeleteProfile": {func(ctx context.Context, c *Client) (any, error) { return alone(c.DeleteProfile(ctx, "p")) }, "DELETE /subscriptions/1/profiles/p", "", "", nil},

		"SecuritySettings": {func(ctx context.Context, c *Client) (any, error) {
			return with(c.SecuritySettings(ctx, SecurityFilter{Search: "h", Unused: true}, stale))
		}, "GET /subscriptions/1/security?consistency=stale&page=1&search=h&size=2&unused=true", "", page, nil},
		"Security":       {func(ctx context.Context, c *Client) (any, error) { return with(c.Security(ctx, "s", stale)) }, "GET /subscriptions/1/security/s" + read, "", `{"authId":"s","type":"HMAC"}`, Security{AuthID: "s", Type: "HMAC"}},
		"RevealSecurity": {func(ctx context.Context, c *Client) (any, error) { return with(c.RevealSecurity(ctx, "s")) }, "GET /subscriptions/1/security/s?reveal=true", "", "", nil},
		"CreateSecurity": {func(ctx context.Context, c *Client) (any, error) {
			return with(c.CreateSecurity(ctx, Security{AuthID: "s", Type: "BASIC", Credentials: &Credentials{Username: "u", Password: "p"}}))
		}, "POST /subscriptions/1/security", `{"authId":"s","type":"BASIC","credentials":{"username":"u","password":"p"}}`, "", nil},
		"UpdateSecurity": {func(ctx context.Context, c *Client) (any, error) {
			return with(c.UpdateSecurity(ctx, "s", Security{Credentials: &Credentials{Password: "p"}}))
		}, "PUT /subscriptions/1/security/s", `{"credentials":{"password":"p"}}`, "", nil},
		"DeleteSecurity": {func(ctx context.Context, c *Client) (any, error) { return alone(c.DeleteSecurity(ctx, "s")) }, "DELETE /subscriptions/1/security/s", "", "", nil},

		"Certificates": {func(ctx context.Context, c *Client) (any, error) {
			return with(c.Certificates(ctx, url.Values{"search": {"x y"}}, stale))
		}, "GET /subscriptions/1/certificates?consistency=stale&page=1&search=x+y&size=2", "", page, nil},
		"Certificate": {func(ctx context.Context, c *Client) (any, error) { return with(c.Certificate(ctx, "c", stale)) }, "GET /subscriptions/1/certificates/c" + read, "", `{"certificateId":"c","validFrom":7}`, Certificate{CertificateID: "c", ValidFrom: 7}},
		"CertificateStatuses": {func(ctx context.Context, c *Client) (any, error) {
			return with(c.CertificateStatuses(ctx, nil, Read{}))
		}, "GET /subscriptions/1/certificates/status", "", page, nil},
		"CertificateStatus": {func(ctx context.Context, c *Client) (any, error) { return with(c.CertificateStatus(ctx, "c", Read{})) }, "GET /subscriptions/1/certificates/status/c", "", `{"certificateId":"c","status":"READY"}`, CertificateStatus{"c", "READY"}},
		"CreateCertificate": {func(ctx context.Context, c *Client) (any, error) {
			return with(c.CreateCertificate(ctx, NewCertificate{"c", "AA==", "p"}))
		}, "POST /subscriptions/1/certificates", `{"certificateId":"c","certificateContent":"AA==","passphrase":"p"}`, "", nil},
		"DeleteCertificate": {func(ctx context.Context, c *Client) (any, error) { return alone(c.DeleteCertificate(ctx, "c")) }, "DELETE /subscriptions/1/certificates/c", "", "", nil},
		"TestConnection": {func(ctx context.Context, c *Client) (any, error) {
			return with(c.TestConnection(ctx, "c", "https://x/"))
		}, "POST /subscriptions/1/certificates/test/webhook", `{"certificateId":"c","webhookUrl":"https://x/"}`, `{"result":"FAILED","failReasons":["a"],"hint":"h"}`, ConnectionTest{Result: "FAILED", FailReasons: []string{"a"}, Hint: "h"}},

		"OpenSession": {func(ctx context.Context, c *Client) (any, error) {
			s, err := c.OpenSession(ctx, "u", "p")
			return s.Reveal(), err
		}, "POST /auth/1/session", `{"password":"p","username":"u"}`, `{"token":"t.s"}`, "t.s"},
		"Session": {
			func(ctx context.Context, c *Client) (any, error) { return with(c.Session(ctx)) },
			"GET /auth/1/session", "", `{"accountId":"a","username":"u","scopes":["events:read"],"tokenExpiresAt":"2026-11-23T10:00:00Z"}`,
			Caller{AccountID: "a", Username: "u", Scopes: []model.Scope{model.ScopeEventsRead}, TokenExpiresAt: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)},
		},
		"RenewSession": {func(ctx context.Context, c *Client) (any, error) {
			r, err := c.RenewSession(ctx)
			return []any{r.Token.Reveal(), r.TokenExpiresAt, r.SessionEndsAt}, err
		}, "POST /auth/1/session/renewal", "", `{"token":"t.s","tokenExpiresAt":"2026-11-23T10:00:00Z","sessionEndsAt":"2026-11-23T11:00:00Z"}`, []any{"t.s", at, at.Add(time.Hour)}},
		"EndSession": {func(ctx context.Context, c *Client) (any, error) {
			return alone(c.EndSession(ctx, "Bearer", model.NewSecret("t.s")))
		}, "DELETE /auth/1/session", "", "", nil},
		"IssueToken": {func(ctx context.Context, c *Client) (any, error) {
			tok, err := c.IssueToken(ctx, "id", model.NewSecret("k+/ "))
			return []any{tok.AccessToken.Reveal(), tok.ExpiresIn, tok.Scope}, err
		}, "POST /auth/1/oauth2/token", "client_id=id&client_secret=k%2B%2F+&grant_type=client_credentials", `{"access_token":"t","token_type":"Bearer","expires_in":90,"scope":"a b"}`, []any{"t", 90 * time.Second, "a b"}},

		"Accounts":      {func(ctx context.Context, c *Client) (any, error) { return with(c.Accounts(ctx, stale)) }, "GET /accounts/1/accounts" + read, "", page, nil},
		"Account":       {func(ctx context.Context, c *Client) (any, error) { return with(c.Account(ctx, "a/b", stale)) }, "GET " + account + read, "", `{"accountId":"a/b","createdAt":"2026-11-23T10:00:00Z"}`, Account{AccountID: "a/b", CreatedAt: at}},
		"CreateAccount": {func(ctx context.Context, c *Client) (any, error) { return with(c.CreateAccount(ctx, "a", "n")) }, "POST /accounts/1/accounts", `{"accountId":"a","name":"n"}`, "", nil},
		"UpdateAccount": {func(ctx context.Context, c *Client) (any, error) {
			return with(c.UpdateAccount(ctx, "a/b", AccountUpdate{Name: model.Null[string](), Disabled: model.Some(true)}))
		}, "PUT " + account, `{"name":null,"disabled":true}`, "", nil},
		"DeleteAccount": {func(ctx context.Context, c *Client) (any, error) { return alone(c.DeleteAccount(ctx, "a/b")) }, "DELETE " + account, "", "", nil},

		"Keys": {func(ctx context.Context, c *Client) (any, error) { return with(c.Keys(ctx, "a/b", stale)) }, "GET " + account + "/keys" + read, "", page, nil},
		"Key": {func(ctx context.Context, c *Client) (any, error) {
			k, err := c.Key(ctx, "a/b", "k", stale)
			return k.KeyID + k.Secret.Reveal(), err
		}, "GET " + account + "/keys/k" + read, "", `{"keyId":"k"}`, "k"},
		"CreateKey": {func(ctx context.Context, c *Client) (any, error) {
			k, err := c.CreateKey(ctx, "a/b", NewKey{Scopes: []model.Scope{"events:write"}, ExpiresAt: at, CIDRs: []string{"10.0.0.0/8"}})
			return k.KeyID + " " + k.Secret.Reveal(), err
		}, "POST " + account + "/keys", `{"scopes":["events:write"],"expiresAt":"2026-11-23T10:00:00Z","cidrs":["10.0.0.0/8"]}`, `{"keyId":"k","key":"blf_k_s"}`, "k blf_k_s"},
		"UpdateKey": {func(ctx context.Context, c *Client) (any, error) {
			return with(c.UpdateKey(ctx, "a/b", "k", KeyUpdate{ExpiresAt: model.Null[time.Time](), Disabled: model.Some(false)}))
		}, "PUT " + account + "/keys/k", `{"expiresAt":null,"disabled":false}`, "", nil},
		"DeleteKey": {func(ctx context.Context, c *Client) (any, error) { return alone(c.DeleteKey(ctx, "a/b", "k")) }, "DELETE " + account + "/keys/k", "", "", nil},

		"Users": {func(ctx context.Context, c *Client) (any, error) { return with(c.Users(ctx, "a/b", stale)) }, "GET " + account + "/users" + read, "", page, nil},
		"User":  {func(ctx context.Context, c *Client) (any, error) { return with(c.User(ctx, "a/b", "ü@x", Read{})) }, "GET " + account + "/users/%C3%BC@x", "", `{"username":"ü@x"}`, User{Username: "ü@x"}},
		"CreateUser": {func(ctx context.Context, c *Client) (any, error) {
			return with(c.CreateUser(ctx, "a/b", NewUser{Username: "u", Password: "p", Scopes: []model.Scope{}}))
		}, "POST " + account + "/users", `{"username":"u","password":"p","scopes":[]}`, "", nil},
		"UpdateUser": {func(ctx context.Context, c *Client) (any, error) {
			return with(c.UpdateUser(ctx, "a/b", "u", UserUpdate{Password: model.Some("p")}))
		}, "PUT " + account + "/users/u", `{"password":"p"}`, "", nil},
		"DeleteUser": {func(ctx context.Context, c *Client) (any, error) { return alone(c.DeleteUser(ctx, "a/b", "u")) }, "DELETE " + account + "/users/u", "", "", nil},
		"Audit":      {func(ctx context.Context, c *Client) (any, error) { return with(c.Audit(ctx, "a/b", stale)) }, "GET " + account + "/audit" + read, "", page, nil},

		"Nodes":      {func(ctx context.Context, c *Client) (any, error) { return with(c.Nodes(ctx)) }, "GET /cluster/1/nodes", "", `{"nodes":[{"nodeId":"n1","voter":true}]}`, []Node{{NodeID: "n1", Voter: true}}},
		"Partitions": {func(ctx context.Context, c *Client) (any, error) { return with(c.Partitions(ctx)) }, "GET /cluster/1/partitions", "", `{"partitions":[{"partition":3,"owner":"n1","epoch":2}]}`, []Partition{{3, "n1", 2}}},
		"Backup": {func(ctx context.Context, c *Client) (any, error) {
			var b bytes.Buffer
			err := c.Backup(ctx, true, &b)
			return b.String(), err
		}, "GET /cluster/1/backup?consistency=stale", "", "bytes", "bytes"},
		"DrainNode":   {func(ctx context.Context, c *Client) (any, error) { return alone(c.DrainNode(ctx, "n 1")) }, "POST /cluster/1/nodes/n%201/drain", "", "", nil},
		"UndrainNode": {func(ctx context.Context, c *Client) (any, error) { return alone(c.UndrainNode(ctx, "n 1")) }, "DELETE /cluster/1/nodes/n%201/drain", "", "", nil},
		"ClusterHealth": {func(ctx context.Context, c *Client) (any, error) {
			h, err := c.ClusterHealth(ctx)
			return h.Nodes[0].NodeID + h.Unreachable[0], err
		}, "GET /cluster/1/health", "", `{"nodes":[{"nodeId":"n1"}],"unreachableNodes":["n2"]}`, "n1n2"},
		"Digests": {
			func(ctx context.Context, c *Client) (any, error) { return with(c.Digests(ctx, GroupConfig, "n 1")) }, "GET /cluster/1/digests?group=config&nodeId=n+1", "",
			`{"digests":[{"nodeId":"n1","group":"config","index":7,"sha256":"ab"}],"unreachableNodes":["n2"]}`,
			Digests{[]Digest{{NodeID: "n1", Group: "config", Index: 7, SHA256: "ab"}}, []string{"n2"}},
		},
		"TransferLeadership": {func(ctx context.Context, c *Client) (any, error) { return alone(c.TransferLeadership(ctx)) }, "POST /cluster/1/leader/transfer", "", "", nil},
		"RemoveNode":         {func(ctx context.Context, c *Client) (any, error) { return alone(c.RemoveNode(ctx, "n 1")) }, "DELETE /cluster/1/nodes/n%201", "", "", nil},
		"Live":               {func(ctx context.Context, c *Client) (any, error) { return alone(c.Live(ctx)) }, "GET /livez", "", "ok\n", nil},
		"Ready":              {func(ctx context.Context, c *Client) (any, error) { r, err := c.Ready(ctx); return r.Status, err }, "GET /readyz", "", `{"status":"failed","checks":[{"name":"x","ok":false,"error":"y"}]}`, "failed"},
		"Metrics":            {func(ctx context.Context, c *Client) (any, error) { return with(c.Metrics(ctx)) }, "GET /metrics", "", "x 1\n", []byte("x 1\n")},
		"OpenAPI":            {func(ctx context.Context, c *Client) (any, error) { return with(c.OpenAPI(ctx)) }, "GET /openapi.yaml", "", "openapi: 3", []byte("openapi: 3")},

		"Publish": {func(ctx context.Context, c *Client) (any, error) {
			return with(c.Publish(ctx, Event{EventID: "e", Channel: "SMS", Event: "DELIVERY", OccurredAt: at, Webhook: &event.Webhook{URL: "https://x/"}, Payload: map[string]int{"a": 1}}))
		}, "POST /events/1/events", `[{"eventId":"e","channel":"SMS","event":"DELIVERY","occurredAt":"2026-11-23T10:00:00Z","webhook":{"url":"https://x/"},"payload":{"a":1}}]`, `{"events":[{"eventId":"e","status":"DUPLICATE","deliveries":2}]}`, []event.Receipt{{EventID: "e", Status: event.Duplicate, Deliveries: 2}}},
		"PublishRaw": {func(ctx context.Context, c *Client) (any, error) {
			return with(c.PublishRaw(ctx, "application/x-ndjson", []byte("{}\n{}\n"), false))
		}, "POST /events/1/events", "{}\n{}\n", `{"events":[]}`, []event.Receipt{}},
		"Event": {func(ctx context.Context, c *Client) (any, error) {
			r, err := c.Event(ctx, "e/1")
			return r.ID + r.Unreachable[0], err
		}, "GET /events/1/events/e%2F1", "", `{"eventId":"e/1","unreachableNodes":["n3"]}`, "e/1n3"},
		"CloseIdle": {func(_ context.Context, c *Client) (any, error) { c.CloseIdle(); return alone(nil) }, "", "", "", nil},
	}
	maps.Copy(m, watchMethods())
	return m
}

// Every method asks for the right thing and reads what comes back.
func TestMethods(t *testing.T) {
	t.Parallel()
	tried := map[string]bool{}
	for name, m := range methods() {
		method, _, _ := strings.Cut(name, "/")
		tried[method] = true
		if m.answer == "" {
			m.answer = "{}"
		}
		c, s := newScripted(t, Retry{}, []reply{{status: 200, body: m.answer}})
		got, err := m.call(t.Context(), c)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if m.want != nil {
			if diff := cmp.Diff(m.want, got); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
		if m.line == "" && len(s.seen) == 0 {
			continue
		}
		if len(s.seen) != 1 || s.seen[0].line != m.line || s.seen[0].body != m.body {
			t.Errorf("%s sends %+v, want %s %s", name, s.seen, m.line, m.body)
			continue
		}
		checkHeaders(t, name, m, s.seen[0])
	}
	for m := range reflect.TypeFor[*Client]().Methods() {
		if !tried[m.Name] {
			t.Errorf("%s is not tried", m.Name)
		}
	}
}

func checkHeaders(t *testing.T, name string, m method, s sent) {
	t.Helper()
	want := map[string]string{"Authorization": "App " + testKey, "Accept": "application/json", "Content-Type": ""}
	if m.body != "" {
		want["Content-Type"] = "application/json"
	}
	switch name {
	case "EndSession":
		want["Authorization"] = "Bearer t.s"
	case "IssueToken":
		want["Authorization"], want["Content-Type"] = "", "application/x-www-form-urlencoded"
	case "PublishRaw":
		want["Content-Type"] = "application/x-ndjson"
	case "Metrics":
		want["Accept"] = "text/plain"
	case "ExportEvents", "ExportAudit":
		want["Accept"] = "text/csv"
	case "Backup":
		want["Accept"] = BackupForm
	case "ExportDeadLetters":
		want["Accept"] = "application/x-ndjson"
	case "Tail":
		want["Accept"] = "text/event-stream"
	case "OpenAPI":
		want["Accept"] = "application/yaml"
	}
	for k, v := range want {
		if got := s.header.Get(k); got != v {
			t.Errorf("%s: %s is %q, want %q", name, k, got, v)
		}
	}
}

// A list is run through page by page, and ends at the first error and when the
// caller has enough.
func TestAll(t *testing.T) {
	t.Parallel()
	page := func(n int, ids ...string) reply {
		p := Page[Account]{}
		for _, id := range ids {
			p.Results = append(p.Results, Account{AccountID: id})
		}
		p.Paging.Page, p.Paging.TotalPages = n, 3
		b, _ := json.Marshal(p)
		return reply{status: 200, body: string(b)}
	}
	run := func(c *Client, most int) (ids string, err error) {
		for a, e := range All(t.Context(), c.Accounts) {
			if e != nil {
				return ids, e
			}
			if ids += a.AccountID; len(ids) == most {
				break
			}
		}
		return ids, nil
	}
	pages := []reply{page(0, "a", "b"), page(1, "c", "d"), page(2, "e")}
	c, s := newScripted(t, Retry{}, pages)
	if ids, err := run(c, 99); ids != "abcde" || err != nil || len(s.seen) != 3 || s.seen[2].line != "GET /accounts/1/accounts?page=2&size=100" {
		t.Errorf("%s, %v, %+v", ids, err, s.seen)
	}
	c, s = newScripted(t, Retry{}, pages)
	if ids, err := run(c, 3); ids != "abc" || err != nil || len(s.seen) != 2 {
		t.Errorf("three of five: %s, %v, %d requests", ids, err, len(s.seen))
	}
	c, _ = newScripted(t, Retry{}, []reply{pages[0], {status: 403, body: `{}`}})
	if ids, err := run(c, 99); ids != "ab" || model.CodeOf(err) != model.CodeForbidden {
		t.Errorf("with an error: %s, %v", ids, err)
	}
	c, s = newScripted(t, Retry{}, []reply{{status: 200, body: `{}`}})
	if ids, err := run(c, 99); ids != "" || err != nil || len(s.seen) != 1 {
		t.Errorf("an empty list: %s, %v", ids, err)
	}
}

// Options that cannot work are refused, and no text holds a secret.
func TestNew_options(t *testing.T) {
	t.Parallel()
	secret := model.NewSecret
	for name, o := range map[string]Options{
		"no node":        {},
		"no scheme":      {BaseURLs: []string{"127.0.0.1:8600"}},
		"another scheme": {BaseURLs: []string{"ftp://a"}},
		"no host":        {BaseURLs: []string{"http://"}},
		"password":       {BaseURLs: []string{"http://u:" + testKey + "@a"}},
		"query":          {BaseURLs: []string{"http://a?x"}},
		"fragment":       {BaseURLs: []string{"http://a#x"}},
		"second":         {BaseURLs: []string{"http://a", "%"}},
		"key":            {BaseURLs: []string{"http://a"}, Key: secret(testKey + "\n")},
		"token":          {BaseURLs: []string{"http://a"}, Token: secret(testKey + "ü")},
		"scheme":         {BaseURLs: []string{"http://a"}, Token: secret(testKey), TokenScheme: "a\r\nb"},
	} {
		if _, err := New(o); err == nil || strings.Contains(err.Error(), testKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for want, o := range map[string]Options{
		"":                  {},
		"App " + testKey:    {Key: secret(testKey)},
		"IBSSO " + testKey:  {Token: secret(testKey), Key: secret("x")},
		"Bearer " + testKey: {Token: secret(testKey), TokenScheme: "Bearer"},
	} {
		s := &script{replies: map[string][]reply{"a:1": {{status: 200}}}}
		o.BaseURLs, o.HTTPClient = []string{"http://a:1/prefix/"}, newHTTP(s)
		c, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Live(t.Context()); err != nil || s.seen[0].header.Get("Authorization") != want || s.seen[0].line != "GET /prefix/livez" {
			t.Errorf("%v, %+v, want %s", err, s.seen, want)
		}
	}
	c, s := newScripted(t, Retry{}, []reply{{status: 204}})
	if err := c.EndSession(t.Context(), "Bearer", secret("a\nb")); !errors.Is(err, errHeader) || len(s.seen) > 0 {
		t.Errorf("a token that no header can carry: %v", err)
	}
	if err := c.Do(t.Context(), "POST", "/x", func() {}, nil); err == nil || len(s.seen) > 0 {
		t.Errorf("a body that is no JSON: %v", err)
	}
	if err := c.Do(t.Context(), "BAD METHOD", "/x", nil, nil); err == nil || len(s.seen) > 0 {
		t.Errorf("a bad method: %v", err)
	}
}
