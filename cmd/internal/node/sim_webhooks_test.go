package node

import (
	"context"
	"strings"
	"time"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/partition"
	"example.com/belfry/dispatch/webhook"
	"example.com/belfry/fsm/model"
)

// The ways of the webhooks, by the head of the profile's name.
const (
	wayOK     = "ok"     // takes everything
	wayFlaky  = "flaky"  // fails, hangs, takes without a word
	wayBusy   = "busy"   // asks for patience
	waySlow   = "slow"   // takes everything, after a while, so that much is owed to it
	wayDead   = "dead"   // refuses everything
	wayGone   = "gone"   // wants no more, now and then
	wayKey    = "key"    // fails a little, and its profile keeps the order of keys
	wayStrict = "strict" // the same, and its profile keeps all in order
	wayLate   = "late"   // refuses a request until its last retry, more than an hour later
)

func way(profile string) string {
	head, _, _ := strings.Cut(profile, "-")
	return head
}

// simOrdering is the order that the profile of that name asks for.
func simOrdering(profile string) model.Ordering {
	switch way(profile) {
	case wayKey:
		return model.OrderingKey
	case wayStrict:
		return model.OrderingStrict
	}
	return model.OrderingNone
}

// simSchedule is the retry schedule of the profile of that name, in seconds.
func simSchedule(profile string) []int64 {
	switch way(profile) {
	case wayDead:
		return []int64{1, 2}
	case wayBusy: // due when a node that is cut off may start nothing any more
		return []int64{2, 6, 6, 8, 8, 8, 10}
	case wayLate:
		return []int64{60, 600, 3600}
	}
	return []int64{1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4}
}

// simSender is the way from a node to the webhooks.
type simSender struct{ n *simNode }

var cutOff = webhook.Result{Class: webhook.ClassTemporary, Error: "cut off"}

// Send lets a request arrive and waits for the answer.
func (x simSender) Send(ctx context.Context, r *webhook.Request) webhook.Result {
	// A node that is paused before the request is on the wire asks for its
	// permit when it goes on; one that is paused later learns the answer then.
	if !x.n.runs(ctx) || r.Permit != nil && !r.Permit() {
		res := cutOff
		res.Started = time.Now()
		return res
	}
	started := time.Now()
	plan := x.n.s.truth.arrive(x.n.sight(r.Destination), r)
	timer := time.NewTimer(plan.after)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-x.n.dead:
	}
	if x.n.runs(ctx) {
		x.n.s.truth.answered(plan.names, plan.result)
	} else {
		plan.result = cutOff
	}
	plan.result.Started, plan.result.Duration = started, time.Since(started)
	return plan.result
}

// sight is what is true of the cluster as the node starts a request.
func (n *simNode) sight(d *webhook.Destination) sighting {
	p := partition.Of(d.Account, destinationOf(d))
	leased, _ := n.cluster.Lease()
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	slot := n.s.newest.Slots[p]
	return sighting{
		node: n.id, leased: leased, strange: slot.Owner != n.id, since: time.Since(n.s.moved[p]), epoch: slot.Epoch,
		crashes: n.s.crashes, clocks: n.s.clocks, off: n.s.off(), dead: n.isDead,
	}
}

// isDead reports whether the node has a dead letter of the delivery.
func (n *simNode) isDead(name deliveryName) bool {
	ds, err := n.outbox.Event(name.account, name.id)
	if err != nil {
		return false
	}
	for i := range ds {
		if ds[i].Destination == name.destination {
			return ds[i].Status == event.StatusDead
		}
	}
	return false
}

// gone disables a profile whose webhook wants no more, as Node.disableGone
// does, and tells the truth when that was answered.
func (n *simNode) gone(account, profile string) {
	ctx, cancel := context.WithTimeout(context.Background(), upkeepTimeout)
	defer cancel()
	answered := n.s.truth.disabling()
	_, err := n.writer.UpdateProfile(ctx, system, account, profile, model.ProfilePatch{Enabled: model.Some(false)})
	answered(account, profile, err)
}

// plan is what a webhook does with a request.
type plan struct {
	names  []deliveryName
	after  time.Duration
	result webhook.Result
}

// answer draws what the webhook of a profile says to a request. w.mu is held.
func (w *truth) answer(profile, webhookID string) plan {
	p := plan{after: time.Duration(w.rng.IntN(20)) * time.Millisecond, result: webhook.Result{Class: webhook.ClassOK, StatusCode: 200}}
	failed := webhook.Result{Class: webhook.ClassTemporary, StatusCode: 500}
	switch x, way := w.rng.Float64(), way(profile); {
	case way == wayDead, way == wayLate && w.refused[webhookID] < len(simSchedule(profile)):
		w.refused[webhookID]++
		p.result = webhook.Result{Class: webhook.ClassTemporary, StatusCode: 400}
	case way == waySlow:
		p.after = time.Duration(300+w.rng.IntN(2000)) * time.Millisecond
	case way == wayGone && x < 0.05 && !w.quiet:
		p.result = webhook.Result{Class: webhook.ClassGone, StatusCode: 410}
	case way == wayFlaky && x < 0.25, (way == wayKey || way == wayStrict) && x < 0.1:
		p.result = failed
	case way == wayFlaky && x < 0.30:
		p.result = webhook.Result{Class: webhook.ClassTemporary, Error: lostAnswer}
	case way == wayFlaky && x < 0.35:
		p.after, p.result = 10*time.Second, webhook.Result{Class: webhook.ClassTemporary, Error: "timeout"}
	case way == wayBusy && x < 0.3:
		p.result = webhook.Result{Class: webhook.ClassThrottled, StatusCode: 429, RetryAfter: time.Duration(1+w.rng.IntN(3)) * time.Second}
	}
	return p
}
