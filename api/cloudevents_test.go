package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/google/go-cmp/cmp"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// sdkEvent is an event as the official SDK builds it.
func sdkEvent(t *testing.T, id string) cloudevents.Event {
	t.Helper()
	e := cloudevents.NewEvent()
	e.SetID(id)
	e.SetSource("https://shop.example/orders")
	e.SetType("SMS.DELIVERY")
	e.SetTime(time.Date(2026, 11, 23, 11, 0, 0, 5e8, time.FixedZone("", 3600)))
	e.SetSubject("Größe 100%")
	e.SetDataSchema("https://shop.example/schema")
	for name, v := range map[string]any{
		"applicationid": "shop", "entityid": 17, "callsconfigurationid": "c", "user": "ops", "format": "URBAN", "partitionkey": "k", "sampledrate": 5, "paid": true,
	} {
		e.SetExtension(name, v)
	}
	if err := e.SetData(cloudevents.ApplicationJSON, map[string]any{"messageId": "m-1", "list": []int{1, 2}}); err != nil {
		t.Fatal(err)
	}
	return e
}

// What the official SDK sends in the three modes of the HTTP binding is taken
// for what it says, and for the same event in all of them.
func TestCloudEvents_officialSDK(t *testing.T) {
	t.Parallel()
	one, two := sdkEvent(t, "1"), sdkEvent(t, "2")
	for mode, request := range map[string]func(ctx context.Context, url string) (*http.Request, error){
		"binary": func(ctx context.Context, url string) (*http.Request, error) {
			return cehttp.NewHTTPRequestFromEvent(ctx, url, one)
		},
		"structured": func(ctx context.Context, url string) (*http.Request, error) {
			return cehttp.NewHTTPRequestFromEvent(binding.WithForceStructured(ctx), url, one)
		},
		"batch": func(ctx context.Context, url string) (*http.Request, error) {
			return cehttp.NewHTTPRequestFromEvents(ctx, url, []cloudevents.Event{one, two})
		},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			h, plane := eventsHarness(t)
			srv := httptest.NewServer(h)
			defer srv.Close()
			req, err := request(t.Context(), srv.URL+eventsPath)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "App "+keyFull)
			res, err := srv.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			var got receiptsOut
			if err := json.NewDecoder(res.Body).Decode(&got); err != nil || res.StatusCode != http.StatusAccepted {
				t.Fatalf("%d, %v", res.StatusCode, err)
			}
			ids := []string{"1", "2"}
			if mode != "batch" {
				ids = ids[:1]
			}
			var receipts receiptsOut
			for _, id := range ids {
				id = "https://shop.example/orders " + id
				receipts.Events = append(receipts.Events, event.Receipt{EventID: id, Status: event.Accepted})
				want := &event.Event{
					Account: accAcme, ID: id, GivenID: true, Channel: "SMS", Name: "DELIVERY", Format: "URBAN", ApplicationID: "shop", EntityID: "17", CallsConfigurationID: "c",
					Resource: "Größe 100%", User: "ops", OccurredAt: time.Date(2026, 11, 23, 10, 0, 0, 5e8, time.UTC), ReceivedAt: h.o.Now(), OrderingKey: "k",
					Payload: json.RawMessage(`{"list":[1,2],"messageId":"m-1"}`),
				}
				if diff := cmp.Diff(want, plane.events[path(accAcme, id)]); diff != "" {
					t.Errorf("%s (-want +got):\n%s", id, diff)
				}
			}
			if diff := cmp.Diff(receipts, got); diff != "" || len(plane.events) != len(ids) {
				t.Errorf("%d events, receipts (-want +got):\n%s", len(plane.events), diff)
			}
		})
	}
}

const leastCloud = `{"specversion":"1.0","id":"1","source":"/orders","type":"SMS.DELIVERY","data":{}}`

// inHeaders sends a CloudEvent in the binary mode with headers beside or in
// place of the usual ones.
func inHeaders(body string, status int, headers ...string) scenario {
	sc := scenario{
		method: "POST", url: eventsPath, key: keyFull, body: body, status: status, offSpec: true,
		header: map[string]string{"Content-Type": typeJSON, "Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Source": "/orders", "Ce-Type": "SMS.DELIVERY"},
	}
	for i := 0; i < len(headers); i += 2 {
		sc.header[headers[i]] = headers[i+1]
	}
	return sc
}

// A refusal of any mode points at the attribute and takes nothing.
func TestCloudEvents_pointers(t *testing.T) {
	t.Parallel()
	bad := strings.Replace(leastCloud, "SMS.DELIVERY", "BELFRY.delivery.dead", 1)
	h, plane := eventsHarness(t)
	answers := map[string]string{
		"/type":   h.publish(t, typeCloudEvent, bad, 400),
		"/1/type": h.publish(t, typeCloudBatch, "["+leastCloud+","+bad+"]", 400),
		"/data":   inHeaders(`[]`, 400).on(t, h),
		"/time":   inHeaders(`{}`, 400, "Ce-Time", "yesterday").on(t, h),
		"/id":     inHeaders(`{}`, 400, "Ce-Id", "").on(t, h),
	}
	for pointer, answer := range answers {
		if _, at := refusal(t, answer); len(at) != 1 || at[pointer] == "" {
			t.Errorf("%v, want it at %s", at, pointer)
		}
	}
	if len(plane.events) > 0 {
		t.Error("something was taken")
	}
	conflict := &model.Error{Code: model.CodeConflict, Message: "was used before", Field: "/0/eventId", Fields: []model.FieldError{{Field: "/1/eventId", Message: "was used before"}}}
	plane.fail = conflict
	if _, at := refusal(t, h.publish(t, typeCloudBatch, "["+leastCloud+","+leastCloud+"]", 409)); at["/0/id"] == "" || at["/1/id"] == "" || len(at) != 2 {
		t.Errorf("conflicts of a batch: %v", at)
	}
	conflict.Fields = nil
	for name, answer := range map[string]string{"structured": h.publish(t, typeCloudEvent, leastCloud, 409), "binary": inHeaders(`{}`, 409).on(t, h)} {
		if _, at := refusal(t, answer); at["/id"] == "" || len(at) != 1 {
			t.Errorf("a conflict in %s mode: %v", name, at)
		}
	}
	if conflict.Field != "/0/eventId" {
		t.Error("the error of the plane was changed")
	}
}

// Which content types go with headers of CloudEvents, and what they are taken
// for.
func TestCloudEvents_mediaTypes(t *testing.T) {
	t.Parallel()
	h, plane := eventsHarness(t)
	for _, media := range []string{typeJSON, "application/json; charset=utf-8", "application/vnd.shop+json"} {
		inHeaders(`{}`, 202, "Content-Type", media).on(t, h)
	}
	inHeaders(`{}`, 202, "Content-Type", "", "Ce-Id", "2").on(t, h)
	if len(plane.events) != 2 {
		t.Errorf("%d events were taken, want 2", len(plane.events))
	}
	for _, media := range []string{"text/plain", ndjson, "application/cloudevents+xml", "application/xml", "json"} {
		if p, _ := refusal(t, inHeaders(`{}`, 415, "Content-Type", media).on(t, h)); p.Code != codeMediaType || !strings.Contains(p.Detail, "end in +json") {
			t.Errorf("%s: %+v", media, p)
		}
	}
	// The content type comes first: headers beside a structured event are not
	// looked at, and one that is not of a CloudEvent alone makes none.
	inHeaders(strings.Replace(leastCloud, `"1"`, `"3"`, 1), 202, "Content-Type", typeCloudEvent).on(t, h)
	scenario{method: "POST", url: eventsPath, key: keyFull, body: least, status: 202, header: map[string]string{"Content-Type": typeJSON, "Ce-Subject": "x"}}.on(t, h)
	if plane.events["acme//orders 3"] == nil || len(plane.events) != 4 {
		t.Errorf("%d events were taken, want 4", len(plane.events))
	}
	if p, at := refusal(t, inHeaders("", 400).on(t, h)); at["/data"] == "" {
		t.Errorf("no body: %+v", p)
	}
}

// One event too large is told from one that is wrong, in every mode.
func TestCloudEvents_limits(t *testing.T) {
	t.Parallel()
	h, _ := eventsHarness(t, func(o *Options) { o.Limits.BatchEvents, o.Limits.EventBytes = 2, len(leastCloud) })
	large := strings.Replace(leastCloud, "{}", "{ }", 1)
	h.publish(t, typeCloudEvent, leastCloud, 202)
	h.publish(t, typeCloudBatch, "["+leastCloud+","+leastCloud+"]", 202)
	for pointer, answer := range map[string]string{
		"":   h.publish(t, typeCloudEvent, large, 413),
		"/1": h.publish(t, typeCloudBatch, "["+leastCloud+","+large+"]", 413),
		"/2": h.publish(t, typeCloudBatch, "["+leastCloud+","+leastCloud+","+leastCloud+"]", 400),
	} {
		if p, at := refusal(t, answer); pointer != "" && at[pointer] == "" || pointer == "" && len(at) > 0 {
			t.Errorf("%+v, want it at %q", p, pointer)
		}
	}
	const headers = len("Ce-SpecversionCe-IdCe-SourceCe-Type" + "1.0" + "1" + "/orders" + "SMS.DELIVERY")
	at := func(n int) string { return "{" + strings.Repeat(" ", n-headers-2) + "}" }
	inHeaders(at(len(leastCloud)), 202).on(t, h)
	if p, _ := refusal(t, inHeaders(at(len(leastCloud)+1), 413).on(t, h)); p.Code != model.CodeTooLarge {
		t.Errorf("headers and body one byte too large: %+v", p)
	}
}
