package node

import (
	"cmp"
	"slices"

	"example.com/belfry/dispatch/event"
)

// mergeRecord folds what another node knows of an event into dst: deliveries
// by id, attempts of all nodes in their order, the most final status.
func mergeRecord(dst *event.Record, src event.Record) {
	if dst.Channel == "" {
		account := dst.Account
		dst.Event = src.Event
		dst.Account = account
	}
	for _, d := range src.Deliveries {
		i := slices.IndexFunc(dst.Deliveries, func(have event.Delivery) bool { return have.DeliveryID == d.DeliveryID })
		if i < 0 {
			dst.Deliveries = append(dst.Deliveries, d)
			continue
		}
		mergeDelivery(&dst.Deliveries[i], d)
	}
}

func mergeDelivery(dst *event.Delivery, src event.Delivery) {
	switch {
	case src.Status.Final() && !dst.Status.Final():
		dst.Status, dst.NextAttemptAt = src.Status, nil
	case !src.Status.Final() && !dst.Status.Final() && len(src.Attempts) > 0 && dst.Status == event.StatusPending:
		dst.Status, dst.NextAttemptAt = src.Status, src.NextAttemptAt
	}
	if dst.URL == "" {
		dst.URL = src.URL
	}
	if len(dst.SubscriptionIDs) == 0 {
		dst.SubscriptionIDs = src.SubscriptionIDs
	}
	for _, a := range src.Attempts {
		known := slices.ContainsFunc(dst.Attempts, func(have event.Attempt) bool {
			return have.Attempt == a.Attempt && have.NodeID == a.NodeID && have.At.Equal(a.At)
		})
		if !known {
			dst.Attempts = append(dst.Attempts, a)
		}
	}
	slices.SortFunc(dst.Attempts, func(a, b event.Attempt) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Attempt, b.Attempt))
	})
}
