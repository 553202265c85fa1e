package event

import (
	"encoding/json"
	"time"
)

// TailKind says what a TailEntry tells of.
type TailKind string

// The kinds of entries of the live tail.
const (
	TailAccepted TailKind = "accepted" // an event was taken, whether something is owed or not
	TailAttempt  TailKind = "attempt"  // an attempt ended, or a delivery ended without one
)

// TailEntry is one line of GET /events/1/tail.
type TailEntry struct {
	Kind          TailKind  `json:"kind"`
	At            time.Time `json:"at"`
	NodeID        string    `json:"nodeId"`
	EventID       string    `json:"eventId"`
	Channel       string    `json:"channel"`
	Name          string    `json:"event"`
	Resource      string    `json:"resource,omitempty"`
	ApplicationID string    `json:"applicationId,omitempty"`
	EntityID      string    `json:"entityId,omitempty"`
	User          string    `json:"user,omitempty"`
	OrderingKey   string    `json:"orderingKey,omitempty"`

	Deliveries *int `json:"deliveries,omitempty"` // of TailAccepted

	// Of TailAttempt.
	DeliveryID      string   `json:"deliveryId,omitempty"`
	ProfileID       string   `json:"profileId,omitempty"`
	SubscriptionIDs []string `json:"subscriptionIds,omitempty"`
	Status          Status   `json:"status,omitempty"` // of the delivery after the attempt
	Attempt         *Attempt `json:"attempt,omitempty"`
}

// TailFilter selects entries of the live tail. Empty members select all.
type TailFilter struct {
	Kind           TailKind `json:"kind,omitempty"`
	Channel        string   `json:"channel,omitempty"`
	Name           string   `json:"event,omitempty"`
	Resource       string   `json:"resource,omitempty"`
	ApplicationID  string   `json:"applicationId,omitempty"`
	EntityID       string   `json:"entityId,omitempty"`
	User           string   `json:"user,omitempty"`
	OrderingKey    string   `json:"orderingKey,omitempty"`
	ProfileID      string   `json:"profileId,omitempty"`
	SubscriptionID string   `json:"subscriptionId,omitempty"`
	Status         Status   `json:"status,omitempty"`
}

// TailBatch is what a live tail got since the batch before.
type TailBatch struct {
	Entries []TailEntry
	// Dropped counts entries since the batch before that the reader was too slow
	// for, or that were not looked at, whether they fitted the filter or not.
	Dropped uint64
	// Unreachable names the nodes whose entries are missing now.
	Unreachable []string
}

// MatchReport says what an event would be owed.
type MatchReport struct {
	Matched []MatchedSubscription
	// Unmatched are the other subscriptions of the account to the event's
	// channel, at most MaxUnmatched.
	Unmatched []UnmatchedSubscription
	// More: there are unmatched ones beyond.
	More bool
}

// MaxUnmatched is how many subscriptions a MatchReport explains.
const MaxUnmatched = 500

// MatchedSubscription is a subscription that an event would go to.
type MatchedSubscription struct {
	SubscriptionID string `json:"subscriptionId"`
	ProfileID      string `json:"profileId"`
	// Note says what would keep the delivery waiting (the profile is disabled);
	// empty: nothing.
	Note string `json:"note,omitempty"`
}

// UnmatchedSubscription is one that it would not go to, and why.
type UnmatchedSubscription struct {
	SubscriptionID string `json:"subscriptionId"`
	ProfileID      string `json:"profileId"`
	// Reasons are sentences a person can act on, one per part that does not fit.
	Reasons []string `json:"reasons"`
}

// TestReport is what came of a test event to a profile.
type TestReport struct {
	Attempt Attempt         `json:"attempt"`
	URL     string          `json:"url"`
	Payload json.RawMessage `json:"payload"` // that was sent
}

// Stats are figures of an account's deliveries over a window of time.
type Stats struct {
	From     time.Time      `json:"from"`
	To       time.Time      `json:"to"`
	Total    ProfileStats   `json:"total"`
	Profiles []ProfileStats `json:"profiles"` // by profile id; URLs of submits count as profile ""
	// Unreachable names the nodes whose attempts are missing.
	Unreachable []string `json:"unreachableNodes,omitempty"`
}

// ProfileStats are the figures of one profile.
type ProfileStats struct {
	ProfileID string `json:"profileId"`

	Attempts  int64            `json:"attempts"`  // requests; a batch is one
	Outcomes  map[string]int64 `json:"outcomes"`  // attempts by webhook.Class
	Delivered int64            `json:"delivered"` // deliveries, as all that follow
	Retried   int64            `json:"retried"`   // postponed after a failed attempt
	Dead      int64            `json:"dead"`
	Dropped   int64            `json:"dropped"`

	RatePerSecond float64 `json:"ratePerSecond"` // delivered in the window
	// SuccessRate is the share of attempts that succeeded, 0 to 1; nil without
	// attempts.
	SuccessRate *float64  `json:"successRate"`
	LatencyMs   *Quantile `json:"latencyMs,omitempty"` // of attempts; nil without

	Backlog         int        `json:"backlog"` // deliveries owed now
	OldestPendingAt *time.Time `json:"oldestPendingAt,omitempty"`
}

// Series are figures of an account, or of one of its profiles, minute by
// minute.
type Series struct {
	From        time.Time     `json:"from"`
	To          time.Time     `json:"to"`
	StepSeconds int           `json:"stepSeconds"`
	Points      []SeriesPoint `json:"points"` // oldest first; the last minute has only begun
	// Unreachable names the nodes whose attempts are missing.
	Unreachable []string `json:"unreachableNodes,omitempty"`
}

// SeriesPoint is what happened in the minute that began at At.
type SeriesPoint struct {
	At        time.Time `json:"at"`
	Accepted  int64     `json:"accepted"` // events of the account; 0 in the series of a profile
	Attempts  int64     `json:"attempts"`
	Failed    int64     `json:"failed"` // attempts that did not succeed
	Delivered int64     `json:"delivered"`
	Retried   int64     `json:"retried"`
	Dead      int64     `json:"dead"`
	LatencyMs *Quantile `json:"latencyMs,omitempty"` // of attempts; nil without
}

// Quantile are percentiles in milliseconds, each within 10 % of the true one.
type Quantile struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
}
