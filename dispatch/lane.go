package dispatch

import (
	"context"
	"math"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"example.com/belfry/dispatch/outbox"
	"example.com/belfry/fsm/model"
)

// lane is one destination of one account that this node works on. Only the
// scheduler's goroutine touches it.
//
// INV dispatch-3: a lane holds at most one Take in its queue and windowSize
// requests in flight; what is owed beyond that stays in the outbox.
type lane struct {
	key     outbox.LaneKey
	epoch   uint64
	account *account

	queue    []outbox.Delivery // taken from the outbox, not sent yet
	size     int               // bytes of payload in queue
	inFlight int               // requests, those that are being bundled included
	bundling int
	wants    [pools]bool // in the queue of the account for that pool
	held     bool        // waits for a change of the config
	wakeAt   time.Time   // when the scheduler looks again; zero: not by itself
	holdTill time.Time   // Retry-After and the like: nothing starts before
	gone     bool        // holdTill is that of a 410, and ends with any change of the config
	sifted   uint64      // config index at which what waits was last found wanted
	url      string      // of the profile; what is known of the destination is known of it

	profile  model.Profile // effective knobs
	verdict  verdict
	index    uint64 // config index of profile and verdict; 0: look again
	checked  uint64 // config index at which the queue was found wanted; 0: look again
	order    outbox.Order
	limiter  *rate.Limiter
	lastRate int

	// inherited: there may be deliveries in the lane that an owner before has
	// sent; frontier is to be asked for, and then says which.
	inherited bool
	frontier  outbox.Frontier

	window     window
	breaker    breaker
	waitsTrial bool // among the waiting ones of the account's trials
	turn       time.Time
	batches    bool // the family sent last shares requests
}

// room is how many requests the lane may have in flight.
func (l *lane) room() int {
	if l.breaker.probing() {
		return 1
	}
	return l.window.limit(l.profile.WindowSize)
}

// orders maps what a profile wants to what the outbox is asked for.
var orders = map[model.Ordering]outbox.Order{
	model.OrderingNone: outbox.OrderNone, model.OrderingKey: outbox.OrderKey, model.OrderingStrict: outbox.OrderStrict,
}

// retried reports whether the next attempt is not the first of its series.
func retried(d *outbox.Delivery) bool { return d.Attempt > d.Base }

// verdict is what the config says about a lane.
type verdict uint8

const (
	sendable verdict = iota
	disabled
	profileGone
)

type wake struct {
	at   time.Time
	lane *lane
}

type wakeHeap []wake

func (h *wakeHeap) Len() int           { return len(*h) }
func (h *wakeHeap) Less(i, j int) bool { return (*h)[i].at.Before((*h)[j].at) }
func (h *wakeHeap) Swap(i, j int)      { (*h)[i], (*h)[j] = (*h)[j], (*h)[i] }

// Push implements heap.Interface.
func (h *wakeHeap) Push(x any) { *h = append(*h, x.(wake)) }

// Pop implements heap.Interface.
func (h *wakeHeap) Pop() any {
	old := *h
	w := old[len(old)-1]
	old[len(old)-1] = wake{}
	*h = old[:len(old)-1]
	return w
}

type ownedPartition struct {
	epoch   uint64
	claimed bool
	cancel  context.CancelFunc // of the claim
}

// consult reads the knobs of the lane's profile when the config has changed, and
// reports whether its URL is another one by now.
func (d *Dispatcher) consult(l *lane) (moved bool) {
	profileID, ok := strings.CutPrefix(l.key.Destination, "p:")
	if !ok {
		l.profile, l.verdict = model.Profile{}.Effective(), sendable
		l.index = math.MaxUint64 // no config can take a URL of the submit back
		return false
	}
	// Read before the profile: what is read then is at least as new.
	index := d.opts.Subscriptions.ConfigIndex()
	if l.index == index && index != 0 {
		return false
	}
	p, err := d.opts.Resolver.Profile(l.key.Account, profileID)
	switch {
	case model.CodeOf(err) == model.CodeNotFound:
		l.profile, l.verdict = model.Profile{}.Effective(), profileGone
	case err != nil:
		d.log.Error("the profile cannot be read", "account", l.key.Account, "profile", profileID, "error", err)
		l.profile, l.verdict = model.Profile{}.Effective(), disabled
		index = 0
	default:
		l.profile, l.verdict = p.Effective(), sendable
		if p.Disabled {
			l.verdict = disabled
		}
		moved, l.url = l.url != "" && l.url != l.profile.URL, l.profile.URL
	}
	l.index, l.order = index, orders[l.profile.Ordering]
	if r := l.profile.RateLimit; r != l.lastRate {
		l.lastRate, l.limiter = r, nil
		if r > 0 {
			// A twentieth of a second's worth may go at once.
			l.limiter = rate.NewLimiter(rate.Limit(r), max(1, r/20))
		}
	}
	return moved
}

// afford is throttle for a request that is bundled first: the token is taken when
// it is sent, and is there by then unless the profile changes.
func (l *lane) afford(now time.Time) time.Duration {
	if l.limiter == nil {
		return 0
	}
	tokens := l.limiter.TokensAt(now) - float64(l.bundling)
	if tokens >= 1 {
		return 0
	}
	return time.Duration((1-tokens)/float64(l.limiter.Limit())*float64(time.Second)) + time.Nanosecond
}

// throttle takes a token of the rate limit, or says how long to wait for one.
func (l *lane) throttle(now time.Time) time.Duration {
	if l.limiter == nil {
		return 0
	}
	r := l.limiter.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait > 0 {
		r.CancelAt(now)
	}
	return wait
}
