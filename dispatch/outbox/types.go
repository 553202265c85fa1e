package outbox

import (
	"time"

	"example.com/belfry/dispatch/event"
)

// Accept is the command that takes a batch of events with their targets. It is
// proposed by the accepting node, which stamps every time in it: Apply reads
// no clock.
type Accept struct {
	At          time.Time // the proposer's clock; Apply forces it monotonic
	ConfigIndex uint64    // config state that the targets were matched at
	NodeID      string
	Events      []AcceptedEvent
}

// AcceptedEvent is one event with everything it is owed.
type AcceptedEvent struct {
	Event event.Event
	// Request numbers the request of the caller that the event came in.
	// Neighbours with the same number are taken all or none.
	Request int
	Digest  [32]byte // SHA-256 over the event's content, for idempotency
	// ForgetAt is when the event id may be forgotten (idempotency window).
	ForgetAt time.Time
	Targets  []Target // one per delivery
}

// Target is one delivery of an event: to a profile, or to the URL that came
// with the submit.
type Target struct {
	DeliveryID      string
	Partition       int
	ProfileID       string // empty with URL
	URL             string // webhook.url of the submit; empty with ProfileID
	ContentType     string // of the submit, with URL only
	SubscriptionIDs []string
}

// Destination is the lane key of the target within its account.
func (t Target) Destination() string {
	if t.ProfileID != "" {
		return "p:" + t.ProfileID
	}
	return "u:" + t.URL
}

// Result is Apply's answer for one event of an Accept.
type Result struct {
	Status     event.Acceptance
	Deliveries int
	Conflict   bool // the id is known with another content; nothing was taken
	// Refused: another event of the same request is in conflict, so this one
	// was not taken either.
	Refused bool
}

// Delivery is one obligation as the outbox holds it.
type Delivery struct {
	ID          string
	Seq         uint64 // acceptance order, unique in the cluster
	Partition   int
	Destination string
	Target      Target
	Event       event.Event // Account, ids, payload
	AcceptedAt  time.Time
	// ConfigIndex is the config state that its target was matched at. A node
	// whose config is older cannot judge whether the target still exists.
	ConfigIndex uint64

	Status  event.Status
	Attempt int       // attempts settled so far
	NextAt  time.Time // when it is due; zero: at once
	// WebhookID is the id of the request that it belongs to: the one it was last
	// sent in or, before that, the one a Bundle put it into. It is sent with the
	// same members under the same id. Empty: it was in no request that is on
	// record.
	WebhookID string
	// Mark changes with the request that an owed delivery belongs to; the members
	// of one have the same. 0: it was in none that is on record. A Bundle names it.
	Mark uint64
	// Base is the Attempt at which the current series began: 0, or what it was
	// when the dead letter was replayed. Policies count from it.
	Base int
	// SeriesAt is when the current series began: AcceptedAt, or the replay.
	SeriesAt time.Time
}

// Order says which deliveries of a lane Take may hand out.
type Order uint8

// The orders.
const (
	// OrderNone: whatever is due.
	OrderNone Order = iota
	// OrderKey: of each ordering key the oldest unresolved delivery only, while
	// none of that key is taken. Events without a key are free.
	OrderKey
	// OrderStrict: a run of the oldest unresolved deliveries, while none of the
	// lane is taken.
	OrderStrict
)

// TakeOptions of Take.
type TakeOptions struct {
	Limit    int // about how many deliveries
	MaxBytes int // about how many bytes of payload
	Order    Order
	// FreshOnly leaves deliveries that were tried before where they are.
	FreshOnly bool
}

// Settlement is the outcome of one attempt of one delivery. It carries
// absolute state, so applying it again changes nothing.
type Settlement struct {
	DeliveryID string
	Partition  int
	Epoch      uint64 // of the owner that settles; Apply refuses old ones
	Status     event.Status
	Attempt    int
	NextAt     time.Time // for StatusRetrying
	WebhookID  string
	Failure    event.Failure // for StatusDead; its Error is cut to MaxFailureError
}

// MaxFailureError is how much of a failure's text a dead letter keeps, in bytes.
const MaxFailureError = 256

// Settle is the command that records the outcomes of attempts, and what the
// next requests carry. Its answer is one verdict for each settlement, then one
// for each bundle.
type Settle struct {
	At          time.Time // the proposer's clock; Apply forces it monotonic
	Settlements []Settlement
	Bundles     []Bundle // applied after the settlements
}

// Bundle says, before a request goes out, which deliveries it carries under
// which webhook-id. Take hands them out together from then on, so that whoever
// owns the partition sends the same request. It is applied whole or not at all
// and uses up no attempt.
type Bundle struct {
	Partition int
	Epoch     uint64 // of the owner that sends; Apply refuses old ones
	WebhookID string // not empty
	Members   []Member
}

// Member is a delivery of a Bundle.
type Member struct {
	DeliveryID string
	// Mark is the delivery's as Take gave it. If it has changed since, the bundle
	// is refused: the delivery belongs to another request by now.
	Mark uint64
}

// Claim is the command by which the owner of a partition, as the partition
// table names it, raises the partition's epoch and so fences the owner before.
// Its answer is the epoch that there was; 0: nobody had claimed the partition.
type Claim struct {
	Partition int
	Owner     string
	Epoch     uint64
}

// Verdict is Apply's answer for one settlement, one bundle, or one id of a
// Revive.
type Verdict uint8

// The verdicts. Of a Revive, Superseded says that the delivery is not a dead
// letter of the account; of a Bundle, that a member is resolved or belongs to
// another request, also when the same bundle was applied before.
const (
	// Settled: the state is now what the settlement or the bundle says.
	Settled Verdict = iota
	// Superseded: the delivery is unknown, resolved already, or has a later
	// attempt on record. Nothing changed and nothing is left to do.
	Superseded
	// Fenced: it does not carry the partition's epoch. Nothing changed; the owner
	// of now will send the delivery, perhaps again.
	Fenced
	// Exhausted: the dead letter was replayed too often, see MaxReplayAttempt.
	// Nothing changed.
	Exhausted
)
