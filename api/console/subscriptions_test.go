package console

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/api/client"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// sameJSON compares a request with what is expected, as JSON.
func sameJSON(t *testing.T, got, want string) {
	t.Helper()
	var a, b any
	if err := json.Unmarshal([]byte(got), &a); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	if err := json.Unmarshal([]byte(want), &b); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(b, a); d != "" {
		t.Errorf("the request differs (-want +got):\n%s", d)
	}
}

// ranLast is the body of the only request to a route.
func ranLast(t *testing.T, api *fakeAPI, route string) string {
	t.Helper()
	calls := api.seen(route)
	if len(calls) != 1 {
		t.Fatalf("%s was called %d times", route, len(calls))
	}
	return calls[0].Body
}

func setupAPI() (*fakeAPI, account) {
	api, a := newFakeAPI(), shop()
	a.behind(api)
	return api, a
}

// One form makes the subscription, its profile and its authentication.
func TestSubscriptions_createInOneFlow(t *testing.T) {
	t.Parallel()
	api, _ := setupAPI()
	api.set("POST /subscriptions/1/subscription/SMS", created(client.Refs{SubscriptionID: "new-sms"}))
	c := newConsole(t, api)
	res := post(t, c, "/new-subscription", url.Values{
		"channel": {"SMS"}, "events": {"DELIVERY"}, "formats": {"INBOUND_MESSAGE MO_JSON_2\r\n"}, "subscriptionId": {" new-sms "}, "name": {"New"},
		"criteria.applicationId": {"shop", "", "bank"}, "criteria.entityId": {"", "", "eu"}, "criteria.callsConfigurationId": {"", "", ""},
		"resources": {"A\r\nB\r\n"}, "users": {""}, "profileMode": {"new"}, "useProfile": {"orders-hook"},
		"profile.profileId": {"new-hook"}, "profile.webhook.notifyUrl": {"https://example.com/hook"}, "profile.enabled": {"true"}, "profile.windowSize": {"40"},
		"profile.securityMode": {"new"}, "profile.security.authId": {"new-auth"}, "profile.security.type": {"BASIC"},
		"profile.security.credentials.username": {"u"}, "profile.security.credentials.password": {" p w "}, "profile.security.credentials.secretKey": {"of another type"},
	})
	if res.Code != http.StatusSeeOther || res.Header().Get("Location") != Prefix+"/subscriptions/SMS/new-sms" {
		t.Fatalf("%d to %q\n%s", res.Code, res.Header().Get("Location"), res.Body)
	}
	sameJSON(t, ranLast(t, api, "POST /subscriptions/1/subscription/SMS"), `{
		"subscriptionId": "new-sms", "name": "New", "events": ["DELIVERY", {"event": "INBOUND_MESSAGE", "format": "MO_JSON_2"}],
		"criteria": [{"applicationId": "shop"}, {"applicationId": "bank", "entityId": "eu"}], "resources": ["A", "B"],
		"profile": {"profileId": "new-hook", "webhook": {"notifyUrl": "https://example.com/hook"}, "windowSize": 40,
			"security": {"authId": "new-auth", "type": "BASIC", "credentials": {"username": "u", "password": " p w "}}}}`)
}

// A profile that exists is named by its id alone.
func TestSubscriptions_createReuses(t *testing.T) {
	t.Parallel()
	api, _ := setupAPI()
	api.set("POST /subscriptions/1/subscription/EMAIL", created(client.Refs{SubscriptionID: "x"}))
	post(t, newConsole(t, api), "/new-subscription", url.Values{"channel": {"EMAIL"}, "subscriptionId": {"x"}, "profileMode": {"existing"}, "useProfile": {"crm"}, "profile.profileId": {"not this"}})
	sameJSON(t, ranLast(t, api, "POST /subscriptions/1/subscription/EMAIL"), `{"subscriptionId": "x", "events": [], "profile": {"profileId": "crm"}}`)
}

// What is wrong stands at its field, what was typed stays, secrets do not.
func TestSubscriptions_createRefused(t *testing.T) {
	t.Parallel()
	api, _ := setupAPI()
	var v model.Violations
	v.Add("subscriptionId", "may hold only letters")
	v.Add("criteria[0].applicationId", "is too long")
	v.Add("profile.webhook.notifyUrl", "must be a URL")
	v.Add("profile.security.credentials.password", "must not be empty")
	api.set("POST /subscriptions/1/subscription/SMS", v.Err())
	res := post(t, newConsole(t, api), "/new-subscription", url.Values{
		"channel": {"SMS"}, "subscriptionId": {"a b"}, "criteria.applicationId": {"typed-app"}, "profileMode": {"new"}, "profile.webhook.notifyUrl": {"typed-url"}, "profile.securityMode": {"new"},
		"profile.security.type": {"CUSTOM"}, "profile.security.credentials.password": {"typed-secret"}, "profile.security.credentials.headers": {"X-Key: typed-secret"},
	})
	body := res.Body.String()
	if res.Code != http.StatusUnprocessableEntity {
		t.Fatalf("%d\n%s", res.Code, body)
	}
	for _, s := range []string{"May hold only letters", "Is too long", "Must be a URL", `value="a b"`, "typed-app", "typed-url", "X-Key: ", `id="f-profile-security-credentials-password-error"`, `id="criteria-error"`} {
		if !strings.Contains(body, s) {
			t.Errorf("the page lacks %q", s)
		}
	}
	if strings.Contains(body, "typed-secret") {
		t.Error("a secret was sent back")
	}
	checkPage(t, newConsole(t, api), body)
}

// What the API does not have to be asked about is said at once.
func TestSubscriptions_createIncomplete(t *testing.T) {
	t.Parallel()
	api, _ := setupAPI()
	res := post(t, newConsole(t, api), "/new-subscription", url.Values{"subscriptionId": {"x"}, "formats": {"one-word"}, "profileMode": {"existing"}})
	for _, s := range []string{"Choose a channel.", "Choose a notification profile", "an event and a format a line"} {
		if !strings.Contains(res.Body.String(), s) {
			t.Errorf("the page lacks %q", s)
		}
	}
	if n := len(api.seen("POST /subscriptions/")); n != 0 || res.Code != http.StatusUnprocessableEntity {
		t.Errorf("%d with %d requests", res.Code, n)
	}
}

// A step shows more of the form and saves nothing; the preview asks with an
// event that fits what was typed.
func TestSubscriptions_steps(t *testing.T) {
	t.Parallel()
	api, _ := setupAPI()
	api.set("POST /events/1/match", client.MatchReport{Matched: []event.MatchedSubscription{{SubscriptionID: "all-sms", ProfileID: "archive", Note: "the profile is disabled"}, {SubscriptionID: "mine", ProfileID: "x"}}})
	c := newConsole(t, api)
	form := url.Values{
		"step": {"show"}, "channel": {"SMS"}, "events": {"CLICK"}, "subscriptionId": {"mine"}, "criteria.applicationId": {"shop"}, "resources": {"Sender"},
		"profile.security.credentials.password": {"typed-secret"},
	}
	body := post(t, c, "/new-subscription", form).Body.String()
	for _, s := range []string{`value="CLICK" checked`, `value="mine"`, `value="shop"`} {
		if !strings.Contains(body, s) {
			t.Errorf("the step lost %q", s)
		}
	}
	form.Set("step", "preview")
	preview := post(t, c, "/new-subscription", form).Body.String()
	sameJSON(t, ranLast(t, api, "POST /events/1/match"), `{"channel": "SMS", "event": "CLICK", "applicationId": "shop", "resource": "Sender", "payload": null}`)
	if !strings.Contains(preview, "all-sms") || !strings.Contains(preview, "1 other subscription takes") || !strings.Contains(preview, "the profile is disabled") {
		t.Errorf("the preview does not say what matches:\n%s", preview)
	}
	if strings.Contains(body+preview, "typed-secret") {
		t.Error("a secret was sent back")
	}
	if n := len(api.seen("POST /subscriptions/")); n != 0 {
		t.Errorf("a step made %d changes", n)
	}
}

// An edit replaces the subscription and keeps what it had.
func TestSubscriptions_edit(t *testing.T) {
	t.Parallel()
	api, a := setupAPI()
	api.set("PUT /subscriptions/1/subscription/SMS/orders-sms", created(client.Refs{SubscriptionID: "orders-sms"}))
	c := newConsole(t, api)
	page := get(t, c, "/subscriptions/SMS/orders-sms/edit")
	res := post(t, c, "/subscriptions/SMS/orders-sms/edit", formValues(t, page.Body.String(), "subscription"))
	if res.Code != http.StatusSeeOther {
		t.Fatalf("%d\n%s", res.Code, res.Body)
	}
	want := a.subs["SMS"][0]
	want.SubscriptionID, want.Profile.Security = "", nil
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got, exp client.Subscription
	if err := json.Unmarshal([]byte(ranLast(t, api, "PUT /subscriptions/1/subscription/SMS/orders-sms")), &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &exp); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(exp, got, cmp.Transformer("set", func(in []client.EventName) map[client.EventName]bool {
		out := map[client.EventName]bool{}
		for _, e := range in {
			out[e] = true
		}
		return out
	})); d != "" {
		t.Errorf("saving an unchanged form changes the subscription (-want +got):\n%s", d)
	}
}

// The list filters by the API.
func TestSubscriptions_filters(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ query, want, not string }{
		{"?q=WHATS", "orders-whatsapp", "all-sms"},
		{"?q=archive", "all-sms", "newsletter"},
		{"?channel=SMS", "all-sms", "newsletter"},
		{"?event=SEEN", "orders-whatsapp", "newsletter"},
		{"?event=INBOUND_MESSAGE&channel=SMS", "all-sms", "newsletter"},
		{"?profileId=calls", "calls", "orders-sms"},
		{"?channel=NO_SUCH", "newsletter", ""},
		{"?channel=EMAIL&event=SEEN", "newsletter", "orders-whatsapp"}, // the event of another channel is not chosen
	} {
		api, _ := setupAPI()
		body := get(t, newConsole(t, api), "/subscriptions"+tt.query).Body.String()
		_, list, _ := strings.Cut(body, `id="list"`)
		if !strings.Contains(list, ">"+tt.want+"<") || tt.not != "" && strings.Contains(list, ">"+tt.not+"<") {
			t.Errorf("%s: the list lacks %s or has %q", tt.query, tt.want, tt.not)
		}
	}
	api, _ := setupAPI()
	get(t, newConsole(t, api), "/subscriptions?channel=SMS&applicationId=shop&entityId=eu&resource=S&user=U&profileId=p&event=CLICK&q=+x+")
	q, err := url.ParseQuery(api.seen("GET /subscriptions/1/subscription/SMS")[0].Query)
	if err != nil {
		t.Fatal(err)
	}
	want := url.Values{"applicationId": {"shop"}, "entityId": {"eu"}, "resource": {"S"}, "user": {"U"}, "profileId": {"p"}, "event": {"CLICK"}, "search": {"x"}, "size": {"50"}}
	if d := cmp.Diff(want, q); d != "" {
		t.Errorf("the API was asked for (-want +got):\n%s", d)
	}
}

// Each subscription is on one page of the list over all channels.
func TestSubscriptions_pages(t *testing.T) {
	t.Parallel()
	api := newFakeAPI()
	a := account{subs: map[string][]client.Subscription{}}
	for ch, subs := range crowd().subs {
		a.subs[ch] = subs[:130]
	}
	a.behind(api)
	c := newConsole(t, api)
	seen := map[string]int{}
	for page := range 6 {
		body := get(t, c, "/subscriptions?page="+string(rune('1'+page))).Body.String()
		for ch, subs := range a.subs {
			for _, s := range subs {
				seen[ch+s.SubscriptionID] += strings.Count(body, ">"+s.SubscriptionID+"<")
			}
		}
	}
	if len(seen) != 260 {
		t.Fatalf("%d of 260", len(seen))
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s is there %d times", id, n)
		}
	}
}

// One question to the leader is enough for a page.
func TestSetup_oneLinearizableRead(t *testing.T) {
	t.Parallel()
	api, _ := setupAPI()
	get(t, newConsole(t, api), "/profiles/orders-hook")
	fresh := 0
	for _, call := range api.seen("GET /subscriptions/1/") {
		if !strings.Contains(call.Query, "consistency=stale") {
			fresh++
		}
	}
	if fresh != 1 {
		t.Errorf("%d reads asked the leader, want 1", fresh)
	}
}

func TestSubscriptions_delete(t *testing.T) {
	t.Parallel()
	api, _ := setupAPI()
	api.set("DELETE /subscriptions/1/subscription/SMS/orders-sms", created(client.Refs{}))
	c := newConsole(t, api)
	if res := post(t, c, "/subscriptions/SMS/orders-sms/delete", url.Values{"confirm": {"orders"}}); res.Code != http.StatusUnprocessableEntity || len(api.seen("DELETE ")) != 0 {
		t.Errorf("a wrong name: %d", res.Code)
	}
	if res := post(t, c, "/subscriptions/SMS/orders-sms/delete", url.Values{"confirm": {"orders-sms"}}); res.Code != http.StatusSeeOther || len(api.seen("DELETE ")) != 1 {
		t.Errorf("the right name: %d", res.Code)
	}
}
