package node

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"sync"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// gather asks all peers the same, hands each answer to take (one at a time) and
// returns, in order, who did not answer. CodeNotFound is an answer: nothing is
// known there.
func gather[T any](ctx context.Context, c caller, peers []string, method string, query any, take func(T)) (away []string) {
	body, err := json.Marshal(query)
	if err != nil {
		return peers
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, id := range peers {
		wg.Go(func() {
			var answer T
			b, err := c.Call(ctx, id, method, body)
			if err == nil {
				err = json.Unmarshal(b, &answer)
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case model.CodeOf(err) == model.CodeNotFound:
			case err != nil:
				away = append(away, id)
			default:
				take(answer)
			}
		})
	}
	wg.Wait()
	slices.Sort(away)
	return away
}

// answers makes a handler of peer calls of a function on JSON.
func answers[Q, A any](f func(ctx context.Context, q Q) (A, error)) func(context.Context, string, []byte) ([]byte, error) {
	return func(ctx context.Context, _ string, body []byte) ([]byte, error) {
		var q Q
		if err := json.Unmarshal(body, &q); err != nil {
			return nil, model.Errorf(model.CodeInvalid, "the query cannot be read").WithCause(err)
		}
		a, err := f(ctx, q)
		if err != nil {
			return nil, err
		}
		return json.Marshal(a)
	}
}

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
