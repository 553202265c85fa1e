package dispatch

import (
	"math"

	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/fsm/model"
)

// bundle has it put on record what a request carries, before it goes out: the
// next owner has to send the same members under the same webhook-id when this
// one dies in between.
//
// INV dispatch-11: a request goes out under an id that is on record for each of
// its deliveries, or with one delivery under that one's own id.
func (s *scheduler) bundle(a *attempt) {
	a.lane.bundling++
	s.bundling[a] = struct{}{}
	s.settle <- finding{bundle: a}
}

// unbundle ends the wait for a bundle. The deliveries are still held.
func (s *scheduler) unbundle(a *attempt) {
	delete(s.bundling, a)
	a.lane.bundling--
	s.unreserve(a)
	s.count(-len(a.request.deliveries))
}

// bundled takes in the verdict on a bundle. The request does not start here: it
// goes to the head of the lane's queue, so that whatever has changed meanwhile
// (lease, profile, breaker, window) is looked at as before any other. Nor is it
// bundled again, whoever takes it.
//
// When the bundle is refused nothing was sent; the outbox has what is true by
// now. That is also how a bundle ends that was applied by a proposal whose answer
// was lost.
func (s *scheduler) bundled(a *attempt, v outbox.Verdict) {
	if _, waits := s.bundling[a]; !waits {
		return // the stop did not wait for it
	}
	s.unbundle(a)
	l, members := a.lane, a.request.deliveries
	if v == outbox.Settled && s.live(l) {
		for i := range members {
			members[i].WebhookID = a.request.webhookID
		}
		if l.checked != a.checked {
			l.checked = 0
		}
		if len(l.queue) > 0 {
			members = append(members, l.queue...)
		}
		s.setQueue(l, members)
	} else {
		if v == outbox.Fenced {
			s.d.metrics.fenced.Inc()
			s.outdone(l.key.Partition, a.epoch)
		}
		s.giveUp(members)
	}
	s.makeReady(l)
	s.leave(l.account)
}

// inherit finds out which deliveries of a lane that this node has just claimed
// an owner before may have sent alone, without a record. They are sent alone
// again: in a request with others they would have another webhook-id.
//
// How many those can be: in OrderStrict one; in OrderKey any, for a delivery
// may overtake all of other keys; else what a node has in flight or unsettled at
// most, and in its queue.
func (s *scheduler) inherit(l *lane) {
	if !l.inherited {
		return
	}
	l.inherited = false
	n := s.d.opts.MaxUnsettled + 2*model.MaxMaxBucketSize
	switch l.order {
	case outbox.OrderStrict:
		n = 1
	case outbox.OrderKey:
		n = math.MaxInt
	case outbox.OrderNone:
	}
	l.frontier = s.d.opts.Outbox.Frontier(l.key, n)
}
