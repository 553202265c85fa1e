package event

import "time"

// Failure is what ended a delivery without success.
type Failure struct {
	Outcome    string `json:"outcome"`              // a webhook.Class, or "expired": it waited too long without a last attempt
	StatusCode int    `json:"statusCode,omitempty"` // of the last answer; 0: none
	Error      string `json:"error,omitempty"`      // never holds a secret
}

// DeadLetter is a delivery that was given up. It is kept, with its event, in
// the replicated state until it is replayed or its retention is over.
type DeadLetter struct {
	DeliveryID      string
	ProfileID       string // empty with URL
	URL             string // webhook.url of the submit
	SubscriptionIDs []string
	Event           Event // with its payload
	AcceptedAt      time.Time
	// DeadAt is when it was given up: log time, unique among dead letters, and
	// its place in their list.
	DeadAt   time.Time
	Attempts int // in all series
	Failure  Failure
}

// DeadFilter selects dead letters of an account. Members that are empty select
// everything; the others must all hold.
type DeadFilter struct {
	ProfileID string    `json:"profileId,omitempty"`
	Channel   string    `json:"channel,omitempty"`
	Name      string    `json:"event,omitempty"`
	EventID   string    `json:"eventId,omitempty"`
	From      time.Time `json:"from,omitzero"` // DeadAt is not before
	To        time.Time `json:"to,omitzero"`   // DeadAt is before
}

// DeadPage is a part of the list of dead letters, from the youngest to the
// oldest.
type DeadPage struct {
	DeadLetters []DeadLetter
	// Next is the DeadAt after which the list goes on (only older ones follow);
	// zero: it ends here. A page may be short and the list go on all the same.
	Next time.Time
}

// ReplayState is the state of a ReplayJob.
type ReplayState string

// The states of a replay job. The last two are final.
const (
	ReplayRunning   ReplayState = "RUNNING"
	ReplayDone      ReplayState = "DONE"
	ReplayCancelled ReplayState = "CANCELLED"
)

// Limits of replay jobs.
const (
	DefaultReplayRate = 100    // deliveries per second
	MaxReplayRate     = 10_000 // deliveries per second
	// MaxRunningReplays is how many jobs of one account may run at a time. It is
	// part of the replicated rules.
	MaxRunningReplays = 10
	// MaxReplays is how many jobs of one account are remembered; the oldest
	// finished one goes first. It is part of the replicated rules.
	MaxReplays = 100
)

// ReplayJob sends dead letters again: those that fit Filter and were dead when
// it was created, oldest first. It is replicated: any node shows its progress,
// and it goes on when a node fails.
type ReplayJob struct {
	ID         string      `json:"replayId"`
	Account    string      `json:"-"`
	Filter     DeadFilter  `json:"filter"`
	Rate       int         `json:"rate"` // deliveries per second
	State      ReplayState `json:"state"`
	CreatedAt  time.Time   `json:"createdAt"`
	CreatedBy  string      `json:"createdBy"`
	FinishedAt time.Time   `json:"finishedAt,omitzero"`
	Total      int         `json:"total"`    // that fitted when it was created
	Replayed   int         `json:"replayed"` // so far
}
