package node

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// peersOf routes calls to the events of other nodes; a nil one does not answer.
type peersOf map[string]*events

func (p peersOf) Call(ctx context.Context, nodeID, method string, body []byte) ([]byte, error) {
	e := p[nodeID]
	if e == nil || method != methodLookup {
		return nil, errors.New("connection refused")
	}
	return answers(e.serveLookup)(ctx, "n1", body)
}

func knows(rec event.Record) lookup {
	return func(account, eventID string) (event.Record, bool) {
		if account != "a" || eventID != "e1" {
			return event.Record{}, false
		}
		return rec, true
	}
}

func knowsNothing(string, string) (event.Record, bool) { return event.Record{}, false }

func TestEvents_Event_gathersFromAllNodes(t *testing.T) {
	t.Parallel()
	done := event.Delivery{DeliveryID: "d1", Status: event.StatusDelivered, Attempts: []event.Attempt{attempt(1, "n2", 5)}}
	peers := peersOf{
		"n2": {local: knows(event.Record{Event: event.Event{ID: "e1", Channel: "SMS", Name: "DELIVERY", Payload: []byte(`{}`)}, Deliveries: []event.Delivery{done}})},
		"n3": {local: knowsNothing},
		"n4": nil,
	}
	e := &events{local: knowsNothing, caller: peers, peers: func() []string { return []string{"n4", "n3", "n2"} }}
	got, err := e.Event(t.Context(), "a", "e1")
	if err != nil {
		t.Fatal(err)
	}
	want := event.Record{
		Event:       event.Event{Account: "a", ID: "e1", Channel: "SMS", Name: "DELIVERY", Payload: []byte(`{}`)},
		Deliveries:  []event.Delivery{done},
		Unreachable: []string{"n4"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
	if _, err := e.Event(t.Context(), "b", "e1"); model.CodeOf(err) != model.CodeNotFound {
		t.Errorf("another account's lookup gives %v, want not_found", err)
	}
}

func TestFetchDevKey_asksUntilSomebodyAnswers(t *testing.T) {
	t.Parallel()
	calls := 0
	c := callerFunc(func(_ context.Context, nodeID, method string) ([]byte, error) {
		calls++
		if nodeID != "n1" || method != methodDevKey {
			t.Errorf("called %s of %s", method, nodeID)
		}
		if calls < 3 {
			return nil, errors.New("not yet")
		}
		return []byte("ring"), nil
	})
	b, err := fetchDevKey(t.Context(), c, func() (string, bool) { return "n1", true })
	if err != nil || string(b) != "ring" || calls != 3 {
		t.Errorf("fetchDevKey = %q, %v after %d calls; want the ring at the third", b, err, calls)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := fetchDevKey(ctx, c, func() (string, bool) { return "", false }); !errors.Is(err, context.Canceled) {
		t.Errorf("without a leader and with a cancelled context: %v", err)
	}
}

type callerFunc func(ctx context.Context, nodeID, method string) ([]byte, error)

func (f callerFunc) Call(ctx context.Context, nodeID, method string, _ []byte) ([]byte, error) {
	return f(ctx, nodeID, method)
}
