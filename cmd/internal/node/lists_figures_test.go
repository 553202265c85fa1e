package node

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"example.com/belfry/api"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/dispatch/stats"
	"example.com/belfry/fsm/model"
)

// crowdMinutes is how many minutes of figures every profile of a crowd has.
const crowdMinutes = 5

// crowdedFigures are the event plane of one node: figures of n profiles for the
// last minutes, p00000 the one that fails most, and a backlog of as many of them
// as an answer tells of.
func crowdedFigures(tb testing.TB, n int) (*watcher, *archive, *destinations) {
	tb.Helper()
	now := time.Now().UTC()
	at := now
	counts := stats.New(stats.Options{MaxPairs: n + 1, Now: func() time.Time { return at }})
	for m := range crowdMinutes {
		at = now.Add(-time.Duration(m) * time.Minute)
		for i := range n {
			id := fmt.Sprintf("p%05d", i)
			counts.Attempt(model.DefaultAccount, id, "ok", time.Duration(1+i%500)*time.Millisecond)
			counts.Deliveries(model.DefaultAccount, id, event.StatusDelivered, 1)
			if i%10 == 0 {
				counts.Attempt(model.DefaultAccount, id, "temporary", time.Second)
				counts.Deliveries(model.DefaultAccount, id, event.StatusRetrying, 1)
			}
		}
		counts.Attempt(model.DefaultAccount, "p00000", "temporary", time.Second)
		counts.Accepted(model.DefaultAccount, n)
	}
	at = now
	owed, err := outbox.Open(outbox.Options{Path: filepath.Join(tb.TempDir(), "outbox.db"), NoSync: true})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = owed.Close() }) // it is thrown away
	e := outbox.AcceptedEvent{Event: event.Event{Account: model.DefaultAccount, ID: "owed", Channel: "SMS", Name: "DELIVERY", ReceivedAt: now, Payload: []byte("{}")}, ForgetAt: now.Add(time.Hour)}
	for i := range min(n, outbox.MaxLanes) {
		e.Targets = append(e.Targets, outbox.Target{DeliveryID: fmt.Sprintf("d%05d", i), ProfileID: fmt.Sprintf("p%05d", i), SubscriptionIDs: []string{"s"}})
	}
	accept := &outbox.Accept{At: now, NodeID: "n1", Events: []outbox.AcceptedEvent{e}}
	if err, failed := owed.Apply(&raft.Log{Index: 1, Type: raft.LogCommand, Data: outbox.Encode(accept)}).(error); failed {
		tb.Fatal(err)
	}
	alone := func() []string { return nil }
	clock := func() time.Time { return now }
	nothing := func(string, *event.Filter, event.Ref, int) (event.Scan, error) { return event.Scan{Done: true}, nil }
	local := func(account, id string) (event.Record, bool) {
		return event.Record{Event: e.Event, AcceptedAt: now}, account == model.DefaultAccount && id == e.Event.ID
	}
	states := func(_ context.Context, _ string, ids []string) ([]event.DestinationState, error) {
		out := make([]event.DestinationState, len(ids))
		for i, id := range ids {
			out[i] = event.DestinationState{ProfileID: id, NodeID: "n1", Breaker: event.BreakerClosed, Window: 2}
		}
		return out, nil
	}
	return &watcher{stats: counts, outbox: owed, peers: alone, self: "n1", now: clock},
		&archive{outbox: owed, scan: nothing, local: local, peers: alone, now: clock},
		&destinations{local: states, peers: alone, self: "n1"}
}

// Nodes and Partitions of the cluster of the crowded pages.
func (quorum) Nodes() []api.NodeStatus {
	return []api.NodeStatus{{NodeID: "n1", Role: "LEADER", Voter: true, Live: true}}
}
func (quorum) Partitions() []api.PartitionStatus { return []api.PartitionStatus{{Owner: "n1"}} }
