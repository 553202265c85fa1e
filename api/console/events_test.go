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

// The filters of the list go to the API under its own names, with the cursor.
func TestEvents_filters(t *testing.T) {
	t.Parallel()
	api := newFakeAPI().set("GET /events/1/events", parts("events", []client.EventSummary{}))
	c := newConsole(t, api)
	for path, want := range map[string]string{
		"/events?channel=SMS&event=DELIVERY&status=DEAD&profileId=p&subscriptionId=s&applicationId=a&entityId=e&resource=r&user=u&orderingKey=%2B1&cursor=c": "applicationId=a&channel=SMS&cursor=c&entityId=e&event=DELIVERY&limit=50&orderingKey=%2B1&profileId=p&resource=r&status=DEAD&subscriptionId=s&user=u",
		"/events?within=1h": "from=2026-11-26T11%3A00%3A00Z&limit=50",
		"/events?from=2026-11-26T10:00&to=2026-11-26T11:30&within=1h": "from=2026-11-26T10%3A00%3A00Z&limit=50&to=2026-11-26T11%3A30%3A00Z",
	} {
		before := len(api.seen("GET /events/1/events"))
		if res := get(t, c, path); res.Code != http.StatusOK {
			t.Fatalf("%s: %d", path, res.Code)
		}
		calls := api.seen("GET /events/1/events")[before:]
		if len(calls) != 1 || calls[0].Query != want {
			t.Errorf("%s asks for %v, want %s", path, calls, want)
		}
	}
}

// What is wrong with a filter is said at its field, with what was typed.
func TestEvents_badFilter(t *testing.T) {
	t.Parallel()
	api := newFakeAPI().set("GET /events/1/events", model.Invalid("event", "is not an event of this channel"))
	c := newConsole(t, api)
	for path, want := range map[string]string{
		"/events?channel=SMS&event=NOPE": "Is not an event of this channel",
		"/events?from=yesterday":         "This must be a time such as",
	} {
		res := get(t, c, path)
		if res.Code != http.StatusUnprocessableEntity || !strings.Contains(res.Body.String(), want) || !strings.Contains(res.Body.String(), "field-errors") {
			t.Errorf("%s: %d\n%s", path, res.Code, res.Body)
		}
		checkPage(t, c, res.Body.String())
	}
	if n := len(api.seen("GET /events/1/events")); n != 1 {
		t.Errorf("the API was asked %d times; a time that is none does not get there", n)
	}
}

// An id finds its event whatever the other filters say.
func TestEvents_byID(t *testing.T) {
	t.Parallel()
	api := newFakeAPI().set("GET /events/1/events/order-1", sampleRecord("order-1", "shop"))
	c := newConsole(t, api)
	if body := get(t, c, "/events?q=order-1&channel=EMAIL").Body.String(); !strings.Contains(body, "/events/order-1") || !strings.Contains(body, "1 dead") {
		t.Errorf("the event is not there\n%s", body)
	}
	if body := get(t, c, "/events?q=order-2").Body.String(); !strings.Contains(body, "No event fits") {
		t.Errorf("another id finds something\n%s", body)
	}
}

// The command has every secret as a variable, and nothing in it is read by the
// shell.
func TestAttempt_curl(t *testing.T) {
	t.Parallel()
	w := wireRequest{URL: "https://x.example/it's", Body: `{"a":"$(id) 'b'"}`}
	w.add("X-Plain", "`id`")
	w.addProfile(&client.Profile{
		Headers:  map[string]string{"Authorization": "CANARY", "X-Tenant": "t"},
		Security: &client.Security{Type: "CUSTOM", Credentials: &client.Credentials{Headers: map[string]string{"X-$(id)-`id`": "CANARY"}}},
	})
	want := `BODY='{"a":"$(id) '\''b'\''"}'
curl -i 'https://x.example/it'\''s' \
  -H 'X-Plain: ` + "`id`" + `' \
  -H 'Authorization: '"$WEBHOOK_AUTHORIZATION" \
  -H 'X-Tenant: t' \
  -H 'X-$(id)-` + "`id`" + `: '"$WEBHOOK_X_ID_ID" \
  --data-binary "$BODY"`
	if got := w.curl(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Headers that were kept are shown and sent again as they were; what the node
// masked comes from the shell. A signature is filled in where the body is all
// that it was made of.
func TestAttempt_sent(t *testing.T) {
	t.Parallel()
	v := &visit{}
	a := event.Attempt{Attempt: 1, WebhookID: "d-1", HeadersCut: true, RequestHeaders: []event.HeaderField{
		{Name: "Authorization", Value: "Bearer ***"}, {Name: "Content-Type", Value: "application/json"}, {Name: "Webhook-Signature", Value: "v1,AAAA"}, {Name: "X-Api-Key", Value: "***"}, {Name: "X-Note", Value: "it's *** here"},
	}}
	e := event.Event{Channel: "WHATSAPP", Name: "TEMPLATE_UPDATE", Payload: json.RawMessage(`{"a":1}`)}
	d := event.Delivery{URL: "https://x.example/"}
	w := v.rebuild(&e, &d, &a)
	want := `BODY='{"a":1}'
curl -i 'https://x.example/' \
  -H 'Authorization: '"Bearer $WEBHOOK_TOKEN" \
  -H 'Content-Type: application/json' \
  -H 'Webhook-Signature: v1,AAAA' \
  -H 'X-Api-Key: '"$WEBHOOK_X_API_KEY" \
  -H 'X-Note: '"$WEBHOOK_X_NOTE" \
  --data-binary "$BODY"`
	if model.Batches(e.Channel, e.Name) {
		t.Fatal("the event is one of those that are batched")
	}
	if diff := cmp.Diff(want, w.Curl); diff != "" || w.Partial || w.Headers[4].Value != "it's "+masked+" here" || len(w.Notes) != 3 {
		t.Errorf("%v %v %v (-want +got):\n%s", w.Partial, w.Headers, w.Notes, diff)
	}
	a.WebhookID, a.RequestHeaders[1].Value = "bat_1", "application/xml"
	if w := v.rebuild(&e, &d, &a); !w.Partial || len(w.Notes) != 5 {
		t.Errorf("of a batch in XML: %v, %v", w.Partial, w.Notes)
	}
	for _, tt := range []struct {
		name, want string
		fields     []event.HeaderField
	}{
		{"none", "", []event.HeaderField{{Name: "X-A", Value: "SHA256"}, {Name: "X-B", Value: "SHA3=00"}}},
		{"standard", "v1,AAAA", a.RequestHeaders},
		{"over the body", "SHA1=00ff", append(a.RequestHeaders, event.HeaderField{Name: "X-Own", Value: "SHA1=00ff"})},
	} {
		if got := signatureOf(tt.fields); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// The phases of an attempt fill its time and nothing more.
func TestAttempt_phases(t *testing.T) {
	t.Parallel()
	for name, a := range map[string]event.Attempt{
		"all":     {DurationMs: 100, Timing: &event.Timing{DNSMs: 10, ConnectMs: 20, TLSMs: 30, FirstByteMs: 40}},
		"longer":  {DurationMs: 1, Timing: &event.Timing{DNSMs: 1.4, FirstByteMs: 2}}, // the duration is rounded
		"reused":  {DurationMs: 50, Timing: &event.Timing{FirstByteMs: 20, Reused: true}},
		"nothing": {Timing: &event.Timing{}},
	} {
		x := 0.0
		for _, p := range phasesOf(&a) {
			if p.X != x || p.W < 0 {
				t.Errorf("%s: %s begins at %g, want %g", name, p.Name, p.X, x)
			}
			x += p.W
		}
		if x < 999.9 || x > 1000.1 {
			t.Errorf("%s: the phases fill %g of 1000", name, x)
		}
	}
	if phasesOf(&event.Attempt{DurationMs: 5}) != nil {
		t.Error("there are phases of an attempt that sent nothing")
	}
}

// The stream of the API reaches the browser as it is, with the caller's token.
func TestTail_stream(t *testing.T) {
	t.Parallel()
	lines := tailLines("shop")
	api := newFakeAPI().set("GET /events/1/tail", streamed{lines: lines})
	res := get(t, newConsole(t, api), "/tail/stream?channel=SMS&status=DEAD")
	if res.Code != http.StatusOK || res.Header().Get("Content-Type") != "text/event-stream" || res.Body.String() != lines {
		t.Errorf("%d %v\n%s", res.Code, res.Header(), res.Body)
	}
	calls := api.seen("GET /events/1/tail")
	if len(calls) != 1 || calls[0].Query != "channel=SMS&status=DEAD" || calls[0].Auth != "IBSSO "+testToken {
		t.Errorf("the API was asked %v", calls)
	}
}

// What the API says against a tail reaches the script.
func TestTail_refused(t *testing.T) {
	t.Parallel()
	api := newFakeAPI().set("GET /events/1/tail", model.Errorf(model.CodeLimit, "the account has 20 live tails"))
	res := get(t, newConsole(t, api), "/tail/stream")
	if res.Code != http.StatusTooManyRequests || !strings.Contains(res.Body.String(), "20 live tails") {
		t.Errorf("%d\n%s", res.Code, res.Body)
	}
}

func TestDeadLetters_replay(t *testing.T) {
	t.Parallel()
	api := newFakeAPI().set("POST /events/1/dead-letters/d-1/replay", map[string]string{"deliveryId": "d-1"})
	c := newConsole(t, api)
	for back, want := range map[string]string{
		Prefix + "/dead-letters?channel=SMS": Prefix + "/dead-letters?channel=SMS",
		"//evil.example/":                    Prefix + "/",
		"":                                   Prefix + "/dead-letters",
	} {
		res := post(t, c, "/dead-letters/d-1/replay", url.Values{"back": {back}})
		if res.Code != http.StatusSeeOther || res.Header().Get("Location") != want {
			t.Errorf("back to %q: %d %q, want %q", back, res.Code, res.Header().Get("Location"), want)
		}
	}
	if n := len(api.seen("POST /events/1/dead-letters/d-1/replay")); n != 3 {
		t.Errorf("%d replays, want 3", n)
	}
}

func TestReplays_start(t *testing.T) {
	t.Parallel()
	api := newFakeAPI().set("POST /events/1/replays", replayOf("r-9", "orders", event.ReplayRunning))
	c := newConsole(t, api)
	for _, tt := range []struct {
		values url.Values
		want   string // in the page, or the place of a redirect
		body   string // that the API got
	}{
		{url.Values{"filter.profileId": {"orders"}, "filter.to": {"2026-11-26T10:00"}, "rate": {"7"}}, Prefix + "/replays/r-9", `{"filter":{"profileId":"orders","to":"2026-11-26T10:00:00Z"},"rate":7}`},
		{url.Values{"all": {"true"}, "rate": {"7"}}, Prefix + "/replays/r-9", `{"rate":7,"all":true}`},
		{url.Values{"rate": {"7"}}, "Choose something above", ""},
		{url.Values{"all": {"true"}, "filter.channel": {"SMS"}, "rate": {"7"}}, "does not go together", ""},
		{url.Values{"all": {"true"}, "rate": {"0"}}, "between 1 and 10000", ""},
		{url.Values{"filter.from": {"soon"}, "rate": {"1"}}, "must be a time", ""},
	} {
		before := len(api.seen("POST /events/1/replays"))
		res := post(t, c, "/new-replay", tt.values)
		calls := api.seen("POST /events/1/replays")[before:]
		if tt.body != "" {
			if res.Header().Get("Location") != tt.want || len(calls) != 1 || calls[0].Body != tt.body {
				t.Errorf("%v: %d %q %v", tt.values, res.Code, res.Header().Get("Location"), calls)
			}
			continue
		}
		if res.Code != http.StatusUnprocessableEntity || !strings.Contains(res.Body.String(), tt.want) || len(calls) != 0 {
			t.Errorf("%v: %d %v\n%s", tt.values, res.Code, calls, res.Body)
		}
		checkPage(t, c, res.Body.String())
	}
}

func TestReplays_cancel(t *testing.T) {
	t.Parallel()
	api := newFakeAPI().set("POST /events/1/replays/r-1/cancel", replayOf("r-1", "orders", event.ReplayCancelled))
	res := post(t, newConsole(t, api), "/replays/r-1/cancel", nil)
	if res.Header().Get("Location") != Prefix+"/replays/r-1" || len(api.seen("POST /events/1/replays/r-1/cancel")) != 1 {
		t.Errorf("%d %v", res.Code, res.Header())
	}
}

func TestTestEvent_publish(t *testing.T) {
	t.Parallel()
	const path = "/test-event/SMS/DELIVERY"
	values := url.Values{"applicationId": {"shop"}, "payload": {`{"a": 1}`}}
	receipt := func(n int) any {
		return map[string]any{"events": []event.Receipt{{EventID: "e-1", Status: event.Accepted, Deliveries: n}}}
	}
	api := newFakeAPI().set("POST /events/1/events", receipt(2)).set("GET /subscriptions/1/profiles", paged([]client.Profile{}))
	c := newConsole(t, api)
	if res := post(t, c, path, values); res.Header().Get("Location") != Prefix+"/events/e-1" {
		t.Errorf("published: %d %v", res.Code, res.Header())
	}
	if got := api.seen("POST /events/1/events"); len(got) != 1 || got[0].Body != `{"channel":"SMS","event":"DELIVERY","applicationId":"shop","payload":{"a":1}}` {
		t.Errorf("the API got %v", got)
	}
	api.set("POST /events/1/events", receipt(0))
	if res := post(t, c, path, values); res.Header().Get("Location") != Prefix+"/match?applicationId=shop&channel=SMS&event=DELIVERY" {
		t.Errorf("nobody subscribes: %d %v", res.Code, res.Header())
	}
	api.set("POST /events/1/events", model.Invalid("/applicationId", "must be at most 255 bytes long"))
	res := post(t, c, path, values)
	if res.Code != http.StatusUnprocessableEntity || !strings.Contains(res.Body.String(), `aria-describedby="f-applicationId-error"`) {
		t.Errorf("refused: %d\n%s", res.Code, res.Body)
	}
	checkPage(t, c, res.Body.String())
	before := len(api.seen("POST /events/1/events"))
	res = post(t, c, path, url.Values{"payload": {`{"a":`}})
	if res.Code != http.StatusUnprocessableEntity || !strings.Contains(res.Body.String(), "This is not JSON") || !strings.Contains(res.Body.String(), `{&#34;a&#34;:`) {
		t.Errorf("not JSON: %d\n%s", res.Code, res.Body)
	}
	if len(api.seen("POST /events/1/events")) != before {
		t.Error("what is not JSON was sent to the API")
	}
}

func TestTestEvent_preview(t *testing.T) {
	t.Parallel()
	api := newFakeAPI().set("POST /events/1/match", sampleMatch).set("GET /subscriptions/1/profiles", paged([]client.Profile{}))
	c := newConsole(t, api)
	res := post(t, c, "/test-event/SMS/DELIVERY/preview", url.Values{"applicationId": {"shop"}, "payload": {`{"kept":1}`}})
	body := res.Body.String()
	if res.Code != http.StatusOK || !strings.Contains(body, "It goes to 2 subscriptions") || !strings.Contains(body, "kept") || !strings.Contains(body, `value="shop"`) {
		t.Errorf("%d\n%s", res.Code, body)
	}
	checkPage(t, c, body)
	if res := get(t, c, "/test-event/SMS/DELIVERY/preview"); res.Header().Get("Location") != Prefix+"/test-event/SMS/DELIVERY" {
		t.Errorf("a reload goes to %q", res.Header().Get("Location"))
	}
}

func TestTestEvent_profile(t *testing.T) {
	t.Parallel()
	rep := event.TestReport{Attempt: sampleAttempts("x")[1], URL: "https://shop.example/hooks", Payload: json.RawMessage(`{"results":[]}`)}
	api := newFakeAPI().set("POST /events/1/profiles/orders/test", rep).set("GET /subscriptions/1/profiles", paged([]client.Profile{{ProfileID: "orders"}}))
	c := newConsole(t, api)
	res := post(t, c, "/test-event/SMS/DELIVERY/profile", url.Values{"profileId": {"orders"}, "payload": {"{}"}})
	body := res.Body.String()
	if res.Code != http.StatusOK || !strings.Contains(body, "What came of the test") || !strings.Contains(body, "overloaded") || !strings.Contains(body, "Handshake (TLS)") {
		t.Errorf("%d\n%s", res.Code, body)
	}
	checkPage(t, c, body)
	if res := post(t, c, "/test-event/SMS/DELIVERY/profile", nil); res.Code != http.StatusUnprocessableEntity || !strings.Contains(res.Body.String(), "Choose a profile.") {
		t.Errorf("without a profile: %d", res.Code)
	}
}

// What is not there is said to be not there.
func TestEvents_missing(t *testing.T) {
	t.Parallel()
	c := newConsole(t, newFakeAPI().set("GET /events/1/events/order-1", sampleRecord("order-1", "shop")))
	for path, want := range map[string]string{
		"/events/order-1/deliveries/d-1/9": "There is no such attempt", "/events/order-1/deliveries/d-1/x": "There is no such attempt",
		"/events/order-1/deliveries/d-9/1": "There is no such attempt", "/events/order-2": "Not found", "/test-event/SMS/NOTHING": "The catalogue has no such event",
	} {
		if res := get(t, c, path); res.Code != http.StatusNotFound || !strings.Contains(res.Body.String(), want) {
			t.Errorf("%s: %d\n%s", path, res.Code, res.Body)
		}
	}
}
