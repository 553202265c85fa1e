package api

import (
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// doc is the schema of a parameter of the document.
func doc(t *testing.T, parameter string) *openapi3.Schema {
	t.Helper()
	d, err := document()
	if err != nil {
		t.Fatal(err)
	}
	return d.Components.Parameters[parameter].Value.Schema.Value
}

const deadWire = `{"deliveryId":"d1","profileId":"prof-1","subscriptionIds":["sub-1"],"acceptedAt":"2026-11-23T09:00:00Z","deadAt":"2026-11-23T09:01:00Z","attempts":3,` +
	`"failure":{"outcome":"temporary","statusCode":503,"error":"the receiver answered 503"},"event":{"eventId":"e1","channel":"SMS","event":"DELIVERY","receivedAt":"2026-11-23T09:00:00Z"`

// The list has no payloads, one dead letter has its own; what is asked reaches
// the archive.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	h, archive, _ := watchHarness(t)
	archive.dead[accAcme], archive.next = []event.DeadLetter{sampleDead()}, time.Unix(7, 8).UTC()
	const all = "?profileId=prof-1&channel=SMS&event=DELIVERY&eventId=e%2F1&from=2026-11-23T00:00:00Z&to=2026-11-24T00:00:00Z&limit=2"
	cursor := writeCursor(cursorDead, archive.next, "")
	if d := cmp.Diff(`{"deadLetters":[`+deadWire+`}}],"nextCursor":"`+cursor+`"}`, h.must(t, "GET", deadLettersPath+all, keyFull, "", 200)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	want := search{account: accAcme, limit: 2, dead: event.DeadFilter{
		ProfileID: "prof-1", Channel: "SMS", Name: "DELIVERY", EventID: "e/1", From: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC), To: time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC),
	}}
	if d := cmp.Diff(want, archive.asked, cmp.AllowUnexported(search{})); d != "" {
		t.Errorf("(-want +asked):\n%s", d)
	}
	h.must(t, "GET", deadLettersPath+"?cursor="+cursor, keyFull, "", 200)
	if !archive.asked.before.Equal(archive.next) || archive.asked.limit != defaultSearch {
		t.Errorf("the next page: %+v", archive.asked)
	}
	archive.dead[accAcme], archive.next = nil, time.Time{}
	if body := h.must(t, "GET", deadLettersPath, keyFull, "", 200); body != `{"deadLetters":[]}` {
		t.Errorf("none: %s", body)
	}
	archive.dead[accAcme] = []event.DeadLetter{sampleDead()}
	if d := cmp.Diff(deadWire+`,"payload":{"text":"of acme.example"}}}`, h.must(t, "GET", deadLettersPath+"/d1", keyFull, "", 200)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// A replay names the caller's account; a dead letter of another account cannot
// be told from none.
func TestDeadLetters_replay(t *testing.T) {
	t.Parallel()
	h, archive, _ := watchHarness(t)
	archive.dead[accAcme] = []event.DeadLetter{sampleDead()}
	const replay = deadLettersPath + "/d1/replay"
	for _, body := range []string{"", "{}"} {
		if got := h.must(t, "POST", replay, keyFull, body, 202); got != `{"deliveryId":"d1"}` {
			t.Errorf("answer %s", got)
		}
	}
	if d := cmp.Diff([]string{"acme/d1", "acme/d1"}, archive.again); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	h.must(t, "POST", replay+"?force=true", keyFull, "", 400)
	h.must(t, "POST", replay, keyFull, `{"rate":1}`, 400)
	h.addKey(t, "key-of-the-other-account", model.Key{Account: accOther, Scopes: []model.Scope{model.ScopeEventsRead, model.ScopeEventsWrite}})
	none := withoutID(t, h.must(t, "GET", deadLettersPath+"/none", keyFull, "", 404))
	for _, row := range []struct{ method, url, key string }{
		{"GET", deadLettersPath + "/d1", "key-of-the-other-account"},
		{"POST", replay, "key-of-the-other-account"},
		{"GET", deadLettersPath + "/" + strings.Repeat("x", event.MaxIDLength+1), keyFull},
		{"POST", deadLettersPath + "/%07/replay", keyFull},
	} {
		if got := withoutID(t, h.must(t, row.method, row.url, row.key, "", 404)); got != none {
			t.Errorf("%s %.60s: %s, want %s", row.method, row.url, got, none)
		}
	}
	archive.fail = model.Errorf(model.CodeUnknownOutcome, "the change may have been made")
	h.must(t, "POST", replay, keyFull, "", 503)
	if len(archive.again) != 2 {
		t.Errorf("sent again: %v", archive.again)
	}
	h = newHarness(t)
	for _, row := range []struct{ method, url string }{
		{"GET", deadLettersPath}, {"GET", deadLettersPath + "/d1"}, {"POST", replay}, {"GET", replaysPath}, {"POST", replaysPath}, {"GET", replaysPath + "/r"}, {"POST", replaysPath + "/r/cancel"},
	} {
		h.must(t, row.method, row.url, keyFull, "", 503)
	}
}
