package dispatch

import (
	"slices"
	"time"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/dispatch/webhook"
	"example.com/belfry/fsm/model"
)

// outcomeExpired is the outcome of a delivery that became older than maxAge, or
// waited too long for a destination that is down, without a last attempt.
const outcomeExpired = "expired"

// serve starts at most one request of l and reports whether it may have
// another one to start.
func (s *scheduler) serve(l *lane, now time.Time) bool {
	l.held = false
	s.look(l, now)
	until, waits := l.waits(now)
	switch {
	case waits && s.sift(l, now):
		return true
	case l.verdict == disabled:
		l.held = true
		s.park(l, now.Add(holdRecheck))
		return false
	case waits:
		s.park(l, until)
		return false
	case l.inFlight >= l.room():
		s.shelve(l) // told when one ends
		return false
	}
	risky := s.risky.admits(l.account)
	if l.breaker.failing() && !risky {
		s.await(l, &s.risky)
		return false
	}
	if len(l.queue) > 0 && retried(&l.queue[0]) && !risky {
		s.putBack(l)
	}
	if len(l.queue) == 0 && !s.refill(l, now, !risky) {
		return false
	}
	// INV dispatch-6: only a config as new as the one a delivery was matched
	// at can say that its profile or subscriptions are gone.
	if index := l.index; l.checked != index || index == 0 {
		if slices.ContainsFunc(l.queue, func(d outbox.Delivery) bool { return d.ConfigIndex > index }) {
			s.wakeLane(l, now.Add(behindRecheck))
			s.shelve(l)
			return false
		}
		l.checked = index
		if s.weed(l, now) {
			return true
		}
	}
	maxBytes := MaxBatchBytes
	if !s.large.admits(l.account) {
		maxBytes = LargeRequest
		if !l.smallFirst() {
			s.await(l, &s.large)
			return false
		}
	}
	return s.startNext(l, now, maxBytes)
}

// smallFirst brings a request that is not large to the head of the queue and
// reports whether there is one. Where order matters only the head counts.
func (l *lane) smallFirst() bool {
	for i := range l.queue {
		if groupBytes(l.queue, i) <= LargeRequest {
			d := l.queue[i]
			copy(l.queue[1:i+1], l.queue[:i])
			l.queue[0] = d
			return true
		}
		if l.order != outbox.OrderNone {
			return false
		}
	}
	return false
}

// startNext starts the request at the head of the queue, or has it bundled, and
// reports whether the rate limit lets it.
func (s *scheduler) startNext(l *lane, now time.Time, maxBytes int) bool {
	head := &l.queue[0]
	l.batches = model.Batches(head.Event.Channel, head.Event.Name)
	q, rest := takeBatch(l.queue, grouping{
		limit: l.profile.MaxBucketSize, maxBytes: maxBytes, inOrder: l.order == outbox.OrderStrict, frontier: l.frontier,
	})
	bundle := q.unbundled()
	ration := l.throttle
	if bundle {
		ration = l.afford
	} else if !s.mayTry(l, now) {
		s.shelve(l)
		return false
	}
	if wait := ration(now); wait > 0 {
		s.wakeLane(l, now.Add(wait))
		s.shelve(l)
		return false
	}
	s.setQueue(l, rest)
	if l.order == outbox.OrderStrict {
		// Nothing else may start before this one is settled, and then the
		// outbox gives what is next.
		s.putBack(l)
	}
	a := s.reserve(l, q)
	if bundle {
		s.bundle(a)
	} else {
		a.try(now)
		s.start(a)
	}
	return true
}

// refill takes due deliveries from the outbox and reports whether there are
// any. freshOnly: retries have to wait for a slot.
func (s *scheduler) refill(l *lane, now time.Time, freshOnly bool) bool {
	o := outbox.TakeOptions{Limit: l.profile.MaxBucketSize, MaxBytes: MaxBatchBytes, Order: l.order, FreshOnly: freshOnly}
	switch {
	case l.batches:
	case l.order == outbox.OrderStrict:
		o.Limit = 1
	default: // one request each: no more than may start
		o.Limit = l.room() - l.inFlight
	}
	s.inherit(l)
	b, err := s.d.opts.Outbox.Take(l.key, now, o)
	if err != nil {
		s.d.log.Error("deliveries cannot be read from the outbox; trying again", "error", err)
		s.wakeLane(l, now.Add(time.Second))
		return false
	}
	s.hold(l, b.Deliveries)
	if b.Held {
		s.risky.push(l)
	}
	switch {
	case len(l.queue) > 0:
		return true
	case b.More:
		s.makeReady(l)
	case !b.NextAt.IsZero():
		s.wakeLane(l, b.NextAt)
	case l.inFlight == 0 && !b.Held:
		s.retire(l, now)
	}
	return false
}

// retire forgets an idle lane once there is nothing left to remember of it: its
// rate limit is full and its breaker closed, or open for so long that nobody
// seems to send there any more.
func (s *scheduler) retire(l *lane, now time.Time) {
	if l.limiter != nil && l.limiter.TokensAt(now) < float64(l.limiter.Burst()) {
		s.wakeLane(l, now.Add(time.Second))
		return
	}
	if end := l.breaker.until.Add(maxBreakerOpen); l.breaker.open && now.Before(end) {
		s.wakeLane(l, end)
		return
	}
	s.forget(l)
}

// weed ends the queued deliveries that nobody wants any more or that are too
// old, and reports whether there were any.
func (s *scheduler) weed(l *lane, now time.Time) bool {
	var keep, drop, old []outbox.Delivery
	for _, d := range l.queue {
		switch {
		case l.verdict == profileGone, len(d.Target.SubscriptionIDs) > 0 &&
			!s.d.opts.Subscriptions.Alive(d.Event.Account, d.Event.Channel, d.Target.SubscriptionIDs):
			drop = append(drop, d)
		case expired(l.profile.Retry, &d, now), l.breaker.open && overdue(l.profile.Retry, &d, now):
			old = append(old, d)
		default:
			keep = append(keep, d)
		}
	}
	if len(drop)+len(old) == 0 {
		return false
	}
	s.setQueue(l, keep)
	s.count(len(drop) + len(old))
	if len(drop) > 0 {
		s.propose(s.d.dropped(drop, l.epoch))
	}
	if len(old) > 0 {
		s.propose(s.d.outdated(old, l.epoch))
	}
	return true
}

// expired reports whether a delivery is older than its profile lets it become.
func expired(r *model.Retry, d *outbox.Delivery, now time.Time) bool {
	return r != nil && r.MaxAgeSeconds > 0 && now.After(since(d).Add(time.Duration(r.MaxAgeSeconds)*time.Second))
}

// overdue reports whether a delivery has waited for its destination to come
// back for longer than its policy has patience.
func overdue(r *model.Retry, d *outbox.Delivery, now time.Time) bool {
	due := since(d)
	if d.NextAt.After(due) {
		due = d.NextAt
	}
	policy := model.Retry{}
	if r != nil {
		policy = *r
	}
	return now.Sub(due) > patience(policy)
}

// since is when the series of attempts of a delivery began.
func since(d *outbox.Delivery) time.Time {
	if d.SeriesAt.After(d.AcceptedAt) {
		return d.SeriesAt
	}
	return d.AcceptedAt
}

// reserve takes the slots for a request.
func (s *scheduler) reserve(l *lane, q request) *attempt {
	retry := model.Retry{}
	if l.profile.Retry != nil {
		retry = *l.profile.Retry
	}
	a := &attempt{
		lane: l, epoch: l.epoch, request: q, retry: retry,
		risky: l.breaker.failing() || retried(&q.deliveries[0]), large: q.size() > LargeRequest,
		checked: l.checked,
	}
	l.inFlight++
	for _, p := range s.poolsOf(a) {
		p.take(l.account)
	}
	s.count(len(q.deliveries))
	s.d.metrics.inFlight.Set(float64(s.all.used))
	return a
}

func (s *scheduler) start(a *attempt) {
	s.sends.Go(func() {
		s.d.perform(s.sendCtx, a)
		s.d.results <- a
	})
}

func (s *scheduler) poolsOf(a *attempt) []*pool {
	ps := append(make([]*pool, 0, pools), &s.all)
	if a.risky {
		ps = append(ps, &s.risky)
	}
	if a.large {
		ps = append(ps, &s.large)
	}
	return ps
}

// unreserve gives back what reserve took, but for the count of what is unsettled.
func (s *scheduler) unreserve(a *attempt) {
	a.lane.inFlight--
	for _, p := range s.poolsOf(a) {
		p.free(a.lane.account)
	}
	s.d.metrics.inFlight.Set(float64(s.all.used))
}

// finish takes in the outcome of an attempt.
func (s *scheduler) finish(a *attempt) {
	l := a.lane
	s.unreserve(a)
	if a.trial {
		s.tried(a)
	}
	if a.unsent {
		s.count(-len(a.request.deliveries))
		s.giveUp(a.request.deliveries)
	} else {
		if a.elsewhere() && s.live(l) {
			l.index = 0 // one of the two is older
			s.look(l, time.Now())
		}
		if !a.elsewhere() {
			s.learn(a)
			if a.hold.After(l.holdTill) {
				l.holdTill, l.gone = a.hold, a.gone
			}
		}
		s.propose(a.settlements)
	}
	s.makeReady(l)
	s.leave(l.account)
}

// learn lets an outcome decide how much the destination gets from now on.
func (s *scheduler) learn(a *attempt) {
	l, res, now := a.lane, a.result, time.Now()
	if !s.live(l) {
		return
	}
	switch {
	case unmade(res):
		return
	case strained(res):
		l.window.cut(l.profile.WindowSize, res.Started, now)
		if res.Class == webhook.ClassTemporary && l.breaker.failure(now, res.Started, unanswered(res)) {
			s.breakers(1)
			s.d.tellState(a, event.NoticeFailing, res)
		}
	default:
		l.window.grow(l.profile.WindowSize)
		if l.breaker.success(now) {
			s.breakers(-1)
			s.d.tellState(a, event.NoticeRecovered, res)
		}
	}
}
