package dispatch

import (
	"container/heap"
	"context"
	"math"
	"slices"
	"strings"
	"sync"
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
	key   outbox.LaneKey
	epoch uint64

	queue    []outbox.Delivery // taken from the outbox, not sent yet
	inFlight int
	ready    bool      // in the ring
	held     bool      // waits for a change of the config
	wakeAt   time.Time // when the scheduler looks again; zero: not by itself
	holdTill time.Time // Retry-After and the like: nothing starts before

	profile  model.Profile // effective knobs
	verdict  verdict
	index    uint64 // config index of profile and verdict; 0: look again
	checked  uint64 // config index at which the queue was found wanted; 0: look again
	limiter  *rate.Limiter
	lastRate int
}

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

// scheduler decides which lane may start a request next. It is the one place
// where fairness is decided: today, one request per turn for every lane that
// has something due.
type scheduler struct {
	d        *Dispatcher
	owned    map[int]*ownedPartition
	lanes    map[outbox.LaneKey]*lane
	ring     []*lane // lanes that may be able to start a request
	wakes    wakeHeap
	inFlight int
	// have names the deliveries this node holds: queued, in flight, or not
	// settled.
	//
	// INV dispatch-2: a delivery this node holds is not taken a second time,
	// whatever happens to the ownership of its partition in between.
	have map[string]struct{}
	// unsettled counts the deliveries in flight and those whose outcome is not
	// committed: what is started is bounded by it.
	unsettled int

	settle  chan<- []outbox.Settlement
	sendCtx context.Context //nolint:containedctx // one for all attempts of a Run
	claims  sync.WaitGroup
	sends   sync.WaitGroup
}

func (s *scheduler) lane(k outbox.LaneKey) *lane {
	l := s.lanes[k]
	if l == nil {
		l = &lane{key: k, epoch: s.owned[k.Partition].epoch}
		s.lanes[k] = l
		s.d.metrics.lanes.Set(float64(len(s.lanes)))
	}
	return l
}

func (s *scheduler) makeReady(l *lane) {
	if !l.ready && s.lanes[l.key] == l {
		l.ready = true
		s.ring = append(s.ring, l)
	}
}

// wakeLane looks at l again at t, unless it does so earlier already.
func (s *scheduler) wakeLane(l *lane, t time.Time) {
	if l.wakeAt.IsZero() || t.Before(l.wakeAt) {
		l.wakeAt = t
		heap.Push(&s.wakes, wake{t, l})
	}
}

// wakeDue makes the lanes ready whose time has come and returns the wait for
// the next one; a negative wait says there is none.
func (s *scheduler) wakeDue(now time.Time) time.Duration {
	for len(s.wakes) > 0 {
		w := s.wakes[0]
		stale := !w.lane.wakeAt.Equal(w.at) || s.lanes[w.lane.key] != w.lane
		if !stale && w.at.After(now) {
			return w.at.Sub(now)
		}
		heap.Pop(&s.wakes)
		if !stale {
			w.lane.wakeAt = time.Time{}
			s.makeReady(w.lane)
		}
	}
	return -1
}

// fresh takes in the lanes that the outbox has new work for.
func (s *scheduler) fresh() {
	for _, k := range s.d.opts.Outbox.Fresh() {
		if o := s.owned[k.Partition]; o != nil && o.claimed {
			s.makeReady(s.lane(k))
		}
	}
}

// wakeHeld lets every held lane look at the config again.
func (s *scheduler) wakeHeld() {
	for _, l := range s.lanes {
		if l.held {
			l.held, l.index, l.holdTill = false, 0, time.Time{}
			s.makeReady(l)
		}
	}
}

// schedule starts what may start and returns how long to wait before looking
// again without being told; negative: for ever.
func (s *scheduler) schedule() time.Duration {
	now := time.Now()
	wait := s.wakeDue(now)
	for len(s.ring) > 0 && s.inFlight < s.d.opts.MaxInFlight && s.unsettled < s.d.opts.MaxUnsettled {
		if !s.d.leased() {
			return leaseRecheck
		}
		l := s.ring[0]
		s.ring[0] = nil
		s.ring = s.ring[1:]
		l.ready = false
		if s.lanes[l.key] == l && s.serve(l, now) {
			s.makeReady(l)
		}
	}
	if len(s.ring) == 0 {
		s.ring = nil
		if wait = s.wakeDue(now); len(s.ring) > 0 { // serving set alarms
			return 0
		}
	}
	return wait
}

// serve starts at most one request of l and reports whether it may have
// another one to start.
func (s *scheduler) serve(l *lane, now time.Time) bool {
	if now.Before(l.holdTill) {
		s.park(l, l.holdTill)
		return false
	}
	l.held = false
	s.consult(l)
	if l.inFlight >= l.profile.WindowSize {
		return false // told when one ends
	}
	if l.verdict == disabled {
		l.held = true
		s.park(l, now.Add(holdRecheck))
		return false
	}
	if len(l.queue) == 0 && !s.refill(l, now) {
		return false
	}
	// INV dispatch-6: only a config as new as the one a delivery was matched
	// at can say that its profile or subscriptions are gone.
	if index := l.index; l.checked != index || index == 0 {
		if slices.ContainsFunc(l.queue, func(d outbox.Delivery) bool { return d.ConfigIndex > index }) {
			s.wakeLane(l, now.Add(behindRecheck))
			return false
		}
		l.checked = index
		if s.drop(l) {
			return true
		}
	}
	if wait := l.throttle(now); wait > 0 {
		s.wakeLane(l, now.Add(wait))
		return false
	}
	var q request
	q, l.queue = takeBatch(l.queue, l.profile.MaxBucketSize)
	s.start(l, q)
	return true
}

// park leaves a lane alone until t. Its queue goes back to the outbox, so that
// lanes that wait hold no payloads in memory.
func (s *scheduler) park(l *lane, t time.Time) {
	s.wakeLane(l, t)
	if len(l.queue) > 0 {
		s.giveUp(l.queue)
		l.queue = nil
	}
}

// consult reads the knobs of the lane's profile when the config has changed.
func (s *scheduler) consult(l *lane) {
	profileID, ok := strings.CutPrefix(l.key.Destination, "p:")
	if !ok {
		l.profile, l.verdict = model.Profile{}.Effective(), sendable
		l.index = math.MaxUint64 // no config can take a URL of the submit back
		return
	}
	// Read before the profile: what is read then is at least as new.
	index := s.d.opts.Subscriptions.ConfigIndex()
	if l.index == index && index != 0 {
		return
	}
	p, err := s.d.opts.Resolver.Profile(l.key.Account, profileID)
	switch {
	case model.CodeOf(err) == model.CodeNotFound:
		l.profile, l.verdict = model.Profile{}.Effective(), profileGone
	case err != nil:
		s.d.log.Error("the profile cannot be read", "account", l.key.Account, "profile", profileID, "error", err)
		l.profile, l.verdict = model.Profile{}.Effective(), disabled
		index = 0
	default:
		l.profile, l.verdict = p.Effective(), sendable
		if p.Disabled {
			l.verdict = disabled
		}
	}
	l.index = index
	if r := l.profile.RateLimit; r != l.lastRate {
		l.lastRate, l.limiter = r, nil
		if r > 0 {
			// A twentieth of a second's worth may go at once.
			l.limiter = rate.NewLimiter(rate.Limit(r), max(1, r/20))
		}
	}
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

// refill takes due deliveries from the outbox and reports whether there are any.
func (s *scheduler) refill(l *lane, now time.Time) bool {
	b, err := s.d.opts.Outbox.Take(l.key, now, outbox.TakeOptions{Limit: l.profile.MaxBucketSize, MaxBytes: MaxBatchBytes})
	if err != nil {
		s.d.log.Error("deliveries cannot be read from the outbox; trying again", "error", err)
		s.wakeLane(l, now.Add(time.Second))
		return false
	}
	l.checked = 0
	for _, d := range b.Deliveries {
		if _, known := s.have[d.ID]; known {
			continue // the outcome of an attempt before is still on its way
		}
		s.have[d.ID] = struct{}{}
		l.queue = append(l.queue, d)
	}
	switch {
	case len(l.queue) > 0:
		return true
	case b.More:
		s.makeReady(l)
	case !b.NextAt.IsZero():
		s.wakeLane(l, b.NextAt)
	case l.inFlight == 0:
		s.retire(l, now)
	}
	return false
}

// retire forgets an idle lane once its rate limit has nothing to remember.
func (s *scheduler) retire(l *lane, now time.Time) {
	if l.limiter != nil && l.limiter.TokensAt(now) < float64(l.limiter.Burst()) {
		s.wakeLane(l, now.Add(time.Second))
		return
	}
	delete(s.lanes, l.key)
	s.d.metrics.lanes.Set(float64(len(s.lanes)))
}

// drop settles the queued deliveries that nobody wants any more and reports
// whether there were any.
func (s *scheduler) drop(l *lane) bool {
	var keep, drop []outbox.Delivery
	for _, d := range l.queue {
		gone := l.verdict == profileGone || len(d.Target.SubscriptionIDs) > 0 &&
			!s.d.opts.Subscriptions.Alive(d.Event.Account, d.Event.Channel, d.Target.SubscriptionIDs)
		if gone {
			drop = append(drop, d)
		} else {
			keep = append(keep, d)
		}
	}
	if len(drop) == 0 {
		return false
	}
	l.queue = keep
	s.count(len(drop))
	s.settle <- s.d.dropped(drop, l.epoch)
	return true
}

func (s *scheduler) start(l *lane, q request) {
	retry := model.Retry{}
	if l.profile.Retry != nil {
		retry = *l.profile.Retry
	}
	a := &attempt{lane: l, epoch: l.epoch, request: q, retry: retry}
	l.inFlight++
	s.inFlight++
	s.count(len(q.deliveries))
	s.d.metrics.inFlight.Set(float64(s.inFlight))
	s.sends.Go(func() {
		s.d.perform(s.sendCtx, a)
		s.d.results <- a
	})
}

// finish takes in the outcome of an attempt.
func (s *scheduler) finish(a *attempt) {
	l := a.lane
	l.inFlight--
	s.inFlight--
	s.d.metrics.inFlight.Set(float64(s.inFlight))
	if a.unsent {
		s.count(-len(a.request.deliveries))
		s.giveUp(a.request.deliveries)
	} else {
		if a.hold.After(l.holdTill) {
			l.holdTill = a.hold
			l.held = a.gone
		}
		s.settle <- a.settlements
	}
	s.makeReady(l)
}

// giveUp returns deliveries that were not sent to the outbox.
func (s *scheduler) giveUp(ds []outbox.Delivery) {
	ids := make([]string, len(ds))
	for i := range ds {
		ids[i] = ds[i].ID
		delete(s.have, ds[i].ID)
	}
	s.d.opts.Outbox.Release(ids...)
}

// answered takes in the verdicts on settlements.
func (s *scheduler) answered(g settledGroup) {
	var back []string
	for i := range g.settlements {
		id := g.settlements[i].DeliveryID
		delete(s.have, id)
		if g.verdicts[i] == outbox.Fenced {
			s.d.metrics.fenced.Inc()
		}
		// A refill may have taken it meanwhile and left it out because this
		// answer was still to come: a retry that was due before its settlement
		// was. Nothing happens when it is resolved or nobody took it.
		if g.verdicts[i] != outbox.Settled || !g.settlements[i].Status.Final() {
			back = append(back, id)
		}
	}
	if len(back) > 0 {
		s.d.opts.Outbox.Release(back...)
	}
	s.count(-len(g.settlements))
}

func (s *scheduler) count(n int) {
	s.unsettled += n
	s.d.metrics.unsettled.Set(float64(s.unsettled))
}
