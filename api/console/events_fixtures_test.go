package console

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/belfry/api/client"
	"example.com/belfry/dispatch/event"
)

// sampleAttempts are three attempts: two that failed and one that did not.
func sampleAttempts(text string) []event.Attempt {
	at := now.Add(-4 * time.Minute)
	return []event.Attempt{
		{Attempt: 1, At: at, DurationMs: 3004, Outcome: "temporary", ErrorClass: "connect", Error: "connection refused " + text, NodeID: "n2", WebhookID: "d-1"},
		{
			Attempt: 2, At: at.Add(34 * time.Second), DurationMs: 1212, Outcome: "throttled", StatusCode: 503, ErrorClass: "status", Error: "the receiver answered 503", NodeID: "n2", WebhookID: "d-1",
			RequestHeaders: []event.HeaderField{
				{Name: "Authorization", Value: "Basic ***"},
				{Name: "Belfry-Attempt", Value: "2"},
				{Name: "Content-Type", Value: "application/json"},
				{Name: "Webhook-Id", Value: "d-1"},
				{Name: "Webhook-Timestamp", Value: "1795694160"},
				{Name: "X-Sig", Value: "SHA512=164b7a7bfcf819e2"},
				{Name: "X-Tenant", Value: text},
			},
			ResponseHeaders: []event.HeaderField{{Name: "Retry-After", Value: "30"}, {Name: "Set-Cookie", Value: "***"}, {Name: "X-Said", Value: text}}, HeadersCut: true,
			Timing: &event.Timing{DNSMs: 4.2, ConnectMs: 18.4, TLSMs: 41.7, FirstByteMs: 1140.2}, Response: `{"error":"overloaded ` + strings.ReplaceAll(text, `"`, `'`) + `"}`,
		},
		{
			Attempt: 3, At: at.Add(2 * time.Minute), DurationMs: 88, Outcome: "ok", StatusCode: 200, NodeID: "n1", WebhookID: "d-1",
			Timing: &event.Timing{FirstByteMs: 84.1, Reused: true}, Response: `{"ok":true}`,
		},
	}
}

func sampleEvent(id, text string) event.Event {
	payload, err := json.Marshal(map[string]string{"messageId": "m-4711", "to": "41793026727", "text": text})
	if err != nil {
		panic(err)
	}
	return event.Event{
		ID: id, Channel: "SMS", Name: "DELIVERY", ApplicationID: text, EntityID: "shop", Resource: "44100", User: "ana", OrderingKey: "41793026727",
		ReceivedAt: now.Add(-5 * time.Minute), OccurredAt: now.Add(-6 * time.Minute), Payload: payload,
	}
}

func sampleRecord(id, text string) event.Record {
	next := now.Add(30 * time.Second)
	return event.Record{
		Event: sampleEvent(id, text), AcceptedAt: now.Add(-5 * time.Minute), Unreachable: []string{"n3"},
		Deliveries: []event.Delivery{
			{DeliveryID: "d-1", ProfileID: "orders", SubscriptionIDs: []string{text, "all-sms"}, URL: "https://shop.example/hooks", Status: event.StatusDelivered, Attempts: sampleAttempts(text)},
			{DeliveryID: "d-2", ProfileID: text, SubscriptionIDs: []string{"crm"}, URL: "https://crm.example/in", Status: event.StatusRetrying, NextAttemptAt: &next, Attempts: sampleAttempts(text)[:1]},
			{DeliveryID: "d-3", URL: "https://once.example/" + url.PathEscape(text), Status: event.StatusDead, Attempts: sampleAttempts(text)[:2]},
			{DeliveryID: "d-4", ProfileID: "later", URL: "https://later.example/", Status: event.StatusPending},
		},
	}
}

func summaryOf(id, text string) client.EventSummary {
	rec := sampleRecord(id, text)
	s := client.EventSummary{Event: rec.Event, AcceptedAt: rec.AcceptedAt}
	for _, d := range rec.Deliveries {
		s.Deliveries = append(s.Deliveries, client.DeliverySummary{DeliveryID: d.DeliveryID, ProfileID: d.ProfileID, URL: d.URL, Status: d.Status, Attempts: len(d.Attempts)})
	}
	return s
}

func deadOf(id, text string) client.DeadLetter {
	return client.DeadLetter{
		DeliveryID: id, ProfileID: text, SubscriptionIDs: []string{"crm"}, URL: "https://crm.example/in", AcceptedAt: now.Add(-30 * time.Hour), DeadAt: now.Add(-2 * time.Hour), Attempts: 14,
		Failure: event.Failure{Outcome: "temporary", StatusCode: 500, Error: "the receiver answered 500 " + text}, Event: sampleEvent("e-"+id, text),
	}
}

func replayOf(id, text string, state event.ReplayState) event.ReplayJob {
	j := event.ReplayJob{
		ID: id, Filter: event.DeadFilter{ProfileID: text, From: now.Add(-48 * time.Hour)}, Rate: 50, State: state, CreatedAt: now.Add(-time.Minute), CreatedBy: text, Total: 12_000, Replayed: 3011,
	}
	if state != event.ReplayRunning {
		j.FinishedAt = now
	}
	return j
}

// parts is a list with cursors as the API gives it, under the name of its
// member.
func parts[T any](member string, all []T) func(*http.Request) any {
	return func(r *http.Request) any {
		limit, from := 50, 0
		_, _ = fmt.Sscan(r.URL.Query().Get("limit"), &limit)
		_, _ = fmt.Sscan(r.URL.Query().Get("cursor"), &from)
		end := min(from+limit, len(all))
		out := map[string]any{member: append([]T{}, all[from:end]...)}
		if end < len(all) {
			out["nextCursor"] = strconv.Itoa(end)
		}
		return out
	}
}

func many[T any](n int, one func(int) T) []T {
	out := make([]T, n)
	for i := range out {
		out[i] = one(i)
	}
	return out
}

// tailLines are what a tail sends, as server-sent events.
func tailLines(text string) string {
	var b strings.Builder
	deliveries := 2
	line := func(e event.TailEntry) {
		d, err := json.Marshal(e)
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", e.Kind, d)
	}
	b.WriteString(": keep-alive\n\n")
	for i := range 8 {
		id := fmt.Sprintf("order-%d", 4711+i)
		e := event.TailEntry{Kind: event.TailAccepted, At: now.Add(time.Duration(i) * time.Second), NodeID: "n1", EventID: id, Channel: "SMS", Name: "DELIVERY", ApplicationID: text, Deliveries: &deliveries}
		line(e)
		a := sampleAttempts(text)[i%3]
		e.Kind, e.Deliveries, e.ProfileID, e.DeliveryID, e.Attempt = event.TailAttempt, nil, "orders", "d-1", &a
		e.Status = map[string]event.Status{"ok": event.StatusDelivered, "throttled": event.StatusRetrying, "temporary": event.StatusDead}[a.Outcome]
		line(e)
	}
	b.WriteString("event: dropped\ndata: {\"dropped\":17}\n\nevent: nodes\ndata: {\"unreachableNodes\":[\"n3\"]}\n\n")
	return b.String()
}

var sampleMatch = client.MatchReport{
	Matched: []event.MatchedSubscription{{SubscriptionID: "shop-sms", ProfileID: "orders"}, {SubscriptionID: "all-sms", ProfileID: "archive", Note: "the profile is disabled"}},
	Unmatched: []event.UnmatchedSubscription{
		{SubscriptionID: "bank-sms", ProfileID: "bank", Reasons: []string{"no criterion names the application shop", "the resource 44100 is not in its list"}},
	},
	More: true,
}

func eventFixtures() []fixture {
	return slices.Concat(searchFixtures(), oneEventFixtures(), deadFixtures(), replayFixtures(), testEventFixtures())
}

func searchFixtures() []fixture {
	list := func(n int, text string, unreachable ...string) func(*fakeAPI) {
		return func(f *fakeAPI) {
			all := many(n, func(i int) client.EventSummary { return summaryOf(fmt.Sprintf("order-%d", i), text) })
			f.set("GET /events/1/events", func(r *http.Request) any {
				out := parts("events", all)(r).(map[string]any)
				out["unreachableNodes"] = unreachable
				return out
			})
		}
	}
	tail := func(text string) func(*fakeAPI) {
		return func(f *fakeAPI) { f.set("GET /events/1/tail", streamed{tailLines(text), true}) }
	}
	named := list(1, textUnicode)
	return []fixture{
		{screen: "/events", path: "/events", kind: "empty", api: list(0, ""), want: []string{"No events yet", "curl", "Send a test event"}},
		{screen: "/events", path: "/events?channel=SMS&profileId=orders", kind: "nothing", api: list(0, ""), want: []string{"No event fits", "Show all events"}},
		{screen: "/events", path: "/events", kind: "one", api: list(12, "shop", "n3"), want: []string{"order-0", "1 dead", "1 retrying", "n3", "Not everything is here"}},
		{screen: "/events", path: "/events", kind: "many", api: list(10_000, "shop"), want: []string{"cursor=50", "Older"}},
		{screen: "/events", path: "/events?cursor=9950", kind: "end", api: list(10_000, "shop"), want: []string{"order-9999", "the end of the list", "Newest"}},
		{screen: "/events", path: "/events", kind: "unicode", api: named},
		{screen: "/events", path: "/events", kind: "rtl", api: list(3, textRTL)},
		{screen: "/events", path: "/events", kind: "long", api: list(3, longText)},
		{screen: "/tail", path: "/tail?channel=SMS&profileId=it%27s", kind: "one", api: tail("shop"), want: []string{`belfry tail --channel 'SMS' --profile 'it'\''s'`, "/tail/stream?channel=SMS"}},
		{screen: "/tail", path: "/tail", kind: "unicode", api: tail(textUnicode)},
		{screen: "/tail", path: "/tail", kind: "rtl", api: tail(textRTL)},
		{screen: "/signature", path: "/signature", kind: "one", want: []string{"webhook-timestamp", "whsec_"}},
	}
}

func oneEventFixtures() []fixture {
	const id = "order-1"
	record := func(text string) func(*fakeAPI) {
		return func(f *fakeAPI) {
			f.set("GET /events/1/events/"+id, sampleRecord(id, text))
			f.set("GET /subscriptions/1/profiles/orders", client.Profile{
				ProfileID: "orders", Webhook: &client.Webhook{NotifyURL: "https://shop.example/hooks", ContentType: "application/json"},
				Headers:  map[string]string{"X-Tenant": text, "X-Api-Key": "CANARY-header"},
				Security: &client.Security{AuthID: "hmac", Type: "HMAC", Credentials: &client.Credentials{SecretKey: "CANARY-secret", Algorithm: "HMAC_SHA_512", HeaderName: "X-Sig"}},
			})
		}
	}
	bare := func(f *fakeAPI) {
		rec := event.Record{Event: sampleEvent("lonely", "shop")}
		f.set("GET /events/1/events/lonely", rec)
	}
	ended := func(status event.Status) func(*fakeAPI) {
		return func(f *fakeAPI) {
			f.set("GET /events/1/events/ended", event.Record{Event: sampleEvent("ended", "shop"), Deliveries: []event.Delivery{{DeliveryID: "d-1", ProfileID: "orders", Status: status}}})
		}
	}
	const attempt = "/events/{id}/deliveries/{delivery}/{attempt}"
	return []fixture{
		// What is dead may be replayed at any time, so its page goes on looking.
		{screen: "/events/{id}", path: "/events/ended", kind: "dead", api: ended(event.StatusDead), want: []string{"1 dead", "blf-poll"}},
		{screen: "/events/{id}", path: "/events/ended", kind: "delivered", api: ended(event.StatusDelivered), want: []string{"1 delivered"}, not: []string{"blf-poll"}},
		{screen: "/events/{id}", path: "/events/order-1", kind: "one", api: record("shop"), want: []string{
			"1 dead, 1 retrying, 1 pending, 1 delivered", "Attempt 2", "34 s later", "Next attempt", "/dead-letters/d-3/replay", "connection refused", "blf-poll", "n3",
		}},
		{screen: "/events/{id}", path: "/events/lonely", kind: "empty", api: bare, want: []string{"No subscription fitted", "/match?applicationId=shop"}, not: []string{"blf-poll"}},
		{screen: "/events/{id}", path: "/events/order-1", kind: "unicode", api: record(textUnicode)},
		{screen: "/events/{id}", path: "/events/order-1", kind: "rtl", api: record(textRTL)},
		{screen: "/events/{id}", path: "/events/order-1", kind: "long", api: record(longText)},
		{screen: attempt, path: "/events/order-1/deliveries/d-1/2", kind: "one", api: record("shop"), want: []string{
			"The receiver asks for a pause", "Handshake (TLS)", "18 ms", "1.1 s", "Belfry-Attempt", `{"results":[`, "X-Tenant", "Basic " + masked, "$WEBHOOK_PASSWORD", `value="SHA512=164b7a7bfcf819e2"`, "Attempt before", "Attempt after", "overloaded",
			"Service Unavailable", "Set-Cookie", "The headers are those that were sent", "Some headers of the request",
		}, not: []string{"CANARY"}},
		{screen: attempt, path: "/events/order-1/deliveries/d-1/3", kind: "reused", api: record(textRTL), want: []string{"A kept connection was used", "SHA512=" + masked, "openssl dgst -sha512", "No headers of this attempt are kept"}, not: []string{"Handshake (TLS)", "CANARY"}},
		{screen: attempt, path: "/events/order-1/deliveries/d-3/1", kind: "unicode", api: record(textUnicode), want: []string{"Nothing was sent", "There was no answer", "There was no TCP connection", "/dead-letters/d-3/replay"}},
		{screen: attempt, path: "/events/order-1/deliveries/d-1/2", kind: "long", api: record(longText)},
	}
}

func deadFixtures() []fixture {
	list := func(n int, text string) func(*fakeAPI) {
		return func(f *fakeAPI) {
			f.set("GET /events/1/dead-letters", parts("deadLetters", many(n, func(i int) client.DeadLetter { return deadOf(fmt.Sprintf("d-%d", i), text) })))
			f.set("GET /events/1/dead-letters/d-1", deadOf("d-1", text))
		}
	}
	return []fixture{
		{screen: "/dead-letters", path: "/dead-letters", kind: "empty", api: list(0, ""), want: []string{"Nothing was given up", "curl"}},
		{screen: "/dead-letters", path: "/dead-letters?profileId=orders", kind: "nothing", api: list(0, ""), want: []string{"No dead letter fits"}},
		{screen: "/dead-letters", path: "/dead-letters?profileId=orders&channel=SMS", kind: "one", api: list(7, "orders"), want: []string{
			"d-6", "Kept failing", "/new-replay?filter.channel=SMS&filter.profileId=orders", "/dead-letters/d-0/replay",
		}},
		{screen: "/dead-letters", path: "/dead-letters", kind: "many", api: list(10_000, "orders"), want: []string{"cursor=50"}},
		{screen: "/dead-letters", path: "/dead-letters", kind: "unicode", api: list(2, textUnicode)},
		{screen: "/dead-letters", path: "/dead-letters", kind: "rtl", api: list(2, textRTL)},
		{screen: "/dead-letters", path: "/dead-letters", kind: "long", api: list(2, longText)},
		{screen: "/dead-letters/{id}", path: "/dead-letters/d-1", kind: "one", api: list(1, "orders"), want: []string{"the receiver answered 500", "m-4711", "/dead-letters/d-1/replay", "/events/e-d-1"}},
		{screen: "/dead-letters/{id}", path: "/dead-letters/d-1", kind: "unicode", api: list(1, textUnicode)},
		{screen: "/dead-letters/{id}", path: "/dead-letters/d-1", kind: "long", api: list(1, longText)},
	}
}

func replayFixtures() []fixture {
	list := func(n int, text string) func(*fakeAPI) {
		return func(f *fakeAPI) {
			states := []event.ReplayState{event.ReplayRunning, event.ReplayDone, event.ReplayCancelled}
			f.set("GET /events/1/replays", map[string]any{"replays": many(n, func(i int) event.ReplayJob { return replayOf(fmt.Sprintf("r-%d", i), text, states[i%3]) })})
			f.set("GET /events/1/replays/r-1", replayOf("r-1", text, event.ReplayRunning))
			f.set("GET /events/1/replays/r-2", replayOf("r-2", text, event.ReplayDone))
		}
	}
	dead := func(f *fakeAPI) {
		f.set("GET /events/1/dead-letters", parts("deadLetters", many(300, func(i int) client.DeadLetter { return deadOf(fmt.Sprintf("d-%d", i), "orders") })))
	}
	return []fixture{
		{screen: "/replays", path: "/replays", kind: "empty", api: list(0, ""), want: []string{"No replays yet", "curl"}},
		{screen: "/replays", path: "/replays", kind: "one", api: list(3, "orders"), want: []string{"1 replay runs", "25 % done", "Cancelled", "profile orders"}},
		{screen: "/replays", path: "/replays", kind: "many", api: list(event.MaxReplays, "orders")}, // the API has no more
		{screen: "/replays", path: "/replays", kind: "unicode", api: list(2, textUnicode)},
		{screen: "/replays", path: "/replays", kind: "rtl", api: list(2, textRTL)},
		{screen: "/replays/{id}", path: "/replays/r-1", kind: "one", api: list(1, "orders"), want: []string{"3\u202f011", "2 min 59 s left", "/replays/r-1/cancel", "blf-poll"}},
		{screen: "/replays/{id}", path: "/replays/r-2", kind: "done", api: list(1, textUnicode), not: []string{"/cancel", "blf-poll"}},
		{screen: "/replays/{id}/cancel", path: "/replays/r-1/cancel", kind: "one", api: list(1, "orders"), want: []string{"stays so"}},
		{screen: "/replays/{id}/cancel", path: "/replays/r-2/cancel", kind: "over", api: list(1, "orders"), want: []string{"It is over already"}},
		{screen: "/new-replay", path: "/new-replay?filter.profileId=orders&filter.from=2026-11-25T12:00:00Z", kind: "one", api: dead, want: []string{"At least 200 dead letters fit now", `value="2026-11-25T12:00"`, `value="100"`}},
	}
}

func testEventFixtures() []fixture {
	profiles := func(f *fakeAPI) {
		f.set("GET /subscriptions/1/profiles", paged([]client.Profile{{ProfileID: "orders"}, {ProfileID: textUnicode}}))
	}
	match := func(rep client.MatchReport) func(*fakeAPI) {
		return func(f *fakeAPI) { f.set("POST /events/1/match", rep) }
	}
	odd := client.MatchReport{Unmatched: []event.UnmatchedSubscription{{SubscriptionID: textUnicode, ProfileID: textRTL, Reasons: []string{textUnicode}}}}
	return []fixture{
		{screen: "/test-event", path: "/test-event", kind: "one", want: []string{"WHATSAPP", "/test-event/SMS/INBOUND_MESSAGE", "told by belfry itself"}},
		{screen: "/test-event", path: "/test-event?q=whatsapp+inbound", kind: "found", want: []string{"/test-event/WHATSAPP/INBOUND_MESSAGE"}, not: []string{"/test-event/SMS/"}},
		{screen: "/test-event", path: "/test-event?q=" + url.QueryEscape(textUnicode), kind: "empty", want: []string{"No event has that name"}},
		{screen: "/test-event/{channel}/{event}", path: "/test-event/SMS/INBOUND_MESSAGE", kind: "one", api: profiles, want: []string{"belfry-test-sms-inbound-message", "Publish", "orders"}},
		{screen: "/test-event/{channel}/{event}", path: "/test-event/BELFRY/delivery.dead", kind: "reserved", api: profiles, want: []string{"cannot be published"}, not: []string{"Publish</button>"}},
		{screen: "/match", path: "/match", kind: "empty", want: []string{"curl"}},
		{screen: "/match", path: "/match?channel=SMS&event=DELIVERY&applicationId=shop", kind: "one", api: match(sampleMatch), want: []string{
			"It goes to 2 subscriptions", "shop-sms", "the profile is disabled", "no criterion names the application shop", "There are more",
		}},
		{screen: "/match", path: "/match?channel=SMS&event=DELIVERY", kind: "unicode", api: match(odd), want: []string{"It goes nowhere"}},
		{screen: "/match", path: "/match?channel=ZALO&event=DELIVERY", kind: "none", api: match(client.MatchReport{}), want: []string{"no subscription to the channel"}},
	}
}
