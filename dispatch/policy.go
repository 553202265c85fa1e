package dispatch

import (
	"time"

	"example.com/belfry/fsm/model"
)

const (
	// infobipRetries is how many retries the default policy makes; the waits
	// before them add up to 41 h 30 min.
	infobipRetries = 20
	// jitterShare is how far a wait may be off, to either side.
	jitterShare = 0.1
)

// standardSchedule is the example schedule of the Standard Webhooks
// specification, after its immediate first attempt.
var standardSchedule = []time.Duration{
	5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
	10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

// wait returns the wait before retry n (from 0), and whether there is one.
// The zero Retry is the default policy.
func wait(r model.Retry, n int) (time.Duration, bool) {
	// maxAttempts counts the first attempt too, so retry n is attempt n+2.
	if n < 0 || r.MaxAttempts > 0 && n+2 > r.MaxAttempts {
		return 0, false
	}
	switch r.Policy {
	case model.RetryStandard:
		if n < len(standardSchedule) {
			return standardSchedule[n], true
		}
	case model.RetryCustom:
		if n < len(r.Schedule) {
			return time.Duration(r.Schedule[n]) * time.Second, true
		}
	case model.RetryInfobip, "":
		if n < infobipRetries {
			return time.Minute + time.Duration(n*n)*time.Minute, true
		}
	}
	return 0, false
}

// patience is how long a delivery may be overdue while its destination is known
// to be down: as long as all waits of its policy together, with a fifth and ten
// minutes on top for jitter and probes. A breaker uses up no attempts, so
// without an end of its own what waits for a destination that never comes back
// would wait for ever.
func patience(r model.Retry) time.Duration {
	const slack = 10 * time.Minute
	var span time.Duration
	for n := 0; ; n++ {
		d, ok := wait(r, n)
		if !ok {
			return span + span/5 + slack
		}
		span += d
	}
}

// failure is what is known when an attempt has failed.
type failure struct {
	attempt    int // that failed, from 1
	at         time.Time
	acceptedAt time.Time
	retryAfter time.Duration // 0: none
	jitter     float64       // from -1 to 1
}

// next says when the attempt after f is due, or that there is none: the
// schedule is used up, or the delivery would be older than maxAge by then.
func next(r model.Retry, f failure) (time.Time, bool) {
	d, ok := wait(r, f.attempt-1)
	if !ok {
		return time.Time{}, false
	}
	d += time.Duration(float64(d) * jitterShare * max(-1, min(1, f.jitter)))
	at := f.at.Add(max(d, f.retryAfter))
	if r.MaxAgeSeconds > 0 && at.After(f.acceptedAt.Add(time.Duration(r.MaxAgeSeconds)*time.Second)) {
		return time.Time{}, false
	}
	return at, true
}
