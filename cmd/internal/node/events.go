package node

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
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
	query, err := json.Marshal(lookupQuery{account, eventID})
	if err != nil {
		return event.Record{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, gatherTimeout)
	defer cancel()

	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, id := range e.peers() {
		wg.Go(func() {
			b, err := e.caller.Call(ctx, id, methodLookup, query)
			var answer event.Record
			if err == nil {
				err = json.Unmarshal(b, &answer)
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case model.CodeOf(err) == model.CodeNotFound:
			case err != nil:
				rec.Unreachable = append(rec.Unreachable, id)
			default:
				found = true
				mergeRecord(&rec, answer)
			}
		})
	}
	wg.Wait()
	if !found {
		return event.Record{}, model.Errorf(model.CodeNotFound, "there is no event %q, or it is older than the retention", eventID)
	}
	slices.Sort(rec.Unreachable)
	return rec, nil
}

// serveLookup answers methodLookup for other nodes.
func (e *events) serveLookup(_ context.Context, _ string, body []byte) ([]byte, error) {
	var q lookupQuery
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, model.Errorf(model.CodeInvalid, "the lookup cannot be read").WithCause(err)
	}
	rec, ok := e.local(q.Account, q.EventID)
	if !ok {
		return nil, model.Errorf(model.CodeNotFound, "not known here")
	}
	return json.Marshal(rec)
}
