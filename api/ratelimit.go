package api

import (
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"example.com/belfry/fsm/model"
)

// rateLimits holds the token buckets of callers and accounts. They are local
// to the node.
type rateLimits struct {
	certificates, tests, callers *buckets
}

func newRateLimits(l Limits, now func() time.Time) *rateLimits {
	perMinute := func(n int) *buckets { return newBuckets(rate.Limit(float64(n)/60), n, l.RateBuckets, now) }
	return &rateLimits{
		certificates: perMinute(l.CertificateRequests),
		tests:        perMinute(l.TestEvents),
		callers:      newBuckets(rate.Limit(l.KeyRequests), l.KeyRequests, l.RateBuckets, now),
	}
}

func (l *rateLimits) allow(c caller, certificates bool) error {
	if wait := l.callers.take(c.actor.Name); wait > 0 {
		return tooMany(wait, "too many requests with these credentials")
	}
	if certificates {
		if wait := l.certificates.take(c.account); wait > 0 {
			return tooMany(wait, "too many certificate requests of this account")
		}
	}
	return nil
}

// allowTest counts a test event of the caller's account.
func (l *rateLimits) allowTest(c caller) error {
	if wait := l.tests.take(c.account); wait > 0 {
		return tooMany(wait, "too many test events of this account")
	}
	return nil
}

func tooMany(wait time.Duration, text string) error {
	e := model.Errorf(model.CodeLimit, "%s", text)
	e.RetryAfter = max(1, int(math.Ceil(wait.Seconds())))
	return e
}

// buckets is a bounded map of token buckets in two generations: when the young
// one is full the old one is forgotten. A forgotten bucket starts full again,
// which errs on the caller's side.
type buckets struct {
	limit rate.Limit
	burst int
	half  int
	now   func() time.Time

	mu         sync.Mutex
	young, old map[string]*rate.Limiter
}

func newBuckets(limit rate.Limit, burst, size int, now func() time.Time) *buckets {
	return &buckets{limit: limit, burst: burst, half: max(1, size/2), now: now, young: map[string]*rate.Limiter{}}
}

// take takes one token and returns 0, or how long to wait for one.
func (b *buckets) take(key string) time.Duration {
	now := b.now()
	b.mu.Lock()
	l, ok := b.young[key]
	if !ok {
		if l, ok = b.old[key]; !ok {
			l = rate.NewLimiter(b.limit, b.burst)
		}
		if len(b.young) >= b.half {
			b.old, b.young = b.young, map[string]*rate.Limiter{}
		}
		b.young[key] = l
	}
	b.mu.Unlock()
	res := l.ReserveN(now, 1)
	wait := res.DelayFrom(now)
	if wait > 0 {
		res.CancelAt(now)
	}
	return wait
}

// size is how many buckets are kept.
func (b *buckets) size() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.young) + len(b.old)
}
