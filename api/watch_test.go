package api

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// An event to match is decoded as one to publish; its payload may be left out.
func TestMatch(t *testing.T) {
	t.Parallel()
	h, _, watcher := watchHarness(t)
	for body, payload := range map[string]string{
		`{"channel":"SMS","event":"DELIVERY"}`: `{}`, `{"channel":"SMS","event":"DELIVERY","payload":null}`: `{}`, `{"payload":{"a":[1.50]},"channel":"SMS","event":"DELIVERY"}`: `{"a":[1.50]}`,
	} {
		if got := h.must(t, "POST", matchPath, keyFull, body, 200); got != `{"matched":[],"unmatched":[],"more":false}` {
			t.Errorf("%s: %s", body, got)
		}
		if e := watcher.matched; e == nil || string(e.Payload) != payload || e.ID == "" || e.GivenID || e.Account != accAcme || !e.ReceivedAt.Equal(h.o.Now()) {
			t.Errorf("%s: %+v", body, e)
		}
	}
	watcher.report = event.MatchReport{
		Matched:   []event.MatchedSubscription{{SubscriptionID: "s", ProfileID: "p", Note: "the profile is disabled"}},
		Unmatched: []event.UnmatchedSubscription{{SubscriptionID: "t", ProfileID: "p", Reasons: []string{"no criterion fits"}}, {SubscriptionID: "u", ProfileID: "p"}}, More: true,
	}
	const want = `{"matched":[{"subscriptionId":"s","profileId":"p","note":"the profile is disabled"}],` +
		`"unmatched":[{"subscriptionId":"t","profileId":"p","reasons":["no criterion fits"]},{"subscriptionId":"u","profileId":"p","reasons":[]}],"more":true}`
	const full = `{"eventId":"e","channel":"SMS","event":"DELIVERY","applicationId":"a","entityId":"n","resource":"r","user":"u","webhook":{"notify":true}}`
	if d := cmp.Diff(want, h.must(t, "POST", matchPath, keyFull, full, 200)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if e := watcher.matched; e.ID != "e" || !e.GivenID || e.ApplicationID != "a" || e.EntityID != "n" || e.Resource != "r" || e.User != "u" {
		t.Errorf("asked for %+v", e)
	}
	h.must(t, "POST", matchPath, keyFull, `{"channel":"BELFRY","event":"delivery.dead"}`, 200)
}

// What publishing refuses, a match refuses too.
func TestMatch_refused(t *testing.T) {
	t.Parallel()
	h, _, watcher := watchHarness(t, func(o *Options) { o.Limits.EventBytes = 300 })
	for body, want := range map[string]string{
		`{"event":"DELIVERY"}`: "/channel", `{"channel":"NOPE","event":"DELIVERY"}`: "/channel", `{"channel":"SMS","event":"SEEN"}`: "/event", `{"channel":"SMS","event":"DELIVERY","payload":[]}`: "/payload",
		`{"channel":"SMS","event":"DELIVERY","x":1}`: "/x", `{"channel":"SMS","event":"DELIVERY","webhook":{"url":"ftp://x"}}`: "/webhook/url", `[{"channel":"SMS","event":"DELIVERY"}]`: "/body", `7`: "/body",
	} {
		if _, at := refusal(t, h.must(t, "POST", matchPath, keyFull, body, 400)); at[want] == "" {
			t.Errorf("%s names %v, want %s", body, at, want)
		}
	}
	h.must(t, "POST", matchPath+"?x=1", keyFull, `{"channel":"SMS","event":"DELIVERY"}`, 400)
	h.must(t, "POST", matchPath, keyFull, `{"channel":"SMS","event":"DELIVERY","payload":{"a":"`+strings.Repeat("x", 300)+`"}}`, 413)
	if watcher.matched != nil {
		t.Errorf("asked for %+v", watcher.matched)
	}
	newHarness(t).must(t, "POST", matchPath, keyFull, `{"channel":"SMS","event":"DELIVERY"}`, 503)
}

// A test event is reported whatever came of it; an account has so many a
// minute, and wrong requests do not count.
func TestTestProfile(t *testing.T) {
	t.Parallel()
	h, _, watcher := watchHarness(t, func(o *Options) { o.Limits.TestEvents = 3 })
	watcher.result = event.TestReport{Attempt: event.Attempt{Attempt: 1, At: time.Unix(0, 0).UTC(), Outcome: "blocked", Error: "the address is private", NodeID: "n1"}, URL: "https://10.0.0.1/"}
	const url, body = "/events/1/profiles/prof-1/test", `{"channel":"SMS","event":"DELIVERY"}`
	for wrong, want := range map[string]string{
		`{}`: "/channel", `{"channel":"","event":""}`: "/event", `{"channel":"NOPE","event":"DELIVERY"}`: "/channel", `{"channel":"SMS","event":"SEEN"}`: "/event", `{"channel":"SMS","event":"DELIVERY","payload":{}}`: "/payload",
	} {
		if _, at := refusal(t, h.must(t, "POST", url, keyFull, wrong, 400)); at[want] == "" {
			t.Errorf("%s names %v, want %s", wrong, at, want)
		}
	}
	h.must(t, "POST", url+"?x=1", keyFull, body, 400)
	h.must(t, "POST", "/events/1/profiles/a%20b/test", keyFull, body, 404)
	if len(watcher.tested) > 0 {
		t.Errorf("tested: %v", watcher.tested)
	}
	const want = `{"attempt":{"attempt":1,"at":"1970-01-01T00:00:00Z","durationMs":0,"outcome":"blocked","error":"the address is private","nodeId":"n1"},"url":"https://10.0.0.1/","payload":null}`
	if d := cmp.Diff(want, h.must(t, "POST", url, keyFull, body, 200)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	watcher.result.Payload = []byte(`{"results":[]}`)
	scenario{method: "POST", url: url, key: keyFull, body: body, status: 200, has: []string{`"payload":{"results":[]}`}}.on(t, h)
	watcher.fail = model.Errorf(model.CodeInvalid, "the profile's contentType has no form of this event")
	scenario{method: "POST", url: url, key: keyFull, body: body, status: 400, has: []string{"contentType"}}.on(t, h)
	scenario{method: "POST", url: url, key: keyFull, body: body, status: 429, headers: map[string]string{"Retry-After": "20"}}.on(t, h)
	if d := cmp.Diff([]string{"acme/prof-1/SMS/DELIVERY", "acme/prof-1/SMS/DELIVERY", "acme/prof-1/SMS/DELIVERY"}, watcher.tested); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	h.advance(20 * time.Second)
	h.must(t, "POST", url, keyFull, body, 400)
	h.must(t, "POST", url, keyFull, body, 429)
	h.addKey(t, "key-of-the-other-account", model.Key{Account: accOther, Scopes: []model.Scope{model.ScopeEventsWrite}})
	watcher.fail = nil
	scenario{method: "POST", url: url, key: "key-of-the-other-account", body: body, status: 404, has: []string{"there is no such profile"}}.on(t, h)
	newHarness(t).must(t, "POST", url, keyFull, body, 503)
}

// The window comes as a duration or in seconds, from a minute to an hour;
// nothing in the answer is null that has a type.
func TestStats(t *testing.T) {
	t.Parallel()
	h, _, watcher := watchHarness(t)
	for query, want := range map[string]time.Duration{
		"": 5 * time.Minute, "?window=1m": time.Minute, "?window=60": time.Minute, "?window=1h": time.Hour, "?window=3600": time.Hour, "?window=1m30s": 90 * time.Second,
	} {
		h.must(t, "GET", statsPath+query, keyFull, "", 200)
		if watcher.window != want || watcher.account != accAcme {
			t.Errorf("%s: %v of %s, want %v", query, watcher.window, watcher.account, want)
		}
	}
	for _, query := range []string{"window=", "window=59", "window=59.999s", "window=3601", "window=1h0m1s", "window=-5m", "window=x", "window=9999999999999999999", "window=1m&window=1m"} {
		if _, at := refusal(t, h.must(t, "GET", statsPath+"?"+query, keyFull, "", 400)); len(at) != 1 || at["/window"] == "" {
			t.Errorf("%s names %v", query, at)
		}
	}
	h.must(t, "GET", statsPath+"?windows=1m", keyFull, "", 400)
	at, share := time.Unix(60, 0).UTC(), .5
	watcher.stats = event.Stats{
		From: time.Unix(0, 0).UTC(), To: at, Total: event.ProfileStats{Attempts: 2}, Unreachable: []string{"n2"},
		Profiles: []event.ProfileStats{{
			ProfileID: "p", Attempts: 2, Outcomes: map[string]int64{"ok": 1}, Delivered: 1, Retried: 1, RatePerSecond: .25, SuccessRate: &share, LatencyMs: &event.Quantile{P50: 1, P90: 2, P99: 3}, Backlog: 4, OldestPendingAt: &at,
		}},
	}
	const want = `{"from":"1970-01-01T00:00:00Z","to":"1970-01-01T00:01:00Z",` +
		`"total":{"profileId":"","attempts":2,"outcomes":{},"delivered":0,"retried":0,"dead":0,"dropped":0,"ratePerSecond":0,"successRate":null,"backlog":0},` +
		`"profiles":[{"profileId":"p","attempts":2,"outcomes":{"ok":1},"delivered":1,"retried":1,"dead":0,"dropped":0,"ratePerSecond":0.25,"successRate":0.5,"latencyMs":{"p50":1,"p90":2,"p99":3},"backlog":4,"oldestPendingAt":"1970-01-01T00:01:00Z"}],` +
		`"unreachableNodes":["n2"],"profilesFound":1,"profilesTotal":1}`
	if d := cmp.Diff(want, h.must(t, "GET", statsPath, keyFull, "", 200)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	newHarness(t).must(t, "GET", statsPath, keyFull, "", 503)
}

// A series takes the same windows, an hour without one, and one profile.
func TestSeries(t *testing.T) {
	t.Parallel()
	h, _, watcher := watchHarness(t)
	for query, want := range map[string]string{"": " 1h0m0s", "?window=5m": " 5m0s", "?profileId=p%2F1&window=60": "p/1 1m0s"} {
		if body := h.must(t, "GET", seriesPath+query, keyFull, "", 200); !strings.Contains(body, `"points":[]`) {
			t.Errorf("%s: %s", query, body)
		}
		if got := watcher.profile + " " + watcher.window.String(); got != want || watcher.account != accAcme {
			t.Errorf("%s: %s of %s, want %s", query, got, watcher.account, want)
		}
	}
	for query, at := range map[string]string{"window=2h": "/window", "profileId=": "/profileId", "profile=p": "/profile"} {
		if _, got := refusal(t, h.must(t, "GET", seriesPath+"?"+query, keyFull, "", 400)); got[at] == "" {
			t.Errorf("%s names %v", query, got)
		}
	}
	from := time.Unix(0, 0).UTC()
	watcher.series = event.Series{From: from, To: from.Add(time.Minute), StepSeconds: 60, Points: []event.SeriesPoint{{At: from, Accepted: 1, Attempts: 2, Failed: 1, Delivered: 1, Retried: 1, LatencyMs: &event.Quantile{P50: 1, P90: 2, P99: 3}}}}
	const want = `{"from":"1970-01-01T00:00:00Z","to":"1970-01-01T00:01:00Z","stepSeconds":60,"points":[{"at":"1970-01-01T00:00:00Z","accepted":1,"attempts":2,"failed":1,"delivered":1,"retried":1,"dead":0,"latencyMs":{"p50":1,"p90":2,"p99":3}}]}`
	if d := cmp.Diff(want, h.must(t, "GET", seriesPath, keyFull, "", 200)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	newHarness(t).must(t, "GET", seriesPath, keyFull, "", 503)
}
