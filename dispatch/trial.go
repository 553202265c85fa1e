package dispatch

import "time"

const (
	// firstTrials is how many requests an account may have under way at first to
	// destinations that nothing is known of yet; trialPause is the time between
	// two more that start whatever becomes of those.
	firstTrials = 32
	trialPause  = time.Second / 32
	// trialCut is the part of an account's window of trials that one trial
	// without an answer takes away.
	trialCut = 64
)

// trials paces what an account sends to destinations that nothing is known of:
// those that were never heard of since this node has work for them. All of them
// get a request at once when an account's events go to many, or when a node
// takes partitions over. Where they answer, the window doubles with every round
// of answers. Where they hang, they would else end together, a timeout later, in
// a burst that delays what others are owed.
//
// INV dispatch-13: an account has at most as many trials under way as its window,
// and one more each trialPause.
//
// The zero trials is where every account begins.
type trials struct {
	underway int
	window   int       // 0: firstTrials
	at       time.Time // when the next one beyond the window may start
	waiting  fifo[*lane]
}

func (t *trials) limit() int { return max(t.window, firstTrials) }

// untried reports whether nothing is known of the lane's destination.
func (l *lane) untried() bool {
	return l.window.size == 0 && !l.window.open && !l.breaker.failing() && !l.breaker.open
}

// mayTry reports whether a request of l may start as far as trials go; else l
// waits for its turn.
func (s *scheduler) mayTry(l *lane, now time.Time) bool {
	t := &l.account.trials
	if !l.untried() || t.underway < t.limit() || !now.Before(t.at) {
		t.leave(l)
		return true
	}
	if !l.waitsTrial {
		l.waitsTrial, l.turn = true, t.at.Add(time.Duration(t.waiting.len())*trialPause)
		t.waiting.push(l)
	}
	if l.turn.Before(t.at) {
		l.turn = t.at // others were told first
	}
	s.wakeLane(l, l.turn) // told earlier when there is room
	return false
}

// leave takes l from the head of those that wait. Elsewhere it stays: it is told
// once without need.
func (t *trials) leave(l *lane) {
	if l.waitsTrial && t.waiting.first() == l {
		t.waiting.pop()
		l.waitsTrial = false
	}
}

// try notes that a request begins, if it is a trial.
func (a *attempt) try(now time.Time) {
	if a.trial = a.lane.untried(); !a.trial {
		return
	}
	t := &a.lane.account.trials
	if t.underway++; t.underway <= t.limit() {
		return
	}
	if t.at = t.at.Add(trialPause); t.at.Before(now) {
		t.at = now.Add(trialPause)
	}
}

// tried notes that a trial has ended, and lets the next ones begin.
func (s *scheduler) tried(a *attempt) {
	t := &a.lane.account.trials
	t.underway--
	switch res := a.result; {
	case a.unsent, unmade(res): // nothing is known
	case unanswered(res):
		t.window = t.limit() - max(1, t.limit()/trialCut)
	default:
		t.window = min(t.limit()+1, s.d.opts.MaxInFlight)
	}
	for n := t.limit() - t.underway; n > 0 && t.waiting.len() > 0; n-- {
		l := t.waiting.pop()
		l.waitsTrial = false
		s.makeReady(l)
	}
}
