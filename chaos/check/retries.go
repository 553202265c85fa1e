package check

import (
	"fmt"
	"math"
	"strings"
	"time"

	"example.com/belfry/chaos/history"
)

const (
	// early is how much sooner than the policy a retry may seem: receivers note
	// their answer when it is on its way already.
	early = 50 * time.Millisecond
	// maxRetryAfter is the longest that belfry lets a receiver ask for.
	maxRetryAfter = 24 * time.Hour
	// breakerFailures, breakerUnanswered: fewer failures and fewer requests
	// without an answer within breakerMemory open no breaker, so nothing but the
	// policy delays a retry.
	breakerFailures   = 10
	breakerUnanswered = 5
	breakerMemory     = 6 * time.Minute
	// redirected is the account in the path that hostile receivers redirect to.
	redirected = "redirected"
)

// retryJudge judges the attempts at one destination.
type retryJudge struct {
	h     *History
	o     Options
	v     *Verdict
	d     *dest
	di    int32
	p     policy
	known bool
	// failures are when requests to d failed, unanswered those without an answer
	// among them; holds tells that one asked to come
	// later, which delays the others too.
	failures, unanswered []int64
	holds                bool
	late                 *[]time.Duration
}

func retries(h *History, o Options, v *Verdict) {
	var late []time.Duration
	for di := range h.dests {
		d := &h.dests[di]
		if len(d.arrivals) == 0 {
			continue
		}
		j := &retryJudge{h: h, o: o, v: v, d: d, di: int32(di), late: &late}
		if d.account == redirected {
			v.Checked++
			j.bad(&h.arrivals[d.arrivals[0]], "a redirect was followed")
			continue
		}
		j.run()
	}
	v.figure("retries_judged_late", float64(len(late)))
	v.figure("late_p50_ms", float64(quantile(late, 0.5))/1e6)
	v.figure("late_p99_ms", float64(quantile(late, 0.99))/1e6)
}

func (j *retryJudge) bad(a *arrival, format string, args ...any) {
	j.v.violate(Violation{What: fmt.Sprintf(format, args...), At: a.call, Key: j.d.account + "/" + j.d.name})
}

func (j *retryJudge) run() {
	j.p, j.known = j.d.policy()
	series := map[uint64][]*arrival{}
	for _, i := range j.d.arrivals {
		a := &j.h.arrivals[i]
		if a.outcome != history.OK {
			j.failures = append(j.failures, a.call)
		}
		if a.outcome == history.Unknown {
			j.unanswered = append(j.unanswered, a.call)
		}
		j.holds = j.holds || a.status == 429 || a.status == 503
		series[a.id] = append(series[a.id], a)
	}
	for _, as := range series {
		j.v.Checked++
		replayed := j.replayed(as[0])
		for k, a := range as {
			if j.known && !replayed && int(a.attempt) > j.p.attempts {
				if j.h.replayed[j.d.account] {
					j.v.Unknown++ // it may have been replayed without having been listed
				} else {
					j.bad(a, "attempt %d of %s, the policy has %d", a.attempt, j.eventsOf(a), j.p.attempts)
				}
			}
			if k > 0 && !replayed {
				j.pair(as[k-1], a)
			}
		}
	}
	j.gone()
}

func (j *retryJudge) eventsOf(a *arrival) string {
	if len(a.runs) == 0 {
		return "a request"
	}
	s := fmt.Sprintf("event %s.%d", j.h.producers[a.runs[0].producer].name, a.runs[0].from)
	if a.events > 1 {
		s += fmt.Sprintf(" and %d more", a.events-1)
	}
	return s
}

// replayed reports whether an event of a was ever a dead letter: a replay is a
// new series of attempts that goes on counting.
func (j *retryJudge) replayed(a *arrival) bool {
	for _, r := range a.runs {
		for n := r.from; n < r.from+int64(r.n); n++ {
			if j.h.letters[letter{j.di, r.producer, n}] {
				return true
			}
		}
	}
	return false
}

// pair judges two attempts of one request that follow each other.
func (j *retryJudge) pair(a, b *arrival) {
	if a.outcome == history.OK {
		return // the checker of duplicates says what is to be said
	}
	under := j.h.faulty(a.call, b.call, int64(j.o.Settled), nil)
	switch {
	case b.attempt <= a.attempt:
		// The outcome of a was not settled: its node lost the destination, or
		// the request did not get through whole.
		if !under && a.outcome == history.Fail && a.attempt > 0 {
			j.bad(b, "attempt %d of %s comes after attempt %d was answered %d, without a fault", b.attempt, j.eventsOf(b), a.attempt, a.status)
		}
		return
	case a.status == 410 && !under:
		j.bad(b, "%s is sent again after 410", j.eventsOf(b))
		return
	case b.attempt != a.attempt+1 || !j.known:
		return // what is between did not reach the receiver
	}
	wait, ok := j.p.wait(a.attempt)
	if !ok {
		return // run has said so
	}
	// Of a request without a whole answer it is not known when belfry gave it
	// up: not before it began.
	gap := time.Duration(b.call - a.ret)
	if a.outcome == history.Unknown {
		gap = time.Duration(b.call - a.call)
	}
	least := time.Duration(float64(wait) * (1 - jitterShare))
	if gap < least-early {
		j.bad(b, "attempt %d of %s comes %v after the one before, the policy says %v", b.attempt, j.eventsOf(b), gap.Round(time.Millisecond), wait)
	}
	j.retryAfter(a, b, gap)
	j.upper(a, b, wait, under)
}

// retryAfter: what a receiver asks for is a floor, up to the cap.
func (j *retryJudge) retryAfter(a, b *arrival, gap time.Duration) {
	if a.retryAfter <= 0 || a.status != 429 && a.status != 503 || a.outcome != history.Fail {
		return
	}
	floor := maxRetryAfter
	if a.retryAfter < maxRetryAfter.Milliseconds() {
		floor = time.Duration(a.retryAfter) * time.Millisecond
	}
	if strings.Contains(a.behaviour, "date") {
		floor -= time.Second // a date has whole seconds
	}
	if gap < floor-early {
		j.bad(b, "%s comes %v after a receiver asked for %v", j.eventsOf(b), gap.Round(time.Millisecond), floor)
	}
}

// upper judges how late a retry is, where nothing but the policy says when it
// is due: no fault, no order, no breaker, no receiver that asked to wait.
func (j *retryJudge) upper(a, b *arrival, wait time.Duration, under bool) {
	if under || j.holds || a.outcome != history.Fail || j.d.ordering() != "" || j.breakerMayBeOpen(b.call) {
		return
	}
	late := time.Duration(b.call-a.ret) - time.Duration(float64(wait)*(1+jitterShare))
	*j.late = append(*j.late, max(0, late))
	if late > j.o.RetrySlack {
		j.bad(b, "attempt %d of %s comes %v after the one before, %v later than the policy allows", b.attempt, j.eventsOf(b),
			time.Duration(b.call-a.ret).Round(time.Millisecond), late.Round(time.Millisecond))
	}
}

func (j *retryJudge) breakerMayBeOpen(t int64) bool {
	from := t - int64(breakerMemory)
	return between(j.failures, from, t) >= breakerFailures || between(j.unanswered, from, t) >= breakerUnanswered
}

// gone: after 410 nothing more starts, once the profile is disabled. It stays
// so until somebody changes the profile.
func (j *retryJudge) gone() {
	if j.d.gone == math.MaxInt64 {
		return
	}
	until, deadline := j.h.end+1, j.d.gone+int64(j.h.bound(j.d.gone, j.o))
	for _, op := range j.d.profile {
		if op.Outcome != history.OK || op.Return > j.d.gone {
			until = min(until, op.Call)
		}
	}
	for i := range j.h.faults { // without a leader nothing can be disabled
		if f := &j.h.faults[i]; f.begin <= deadline && f.healed >= j.d.gone {
			if f.healed > math.MaxInt64-int64(j.o.Settled) {
				return
			}
			deadline = max(deadline, f.healed+int64(j.o.Settled))
		}
	}
	for _, i := range j.d.arrivals {
		if a := &j.h.arrivals[i]; a.call > deadline && a.call < until {
			j.bad(a, "a request starts %v after 410", time.Duration(a.call-j.d.gone).Round(time.Millisecond))
		}
	}
}
