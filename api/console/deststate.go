package console

import (
	"fmt"
	"time"

	"example.com/belfry/dispatch/event"
)

// destinationState is what a node knows of a webhook, in words.
type destinationState struct {
	event.DestinationState
	Words, Tone string
	// Until is when it is tried again; nil: now.
	Until *time.Time
	// Why is what led to it; empty: nothing to say.
	Why string
}

// stateOf says what matters most of a destination: what keeps requests from it
// for longest comes first.
func stateOf(d event.DestinationState) destinationState {
	s := destinationState{DestinationState: d, Words: "takes requests", Tone: "ok"}
	switch {
	case d.Gone:
		s.Words, s.Tone, s.Why = "gone", "bad", "It answered 410."
	case d.Disabled:
		s.Words, s.Tone = "disabled", "warn"
	case d.HeldUntil != nil:
		s.Words, s.Tone, s.Until, s.Why = "held", "warn", d.HeldUntil, "It asked for no request before (Retry-After)."
	case d.Breaker == event.BreakerOpen:
		s.Words, s.Tone, s.Until = "breaker open", "bad", d.BreakerUntil
	case d.Breaker == event.BreakerHalfOpen:
		s.Words, s.Tone = "breaker half-open", "warn"
	case d.Failed > 0:
		s.Words, s.Tone = "failing", "warn"
	case d.Throttled:
		s.Words, s.Tone, s.Why = "at its rate limit", "info", "Requests wait for the rate limit of the profile."
	}
	if s.Why == "" && d.Failed > 0 {
		s.Why = plural(d.Failed, "attempt", "attempts") + " failed in a row"
		if d.Unanswered > 0 {
			s.Why += fmt.Sprintf(", the last %d without an answer", d.Unanswered)
		}
		s.Why += "."
	}
	return s
}

// destinationStates asks for the states of profiles, as many as may be asked
// for at once. missing says what could not be read.
func destinationStates(v *visit, ids []string) (states map[string]destinationState, missing string) {
	ids = ids[:min(len(ids), event.MaxDestinations)]
	if len(ids) == 0 {
		return nil, ""
	}
	st, err := v.api.Destinations(v.ctx(), ids...)
	if err != nil {
		return nil, "the states of the destinations: " + err.Error()
	}
	states = map[string]destinationState{}
	for _, d := range st.Destinations {
		states[d.ProfileID] = stateOf(d)
	}
	if n := len(st.Unreachable); n > 0 {
		missing = fmt.Sprintf("the states of destinations on %s: not reachable", plural(n, "node", "nodes"))
	}
	return states, missing
}
