package console

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

func TestStateOf(t *testing.T) {
	t.Parallel()
	at := now.Add(time.Minute)
	for name, tc := range map[string]struct {
		d           event.DestinationState
		words, tone string
		until       bool
		why         string
	}{
		"well":      {event.DestinationState{Breaker: event.BreakerClosed}, "takes requests", "ok", false, ""},
		"failing":   {event.DestinationState{Failed: 1}, "failing", "warn", false, "1 attempt failed in a row."},
		"half-open": {event.DestinationState{Breaker: event.BreakerHalfOpen, BreakerUntil: &at, Failed: 7, Unanswered: 5}, "breaker half-open", "warn", false, "7 attempts failed in a row, the last 5 without an answer."},
		"open":      {event.DestinationState{Breaker: event.BreakerOpen, BreakerUntil: &at, Failed: 20}, "breaker open", "bad", true, "20 attempts failed in a row."},
		"held":      {event.DestinationState{Breaker: event.BreakerOpen, BreakerUntil: &now, HeldUntil: &at, Failed: 3}, "held", "warn", true, "It asked for no request before (Retry-After)."},
		"throttled": {event.DestinationState{Throttled: true}, "at its rate limit", "info", false, "Requests wait for the rate limit of the profile."},
		"disabled":  {event.DestinationState{Disabled: true, HeldUntil: &at}, "disabled", "warn", false, ""},
		"gone":      {event.DestinationState{Gone: true, Disabled: true, HeldUntil: &at, Failed: 2}, "gone", "bad", false, "It answered 410."},
	} {
		s := stateOf(tc.d)
		if s.Words != tc.words || s.Tone != tc.tone || (s.Until != nil) != tc.until || s.Why != tc.why {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// The page of a destination shows its breaker, and stays without the state.
func TestHealth_destination(t *testing.T) {
	t.Parallel()
	api := newFakeAPI()
	healthFixtures()[0].api(api)
	at := now.Add(5 * time.Second)
	api.set("GET /events/1/destinations", event.DestinationStates{Destinations: []event.DestinationState{{
		ProfileID: "orders", NodeID: "n2", Partition: 17, Breaker: event.BreakerOpen, BreakerUntil: &at, Failed: 9, Unanswered: 5, Window: 1, WindowSize: 8, InFlight: 1, RateLimit: 50,
	}}, Unreachable: []string{"n3"}})
	body := get(t, newConsole(t, api), "/profiles/orders/health").Body.String()
	for _, want := range []string{"breaker open", "2026-11-26T12:00:05", "9 attempts failed in a row, the last 5 without an answer", "1 of 8", "n2", "the states of destinations on 1 node: not reachable"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if calls := api.seen("GET /events/1/destinations"); len(calls) != 1 || calls[0].Query != "profileId=orders" {
		t.Errorf("asked by %v", calls)
	}
	api.set("GET /events/1/destinations", event.DestinationStates{})
	if body = get(t, newConsole(t, api), "/profiles/orders/health").Body.String(); !strings.Contains(body, "Nothing is known of it now") {
		t.Error("a destination of which nothing is known is not said so")
	}
	api.set("GET /events/1/destinations", model.Errorf(model.CodeUnavailable, "this node does not watch destinations yet"))
	res := get(t, newConsole(t, api), "/profiles/orders/health")
	if body = res.Body.String(); res.Code != http.StatusOK || !strings.Contains(body, "the states of the destinations: this node does not watch destinations yet") || !strings.Contains(body, "94.00 %") {
		t.Errorf("without the state the page is %d", res.Code)
	}
}

// The list asks for the states of the rows that it shows, as far as it may.
func TestDestinations_states(t *testing.T) {
	t.Parallel()
	api := newFakeAPI()
	destinationFixtures()[3].api(api) // 10,000
	api.set("GET /events/1/destinations", event.DestinationStates{Destinations: []event.DestinationState{{ProfileID: "p10", Breaker: event.BreakerHalfOpen, Failed: 3}}})
	c := newConsole(t, api)
	if body := get(t, c, "/destinations?sort=name").Body.String(); !strings.Contains(body, "breaker half-open") {
		t.Error("the list does not show the breaker")
	}
	get(t, c, "/destinations?sort=name&size=1000")
	calls := api.seen("GET /events/1/destinations")
	if len(calls) != 2 {
		t.Fatalf("asked %d times", len(calls))
	}
	if n := strings.Count(calls[1].Query, "profileId="); n != event.MaxDestinations && n != strings.Count(calls[0].Query, "profileId=") {
		t.Errorf("asked for %d states at once", n)
	}
}
