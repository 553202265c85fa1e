package dispatch

import (
	"strconv"
	"time"

	"github.com/google/uuid"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/index"
	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/dispatch/partition"
	"example.com/belfry/fsm/model"
)

// matched is a request with what its events are owed.
type matched struct {
	receipts []event.Receipt // final for what is not proposed
	propose  *submission
	at       []int // where the events of propose are in the request
	// repeats maps an event of the request to the earlier one that it repeats.
	repeats map[int]int
}

// match decides what every event of a request is owed.
//
// INV publish-1: the targets of a request and the config index they are
// proposed with come from one snapshot of the index.
// INV publish-2: one delivery per distinct profile, which names all
// subscriptions that matched.
func (p *Publisher) match(es []*event.Event) (*matched, error) {
	table := p.opts.Index.Snapshot()
	now := time.Now()
	q := &matched{
		receipts: make([]event.Receipt, len(es)),
		propose:  &submission{configIndex: table.ConfigIndex(), since: now},
	}
	forgetAt := now.Add(p.opts.IdempotencyWindow)
	known := givenIDs{}
	var found []index.Target
	targets := 0
	for i, e := range es {
		q.receipts[i] = event.Receipt{EventID: e.ID, Status: event.Accepted}
		a := outbox.AcceptedEvent{Event: *e, ForgetAt: forgetAt}
		if e.GivenID {
			a.Digest = event.Digest(e)
			switch first, same := known.add(i, e, a.Digest); {
			case !same:
				return nil, conflict([]int{i})
			case first != i:
				q.repeat(i, first)
				continue
			}
		}
		switch {
		case e.Suppressed():
		case e.Webhook != nil && e.Webhook.URL != "":
			a.Targets = []outbox.Target{newTarget(e, outbox.Target{URL: e.Webhook.URL, ContentType: e.Webhook.ContentType})}
		default:
			found = table.Match(found[:0], e)
			if targets+len(found) > MaxTargets {
				return nil, tooLarge("the events of this request come to more than %d deliveries", MaxTargets)
			}
			a.Targets = make([]outbox.Target, len(found))
			for j, t := range found {
				a.Targets[j] = newTarget(e, outbox.Target{ProfileID: t.ProfileID, SubscriptionIDs: t.SubscriptionIDs})
			}
		}
		targets += len(a.Targets)
		// An event that is owed nothing is not written, unless its id is known:
		// then it is a repetition or a conflict, which the event group decides.
		if len(a.Targets) == 0 && (!e.GivenID || !p.opts.Outbox.Knows(e.Account, e.ID)) {
			continue
		}
		q.at = append(q.at, i)
		q.propose.events = append(q.propose.events, a)
		if q.propose.bytes += commandSize(&a); q.propose.bytes > MaxRequestBytes {
			return nil, tooLarge("the events of this request with their deliveries take more than %d bytes", MaxRequestBytes)
		}
	}
	return q, nil
}

func (q *matched) repeat(i, first int) {
	if q.repeats == nil {
		q.repeats = map[int]int{}
	}
	q.repeats[i] = first
	q.receipts[i].Status = event.Duplicate
}

// settle fills in the receipts from the answer of the event group and returns
// how many deliveries were made.
//
// INV publish-3: of a request, all events are taken or none.
func (q *matched) settle(results []outbox.Result) (deliveries int, err error) {
	var conflicts []int
	for j, r := range results {
		switch i := q.at[j]; {
		case r.Conflict:
			conflicts = append(conflicts, i)
		default:
			q.receipts[i].Status, q.receipts[i].Deliveries = r.Status, r.Deliveries
			if r.Status == event.Accepted {
				deliveries += r.Deliveries
			}
		}
	}
	if len(conflicts) > 0 {
		return 0, conflict(conflicts)
	}
	for i, first := range q.repeats {
		q.receipts[i].Deliveries = q.receipts[first].Deliveries
	}
	return deliveries, nil
}

func newTarget(e *event.Event, t outbox.Target) outbox.Target {
	t.DeliveryID = uuid.Must(uuid.NewV7()).String() // fails only without randomness, which never happens
	t.Partition = partition.Of(e.Account, t.Destination())
	return t
}

// givenIDs are the ids that the client gave in one request, each with the
// first event that has it.
type givenIDs map[givenID]firstOf

type givenID struct{ account, id string }

type firstOf struct {
	at     int
	digest [32]byte
}

// add returns where the id was seen first, and whether it was with the same
// content.
func (g givenIDs) add(i int, e *event.Event, digest [32]byte) (first int, same bool) {
	k := givenID{e.Account, e.ID}
	if f, known := g[k]; known {
		return f.at, f.digest == digest
	}
	g[k] = firstOf{i, digest}
	return i, true
}

// conflict says which events of a request have an id that is known with
// another content. The pointers are into the body of the request.
func conflict(at []int) error {
	e := &model.Error{Code: model.CodeConflict, Message: "was used before for an event with another content"}
	for n, i := range at[:min(len(at), model.MaxViolations)] {
		field := "/" + strconv.Itoa(i) + "/eventId"
		if n == 0 {
			e.Field = field
			continue
		}
		e.Fields = append(e.Fields, model.FieldError{Field: field, Message: e.Message})
	}
	return e
}

func tooLarge(format string, limit int) error {
	return model.Errorf(model.CodeTooLarge, format+"; split it", limit)
}

const (
	// The fixed part of an event and of a target in a command, and a length
	// before every string, each at its largest.
	eventOverhead  = 160
	targetOverhead = 32
	stringOverhead = 3
)

// commandSize is an upper bound of what an event takes in a command.
func commandSize(a *outbox.AcceptedEvent) int {
	e := &a.Event
	n := eventOverhead + len(e.Payload) + len(e.Account) + len(e.ID) + len(e.Channel) + len(e.Name) + len(e.Format) +
		len(e.ApplicationID) + len(e.EntityID) + len(e.CallsConfigurationID) + len(e.Resource) + len(e.User) + len(e.OrderingKey)
	if e.Webhook != nil {
		n += len(e.Webhook.URL) + len(e.Webhook.ContentType)
	}
	for i := range a.Targets {
		t := &a.Targets[i]
		n += targetOverhead + len(t.DeliveryID) + len(t.ProfileID) + len(t.URL) + len(t.ContentType)
		for _, s := range t.SubscriptionIDs {
			n += stringOverhead + len(s)
		}
	}
	return n
}
