package check

import (
	"slices"
	"time"
)

// jitterShare is how far a wait may be off the schedule, to either side.
const jitterShare = 0.1

// policy is the retry rule of a destination. It is written here once more, from
// the documentation and not from the code that is judged.
type policy struct {
	schedule []time.Duration
	attempts int // at most
}

// defaultPolicy is the rule of a profile that gives none: twenty retries,
// 1 + n² minutes before retry n, from 0.
func defaultPolicy() policy {
	p := policy{attempts: 21}
	for n := range 20 {
		p.schedule = append(p.schedule, time.Duration(1+n*n)*time.Minute)
	}
	return p
}

// wait is the wait after attempt a, from 1; false: there is none after it.
func (p *policy) wait(a int32) (time.Duration, bool) {
	if a < 1 || int(a) > len(p.schedule) || int(a) >= p.attempts {
		return 0, false
	}
	return p.schedule[a-1], true
}

// policy is the rule of d; false when it changed, or is not known.
func (d *dest) policy() (policy, bool) {
	p, known := defaultPolicy(), false
	for _, op := range d.profile {
		in := op.in.Profile
		if in == nil || op.verb == "delete" {
			continue
		}
		if op.verb != "create" {
			if in.Schedule != nil || in.MaxAttempts != 0 {
				return p, false
			}
			continue
		}
		next := defaultPolicy()
		if in.Schedule != nil {
			next = policy{attempts: len(in.Schedule) + 1}
			for _, s := range in.Schedule {
				next.schedule = append(next.schedule, time.Duration(s)*time.Second)
			}
		}
		if in.MaxAttempts > 0 {
			next.attempts = min(next.attempts, in.MaxAttempts)
		}
		if known && (next.attempts != p.attempts || !slices.Equal(next.schedule, p.schedule)) {
			return p, false
		}
		p, known = next, true
	}
	return p, known
}
