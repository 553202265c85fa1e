package event

import "time"

// BreakerState says whether requests are kept from a destination.
type BreakerState string

// The states of a breaker.
const (
	BreakerClosed   BreakerState = "closed"
	BreakerOpen     BreakerState = "open"      // nothing starts before its time
	BreakerHalfOpen BreakerState = "half-open" // one request at a time probes
)

// MaxDestinations is how many profiles one question for states may name.
const MaxDestinations = 100

// DestinationState is what the node that delivers to a profile's webhook knows
// of it. It is in memory only: another owner, and a node that starts, begin
// without it.
type DestinationState struct {
	ProfileID string `json:"profileId"`
	NodeID    string `json:"nodeId"`
	Partition int    `json:"partition"`

	Breaker BreakerState `json:"breaker"`
	// BreakerUntil is when the next probe may start; nil: the breaker is closed.
	BreakerUntil *time.Time `json:"breakerUntil,omitempty"`
	// Failed counts the attempts that failed since the last that succeeded, and
	// Unanswered those among them, the last in a row, without any answer.
	Failed     int `json:"failedInRow"`
	Unanswered int `json:"unansweredInRow"`
	// HeldUntil is the time that the webhook asked for (Retry-After); nil: none.
	HeldUntil *time.Time `json:"heldUntil,omitempty"`
	// Gone: the webhook answered 410.
	Gone bool `json:"gone"`
	// Disabled: the profile is.
	Disabled bool `json:"disabled"`

	// Window is how many requests may be in flight now, of WindowSize at most.
	Window     int `json:"window"`
	WindowSize int `json:"windowSize"`
	InFlight   int `json:"inFlight"`
	// Queued counts deliveries that were read ahead; more may be owed.
	Queued int `json:"queued"`
	// RateLimit is in requests per second; 0: none. Throttled: a request would
	// have to wait for it now.
	RateLimit int  `json:"rateLimit,omitempty"`
	Throttled bool `json:"throttled"`
}

// DestinationStates is what the nodes know of some profiles' webhooks. A
// profile that nothing waits for, and that nothing has to be remembered of, is
// missing.
type DestinationStates struct {
	Destinations []DestinationState `json:"destinations"`
	// Unreachable names nodes that did not answer; the missing may be theirs.
	Unreachable []string `json:"unreachableNodes"`
}
