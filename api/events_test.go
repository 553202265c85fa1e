package api

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

const (
	least  = `{"channel":"SMS","event":"DELIVERY","payload":{}}`
	ndjson = "application/x-ndjson; charset=utf-8"
)

// eventsHarness is a harness with an empty event plane.
func eventsHarness(t *testing.T, change ...func(*Options)) (*harness, *fakeEvents) {
	t.Helper()
	plane := &fakeEvents{events: map[string]*event.Event{}, records: map[string]event.Record{}}
	return newHarness(t, append([]func(*Options){func(o *Options) { o.Events = plane }}, change...)...), plane
}

// publish posts body with a media type and returns the answer's body.
func (h *harness) publish(t *testing.T, media, body string, status int) string {
	t.Helper()
	return scenario{method: "POST", url: eventsPath, key: keyFull, body: body, header: map[string]string{"Content-Type": media}, status: status}.on(t, h)
}

// refusal reads the errors of a problem, by pointer.
func refusal(t *testing.T, body string) (p problem, at map[string]string) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Fatalf("%v\n%s", err, body)
	}
	at = map[string]string{}
	for _, e := range p.Errors {
		at[e.Pointer] = e.Detail
	}
	return p, at
}

// One object, an array and lines: one receipt per event in the order of the
// request, and the account is the caller's.
func TestPublish_forms(t *testing.T) {
	t.Parallel()
	full := `{"eventId":"a","channel":"SMS","event":"DELIVERY","format":"F1","applicationId":"app","entityId":"ent","callsConfigurationId":"calls","resource":"res","user":"ana",` +
		`"occurredAt":"2026-11-23T10:00:00+01:00","orderingKey":"k","webhook":{"url":"https://hooks.acme.example/one","contentType":"application/json","notify":true},"payload":{ "a" : [1, 2] }}`
	b := strings.Replace(least, `{`, `{"eventId":"b",`, 1)
	for name, tt := range map[string]struct {
		media, body string
		ids         []string
	}{
		"one":             {typeJSON, " \n" + full + "\n", []string{"a"}},
		"array":           {typeJSON, "[" + full + "," + b + "]", []string{"a", "b"}},
		"array of one":    {typeJSON + "; charset=utf-8", "[" + b + "]", []string{"b"}},
		"lines":           {ndjson, full + "\n\n" + b + "\r\n", []string{"a", "b"}},
		"one line, no \n": {typeNDJSON, b, []string{"b"}},
	} {
		h, plane := eventsHarness(t)
		var want receiptsOut
		for _, id := range tt.ids {
			want.Events = append(want.Events, event.Receipt{EventID: id, Status: event.Accepted})
		}
		var got receiptsOut
		if err := json.Unmarshal([]byte(h.publish(t, tt.media, tt.body, 202)), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if len(plane.events) != len(tt.ids) {
			t.Errorf("%s: %d events were taken, want %d", name, len(plane.events), len(tt.ids))
		}
		if e, ok := plane.events["acme/a"]; ok {
			notify := true
			want := &event.Event{
				Account: accAcme, ID: "a", GivenID: true, Channel: "SMS", Name: "DELIVERY", Format: "F1", ApplicationID: "app", EntityID: "ent", CallsConfigurationID: "calls",
				Resource: "res", User: "ana", OccurredAt: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC), ReceivedAt: h.o.Now(), OrderingKey: "k",
				Webhook: &event.Webhook{URL: "https://hooks.acme.example/one", ContentType: typeJSON, Notify: &notify}, Payload: json.RawMessage(`{"a":[1,2]}`),
			}
			if diff := cmp.Diff(want, e); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	}
}

// An event without an id gets one, another each time; one that asks for no
// delivery is taken too.
func TestPublish_madeIDsAndNoNotify(t *testing.T) {
	t.Parallel()
	h, plane := eventsHarness(t)
	silent := strings.Replace(least, `{`, `{"webhook":{"notify":false},`, 1)
	var got receiptsOut
	if err := json.Unmarshal([]byte(h.publish(t, typeJSON, "["+least+","+silent+"]", 202)), &got); err != nil {
		t.Fatal(err)
	}
	first, second := got.Events[0].EventID, got.Events[1].EventID
	if len(first) != 36 || first >= second {
		t.Errorf("ids %s and %s, want two UUIDs in the order of time", first, second)
	}
	if e := plane.events[path(accAcme, second)]; e == nil || !e.Suppressed() || e.GivenID {
		t.Errorf("notify: false came through as %+v", e)
	}
}

// A refusal points at the member, in each form of a body.
func TestPublish_pointers(t *testing.T) {
	t.Parallel()
	nested := func(n int) string {
		return `{"channel":"SMS","event":"DELIVERY","payload":` + strings.Repeat(`{"a":`, n-1) + "{}" + strings.Repeat("}", n-1) + "}"
	}
	with := func(member string) string { return strings.Replace(least, `{`, `{`+member+`,`, 1) }
	for name, tt := range map[string]struct{ event, pointer, text string }{
		"reserved channel":  {strings.NewReplacer("SMS", "BELFRY", "DELIVERY", "delivery.dead").Replace(least), "/channel", "is reserved for what belfry itself tells"},
		"unknown member":    {with(`"colour":"` + canary + `"`), "/colour", "is not a member of an event"},
		"another case":      {with(`"EventId":"x"`), "/EventId", "is not a member of an event"},
		"below":             {with(`"webhook":{"retries":1}`), "/webhook/retries", "is not a member of an event"},
		"unknown channel":   {strings.Replace(least, "SMS", canary, 1), "/channel", "is not a channel of the catalogue"},
		"unknown event":     {strings.Replace(least, "DELIVERY", canary, 1), "/event", "is not an event of this channel"},
		"no payload":        {`{"channel":"SMS","event":"DELIVERY"}`, "/payload", "must not be null or absent"},
		"payload of a list": {strings.Replace(least, `{}`, `[]`, 1), "/payload", "must be an object"},
		"id":                {with(`"eventId":".."`), "/eventId", "must not be . or .."},
		"given twice":       {with(`"channel":"SMS"`), "/channel", "is given twice"},
		"time":              {with(`"occurredAt":"yesterday"`), "/occurredAt", "must be a time"},
		"url":               {with(`"webhook":{"url":"ftp://x"}`), "/webhook/url", "must be an absolute http or https URL"},
		"form":              {with(`"webhook":{"contentType":"text/xml"}`), "/webhook/contentType", "must be application/json or application/xml"},
		"one level more":    {nested(event.MaxJSONDepth + 1), "", "is nested deeper than 32 levels"},
	} {
		for form, at := range map[string]string{"one": "", "array": "/1", "lines": "/1"} {
			h, plane := eventsHarness(t)
			media, body := typeJSON, tt.event
			switch form {
			case "array":
				body = "[" + least + "," + tt.event + "]"
			case "lines":
				media, body = ndjson, least+"\n"+tt.event+"\n"
			}
			answer := h.publish(t, media, body, 400)
			p, fields := refusal(t, answer)
			want := at + tt.pointer
			if got, ok := fields[want]; want != "" && (!ok || len(fields) != 1 || !strings.HasPrefix(got, tt.text)) {
				t.Errorf("%s in %s: %v, want %s: %s", name, form, fields, want, tt.text)
			}
			if want == "" && (len(fields) > 0 || p.Detail != "the body "+tt.text) {
				t.Errorf("%s in %s: %s", name, form, answer)
			}
			if len(plane.events) > 0 {
				t.Errorf("%s in %s: a part of the request was taken", name, form)
			}
			if strings.Contains(answer, canary) || strings.Contains(h.log.String(), canary) {
				t.Errorf("%s in %s: a value of the request is repeated\n%s", name, form, answer)
			}
		}
	}
	h, _ := eventsHarness(t)
	h.publish(t, typeJSON, nested(event.MaxJSONDepth), 202)
	for name, body := range map[string]string{"empty": " ", "no event": "[]", "word": "true", "cut": least[:20], "two": least + least, "UTF-8": "{\"a\":\"\xff\"}"} {
		if p, fields := refusal(t, h.publish(t, typeJSON, body, 400)); len(fields) > 0 || !strings.HasPrefix(p.Detail, "the body ") {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// The limits of a request, at them and one above.
func TestPublish_limits(t *testing.T) {
	t.Parallel()
	sized := func(n int) string {
		e := strings.Replace(least, `{}`, `{"a":""}`, 1)
		return strings.Replace(e, `""`, `"`+strings.Repeat("x", n-len(e))+`"`, 1)
	}
	h, plane := eventsHarness(t, func(o *Options) { o.Limits.BatchEvents, o.Limits.EventBytes, o.Limits.EventBody = 3, 200, 900 })
	list := func(n int) string { return "[" + strings.Repeat(least+",", n-1) + least + "]" }
	h.publish(t, typeJSON, list(3), 202)
	h.publish(t, ndjson, strings.Repeat(least+"\n", 3), 202)
	for media, body := range map[string]string{typeJSON: list(4), ndjson: strings.Repeat(least+"\n", 4)} {
		if _, at := refusal(t, h.publish(t, media, body, 400)); at["/3"] != "is one event too many: a request may hold 3" {
			t.Errorf("%s: four events of three: %v", media, at)
		}
	}
	h.publish(t, typeJSON, sized(200), 202)
	if p, _ := refusal(t, h.publish(t, typeJSON, sized(201), 413)); p.Code != model.CodeTooLarge || p.Detail != "the body is larger than the limit of 200 bytes for one event" {
		t.Errorf("an event one byte too large: %+v", p)
	}
	if _, at := refusal(t, h.publish(t, typeJSON, "["+sized(200)+","+sized(201)+"]", 413)); at["/1"] == "" {
		t.Errorf("an event one byte too large in an array: %v", at)
	}
	n := len(plane.events)
	h.publish(t, typeJSON, least+strings.Repeat(" ", 900-len(least)), 202)
	p, _ := refusal(t, h.publish(t, typeJSON, least+strings.Repeat(" ", 901-len(least)), 413))
	if p.Code != model.CodeTooLarge || p.Detail != "the body is larger than the limit of 900 bytes" || len(plane.events) != n+1 {
		t.Errorf("a body one byte too large: %+v", p)
	}
}

// The number of events in a request is 1000 unless the node takes fewer; more
// cannot be set.
func TestLimits_batchEvents(t *testing.T) {
	t.Parallel()
	for set, want := range map[int]int{0: event.MaxBatchEvents, 1: 1, event.MaxBatchEvents: event.MaxBatchEvents, event.MaxBatchEvents + 1: event.MaxBatchEvents} {
		l := Limits{BatchEvents: set}
		if l.fill(); l.BatchEvents != want {
			t.Errorf("%d counts as %d, want %d", set, l.BatchEvents, want)
		}
	}
	h, _ := eventsHarness(t)
	list := "[" + strings.Repeat(least+",", event.MaxBatchEvents-1) + least + "]"
	h.publish(t, typeJSON, list, 202)
	if _, at := refusal(t, h.publish(t, typeJSON, strings.Replace(list, "]", ","+least+"]", 1), 400)); at["/"+strconv.Itoa(event.MaxBatchEvents)] == "" {
		t.Errorf("one event too many: %v", at)
	}
}

func TestPublish_mediaTypes(t *testing.T) {
	t.Parallel()
	h, plane := eventsHarness(t)
	for _, media := range []string{"text/plain", "application/cloudevents+xml", "application/vnd.acme+json", "application/x-www-form-urlencoded", "json", ""} {
		p, _ := refusal(t, h.publish(t, media, least, 415))
		if p.Code != codeMediaType || p.Detail != "the Content-Type must be application/json or application/x-ndjson or application/cloudevents+json or application/cloudevents-batch+json" {
			t.Errorf("%q: %+v", media, p)
		}
	}
	if len(plane.events) > 0 {
		t.Error("something was taken")
	}
}

// eventPolicy refuses the URLs that it lists.
type eventPolicy map[string]error

func (p eventPolicy) CheckURL(raw string) error { return p[raw] }

// A URL that came with an event is asked about before anything is taken.
func TestPublish_urlPolicy(t *testing.T) {
	t.Parallel()
	const good, bad, broken = "https://hooks.acme.example/in", "https://10.0.0.1/", "https://broken.example/"
	h, plane := eventsHarness(t, func(o *Options) {
		o.URLs = eventPolicy{bad: model.Errorf(model.CodeInvalid, "must not lead into a private network"), broken: errors.New("secret place: the rules cannot be read")}
	})
	to := func(url string) string { return strings.Replace(least, `{`, `{"webhook":{"url":"`+url+`"},`, 1) }
	silent := strings.Replace(least, `{`, `{"webhook":{"notify":false},`, 1)
	for pointer, send := range map[string][2]string{
		"/webhook/url":   {typeJSON, to(bad)},
		"/0/webhook/url": {typeJSON, "[" + to(bad) + "]"},
		"/2/webhook/url": {typeJSON, "[" + to(good) + "," + silent + "," + to(bad) + "]"},
		"/1/webhook/url": {ndjson, to(good) + "\n" + to(bad)},
	} {
		if _, at := refusal(t, h.publish(t, send[0], send[1], 400)); len(at) != 1 || at[pointer] != "must not lead into a private network" {
			t.Errorf("%v, want it at %s", at, pointer)
		}
	}
	if answer := h.publish(t, typeJSON, to(broken), 500); strings.Contains(answer, "secret place") {
		t.Errorf("the answer shows an inner error\n%s", answer)
	}
	if len(plane.events) > 0 {
		t.Error("something was taken")
	}
	h.publish(t, typeJSON, "["+to(good)+","+silent+","+least+"]", 202)
}

// What the event plane answers, in each form of a body.
func TestPublish_refusedByThePlane(t *testing.T) {
	t.Parallel()
	conflict := func(fields ...string) *model.Error {
		e := &model.Error{Code: model.CodeConflict, Message: "was used before for an event with another content", Field: fields[0]}
		for _, f := range fields[1:] {
			e.Fields = append(e.Fields, model.FieldError{Field: f, Message: e.Message})
		}
		return e
	}
	busy := func(code model.Code, after int) *model.Error {
		return &model.Error{Code: code, Message: "the reason", RetryAfter: after}
	}
	for name, tt := range map[string]struct {
		body     string
		fail     error
		status   int
		pointers []string
		retry    string
	}{
		"conflict of one":      {least, conflict("/0/eventId"), 409, []string{"/eventId"}, ""},
		"conflict in an array": {"[" + least + "]", conflict("/0/eventId"), 409, []string{"/0/eventId"}, ""},
		"two conflicts":        {"[" + least + "," + least + "]", conflict("/0/eventId", "/1/eventId"), 409, []string{"/0/eventId", "/1/eventId"}, ""},
		"too much at once":     {least, busy(model.CodeLimit, 7), 429, nil, "7"},
		"too much, no time":    {least, busy(model.CodeLimit, 0), 429, nil, "1"},
		"no leader":            {least, busy(model.CodeUnavailable, 2), 503, nil, "2"},
		"outcome unknown":      {least, busy(model.CodeUnknownOutcome, 0), 503, nil, "1"},
		"too large together":   {least, busy(model.CodeTooLarge, 0), 413, nil, ""},
		"inner fault":          {least, errors.New("the reason"), 500, nil, ""},
	} {
		h, plane := eventsHarness(t)
		plane.fail = tt.fail
		code := model.CodeOf(tt.fail)
		body := scenario{
			method: "POST", url: eventsPath, key: keyFull, body: tt.body, status: tt.status,
			headers: map[string]string{"Retry-After": tt.retry, headerErrorCode: string(code)},
		}.on(t, h)
		p, at := refusal(t, body)
		if p.Code != code || len(at) != len(tt.pointers) {
			t.Errorf("%s: %+v", name, p)
		}
		for _, pt := range tt.pointers {
			if at[pt] == "" {
				t.Errorf("%s: %v, want %s", name, at, pt)
			}
		}
		if shown := strings.Contains(p.Detail, "the reason"); len(tt.pointers) == 0 && shown != (code != model.CodeInternal) {
			t.Errorf("%s: %s", name, p.Detail)
		}
	}
}

// A node that has no event plane yet says so.
func TestEvents_noPlane(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, sc := range []scenario{{method: "POST", url: eventsPath, body: least}, {method: "GET", url: eventsPath + "/e"}} {
		sc.key, sc.status, sc.headers = keyFull, 503, map[string]string{"Retry-After": "1", headerErrorCode: "unavailable"}
		sc.on(t, h)
	}
}

// An event is shown with deliveries and attempts to its own account only.
func TestGetEvent(t *testing.T) {
	t.Parallel()
	h, plane := eventsHarness(t)
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	e := event.Event{Account: accAcme, ID: "e/1 ü", Channel: "SMS", Name: "DELIVERY", ReceivedAt: at, Payload: json.RawMessage(`{"a":1}`)}
	plane.records["acme/e/1 ü"] = event.Record{
		Event: e, Unreachable: []string{"n3"},
		Deliveries: []event.Delivery{
			{DeliveryID: "d-1", ProfileID: "p", SubscriptionIDs: []string{"s"}, URL: "https://a.example/", Status: event.StatusDelivered, NextAttemptAt: &at, Attempts: []event.Attempt{{Attempt: 1, At: at, StatusCode: 200, Outcome: "delivered", NodeID: "n1", WebhookID: "d-1"}}},
			{DeliveryID: "d-2", URL: "https://b.example/", Status: event.StatusRetrying, NextAttemptAt: &at},
		},
	}
	plane.events["acme/bare"] = &event.Event{Account: accAcme, ID: "bare", Channel: "SMS", Name: "DELIVERY", ReceivedAt: at, Payload: json.RawMessage(`{}`)}
	const url = eventsPath + "/e%2F1%20%C3%BC"
	var got struct {
		EventID    string           `json:"eventId"`
		Payload    map[string]int   `json:"payload"`
		Deliveries []map[string]any `json:"deliveries"`
		Nodes      []string         `json:"unreachableNodes"`
	}
	if err := json.Unmarshal([]byte(h.must(t, "GET", url, keyFull, "", 200)), &got); err != nil {
		t.Fatal(err)
	}
	if got.EventID != e.ID || got.Payload["a"] != 1 || len(got.Deliveries) != 2 || len(got.Nodes) != 1 || got.Nodes[0] != "n3" {
		t.Errorf("the record is %+v", got)
	}
	if _, has := got.Deliveries[0]["nextAttemptAt"]; has {
		t.Error("a delivery that is over has a next attempt")
	}
	if next := got.Deliveries[1]["nextAttemptAt"]; next != "2026-11-23T10:00:00Z" {
		t.Errorf("the next attempt is at %v", next)
	}
	if bare := h.must(t, "GET", eventsPath+"/bare", keyFull, "", 200); !strings.Contains(bare, `"deliveries":[]`) || strings.Contains(bare, "unreachableNodes") {
		t.Errorf("an event without deliveries: %s", bare)
	}

	none := scenario{method: "GET", url: eventsPath + "/none", key: keyFull, status: 404, has: []string{"there is no such event, or it is no longer kept"}}.on(t, h)
	h.addKey(t, "reader-of-the-other-account", model.Key{Account: accOther, Scopes: []model.Scope{model.ScopeEventsRead}})
	other := h.must(t, "GET", url, "reader-of-the-other-account", "", 404)
	if a, b := withoutID(t, none), withoutID(t, other); a != b {
		t.Errorf("another account's event is told from one that is not there:\n%s\n%s", a, b)
	}
	scenario{method: "GET", url: eventsPath + "/" + strings.Repeat("x", event.MaxIDLength+1), key: keyFull, status: 400, has: []string{`"/eventId"`}}.on(t, h)
	h.must(t, "GET", eventsPath+"/"+strings.Repeat("x", event.MaxIDLength), keyFull, "", 404)
	h.must(t, "GET", eventsPath+"/%07", keyFull, "", 400)
	plane.fail = &model.Error{Code: model.CodeUnavailable, Message: "there is no leader right now", RetryAfter: 3}
	scenario{method: "GET", url: url, key: keyFull, status: 503, headers: map[string]string{"Retry-After": "3"}}.on(t, h)
}

// withoutID is a problem without what differs from request to request.
func withoutID(t *testing.T, body string) string {
	t.Helper()
	p, _ := refusal(t, body)
	p.RequestID = ""
	return jsonf("%+v", p)
}
