package node

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/belfry/dispatch/event"
)

func attempt(n int, node string, at int64) event.Attempt {
	return event.Attempt{Attempt: n, NodeID: node, At: time.UnixMilli(at).UTC(), Outcome: "temporary"}
}

func TestMergeRecord(t *testing.T) {
	t.Parallel()
	next := time.UnixMilli(9000).UTC()
	local := event.Record{
		Event: event.Event{Account: "a", ID: "e1", Channel: "SMS", Name: "DELIVERY"},
		Deliveries: []event.Delivery{
			{DeliveryID: "d1", URL: "http://x", Status: event.StatusPending, Attempts: []event.Attempt{attempt(2, "n2", 2000)}},
			{DeliveryID: "d2", URL: "http://y", Status: event.StatusPending},
		},
	}
	tests := []struct {
		name string
		dst  event.Record
		src  event.Record
		want event.Record
	}{
		{
			name: "event known only elsewhere",
			dst:  event.Record{Event: event.Event{Account: "a", ID: "e1"}},
			src:  event.Record{Event: event.Event{ID: "e1", Channel: "SMS"}},
			want: event.Record{Event: event.Event{Account: "a", ID: "e1", Channel: "SMS"}},
		},
		{
			name: "a final status wins and clears the next attempt",
			dst: event.Record{Event: event.Event{Channel: "SMS"}, Deliveries: []event.Delivery{
				{DeliveryID: "d1", Status: event.StatusRetrying, NextAttemptAt: &next},
			}},
			src: event.Record{Deliveries: []event.Delivery{{DeliveryID: "d1", URL: "u", SubscriptionIDs: []string{"s"}, Status: event.StatusDelivered}}},
			want: event.Record{Event: event.Event{Channel: "SMS"}, Deliveries: []event.Delivery{
				{DeliveryID: "d1", URL: "u", SubscriptionIDs: []string{"s"}, Status: event.StatusDelivered},
			}},
		},
		{
			name: "attempts of all nodes in their order, none twice, other deliveries kept",
			dst:  local,
			src: event.Record{Deliveries: []event.Delivery{
				{DeliveryID: "d1", Status: event.StatusRetrying, NextAttemptAt: &next, Attempts: []event.Attempt{attempt(1, "n1", 1000), attempt(2, "n2", 2000)}},
				{DeliveryID: "d3", Status: event.StatusDead},
			}},
			want: event.Record{
				Event: local.Event,
				Deliveries: []event.Delivery{
					{
						DeliveryID: "d1", URL: "http://x", Status: event.StatusRetrying, NextAttemptAt: &next,
						Attempts: []event.Attempt{attempt(1, "n1", 1000), attempt(2, "n2", 2000)},
					},
					{DeliveryID: "d2", URL: "http://y", Status: event.StatusPending},
					{DeliveryID: "d3", Status: event.StatusDead},
				},
			},
		},
		{
			name: "a final status is never taken back",
			dst:  event.Record{Event: event.Event{Channel: "SMS"}, Deliveries: []event.Delivery{{DeliveryID: "d1", Status: event.StatusDelivered}}},
			src:  event.Record{Deliveries: []event.Delivery{{DeliveryID: "d1", Status: event.StatusPending, NextAttemptAt: &next}}},
			want: event.Record{Event: event.Event{Channel: "SMS"}, Deliveries: []event.Delivery{{DeliveryID: "d1", Status: event.StatusDelivered}}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			mergeRecord(&tt.dst, tt.src)
			if diff := cmp.Diff(tt.want, tt.dst); diff != "" {
				t.Errorf("mergeRecord (-want +got):\n%s", diff)
			}
		})
	}
}
