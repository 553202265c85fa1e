// Package event is the vocabulary of the event plane: the event that platform
// services post, its receipt, and the view of its deliveries and attempts.
//
// It is a leaf: it imports the standard library only. It decodes and checks
// what comes in (see Decode), and of HTTP it knows what the headers of a
// CloudEvent say, and nothing of storage and matching.
package event

import (
	"encoding/json"
	"time"
)

// Limits of what is taken in. Each is a default that the node may lower or
// raise, up to the hard bound beside it where there is one.
const (
	DefaultMaxEventBytes = 256 << 10 // one event with its payload
	MaxEventBytes        = 1 << 20   // hard bound of the setting
	DefaultMaxBodyBytes  = 4 << 20   // one request
	MaxBatchEvents       = 1000      // events in one request
	MaxIDLength          = 255       // eventId
	MaxFieldLength       = 255       // every other string member
	MaxURLLength         = 2048      // webhook.url
	MaxJSONDepth         = 32        // nesting of a payload
)

// Event is one event of one account, as accepted.
type Event struct {
	Account string `json:"-"` // from the caller's key, never from the body
	// ID is the caller's eventId, or one that the node made (UUIDv7). A
	// given id is an idempotency key: see Receipt.
	ID      string `json:"eventId"`
	GivenID bool   `json:"-"`
	Channel string `json:"channel"`
	Name    string `json:"event"`
	// Format of the payload, passed on in a header. Optional.
	Format string `json:"format,omitempty"`

	ApplicationID        string `json:"applicationId,omitempty"`
	EntityID             string `json:"entityId,omitempty"`
	CallsConfigurationID string `json:"callsConfigurationId,omitempty"`
	Resource             string `json:"resource,omitempty"`
	User                 string `json:"user,omitempty"`

	OccurredAt  time.Time `json:"occurredAt,omitzero"`
	ReceivedAt  time.Time `json:"receivedAt,omitzero"` // stamped by the accepting node
	OrderingKey string    `json:"orderingKey,omitempty"`
	Webhook     *Webhook  `json:"webhook,omitempty"`

	Payload json.RawMessage `json:"payload"`
}

// Webhook is the override that came with the submit: a URL here skips all
// subscriptions; Notify false delivers nothing at all.
type Webhook struct {
	URL         string `json:"url,omitempty"`
	ContentType string `json:"contentType,omitempty"`
	Notify      *bool  `json:"notify,omitempty"`
}

// Suppressed reports whether the event asks for no delivery at all.
func (e *Event) Suppressed() bool {
	return e.Webhook != nil && e.Webhook.Notify != nil && !*e.Webhook.Notify
}

// Acceptance is the status in a Receipt.
type Acceptance string

// The two ways an event can be taken.
const (
	Accepted  Acceptance = "ACCEPTED"
	Duplicate Acceptance = "DUPLICATE" // the eventId was seen before; the first receipt stands
)

// Receipt answers one accepted event. Once a caller has it, the event's
// deliveries are on the disks of a quorum.
type Receipt struct {
	EventID    string     `json:"eventId"`
	Status     Acceptance `json:"status"`
	Deliveries int        `json:"deliveries"`
}

// Status is the state of one delivery.
type Status string

// The states of a delivery. The last three are final.
const (
	StatusPending   Status = "PENDING"  // not tried yet
	StatusRetrying  Status = "RETRYING" // tried, waits for its next attempt
	StatusDelivered Status = "DELIVERED"
	StatusDead      Status = "DEAD"    // gave up; kept as a dead letter
	StatusDropped   Status = "DROPPED" // its subscription or profile was deleted
)

// Final reports whether nothing more will happen to the delivery by itself.
func (s Status) Final() bool {
	return s == StatusDelivered || s == StatusDead || s == StatusDropped
}
