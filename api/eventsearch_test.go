package api

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// What is asked reaches the archive, in the caller's account; what comes back
// is shown without payloads.
func TestSearchEvents(t *testing.T) {
	t.Parallel()
	h, archive, _ := watchHarness(t)
	at := time.Date(2026, 11, 23, 9, 0, 0, 5, time.UTC)
	next := at.Add(time.Hour)
	archive.page[accAcme] = event.Page{
		Records: []event.Record{{
			Event:      event.Event{Account: accAcme, ID: "e1", Channel: "SMS", Name: "DELIVERY", ReceivedAt: at, Payload: []byte(`{"text":"` + canary + `"}`)},
			AcceptedAt: at,
			Deliveries: []event.Delivery{
				{DeliveryID: "d1", ProfileID: "p", SubscriptionIDs: []string{"s"}, URL: "https://a.example/", Status: event.StatusRetrying, NextAttemptAt: &next, Attempts: []event.Attempt{
					{Attempt: 2, StatusCode: 500, Outcome: "temporary"}, {Attempt: 3, StatusCode: 503, Outcome: "throttled"}, // the first is on a node that did not answer
				}},
				{DeliveryID: "d2", URL: "https://b.example/", Status: event.StatusDelivered, NextAttemptAt: &next},
			},
		}, {Event: event.Event{ID: "e0", Channel: "SMS", Name: "CLICK"}}},
		Next: event.Ref{AcceptedAt: at, EventID: "e/0 ü"}, Unreachable: []string{"n3"},
	}
	const all = "?channel=SMS&event=DELIVERY&status=RETRYING&profileId=p&subscriptionId=s&resource=r&applicationId=a&entityId=e&user=u&orderingKey=k&from=2026-11-23T10:00:00%2B01:00&to=2026-11-24T00:00:00Z&limit=200"
	body := scenario{method: "GET", url: eventsPath + all, key: keyFull, status: 200, hasNot: []string{canary, "payload"}}.on(t, h)
	want := search{account: accAcme, limit: 200, filter: event.Filter{
		Channel: "SMS", Name: "DELIVERY", Status: event.StatusRetrying, ProfileID: "p", SubscriptionID: "s", Resource: "r", ApplicationID: "a", EntityID: "e", User: "u", OrderingKey: "k",
		From: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC), To: time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC),
	}}
	if d := cmp.Diff(want, archive.asked, cmp.AllowUnexported(search{})); d != "" {
		t.Errorf("(-want +asked):\n%s", d)
	}
	cursor := writeCursor(cursorEvents, at, "e/0 ü")
	wantBody := `{"events":[{"eventId":"e1","channel":"SMS","event":"DELIVERY","receivedAt":"2026-11-23T09:00:00.000000005Z","acceptedAt":"2026-11-23T09:00:00.000000005Z","deliveries":[` +
		`{"deliveryId":"d1","profileId":"p","subscriptionIds":["s"],"url":"https://a.example/","status":"RETRYING","attempts":3,"lastStatusCode":503,"lastOutcome":"throttled","nextAttemptAt":"2026-11-23T10:00:00.000000005Z"},` +
		`{"deliveryId":"d2","url":"https://b.example/","status":"DELIVERED","attempts":0}]},` +
		`{"eventId":"e0","channel":"SMS","event":"CLICK","deliveries":[]}],"nextCursor":"` + cursor + `","unreachableNodes":["n3"]}`
	if d := cmp.Diff(wantBody, body); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}

	h.must(t, "GET", eventsPath+"?cursor="+cursor, keyFull, "", 200)
	want = search{account: accAcme, limit: defaultSearch, after: event.Ref{AcceptedAt: at, EventID: "e/0 ü"}}
	if d := cmp.Diff(want, archive.asked, cmp.AllowUnexported(search{})); d != "" {
		t.Errorf("the next page (-want +asked):\n%s", d)
	}
	h.addKey(t, "reader-of-the-other-account", model.Key{Account: accOther, Scopes: []model.Scope{model.ScopeEventsRead}})
	if body := h.must(t, "GET", eventsPath, "reader-of-the-other-account", "", 200); body != `{"events":[]}` || archive.asked.account != accOther {
		t.Errorf("another account: %s, asked for %s", body, archive.asked.account)
	}
	archive.fail = &model.Error{Code: model.CodeUnavailable, Message: "no node answers", RetryAfter: 2}
	scenario{method: "GET", url: eventsPath, key: keyFull, status: 503, headers: map[string]string{"Retry-After": "2"}}.on(t, h)
	newHarness(t).must(t, "GET", eventsPath, keyFull, "", 503)
}

// Every wrong parameter of a search is named, and the archive is not asked.
func TestSearch_badParameters(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", event.MaxFieldLength+1)
	dead := writeCursor(cursorDead, time.Unix(0, 1), "")
	both := map[string]string{ // query to the parameter that must be named
		"channel=sms": "channel", "channel=": "channel", "channel=NOPE": "channel", "channel=SMS&channel=SMS": "channel",
		"event=NOPE": "event", "channel=SMS&event=SEEN": "event", "event=": "event", "profileId=": "profileId", "profileId=" + long: "profileId", "profileId=%00": "profileId", "profileId=%FF": "profileId",
		"from=yesterday": "from", "from=2026-11-23": "from", "to=": "to", "from=2026-11-23T10:00:00Z&to=2026-11-23T10:00:00Z": "to",
		"limit=0": "limit", "limit=201": "limit", "limit=ten": "limit", "limit=1&limit=1": "limit",
		"cursor=": "cursor", "cursor=x": "cursor", "cursor=%20": "cursor", "cursor=" + strings.Repeat("A", maxCursor+1): "cursor",
		"chanel=SMS": "chanel", "consistency=stale": "consistency", "page=1": "page",
	}
	events := map[string]string{
		"status=dead": "status", "status=": "status", "subscriptionId=": "subscriptionId", "resource=" + long: "resource", "applicationId=": "applicationId", "entityId=": "entityId",
		"user=": "user", "user=" + long: "user", "orderingKey=": "orderingKey", "orderingKey=" + long: "orderingKey",
		"cursor=" + dead: "cursor", "cursor=" + writeCursor(cursorEvents, time.Time{}, ""): "cursor", "cursor=" + writeCursor(cursorEvents, time.Unix(0, 1), long): "cursor",
		"cursor=" + writeCursor(cursorEvents, time.Unix(0, 1), "e") + "=": "cursor", "eventId=e": "eventId",
	}
	letters := map[string]string{
		"eventId=": "eventId", "cursor=" + dead + "A": "cursor", "cursor=" + writeCursor(cursorDead, time.Unix(0, 1), "e"): "cursor", "cursor=" + writeCursor(cursorDead, time.Time{}, ""): "cursor",
		"cursor=" + writeCursor(cursorEvents, time.Unix(0, 1), "e"): "cursor", "status=DEAD": "status",
	}
	h, archive, _ := watchHarness(t)
	for path, more := range map[string]map[string]string{eventsPath: events, deadLettersPath: letters} {
		for _, rows := range []map[string]string{both, more} {
			for query, want := range rows {
				_, at := refusal(t, h.must(t, "GET", path+"?"+query, keyFull, "", 400))
				if len(at) != 1 || at["/"+want] == "" {
					t.Errorf("%s?%.60s names %v, want %s", path, query, at, want)
				}
			}
		}
		h.must(t, "GET", path+"?limit=1&profileId="+strings.Repeat("x", event.MaxFieldLength), keyFull, "", 200)
		if path == eventsPath {
			h.must(t, "GET", path+"?limit=1&orderingKey="+strings.Repeat("x", event.MaxFieldLength)+"&user="+strings.Repeat("x", event.MaxFieldLength), keyFull, "", 200)
		}
		if archive.asked.limit != 1 {
			t.Errorf("%s: limit %d", path, archive.asked.limit)
		}
		archive.asked = search{}
		h.must(t, "GET", path+"?event=NOPE&limit=0&from=x&x=y", keyFull, "", 400)
		if archive.asked.account != "" {
			t.Errorf("%s: the archive was asked", path)
		}
		h.must(t, "GET", path+"?event=CLICK", keyFull, "", 200)
	}
}

// A cursor gives back the place that it was made of, for every id.
func TestCursor(t *testing.T) {
	t.Parallel()
	for _, at := range []time.Time{{}, time.Unix(0, 1).UTC(), time.Unix(0, -1).UTC(), time.Date(2200, 1, 1, 0, 0, 0, 999, time.UTC)} {
		for _, id := range []string{"", "e", "e/1 ü", strings.Repeat("x", event.MaxIDLength)} {
			s := writeCursor(cursorEvents, at, id)
			gotAt, gotID, ok := readCursor(cursorEvents, s)
			if !ok || !gotAt.Equal(at) || gotID != id || len(s) > maxCursor || url.QueryEscape(s) != s {
				t.Errorf("%v %q: %v %q %v from %s", at, id, gotAt, gotID, ok, s)
			}
		}
	}
	if s := doc(t, "QCursor"); int(*s.MaxLength) != maxCursor {
		t.Errorf("the document bounds a cursor at %d, the code at %d", *s.MaxLength, maxCursor)
	}
	short := base64.RawURLEncoding.EncodeToString(make([]byte, cursorHead-1))
	if _, _, ok := readCursor(0, short); ok {
		t.Error("a cursor without a time is taken")
	}
}

// Whatever is taken as a cursor is what writeCursor makes of its place.
func FuzzCursor(f *testing.F) {
	f.Add(writeCursor(cursorEvents, time.Unix(7, 8), "e"))
	f.Add(writeCursor(cursorEvents, time.Time{}, ""))
	f.Add("AQ")
	f.Fuzz(func(t *testing.T, s string) {
		if at, id, ok := readCursor(cursorEvents, s); ok && writeCursor(cursorEvents, at, id) != s {
			t.Errorf("%q is the cursor of %v %q, which is written in another way", s, at, id)
		}
	})
}

// An event shows when it was accepted and what the receiver answered.
func TestGetEvent_attempts(t *testing.T) {
	t.Parallel()
	h, plane := eventsHarness(t)
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	plane.records["acme/e1"] = event.Record{
		Event: event.Event{ID: "e1", Channel: "SMS", Name: "DELIVERY", Payload: json.RawMessage(`{}`)}, AcceptedAt: at,
		Deliveries: []event.Delivery{{DeliveryID: "d", URL: "https://a.example/", Status: event.StatusDead, Attempts: []event.Attempt{{
			Attempt: 1, At: at, DurationMs: 12, Timing: &event.Timing{DNSMs: .5, ConnectMs: 1, TLSMs: 2.25, FirstByteMs: 3, Reused: false}, StatusCode: 500, Outcome: "temporary", ErrorClass: "status",
			Response: "no", RequestHeaders: []event.HeaderField{{Name: "Authorization", Value: "Basic ***"}}, ResponseHeaders: []event.HeaderField{{Name: "Vary", Value: "*"}}, HeadersCut: true, NodeID: "n1",
		}}}},
	}
	scenario{method: "GET", url: eventsPath + "/e1", key: keyFull, status: 200, has: []string{
		`"acceptedAt":"2026-11-23T10:00:00Z"`, `"timing":{"dnsMs":0.5,"connectMs":1,"tlsMs":2.25,"firstByteMs":3,"reused":false}`, `"errorClass":"status"`, `"response":"no"`,
		`"requestHeaders":[{"name":"Authorization","value":"Basic ***"}],"responseHeaders":[{"name":"Vary","value":"*"}],"headersCut":true`,
	}}.on(t, h)
}
