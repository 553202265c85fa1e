package console

import (
	"bytes"
	"encoding/base64"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"example.com/belfry/api/client"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// formValues are what a browser would send of the first form that posts, or of
// the one with an id.
func formValues(t *testing.T, page, id string) url.Values {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var form *html.Node
	for n := range doc.Descendants() {
		if n.DataAtom == atom.Main {
			for f := range n.Descendants() {
				if form == nil && f.DataAtom == atom.Form && attr(f, "method") == "post" && (id == "" || attr(f, "id") == id) {
					form = f
				}
			}
		}
	}
	if form == nil {
		t.Fatalf("there is no form %q", id)
	}
	has := func(n *html.Node, name string) bool {
		for _, a := range n.Attr {
			if a.Key == name {
				return true
			}
		}
		return false
	}
	out := url.Values{}
	for n := range form.Descendants() {
		name := attr(n, "name")
		if name == "" || name == csrfField || has(n, "disabled") {
			continue
		}
		switch n.DataAtom { //nolint:exhaustive // the others send nothing
		case atom.Input:
			if kind := attr(n, "type"); (kind == "checkbox" || kind == "radio") && !has(n, "checked") {
				continue
			}
			out.Add(name, attr(n, "value"))
		case atom.Textarea:
			text := ""
			if n.FirstChild != nil {
				text = n.FirstChild.Data
			}
			out.Add(name, text)
		case atom.Select:
			out.Add(name, chosenOption(n, has))
		}
	}
	return out
}

func chosenOption(sel *html.Node, has func(*html.Node, string) bool) string {
	first, found := "", false
	for o := range sel.Descendants() {
		if o.DataAtom != atom.Option {
			continue
		}
		if has(o, "selected") {
			return attr(o, "value")
		}
		if !found {
			first, found = attr(o, "value"), true
		}
	}
	return first
}

// An edit that changes nothing sends the profile as it is, and clears what is
// empty.
func TestProfiles_editKeeps(t *testing.T) {
	t.Parallel()
	api, _ := setupAPI()
	api.set("PUT /subscriptions/1/profiles/orders-hook", created(client.Profile{ProfileID: "orders-hook"}))
	c := newConsole(t, api)
	values := formValues(t, get(t, c, "/profiles/orders-hook/edit").Body.String(), "")
	if res := post(t, c, "/profiles/orders-hook/edit", values); res.Code != http.StatusSeeOther {
		t.Fatalf("%d\n%s", res.Code, res.Body)
	}
	sameJSON(t, ranLast(t, api, "PUT /subscriptions/1/profiles/orders-hook"), `{
		"webhook": {"notifyUrl": "https://hooks.shop.example/orders", "contentType": "application/json"}, "security": {"authId": "shop-hmac"}, "clientCertificateId": "shop-client",
		"maxBucketSize": 100, "windowSize": 20, "connectTimeout": 10000, "readTimeout": 10000, "rateLimit": 200, "enabledSSLProtocols": ["TLSv1.3"], "headers": {"X-Source": "belfry"},
		"responseRegex": "2\\d\\d", "responseBodyRegex": null, "retry": {"policy": "custom", "schedule": [5, 30, 300, 3600], "maxAttempts": 12, "maxAge": 86400}, "ordering": "KEY", "enabled": true}`)
}

func TestProfiles_editClears(t *testing.T) {
	t.Parallel()
	api, _ := setupAPI()
	api.set("PUT /subscriptions/1/profiles/orders-hook", created(client.Profile{}))
	post(t, newConsole(t, api), "/profiles/orders-hook/edit", url.Values{"webhook.notifyUrl": {"https://x.example"}, "securityMode": {"none"}, "useSecurity": {"shop-hmac"}})
	sameJSON(t, ranLast(t, api, "PUT /subscriptions/1/profiles/orders-hook"), `{
		"webhook": {"notifyUrl": "https://x.example", "contentType": "application/json"}, "security": null, "clientCertificateId": null,
		"maxBucketSize": null, "windowSize": null, "connectTimeout": null, "readTimeout": null, "rateLimit": null, "enabledSSLProtocols": null, "headers": null,
		"responseRegex": null, "responseBodyRegex": null, "retry": null, "ordering": null, "enabled": false}`)
}

// What cannot be read is said at its field, and nothing is sent.
func TestProfiles_unreadable(t *testing.T) {
	t.Parallel()
	api, _ := setupAPI()
	res := post(t, newConsole(t, api), "/new-profile", url.Values{
		"profileId": {"p"}, "windowSize": {"many"}, "rateLimit": {"0"}, "headers": {"no colon"}, "retry.policy": {"custom"}, "retry.schedule": {"5s soon"}, "retry.maxAge": {"1.5s"}, "securityMode": {"existing"},
	})
	body := res.Body.String()
	for _, id := range []string{"windowSize", "rateLimit", "headers", "retry-schedule", "retry-maxAge", "useSecurity"} {
		if !strings.Contains(body, `id="f-`+id+`-error"`) && !strings.Contains(body, `href="#f-`+id+`"`) {
			t.Errorf("nothing is said about %s", id)
		}
	}
	if res.Code != http.StatusUnprocessableEntity || len(api.seen("POST /subscriptions/")) != 0 {
		t.Errorf("%d", res.Code)
	}
}

func TestProfiles_switchAndTest(t *testing.T) {
	t.Parallel()
	api, _ := setupAPI()
	api.set("PUT /subscriptions/1/profiles/crm", created(client.Profile{}))
	api.set("POST /events/1/profiles/orders-hook/test", event.TestReport{URL: "https://hooks.shop.example/orders", Payload: []byte(`{"results":[]}`), Attempt: event.Attempt{Attempt: 1, At: now, DurationMs: 31, StatusCode: 503, Outcome: "temporary", Error: "the status is 503", Response: "<b>busy</b>", NodeID: "n1"}})
	c := newConsole(t, api)
	post(t, c, "/profiles/crm/enabled", url.Values{"enabled": {"true"}})
	sameJSON(t, ranLast(t, api, "PUT /subscriptions/1/profiles/crm"), `{"enabled": true}`)
	body := post(t, c, "/profiles/orders-hook/test", url.Values{"event": {"SMS CLICK"}}).Body.String()
	sameJSON(t, ranLast(t, api, "POST /events/1/profiles/orders-hook/test"), `{"channel": "SMS", "event": "CLICK"}`)
	for _, s := range []string{"Status 503", "the status is 503", "&lt;b&gt;busy", "31 ms"} {
		if !strings.Contains(body, s) {
			t.Errorf("the page lacks %q", s)
		}
	}
	checkPage(t, c, body)
}

// The API has the last word about what cannot be deleted.
func TestProfiles_deleteRefused(t *testing.T) {
	t.Parallel()
	api, _ := setupAPI()
	api.set("DELETE /subscriptions/1/profiles/calls", model.Errorf(model.CodeInUse, "the profile calls is used by the subscription VOICE_VIDEO/calls"))
	res := post(t, newConsole(t, api), "/profiles/calls/delete", url.Values{"confirm": {"calls"}})
	if res.Code != http.StatusConflict || !strings.Contains(res.Body.String(), "used by the subscription VOICE_VIDEO/calls") {
		t.Errorf("%d\n%s", res.Code, res.Body)
	}
}

// A secret that is not typed stays; one that is stays out of the answer.
func TestSecurity_edit(t *testing.T) {
	t.Parallel()
	api, _ := setupAPI()
	api.set("PUT /subscriptions/1/security/partner-oauth", created(client.Security{}))
	c := newConsole(t, api)
	values := formValues(t, get(t, c, "/authentication/partner-oauth/edit").Body.String(), "")
	values.Set("credentials.scope", "events")
	if res := post(t, c, "/authentication/partner-oauth/edit", values); res.Code != http.StatusSeeOther {
		t.Fatalf("%d\n%s", res.Code, res.Body)
	}
	sameJSON(t, ranLast(t, api, "PUT /subscriptions/1/security/partner-oauth"), `{"type": "OAUTH", "credentials": {"tokenUrl": "https://login.partner.example/token", "grantType": "client_credentials",
		"clientId": "shop", "scope": "events", "resource": null, "username": null, "headers": {"X-Tenant": "********"}}}`)
}

func TestSecurity_createRefused(t *testing.T) {
	t.Parallel()
	api, _ := setupAPI()
	var v model.Violations
	v.Add("credentials.secretKey", "is too short")
	v.Add("authId", "is taken")
	api.set("POST /subscriptions/1/security", v.Err())
	c := newConsole(t, api)
	res := post(t, c, "/new-authentication", url.Values{"authId": {"x"}, "type": {"HMAC"}, "credentials.secretKey": {"typed-secret"}, "credentials.algorithm": {"HMAC_SHA_512"}})
	body := res.Body.String()
	if res.Code != http.StatusUnprocessableEntity || !strings.Contains(body, "Is too short") || !strings.Contains(body, "Is taken") || strings.Contains(body, "typed-secret") {
		t.Errorf("%d\n%s", res.Code, body)
	}
	checkPage(t, c, body)
}

// A key is replaced with an overlap; one that is made here is shown once.
func TestSecurity_rotate(t *testing.T) {
	t.Parallel()
	api, _ := setupAPI()
	api.set("PUT /subscriptions/1/security/shop-hmac", created(client.Security{}))
	c := newConsole(t, api)
	res := post(t, c, "/authentication/shop-hmac/rotate", url.Values{"credentials.secretKey": {"typed-secret"}, "overlap": {"24h"}})
	if res.Code != http.StatusSeeOther {
		t.Fatalf("%d\n%s", res.Code, res.Body)
	}
	sameJSON(t, ranLast(t, api, "PUT /subscriptions/1/security/shop-hmac"), `{"type": "HMAC", "credentials": {"secretKey": "typed-secret", "previousSecretKeyValidUntil": "2026-11-27T12:00:00Z"}}`)

	res = post(t, c, "/authentication/shop-hmac/rotate", url.Values{"overlap": {""}})
	sent := api.seen("PUT /subscriptions/1/security/shop-hmac")[1].Body
	_, rest, _ := strings.Cut(sent, `"secretKey":"`)
	key, _, _ := strings.Cut(rest, `"`)
	if len(key) != 43 || !strings.Contains(res.Body.String(), key) || !strings.Contains(sent, `"previousSecretKeyValidUntil":null`) {
		t.Errorf("%s\n%s", sent, res.Body)
	}
	if res := get(t, c, "/authentication/archive-basic/rotate"); res.Code != http.StatusUnprocessableEntity {
		t.Errorf("the key of a BASIC setting: %d", res.Code)
	}
}

// Secrets are shown to a POST of somebody with the scope, and to nobody else.
func TestSecurity_reveal(t *testing.T) {
	t.Parallel()
	api, _ := setupAPI()
	api.set("GET /subscriptions/1/security/archive-basic", func(r *http.Request) any {
		s := client.Security{AuthID: "archive-basic", Type: "BASIC", Credentials: &client.Credentials{Username: "belfry", Password: model.SecretMask}}
		if r.URL.Query().Get("reveal") == "true" {
			s.Credentials.Password = "clear-text"
		}
		return s
	})
	c := newConsole(t, api)
	if body := get(t, c, "/authentication/archive-basic").Body.String(); strings.Contains(body, "clear-text") || !strings.Contains(body, "Show the secrets") {
		t.Error("the page shows the secret, or does not offer to")
	}
	body := post(t, c, "/authentication/archive-basic/reveal", nil).Body.String()
	if !strings.Contains(body, "clear-text") || !strings.Contains(body, "shown once") {
		t.Errorf("the secret is not shown:\n%s", body)
	}
	checkPage(t, c, body)
	if res := get(t, c, "/authentication/archive-basic/reveal"); strings.Contains(res.Body.String(), "clear-text") {
		t.Error("a GET shows the secret")
	}
	api.caller.Scopes = []model.Scope{model.ScopeSubscriptionsManage}
	if body := get(t, c, "/authentication/archive-basic").Body.String(); strings.Contains(body, "Show the secrets") {
		t.Error("it is offered without the scope")
	}
	if res := post(t, c, "/authentication/archive-basic/reveal", nil); res.Code != http.StatusForbidden {
		t.Errorf("without the scope: %d", res.Code)
	}
}

// Who may only read is offered no change.
func TestSetup_readOnly(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/subscriptions", "/profiles", "/authentication", "/certificates", "/hierarchy", "/subscriptions/SMS/orders-sms", "/profiles/orders-hook", "/authentication/shop-hmac", "/certificates/shop-client"} {
		api, _ := setupAPI()
		api.caller.Scopes = []model.Scope{model.ScopeSubscriptionsRead}
		body := get(t, newConsole(t, api), path).Body.String()
		for _, s := range []string{"/new-", "/edit", "/delete", "/rotate", "/enabled", "/test\"", "/match", "/reveal"} {
			_, main, _ := strings.Cut(body, "<main")
			if strings.Contains(main, s) {
				t.Errorf("%s offers %s", path, s)
			}
		}
	}
}

func TestCertificates_upload(t *testing.T) {
	t.Parallel()
	api, _ := setupAPI()
	api.set("POST /subscriptions/1/certificates", created(client.CertificateStatus{CertificateID: "c"}))
	c := newConsole(t, api)
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for k, v := range map[string]string{csrfField: session{scheme: "IBSSO", token: model.NewSecret(testToken)}.csrf(), "certificateId": "c", "certificateContent": "", "passphrase": "open"} {
		if err := w.WriteField(k, v); err != nil {
			t.Fatal(err)
		}
	}
	part, err := w.CreateFormFile("file", "client.pem")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := part.Write([]byte("PEM")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, Prefix+"/new-certificate", &b)
	r.Header.Set("Content-Type", w.FormDataContentType())
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.AddCookie(&http.Cookie{Name: cookieSession, Value: "IBSSO:" + testToken})
	res := httptest.NewRecorder()
	c.ServeHTTP(res, r)
	if res.Code != http.StatusSeeOther {
		t.Fatalf("%d\n%s", res.Code, res.Body)
	}
	e := base64.StdEncoding.EncodeToString
	sameJSON(t, ranLast(t, api, "POST /subscriptions/1/certificates"), `{"certificateId": "c", "certificateContent": "`+e([]byte("PEM"))+`", "passphrase": "`+e([]byte("open"))+`"}`)

	api.set("POST /subscriptions/1/certificates", model.Invalid("certificateContent", "holds no key"))
	res = post(t, c, "/new-certificate", url.Values{"certificateId": {"c"}, "certificateContent": {"typed-key"}, "passphrase": {"typed-secret"}})
	if body := res.Body.String(); res.Code != http.StatusUnprocessableEntity || !strings.Contains(body, "Holds no key") || strings.Contains(body, "typed-") {
		t.Errorf("%d\n%s", res.Code, body)
	}
	if res := post(t, c, "/new-certificate", url.Values{"certificateId": {"c"}}); !strings.Contains(res.Body.String(), "Choose a file") {
		t.Errorf("%d", res.Code)
	}
}

func TestCertificates_connection(t *testing.T) {
	t.Parallel()
	api, _ := setupAPI()
	api.set("POST /subscriptions/1/certificates/test/webhook", client.ConnectionTest{CertificateID: "shop-client", WebhookURL: "https://x.example", Result: "FAIL", FailReasons: []string{"unknown <authority>"}, Hint: "send the chain"})
	c := newConsole(t, api)
	body := post(t, c, "/certificates/shop-client", url.Values{"webhookUrl": {"https://x.example"}}).Body.String()
	sameJSON(t, ranLast(t, api, "POST /subscriptions/1/certificates/test/webhook"), `{"certificateId": "shop-client", "webhookUrl": "https://x.example"}`)
	for _, s := range []string{"The connection fails", "unknown &lt;authority&gt;", "send the chain"} {
		if !strings.Contains(body, s) {
			t.Errorf("the page lacks %q", s)
		}
	}
	checkPage(t, c, body)
}

// Lines join every pair that belongs together, and no boxes overlap.
func TestPicture_layout(t *testing.T) {
	t.Parallel()
	a := shop()
	users := map[string]beginning[channelSubscription]{}
	for ch, list := range a.subs {
		for _, s := range list {
			b := users[s.Profile.ProfileID]
			users[s.Profile.ProfileID] = beginning[channelSubscription]{append(b.Rows, channelSubscription{ch, s}), b.Total + 1}
		}
	}
	p := draw(scene{profiles: a.profiles, users: users, loose: []node{{Kind: kindAuthentication, ID: "loose"}}, about: focus{kindProfile, "crm"}})
	if want := 4 /* settings and certificates */ + 5; len(p.Edges) != want {
		t.Errorf("%d lines, want %d", len(p.Edges), want)
	}
	focused := 0
	for i, x := range p.Nodes {
		if x.Focus {
			focused++
		}
		if x.Y < pictureTop || x.Y+nodeHeight > p.Height || x.X+nodeWidth > p.Width {
			t.Errorf("%s is outside of the picture", x.ID)
		}
		for _, y := range p.Nodes[:i] {
			if x.X == y.X && max(x.Y, y.Y)-min(x.Y, y.Y) < nodeHeight {
				t.Errorf("%s and %s overlap", x.ID, y.ID)
			}
		}
	}
	if focused != 1 {
		t.Errorf("%d boxes have the focus", focused)
	}
	if draw(scene{}) != nil {
		t.Error("there is a picture of nothing")
	}
}

func TestWaitText(t *testing.T) {
	t.Parallel()
	f := &form{errors: map[string][]string{}}
	for seconds, want := range map[int64]string{5: "5s", 60: "1m", 90: "1m30s", 3600: "1h", 5400: "1h30m", 86400: "24h", 3601: "1h0m1s", 600: "10m"} {
		got := waitText(seconds)
		if got != want || f.seconds("x", got) != seconds {
			t.Errorf("%d is %q, want %q", seconds, got, want)
		}
	}
}
