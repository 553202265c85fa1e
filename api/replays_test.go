package api

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// A job is made with an id of ours, the caller's account and name, and shown,
// listed and cancelled.
func TestReplays(t *testing.T) {
	t.Parallel()
	h, archive, _ := watchHarness(t)
	const body = `{"filter":{"profileId":"p","channel":"SMS","event":"CLICK","eventId":"e","from":"2026-11-23T10:00:00+01:00","to":"2026-11-24T00:00:00Z"},"rate":10000}`
	res := h.do(t, scenario{method: "POST", url: replaysPath, key: keyFull, body: body})
	var job event.ReplayJob
	if err := json.Unmarshal(res.Body.Bytes(), &job); err != nil || res.Code != 202 {
		t.Fatalf("%d %v\n%s", res.Code, err, res.Body)
	}
	id, err := uuid.Parse(job.ID)
	if err != nil || id.Version() != 7 || res.Header().Get("Location") != replaysPath+"/"+job.ID {
		t.Errorf("id %s, Location %s", job.ID, res.Header().Get("Location"))
	}
	keyID, _ := HashKey(keyFull)
	want := event.ReplayJob{
		Account: accAcme, ID: job.ID, Rate: event.MaxReplayRate, State: event.ReplayRunning, CreatedAt: time.Unix(0, 0).UTC(), CreatedBy: "key:" + keyID, Total: 7,
		Filter: event.DeadFilter{ProfileID: "p", Channel: "SMS", Name: "CLICK", EventID: "e", From: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC), To: time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)},
	}
	if d := cmp.Diff([]event.ReplayJob{want}, archive.jobs[accAcme]); d != "" {
		t.Errorf("(-want +made):\n%s", d)
	}
	if d := cmp.Diff(res.Body.String(), h.must(t, "GET", replaysPath+"/"+job.ID, keyFull, "", 200)); d != "" {
		t.Errorf("shown (-made +shown):\n%s", d)
	}
	if got := h.must(t, "GET", replaysPath, keyFull, "", 200); got != `{"replays":[`+res.Body.String()+`]}` {
		t.Errorf("listed: %s", got)
	}
	for _, body := range []string{"", "{}"} {
		scenario{method: "POST", url: replaysPath + "/" + job.ID + "/cancel", key: keyFull, body: body, status: 200, has: []string{`"state":"CANCELLED"`, `"finishedAt":"1970-01-01T00:00:01Z"`}}.on(t, h)
	}
	h.must(t, "POST", replaysPath+"/"+job.ID+"/cancel", keyFull, `{"now":true}`, 400)

	h.must(t, "POST", replaysPath, keyFull, `{"all":true,"filter":{},"rate":null}`, 202)
	if all := archive.jobs[accAcme][0]; all.Rate != event.DefaultReplayRate || all.Filter != (event.DeadFilter{}) {
		t.Errorf("every dead letter: %+v", all)
	}
	h.addKey(t, "key-of-the-other-account", model.Key{Account: accOther, Scopes: []model.Scope{model.ScopeEventsRead, model.ScopeEventsWrite}})
	none := withoutID(t, h.must(t, "GET", replaysPath+"/none", keyFull, "", 404))
	for _, row := range []struct{ method, url, key string }{
		{"GET", replaysPath + "/" + job.ID, "key-of-the-other-account"}, {"POST", replaysPath + "/" + job.ID + "/cancel", "key-of-the-other-account"}, {"GET", replaysPath + "/a%20b", keyFull}, {"POST", replaysPath + "/..%2F/cancel", keyFull},
	} {
		if got := withoutID(t, h.must(t, row.method, row.url, row.key, "", 404)); got != none {
			t.Errorf("%s %s: %s", row.method, row.url, got)
		}
	}
	if got := h.must(t, "GET", replaysPath, "key-of-the-other-account", "", 200); got != `{"replays":[]}` {
		t.Errorf("another account lists %s", got)
	}
	archive.fail = model.Errorf(model.CodeQuota, "10 replays of this account run already")
	scenario{method: "POST", url: replaysPath, key: keyFull, body: `{"all":true}`, status: 400, has: []string{"10 replays", `"code":"quota"`}, headers: map[string]string{"Location": ""}}.on(t, h)
}

// What is wrong with a job is named, and no job is made.
func TestReplays_refused(t *testing.T) {
	t.Parallel()
	h, archive, _ := watchHarness(t)
	long := strings.Repeat("x", event.MaxFieldLength+1)
	for body, want := range map[string]string{
		`{}`: "/filter", `{"filter":null}`: "/filter", `{"filter":{}}`: "/filter", `{"filter":{"channel":null}}`: "/filter", `{"all":false}`: "/filter", `{"filter":{"profileId":""}}`: "/filter",
		`{"all":true,"filter":{"channel":"SMS"}}`: "/all", `{"filters":{"channel":"SMS"},"all":true}`: "/filters", `{"filter":{"profile":"p"},"all":true}`: "/filter/profile",
		`{"all":true,"rate":0}`: "/rate", `{"all":true,"rate":-1}`: "/rate", `{"all":true,"rate":` + strconv.Itoa(event.MaxReplayRate+1) + `}`: "/rate", `{"all":true,"rate":1.5}`: "/rate",
		`{"filter":{"channel":"NOPE"}}`: "/filter/channel", `{"filter":{"channel":"SMS","event":"SEEN"}}`: "/filter/event", `{"filter":{"event":"NOPE"}}`: "/filter/event",
		`{"filter":{"profileId":"` + long + `"}}`: "/filter/profileId", `{"filter":{"eventId":"a\u0007"}}`: "/filter/eventId", `{"filter":{"from":"yesterday"}}`: "/filter/from",
		`{"filter":{"from":"2026-11-23T10:00:00Z","to":"2026-11-23T10:00:00Z"}}`: "/filter/to",
	} {
		_, at := refusal(t, h.must(t, "POST", replaysPath, keyFull, body, 400))
		if at[want] == "" {
			t.Errorf("%.80s names %v, want %s", body, at, want)
		}
	}
	for _, url := range []string{replaysPath + "?all=true", replaysPath + "/r?x=1", replaysPath + "/r/cancel?x=1"} {
		method := "POST"
		if strings.HasSuffix(url, "/r?x=1") {
			method = "GET"
		}
		h.must(t, method, url, keyFull, "", 400)
	}
	h.must(t, "GET", replaysPath+"?limit=1", keyFull, "", 400)
	if len(archive.jobs) > 0 {
		t.Errorf("jobs were made: %v", archive.jobs)
	}
	h.must(t, "POST", replaysPath, keyFull, `{"all":true,"rate":1}`, 202)
}

// The document names the limits of replays.
func TestDocument_replays(t *testing.T) {
	t.Parallel()
	rate := schemaOf(t, "ReplayRequest").Properties["rate"].Value
	if int(*rate.Min) != 1 || int(*rate.Max) != event.MaxReplayRate || rate.Default != float64(event.DefaultReplayRate) || *schemaOf(t, "ReplayList").Properties["replays"].Value.MaxItems != event.MaxReplays {
		t.Errorf("rate: %v to %v, default %v", *rate.Min, *rate.Max, rate.Default)
	}
	if limit := doc(t, "QLimit"); int(*limit.Max) != MaxSearch || limit.Default != float64(defaultSearch) {
		t.Errorf("limit: at most %v, default %v", *limit.Max, limit.Default)
	}
	if n := *schemaOf(t, "MatchReport").Properties["unmatched"].Value.MaxItems; n != event.MaxUnmatched {
		t.Errorf("unmatched: %d", n)
	}
	var states []string
	for _, s := range deliveryStates {
		states = append(states, string(s))
	}
	if d := cmp.Diff(states, enumOf(schemaOf(t, "DeliveryStatus"))); d != "" {
		t.Errorf("(-code +document):\n%s", d)
	}
}
