package api

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/belfry/api/client"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// inProcess brings the requests of a client to a server without a network, and
// checks each exchange against the document.
type inProcess struct {
	t *testing.T
	h *harness
}

func (p inProcess) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		body, _ = io.ReadAll(req.Body)
	}
	in := httptest.NewRequestWithContext(req.Context(), req.Method, req.URL.RequestURI(), bytes.NewReader(body))
	in.Header = req.Header.Clone()
	res := httptest.NewRecorder()
	p.h.ServeHTTP(res, in)
	checkAgainstDocument(p.t, in, body, res, false)
	return res.Result(), nil
}

// clientOf makes a client of a harness.
func clientOf(t *testing.T, h *harness, key string) *client.Client {
	t.Helper()
	c, err := client.New(client.Options{
		BaseURLs: []string{"http://node"}, Key: model.NewSecret(key), HTTPClient: &http.Client{Transport: inProcess{t, h}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// tried counts the methods of the client that a test calls.
type tried map[string]bool

// ok notes a call and wants no error.
func (m tried) ok(t *testing.T, name string, err error) {
	t.Helper()
	if m[name] = true; err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

func answerOf[T any](t *testing.T, m tried, name string) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		m.ok(t, name, err)
		return v
	}
}

// Every method of the client works against the server, and what it sends and
// gets is what the document says.
func TestClient_everyMethod(t *testing.T) {
	t.Parallel()
	h := sampleHarness(t)
	h.addKey(t, keyEverything, model.Key{Account: accAcme, Scopes: model.AllScopes()})
	c, m := clientOf(t, h, keyEverything), tried{}
	clientConfig(t, c, m)
	clientAccounts(t, c, m)
	clientNode(t, c, m)
	clientWatch(t, c, m)
	clientRenews(t, h, m)
	for f := range reflect.TypeFor[*client.Client]().Methods() {
		if !m[f.Name] {
			t.Errorf("%s is not tried", f.Name)
		}
	}
}

func clientRenews(t *testing.T, h *harness, m tried) {
	t.Helper()
	c, err := client.New(client.Options{
		BaseURLs: []string{"http://node"}, Token: model.NewSecret(h.bearer(t, tokenForm())), TokenScheme: "Bearer", HTTPClient: &http.Client{Transport: inProcess{t, h}},
	})
	if err != nil {
		t.Fatal(err)
	}
	who, err := c.Session(t.Context())
	if err != nil || who.SessionEndsAt.IsZero() {
		t.Errorf("Session: %+v, %v", who, err)
	}
	if r := answerOf[client.RenewedToken](t, m, "RenewSession")(c.RenewSession(t.Context())); r.Token.IsZero() || r.TokenExpiresAt.Before(who.TokenExpiresAt) || !r.SessionEndsAt.Equal(who.SessionEndsAt) {
		t.Errorf("RenewSession: %+v of %+v", r, who)
	}
}

func clientConfig(t *testing.T, c *client.Client, m tried) {
	t.Helper()
	ctx, stale := t.Context(), client.Read{Stale: true, Size: 1}
	hmac := &client.Credentials{SecretKey: canary, Algorithm: "HMAC_SHA_256"}
	answerOf[client.Security](t, m, "CreateSecurity")(c.CreateSecurity(ctx, client.Security{AuthID: "sec-2", Type: "HMAC", Credentials: hmac}))
	answerOf[client.Security](t, m, "UpdateSecurity")(c.UpdateSecurity(ctx, "sec-2", client.Security{Credentials: &client.Credentials{SecretKey: canary + "2"}}))
	if s := answerOf[client.Security](t, m, "Security")(c.Security(ctx, "sec-2", stale)); s.Credentials == nil || strings.Contains(s.Credentials.SecretKey, canary) {
		t.Errorf("Security: %+v", s)
	}
	if s := answerOf[client.Security](t, m, "RevealSecurity")(c.RevealSecurity(ctx, "sec-2")); s.Credentials == nil || s.Credentials.SecretKey != canary+"2" {
		t.Errorf("RevealSecurity: %+v", s)
	}
	if p := answerOf[client.Page[client.Security]](t, m, "SecuritySettings")(c.SecuritySettings(ctx, client.SecurityFilter{}, stale)); p.Paging.TotalResults != 3 || len(p.Results) != 1 {
		t.Errorf("SecuritySettings: %+v", p)
	}

	chain := base64.StdEncoding.EncodeToString([]byte(testPEM()))
	answerOf[client.CertificateStatus](t, m, "CreateCertificate")(c.CreateCertificate(ctx, client.NewCertificate{CertificateID: "cert-2", Content: chain}))
	if s := answerOf[client.CertificateStatus](t, m, "CertificateStatus")(c.CertificateStatus(ctx, "cert-2", stale)); s.Status != "READY" {
		t.Errorf("CertificateStatus: %+v", s)
	}
	if s := answerOf[client.Certificate](t, m, "Certificate")(c.Certificate(ctx, "cert-2", stale)); s.SerialNumber != "3" {
		t.Errorf("Certificate: %+v", s)
	}
	search := map[string][]string{"search": {"cert-2"}}
	if p := answerOf[client.Page[client.Certificate]](t, m, "Certificates")(c.Certificates(ctx, search, stale)); len(p.Results) != 1 {
		t.Errorf("Certificates: %+v", p)
	}
	if p := answerOf[client.Page[client.CertificateStatus]](t, m, "CertificateStatuses")(c.CertificateStatuses(ctx, search, stale)); len(p.Results) != 1 {
		t.Errorf("CertificateStatuses: %+v", p)
	}
	if r := answerOf[client.ConnectionTest](t, m, "TestConnection")(c.TestConnection(ctx, "cert-2", "https://hooks.acme.example/in")); r.CertificateID != "cert-2" {
		t.Errorf("TestConnection: %+v", r)
	}

	off := false
	full := client.Profile{
		ProfileID: "prof-2", Webhook: &client.Webhook{NotifyURL: "https://hooks.acme.example/2", ContentType: typeJSON}, Security: &client.Security{AuthID: "sec-2"}, ClientCertificateID: "cert-2",
		MaxBucketSize: 50, WindowSize: 30, ConnectTimeout: 500, ReadTimeout: 2000, EnabledSSLProtocols: []string{"TLSv1.3"}, Headers: map[string]string{"X-A": "b"}, ResponseRegex: "^2",
		ResponseBodyRegex: "ok", RateLimit: 7, Retry: &client.RetryPolicy{Policy: "custom", Schedule: []int64{1, 2}, MaxAttempts: 3}, Ordering: "NONE", Enabled: &off,
	}
	answerOf[client.Profile](t, m, "CreateProfile")(c.CreateProfile(ctx, full))
	if p := answerOf[client.Profile](t, m, "Profile")(c.Profile(ctx, "prof-2", stale)); p.Retry == nil || p.Retry.MaxAttempts != 3 || p.Headers["X-A"] != "b" || p.Enabled == nil || p.WindowSize != 30 {
		t.Errorf("Profile: %+v", p)
	}
	answerOf[client.Profile](t, m, "UpdateProfile")(c.UpdateProfile(ctx, "prof-2", client.ProfileUpdate{Retry: model.Null[client.RetryPolicy](), WindowSize: model.Some(40), Enabled: model.Some(true)}))
	if p, err := c.Profile(ctx, "prof-2", client.Read{}); err != nil || p.Retry != nil || p.WindowSize != 40 || p.RateLimit != 7 {
		t.Errorf("after UpdateProfile: %+v, %v", p, err)
	}
	if p := answerOf[client.Page[client.Profile]](t, m, "Profiles")(c.Profiles(ctx, client.ProfileFilter{}, stale)); p.Paging.TotalResults != 3 {
		t.Errorf("Profiles: %+v", p)
	}

	sub := client.Subscription{SubscriptionID: "sub-2", Events: []client.EventName{{Event: "DELIVERY"}}, Criteria: []client.Criterion{{ApplicationID: "app"}}, Profile: client.Profile{ProfileID: "prof-2"}}
	if r := answerOf[client.Refs](t, m, "CreateSubscription")(c.CreateSubscription(ctx, "SMS", sub)); r.SubscriptionID != "sub-2" || r.Profile.ProfileID != "prof-2" {
		t.Errorf("CreateSubscription: %+v", r)
	}
	sub.Name = "Two"
	answerOf[client.Refs](t, m, "ReplaceSubscription")(c.ReplaceSubscription(ctx, "SMS", "sub-2", sub))
	if s := answerOf[client.Subscription](t, m, "Subscription")(c.Subscription(ctx, "SMS", "sub-2", stale)); s.Name != "Two" || len(s.Criteria) != 1 {
		t.Errorf("Subscription: %+v", s)
	}
	if p := answerOf[client.Page[client.ChannelSubscription]](t, m, "AllSubscriptions")(c.AllSubscriptions(ctx, client.Filter{ApplicationIDs: []string{"app"}, ProfileID: "prof-2", Event: "DELIVERY", Search: "TWO"}, stale)); len(p.Results) != 1 || p.Results[0].Channel != "SMS" {
		t.Errorf("subscriptions of all channels: %+v", p)
	}
	if p, err := c.Profiles(ctx, client.ProfileFilter{Search: "PROF", AuthID: "sec-2", ClientCertificateID: "cert-2"}, client.Read{}); err != nil || len(p.Results) != 1 || p.Results[0].ProfileID != "prof-2" {
		t.Errorf("Profiles by what they use: %+v, %v", p, err)
	}
	if p, err := c.SecuritySettings(ctx, client.SecurityFilter{Search: "FREE", Unused: true}, client.Read{}); err != nil || len(p.Results) != 1 || p.Results[0].AuthID != "sec-free" {
		t.Errorf("settings that nothing uses: %+v, %v", p, err)
	}
	if p := answerOf[client.Page[client.Subscription]](t, m, "Subscriptions")(c.Subscriptions(ctx, "SMS", client.Filter{ApplicationIDs: []string{"app"}}, stale)); len(p.Results) != 1 || p.Paging.TotalResults != 1 {
		t.Errorf("Subscriptions: %+v", p)
	}

	if e, ok := errors.AsType[*model.Error](c.DeleteProfile(ctx, "prof-2")); !ok || e.Code != model.CodeInUse || !strings.Contains(e.Message, "sub-2") {
		t.Errorf("DeleteProfile in use: %v", e)
	}
	m.ok(t, "DeleteSubscription", c.DeleteSubscription(ctx, "SMS", "sub-2"))
	m.ok(t, "DeleteProfile", c.DeleteProfile(ctx, "prof-2"))
	m.ok(t, "DeleteSecurity", c.DeleteSecurity(ctx, "sec-2"))
	m.ok(t, "DeleteCertificate", c.DeleteCertificate(ctx, "cert-2"))
	_, err := c.CreateProfile(ctx, client.Profile{ProfileID: "a b"})
	if e, ok := errors.AsType[*model.Error](err); !ok || e.Code != model.CodeInvalid || !slices.ContainsFunc(e.Violations(), func(f model.FieldError) bool { return f.Field == "profileId" }) {
		t.Errorf("a wrong profile: %v", err)
	}
}

func clientAccounts(t *testing.T, c *client.Client, m tried) {
	t.Helper()
	ctx, stale := t.Context(), client.Read{Stale: true}
	answerOf[client.Account](t, m, "CreateAccount")(c.CreateAccount(ctx, "acc-2", "Two"))
	answerOf[client.Account](t, m, "UpdateAccount")(c.UpdateAccount(ctx, "acc-2", client.AccountUpdate{Name: model.Some("2")}))
	if a := answerOf[client.Account](t, m, "Account")(c.Account(ctx, "acc-2", stale)); a.Name != "2" {
		t.Errorf("Account: %+v", a)
	}
	n := 0
	for _, err := range client.All(ctx, c.Accounts) {
		m.ok(t, "Accounts", err)
		n++
	}
	if n != 5 {
		t.Errorf("%d accounts, want 5", n)
	}
	k := answerOf[client.Key](t, m, "CreateKey")(c.CreateKey(ctx, "acc-2", client.NewKey{Scopes: []model.Scope{model.ScopeSubscriptionsRead}, ExpiresAt: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), CIDRs: []string{"192.0.2.0/24"}}))
	if id, _ := HashKey(k.Secret.Reveal()); id != k.KeyID || k.AccountID != "acc-2" {
		t.Errorf("CreateKey: %+v", k)
	}
	tok := answerOf[client.Token](t, m, "IssueToken")(c.IssueToken(ctx, k.KeyID, k.Secret))
	if tok.ExpiresIn != time.Hour || tok.Scope != "subscriptions:read" {
		t.Errorf("IssueToken: %+v", tok)
	}
	if who := answerOf[client.Caller](t, m, "Session")(c.Session(ctx)); who.AccountID == "" || who.KeyID == "" || len(who.Scopes) == 0 || !who.TokenExpiresAt.IsZero() {
		t.Errorf("Session: %+v", who)
	}
	m.ok(t, "EndSession", c.EndSession(ctx, "Bearer", tok.AccessToken))
	if err := c.EndSession(ctx, "Bearer", tok.AccessToken); model.CodeOf(err) != model.CodeUnauthorized {
		t.Errorf("a token that was ended: %v", err)
	}
	if k := answerOf[client.Key](t, m, "UpdateKey")(c.UpdateKey(ctx, "acc-2", k.KeyID, client.KeyUpdate{ExpiresAt: model.Null[time.Time](), CIDRs: model.Null[[]string]()})); !k.ExpiresAt.IsZero() || len(k.CIDRs) > 0 {
		t.Errorf("UpdateKey: %+v", k)
	}
	if k := answerOf[client.Key](t, m, "Key")(c.Key(ctx, "acc-2", k.KeyID, stale)); !k.Secret.IsZero() {
		t.Error("Key shows a secret")
	}
	if p := answerOf[client.Page[client.Key]](t, m, "Keys")(c.Keys(ctx, "acc-2", stale)); len(p.Results) != 1 {
		t.Errorf("Keys: %+v", p)
	}
	m.ok(t, "DeleteKey", c.DeleteKey(ctx, "acc-2", k.KeyID))
	if _, err := c.IssueToken(ctx, k.KeyID, k.Secret); model.CodeOf(err) != model.CodeUnauthorized || !strings.Contains(err.Error(), "client_secret") {
		t.Errorf("a token of a deleted key: %v", err)
	}

	answerOf[client.User](t, m, "CreateUser")(c.CreateUser(ctx, "acc-2", client.NewUser{Username: "eva/x", Password: password, Scopes: []model.Scope{}}))
	if token := answerOf[model.Secret](t, m, "OpenSession")(c.OpenSession(ctx, "eva/x", password)); token.IsZero() {
		t.Error("OpenSession gives no token")
	}
	if u := answerOf[client.User](t, m, "UpdateUser")(c.UpdateUser(ctx, "acc-2", "eva/x", client.UserUpdate{Disabled: model.Some(true)})); !u.Disabled {
		t.Errorf("UpdateUser: %+v", u)
	}
	answerOf[client.User](t, m, "User")(c.User(ctx, "acc-2", "eva/x", stale))
	if p := answerOf[client.Page[client.User]](t, m, "Users")(c.Users(ctx, "acc-2", stale)); len(p.Results) != 1 {
		t.Errorf("Users: %+v", p)
	}
	m.ok(t, "DeleteUser", c.DeleteUser(ctx, "acc-2", "eva/x"))
	if p := answerOf[client.Page[client.AuditRecord]](t, m, "Audit")(c.Audit(ctx, "acc-2", stale)); len(p.Results) == 0 || p.Results[0].Action != "user.delete" {
		t.Errorf("Audit: %+v", p)
	}
	m.ok(t, "DeleteAccount", c.DeleteAccount(ctx, "acc-2"))
}

func clientNode(t *testing.T, c *client.Client, m tried) {
	t.Helper()
	ctx := t.Context()
	e := client.Event{EventID: "e 2/ü", Channel: "SMS", Event: "DELIVERY", OccurredAt: time.Unix(7, 0), Webhook: &event.Webhook{URL: "https://hooks.acme.example/in"}, Payload: map[string]int{"a": 1}}
	if r := answerOf[[]event.Receipt](t, m, "Publish")(c.Publish(ctx, e, client.Event{Channel: "SMS", Event: "DELIVERY", Payload: struct{}{}})); len(r) != 2 || r[0].EventID != e.EventID || r[1].EventID == "" {
		t.Errorf("Publish: %+v", r)
	}
	if r := answerOf[[]event.Receipt](t, m, "PublishRaw")(c.PublishRaw(ctx, typeNDJSON, []byte(least+"\n"+least), false)); len(r) != 2 {
		t.Errorf("PublishRaw: %+v", r)
	}
	if r := answerOf[event.Record](t, m, "Event")(c.Event(ctx, e.EventID)); r.ID != e.EventID || string(r.Payload) != `{"a":1}` {
		t.Errorf("Event: %+v", r)
	}
	_, err := c.Publish(ctx, e, client.Event{Channel: "SMS"})
	if f, ok := errors.AsType[*model.Error](err); !ok || len(f.Fields) != 1 || f.Fields[0].Field != "/1/event" {
		t.Errorf("a wrong event: %v", err)
	}
	if _, err := c.Event(ctx, "none"); model.CodeOf(err) != model.CodeNotFound {
		t.Errorf("an event that is not there: %v", err)
	}

	if n := answerOf[[]client.Node](t, m, "Nodes")(c.Nodes(ctx)); len(n) != 2 {
		t.Errorf("Nodes: %+v", n)
	}
	answerOf[[]client.Partition](t, m, "Partitions")(c.Partitions(ctx))
	var backup bytes.Buffer
	if m.ok(t, "Backup", c.Backup(ctx, true, &backup)); backup.String() != "a backup" {
		t.Errorf("Backup: %q", backup.String())
	}
	m.ok(t, "DrainNode", c.DrainNode(ctx, "n2"))
	m.ok(t, "UndrainNode", c.UndrainNode(ctx, "n2"))
	answerOf[client.ClusterHealth](t, m, "ClusterHealth")(c.ClusterHealth(ctx))
	answerOf[client.Digests](t, m, "Digests")(c.Digests(ctx, client.GroupEvents, "n2"))
	m.ok(t, "TransferLeadership", c.TransferLeadership(ctx))
	m.ok(t, "RemoveNode", c.RemoveNode(ctx, "n2"))
	m.ok(t, "Live", c.Live(ctx))
	if r := answerOf[client.Readiness](t, m, "Ready")(c.Ready(ctx)); r.Status != "ok" || len(r.Checks) != 1 {
		t.Errorf("Ready: %+v", r)
	}
	if b := answerOf[[]byte](t, m, "Metrics")(c.Metrics(ctx)); !bytes.Contains(b, []byte("belfry_http_requests_total")) {
		t.Error("Metrics lacks those of the server")
	}
	if b := answerOf[[]byte](t, m, "OpenAPI")(c.OpenAPI(ctx)); !bytes.Equal(b, OpenAPI()) {
		t.Error("OpenAPI is another document")
	}
	var page pageOf[map[string]any]
	m.ok(t, "Do", c.Do(ctx, http.MethodGet, "/accounts/1/accounts?size=1", nil, &page))
	c.CloseIdle()
	m["CloseIdle"] = true
}

func clientWatch(t *testing.T, c *client.Client, m tried) {
	t.Helper()
	ctx, at := t.Context(), time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	all := event.Filter{Channel: "SMS", Name: "DELIVERY", Resource: "r", ApplicationID: "a", EntityID: "e", Status: event.StatusDead, ProfileID: "p", SubscriptionID: "s", From: at, To: at.Add(time.Hour)}
	if l := answerOf[client.EventList](t, m, "SearchEvents")(c.SearchEvents(ctx, all, client.Part{Limit: 1, Cursor: writeCursor(cursorEvents, at, "e")})); len(l.Events) != 1 || l.Events[0].ID != "e1" {
		t.Errorf("SearchEvents: %+v", l)
	}
	dead := event.DeadFilter{ProfileID: "p", Channel: "SMS", Name: "CLICK", EventID: "e/1", From: at}
	if l := answerOf[client.DeadLetterList](t, m, "DeadLetters")(c.DeadLetters(ctx, dead, client.Part{})); len(l.DeadLetters) != 1 || len(l.DeadLetters[0].Event.Payload) > 0 {
		t.Errorf("DeadLetters: %+v", l)
	}
	if d := answerOf[client.DeadLetter](t, m, "DeadLetter")(c.DeadLetter(ctx, "d1")); d.Event.ID != "e1" || d.Failure.StatusCode != http.StatusServiceUnavailable || !d.AcceptedAt.Equal(at) || len(d.Event.Payload) == 0 {
		t.Errorf("DeadLetter: %+v", d)
	}
	for name, export := range map[string]func(*bytes.Buffer) error{
		"ExportEvents": func(b *bytes.Buffer) error {
			return c.ExportEvents(ctx, all, client.CSV, writeCursor(cursorEvents, at, "e"), b)
		},
		"ExportDeadLetters": func(b *bytes.Buffer) error { return c.ExportDeadLetters(ctx, dead, client.NDJSON, "", b) },
		"ExportAudit":       func(b *bytes.Buffer) error { return c.ExportAudit(ctx, accAcme, client.CSV, b) },
	} {
		var b bytes.Buffer
		m.ok(t, name, export(&b))
		if n := bytes.Count(b.Bytes(), []byte("\n")); n == 0 {
			t.Errorf("%s: %s", name, &b)
		}
	}
	if err := c.ExportEvents(ctx, event.Filter{Channel: "NOPE"}, client.CSV, "", io.Discard); model.CodeOf(err) != model.CodeInvalid {
		t.Errorf("an export of nothing: %v", err)
	}
	m.ok(t, "ReplayDeadLetter", c.ReplayDeadLetter(ctx, "d1"))
	job := answerOf[event.ReplayJob](t, m, "StartReplay")(c.StartReplay(ctx, client.ReplayRequest{Filter: dead, Rate: 3}))
	if job.ID == "" || job.Rate != 3 || job.Filter != dead {
		t.Errorf("StartReplay: %+v", job)
	}
	if _, err := c.StartReplay(ctx, client.ReplayRequest{}); model.CodeOf(err) != model.CodeInvalid {
		t.Errorf("a replay of nothing: %v", err)
	}
	if j, err := c.StartReplay(ctx, client.ReplayRequest{All: true}); err != nil || j.Rate != event.DefaultReplayRate {
		t.Errorf("a replay of everything: %+v %v", j, err)
	}
	if l := answerOf[[]event.ReplayJob](t, m, "Replays")(c.Replays(ctx)); len(l) != 3 {
		t.Errorf("Replays: %+v", l)
	}
	if j := answerOf[event.ReplayJob](t, m, "Replay")(c.Replay(ctx, job.ID)); j.State != event.ReplayRunning || j.Total != 7 {
		t.Errorf("Replay: %+v", j)
	}
	if j := answerOf[event.ReplayJob](t, m, "CancelReplay")(c.CancelReplay(ctx, job.ID)); j.State != event.ReplayCancelled {
		t.Errorf("CancelReplay: %+v", j)
	}
	if r := answerOf[client.MatchReport](t, m, "Match")(c.Match(ctx, client.Event{Channel: "SMS", Event: "DELIVERY"})); r.Matched == nil || r.More {
		t.Errorf("Match: %+v", r)
	}
	if r := answerOf[event.TestReport](t, m, "TestProfile")(c.TestProfile(ctx, "prof-1", "SMS", "DELIVERY")); r.Attempt.Outcome != "ok" {
		t.Errorf("TestProfile: %+v", r)
	}
	answerOf[event.DestinationStates](t, m, "Destinations")(c.Destinations(ctx, "p", "q"))
	answerOf[event.Series](t, m, "Series")(c.Series(ctx, "p", time.Minute))
	answerOf[client.Stats](t, m, "Stats")(c.Stats(ctx, 90*time.Second, client.StatsFilter{Search: "p", Sort: "failing", Size: 5}))
	var got []string
	m.ok(t, "Tail", c.Tail(ctx, event.TailFilter{Kind: event.TailAccepted, Channel: "SMS"}, func(b event.TailBatch) error {
		for _, e := range b.Entries {
			got = append(got, e.EventID)
		}
		return nil
	}))
	if !slices.Equal(got, []string{"e1"}) {
		t.Errorf("Tail: %v", got)
	}
}

// What the server says of waiting reaches the caller.
func TestClient_retryAfter(t *testing.T) {
	t.Parallel()
	h, plane := eventsHarness(t)
	plane.fail = &model.Error{Code: model.CodeLimit, Message: "too much is on its way already", RetryAfter: 7}
	_, err := clientOf(t, h, keyFull).PublishRaw(t.Context(), typeJSON, []byte(least), false)
	if e, ok := errors.AsType[*model.Error](err); !ok || e.Code != model.CodeLimit || e.RetryAfter != 7 || e.Message != "too much is on its way already" {
		t.Errorf("%v", err)
	}
}
