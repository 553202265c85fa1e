package dispatch

import "time"

const (
	// breakerUnanswered is how many attempts in a row without an answer open a
	// breaker.
	breakerUnanswered = 5
	// breakerSample, breakerPeriod: of at least so many attempts in such a
	// time, half must have failed to open it.
	breakerSample = 20
	breakerPeriod = time.Minute
	// minBreakerOpen is how long it stays open at first; every failed probe
	// doubles that, up to maxBreakerOpen.
	minBreakerOpen = 5 * time.Second
	maxBreakerOpen = 5 * time.Minute
)

// breaker keeps requests from a destination that is down. While it is open
// nothing is sent and no attempt is used up; when its time is over, one request
// at a time probes, and the first that succeeds closes it.
//
// INV dispatch-9: between the opening of a breaker and a success, requests to
// the destination start one at a time, and none before the breaker's time.
//
// The zero breaker is closed.
type breaker struct {
	inRow  int // failed attempts since the last success
	mute   int // of those, the last ones without an answer
	until  time.Time
	open   bool
	wait   time.Duration
	halves [2]tally // of this half of the period, and the one before
	turn   time.Time
}

type tally struct{ failed, all int }

// blocked reports whether nothing may start before the breaker's time.
func (b *breaker) blocked(now time.Time) bool { return b.open && now.Before(b.until) }

// probing reports whether requests may only go one at a time.
func (b *breaker) probing() bool { return b.open }

// failing reports whether the last thing heard of the destination was bad.
func (b *breaker) failing() bool { return b.inRow > 0 }

// success notes an attempt that was answered well enough, and reports whether
// it closed the breaker.
func (b *breaker) success(now time.Time) (closed bool) {
	closed = b.open
	if closed {
		*b = breaker{}
		return true
	}
	b.inRow, b.mute = 0, 0
	b.count(now, false)
	return false
}

// failure notes an attempt that failed, and reports whether it opened the
// breaker that was closed. Attempts that began before the breaker opened say
// nothing new.
func (b *breaker) failure(now, began time.Time, unanswered bool) (opened bool) {
	b.inRow++
	if unanswered {
		b.mute++
	} else {
		b.mute = 0
	}
	if b.open {
		if !began.Before(b.until) {
			b.wait = min(2*b.wait, maxBreakerOpen)
			b.until = now.Add(b.wait)
		}
		return false
	}
	b.count(now, true)
	failed, all := b.halves[0].failed+b.halves[1].failed, b.halves[0].all+b.halves[1].all
	if b.mute < breakerUnanswered && (all < breakerSample || 2*failed < all) {
		return false
	}
	b.open, b.wait = true, minBreakerOpen
	b.until = now.Add(b.wait)
	return true
}

// renew forgets what was learned at another URL. One that is open stays open, but
// the next probe may go at once: it says whether the destination has recovered.
func (b *breaker) renew(now time.Time) {
	if !b.open {
		*b = breaker{}
		return
	}
	b.until, b.wait = now, minBreakerOpen
}

// count keeps the tallies of the last breakerPeriod, in halves.
func (b *breaker) count(now time.Time, failed bool) {
	switch since := now.Sub(b.turn); {
	case since >= breakerPeriod:
		b.halves, b.turn = [2]tally{}, now
	case since >= breakerPeriod/2:
		b.halves[1], b.halves[0] = b.halves[0], tally{}
		b.turn = b.turn.Add(breakerPeriod / 2)
	}
	b.halves[0].all++
	if failed {
		b.halves[0].failed++
	}
}
