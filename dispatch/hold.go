package dispatch

import (
	"slices"
	"time"

	"example.com/belfry/dispatch/outbox"
)

const (
	// lookPause is the least time between two looks of waiting lanes at the
	// config: there may be many lanes, and many changes.
	lookPause = time.Second
	// siftLimit is how many deliveries of a waiting lane are looked at, at a
	// time.
	siftLimit = 256
	// farOff is beyond the wait of any delivery.
	farOff = 10 * 365 * 24 * time.Hour
)

// waits reports until when nothing of l may start, whatever the config says:
// its destination has asked for that, or is down.
func (l *lane) waits(now time.Time) (until time.Time, waits bool) {
	until = l.holdTill
	if l.breaker.blocked(now) && l.breaker.until.After(until) {
		until = l.breaker.until
	}
	return until, now.Before(until)
}

// elsewhere reports whether a request went to another URL than the one that
// the lane sends to by now.
func (a *attempt) elsewhere() bool { return a.url != "" && a.url != a.lane.url }

// look reads the config for l, if it has changed. What is known of a
// destination is known of its URL: when the profile has another one, nothing of
// it holds any more.
//
// INV dispatch-12: a Retry-After and the time of a breaker keep requests from
// the URL that they were learned at, and from no other.
func (s *scheduler) look(l *lane, now time.Time) {
	if s.d.consult(l) {
		l.holdTill, l.gone, l.window = time.Time{}, false, window{}
		l.breaker.renew(now)
	}
}

// wakeHeld lets every lane that is held, or waits for its destination, look at
// the config again. Those that wait do so once in lookPause.
func (s *scheduler) wakeHeld() {
	now := time.Now()
	look := !now.Before(s.lookAt)
	if look {
		s.lookAt, s.lookLater = now.Add(lookPause), false
	}
	for _, l := range s.lanes {
		_, waits := l.waits(now)
		switch {
		case l.held, l.gone:
			if l.gone { // 410; a Retry-After stays
				l.gone, l.holdTill = false, time.Time{}
			}
			l.held, l.index = false, 0
			s.makeReady(l)
		case waits && look:
			l.index = 0
			s.makeReady(l)
		case waits && !s.lookLater:
			s.lookLater = true
			time.AfterFunc(s.lookAt.Sub(now), s.d.ConfigChanged)
		}
	}
}

// sift drops what nobody wants any more from the front of a lane that waits,
// once for each state of the config, and reports whether there was anything.
// What waits for its own time is looked at too: that is the time its
// destination has asked for. Nothing stays in the queue.
//
// Only the front is looked at, because a lane may be owed a lot and the config
// changes often. What is behind is dropped when its turn comes.
func (s *scheduler) sift(l *lane, now time.Time) bool {
	if l.index == 0 || l.sifted == l.index {
		return false
	}
	s.putBack(l)
	b, err := s.d.opts.Outbox.Take(l.key, now.Add(farOff), outbox.TakeOptions{Limit: siftLimit, MaxBytes: MaxBatchBytes, Order: l.order})
	if err != nil {
		s.d.log.Error("deliveries cannot be read from the outbox", "error", err)
		return false // looked at when the wait is over
	}
	s.hold(l, b.Deliveries)
	behind := slices.ContainsFunc(l.queue, func(d outbox.Delivery) bool { return d.ConfigIndex > l.index })
	dropped := !behind && s.weed(l, now)
	s.putBack(l)
	if !dropped && len(b.Deliveries) > 0 {
		// Also when this node's config is behind: what is given back makes the lane
		// ready, which would be sifted again at once, and for ever. A younger config
		// has another index.
		l.sifted = l.index
	}
	return dropped
}

// siftAgain has a lane that waits look at what it is owed once more: something of
// it is back in the outbox that was not there when the config changed, because it
// was on its way or its outcome not settled. l may be nil or forgotten.
func (s *scheduler) siftAgain(l *lane, now time.Time) {
	if l == nil || !s.live(l) {
		return
	}
	if _, waits := l.waits(now); waits {
		l.sifted = 0
		s.makeReady(l)
	}
}

// hold makes the queue of l of what was taken from the outbox.
func (s *scheduler) hold(l *lane, taken []outbox.Delivery) {
	l.checked = 0
	var queue []outbox.Delivery
	for _, d := range taken {
		if _, known := s.have[d.ID]; known {
			continue // the outcome of an attempt before is still on its way
		}
		s.have[d.ID] = l
		queue = append(queue, d)
	}
	s.setQueue(l, queue)
}
