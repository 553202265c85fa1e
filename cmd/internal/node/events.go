package node

import (
	"context"
	"time"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

const (
	// methodLookup is the peer call that asks a node what it knows of an event.
	methodLookup = "events.lookup"
	// gatherTimeout is how long one node may take to answer a gathered query.
	gatherTimeout = 2 * time.Second
)

// publisher takes events in.
type publisher interface {
	Publish(ctx context.Context, es []*event.Event) ([]event.Receipt, error)
}

// lookup is what this node alone knows of an event.
type lookup func(account, eventID string) (event.Record, bool)

// events implements api.Events: publishing here, and gathering one event's
// deliveries and attempts from all nodes.
type events struct {
	publisher
	local  lookup
	caller caller
	// peers returns the ids of the other members.
	peers func() []string
}

type lookupQuery struct {
	Account string `json:"account"`
	EventID string `json:"eventId"`
}

// Event gathers one event. Deliveries that are owed come from this node's
// replica; what was attempted is in the log of the node that did it, so every
// member is asked, and those that do not answer are named in the record.
// CodeNotFound: nobody that answered knows the event.
func (e *events) Event(ctx context.Context, account, eventID string) (event.Record, error) {
	rec, found := e.local(account, eventID)
	rec.Account, rec.ID = account, eventID
	ctx, cancel := context.WithTimeout(ctx, gatherTimeout)
	defer cancel()
	rec.Unreachable = gather(ctx, e.caller, e.peers(), methodLookup, lookupQuery{account, eventID}, func(answer event.Record) {
		found = true
		mergeRecord(&rec, answer)
	})
	if !found {
		return event.Record{}, model.Errorf(model.CodeNotFound, "there is no event %q, or it is older than the retention", eventID)
	}
	return rec, nil
}

// serveLookup answers methodLookup for other nodes.
func (e *events) serveLookup(_ context.Context, q lookupQuery) (event.Record, error) {
	rec, ok := e.local(q.Account, q.EventID)
	if !ok {
		return rec, model.Errorf(model.CodeNotFound, "not known here")
	}
	return rec, nil
}
