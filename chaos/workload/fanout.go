package workload

import (
	"context"
	"fmt"

	"example.com/belfry/chaos/history"
)

const (
	fanoutRate      = 60 // events per second
	fanoutChanges   = 4  // per second
	fanoutSlots     = 4
	fanoutProducers = 4
	fanoutBatch     = 5
	fanoutTurns     = 40 // changes of one subscription before there is a new one
)

// fanout is W4: events flow while the subscriptions that they match change.
// Each slot has one subscription with one profile at a time, and one client
// that changes it, so its state is known except while a change is on. Before
// a post the node is brought up to date with a barrier; what a post must reach
// follows from the changes that were answered before the barrier began.
//
// A subscription with a change of unknown outcome is left behind.
type fanout struct {
	*env
	account Account
	sink    *sink
	apps    []string
}

func newFanout(e *env) Workload {
	return &fanout{env: e, apps: []string{"app0", "app1", "app2", "app3"}}
}

// SetUp implements Workload.
func (w *fanout) SetUp(ctx context.Context) error {
	var err error
	if w.sink, err = w.newSink(ctx, nil); err != nil {
		return err
	}
	w.account, err = w.makeAccount(ctx, "w4", channelSMS)
	return err
}

// Run implements Workload.
func (w *fanout) Run(ctx context.Context) error {
	var clients []func()
	for i := range fanoutSlots {
		c := w.client(fmt.Sprintf("change-%d", i+1), i, i%2 == 0, w.account)
		clients = append(clients, func() { w.change(ctx, c, fmt.Sprintf("w4-s%d", i)) })
	}
	interval := every(fanoutProducers, w.rate(fanoutRate)/fanoutBatch)
	for i := range fanoutProducers {
		s := w.stream(w.account, fmt.Sprint(i+1), i, true, channelSMS)
		clients = append(clients, func() {
			for s.pace(ctx, interval) {
				if s.barrier(ctx, w.account.ID) {
					s.app = pick(s.rng, w.apps...)
					s.post(ctx, fanoutBatch)
				}
			}
		})
	}
	all(clients...)
	return nil
}

// change makes subscriptions one after the other and changes each for a while.
func (w *fanout) change(ctx context.Context, c *client, slot string) {
	interval := every(fanoutSlots, fanoutChanges)
	for life := 0; c.pace(ctx, interval); life++ {
		w.live(ctx, c, fmt.Sprintf("%s-%d", slot, life))
	}
}

// live is the life of one subscription.
func (w *fanout) live(ctx context.Context, c *client, dest string) {
	in := history.Config{Account: w.account.ID, Channel: channelSMS}
	url := 0
	in.Profile = &history.Profile{URL: w.sink.url(w.account.ID, dest, url), Schedule: shortSchedule()}
	in.Subscription = w.criteria(c, dest)
	if a := c.change(ctx, history.SubscriptionCreate, dest, in); a.outcome == history.Fail {
		return
	} else if !a.ok() {
		w.leave(ctx, c, dest)
		return
	}
	interval := every(fanoutSlots, fanoutChanges)
	for range fanoutTurns {
		if !c.pace(ctx, interval) {
			return
		}
		var a answer
		switch n := c.rng.IntN(10); {
		case n < 6:
			in := history.Config{Account: w.account.ID, Channel: channelSMS, Subscription: w.criteria(c, dest)}
			a = c.change(ctx, history.SubscriptionPut, dest, in)
		case n < 9:
			url++
			a = c.change(ctx, history.ProfilePut, dest, history.Config{
				Account: w.account.ID, Profile: &history.Profile{URL: w.sink.url(w.account.ID, dest, url), Set: []string{setURL}},
				Revokes: &history.Revocation{Dest: dest, URLBelow: url},
			})
		default:
			a = w.remove(ctx, c, dest)
			if a.ok() {
				return
			}
		}
		if a.outcome == history.Unknown {
			w.leave(ctx, c, dest)
			return
		}
	}
	w.leave(ctx, c, dest)
}

// criteria lets two of the applications through, or all, and now and then none,
// because it asks for another event.
func (w *fanout) criteria(c *client, dest string) *history.Subscription {
	s := &history.Subscription{Events: []string{eventDelivery}, Profile: dest}
	if c.rng.IntN(8) == 0 {
		s.Events = []string{eventInbound}
	}
	if i := c.rng.IntN(len(w.apps) + 1); i < len(w.apps) {
		s.Applications = []string{w.apps[i], w.apps[(i+1)%len(w.apps)]}
	}
	return s
}

func (w *fanout) remove(ctx context.Context, c *client, dest string) answer {
	return c.change(ctx, history.SubscriptionDelete, dest, history.Config{
		Account: w.account.ID, Channel: channelSMS, Revokes: &history.Revocation{Dest: dest, All: true},
	})
}

// leave deletes a subscription if that can be done, so that they do not
// add up.
func (w *fanout) leave(ctx context.Context, c *client, dest string) {
	_ = c.insist(ctx, func() answer { return w.remove(ctx, c, dest) }) // the history says what came of it
}
