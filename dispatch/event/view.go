package event

import "time"

// Record is what GET /events/1/events/{eventId} shows.
type Record struct {
	Event
	// AcceptedAt is when the event group took the event: log time, the same on
	// every node. Zero where nothing was owed.
	AcceptedAt time.Time  `json:"acceptedAt,omitzero"`
	Deliveries []Delivery `json:"deliveries"`
	// Unreachable names the nodes that did not answer, so that attempts of
	// theirs may be missing.
	Unreachable []string `json:"unreachableNodes,omitempty"`
}

// Delivery is the view of one delivery of an event.
type Delivery struct {
	DeliveryID      string     `json:"deliveryId"` // also the webhook-id of a delivery that travels alone
	ProfileID       string     `json:"profileId,omitempty"`
	SubscriptionIDs []string   `json:"subscriptionIds,omitempty"`
	URL             string     `json:"url"`
	Status          Status     `json:"status"`
	NextAttemptAt   *time.Time `json:"nextAttemptAt,omitempty"`
	Attempts        []Attempt  `json:"attempts"`
}

// What an Attempt keeps of a receiver's answer and of the headers.
const (
	MaxResponse = 1 << 10 // bytes of the answer's body
	// MaxHeaders and MaxHeaderBytes bound the headers of the request, and those
	// of the answer: their number, and the bytes of their names and values.
	MaxHeaders     = 64
	MaxHeaderBytes = 4 << 10
)

// HeaderField is one header of a request or of an answer, its secrets masked.
type HeaderField struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Attempt is the view of one attempt of a delivery.
type Attempt struct {
	Attempt    int       `json:"attempt"` // from 1; a replay goes on counting
	At         time.Time `json:"at"`
	DurationMs int64     `json:"durationMs"`
	Timing     *Timing   `json:"timing,omitempty"`     // nil: nothing was sent
	StatusCode int       `json:"statusCode,omitempty"` // 0: no answer
	Outcome    string    `json:"outcome"`              // a webhook.Class
	// ErrorClass says at which step the attempt failed: a webhook.ErrorClass.
	ErrorClass string `json:"errorClass,omitempty"`
	Error      string `json:"error,omitempty"` // never holds a secret
	// Response is the first KiB of the answer, with what is not UTF-8 replaced
	// and the secrets of the attempt masked.
	Response string `json:"response,omitempty"`
	// RequestHeaders are those that belfry made, as they went out, and
	// ResponseHeaders those of the answer, both by name; what is secret is
	// "***". Empty: nothing was sent, or nothing came back.
	RequestHeaders  []HeaderField `json:"requestHeaders,omitempty"`
	ResponseHeaders []HeaderField `json:"responseHeaders,omitempty"`
	// HeadersCut: there were more, or longer ones, than are kept.
	HeadersCut bool `json:"headersCut,omitempty"`

	NodeID    string `json:"nodeId"`
	WebhookID string `json:"webhookId,omitempty"`
}

// Timing splits the time of an attempt, in milliseconds with three decimals.
// Name, connection and TLS are 0 where a kept connection was used.
type Timing struct {
	DNSMs       float64 `json:"dnsMs"`
	ConnectMs   float64 `json:"connectMs"`
	TLSMs       float64 `json:"tlsMs"`
	FirstByteMs float64 `json:"firstByteMs"` // from the request on the wire to the first byte of the answer
	Reused      bool    `json:"reused"`
}

// Ref is a place in the list of an account's events, which runs from the
// newest to the oldest: by AcceptedAt, then by EventID, both descending. The
// zero Ref is before the newest.
type Ref struct {
	AcceptedAt time.Time `json:"acceptedAt"`
	EventID    string    `json:"eventId"`
}

// After reports whether r comes after o in the list: it is older.
func (r Ref) After(o Ref) bool {
	switch {
	case o == Ref{}:
		return r != Ref{}
	case r == Ref{}:
		return false
	case r.AcceptedAt.Equal(o.AcceptedAt):
		return r.EventID < o.EventID
	}
	return r.AcceptedAt.Before(o.AcceptedAt)
}

// Filter selects events. Members that are empty select everything; the others
// must all hold.
type Filter struct {
	Channel       string `json:"channel,omitempty"`
	Name          string `json:"event,omitempty"`
	Resource      string `json:"resource,omitempty"`
	ApplicationID string `json:"applicationId,omitempty"`
	EntityID      string `json:"entityId,omitempty"`
	User          string `json:"user,omitempty"`
	OrderingKey   string `json:"orderingKey,omitempty"`

	// One delivery must fit these three together.
	Status         Status `json:"status,omitempty"`
	ProfileID      string `json:"profileId,omitempty"`
	SubscriptionID string `json:"subscriptionId,omitempty"`

	From time.Time `json:"from,omitzero"` // AcceptedAt is not before
	To   time.Time `json:"to,omitzero"`   // AcceptedAt is before
}

// Scan is what one source found of a Filter.
type Scan struct {
	Refs []Ref `json:"refs"` // in the order of the list
	// Upto: everything before this place was looked at. Sources bound how much
	// they look at in one go, so Refs may be short of the limit.
	Upto Ref `json:"upto"`
	// Done: everything was looked at, and Upto means nothing.
	Done bool `json:"done"`
}

// Page is a part of the list of events.
type Page struct {
	Records []Record
	// Next is where the list goes on; the zero Ref: it ends here. A page may be
	// short, even empty, and the list go on all the same.
	Next        Ref
	Unreachable []string // nodes that did not answer
}
