package dispatch

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"example.com/belfry/dispatch/outbox"
)

// MaxShelf is how many bytes of payload lanes that wait for something may keep
// in their queues, all lanes together. Beyond it a lane that has to wait gives
// its queue back to the outbox.
const MaxShelf = 16 << 20

// scheduler decides which lane may start a request next. It is the one place
// where fairness is decided: accounts in turn, the lanes of an account in turn,
// one request per turn, within the pools of slots.
type scheduler struct {
	d        *Dispatcher
	owned    map[int]*ownedPartition
	lanes    map[outbox.LaneKey]*lane
	accounts map[string]*account
	all      pool // its ring holds the lanes that may be able to start a request
	risky    pool
	large    pool
	wakes    wakeHeap
	shelf    int // bytes of payload in the queues of all lanes
	open     int // breakers
	// lookAt is when lanes that wait may next look at the config; lookLater: they
	// will, when it is time.
	lookAt    time.Time
	lookLater bool
	// have names the deliveries this node holds: queued, in flight, or not
	// settled.
	//
	// INV dispatch-2: a delivery this node holds is not taken a second time,
	// whatever happens to the ownership of its partition in between.
	have map[string]*lane
	// unsettled counts the deliveries in flight and those whose outcome is not
	// committed: what is started is bounded by it.
	unsettled int
	// settling counts those whose outcome is known and not committed.
	settling int

	// bundling are the requests that wait for their bundle to be on record.
	bundling map[*attempt]struct{}

	settle  chan<- finding
	sendCtx context.Context //nolint:containedctx // one for all attempts of a Run
	claims  sync.WaitGroup
	sends   sync.WaitGroup
}

func newScheduler(sendCtx context.Context, d *Dispatcher, settle chan<- finding) *scheduler {
	n := d.opts.MaxInFlight
	return &scheduler{
		d: d, owned: map[int]*ownedPartition{}, lanes: map[outbox.LaneKey]*lane{}, accounts: map[string]*account{},
		all:   pool{kind: poolAll, max: n},
		risky: pool{kind: poolRisky, max: max(1, n/riskyShare)},
		large: pool{kind: poolLarge, max: max(1, n/largeShare)},
		have:  map[string]*lane{}, bundling: map[*attempt]struct{}{}, settle: settle, sendCtx: sendCtx,
	}
}

func (s *scheduler) lane(k outbox.LaneKey) *lane {
	l := s.lanes[k]
	if l == nil {
		a := s.accounts[k.Account]
		if a == nil {
			a = &account{name: k.Account}
			s.accounts[k.Account] = a
		}
		a.lanes++
		l = &lane{key: k, epoch: s.owned[k.Partition].epoch, account: a, batches: true}
		s.lanes[k] = l
		s.d.metrics.lanes.Set(float64(len(s.lanes)))
	}
	return l
}

// forget takes a lane out. Its queue must be empty; what of it is in flight
// still ends.
func (s *scheduler) forget(l *lane) {
	delete(s.lanes, l.key)
	l.account.lanes--
	s.leave(l.account)
	if l.breaker.open {
		s.breakers(-1)
	}
	s.d.metrics.lanes.Set(float64(len(s.lanes)))
}

// leave forgets an account that has nothing to do any more.
func (s *scheduler) leave(a *account) {
	if a.lanes == 0 && a.used[poolAll] == 0 && s.accounts[a.name] == a {
		delete(s.accounts, a.name)
	}
}

func (s *scheduler) breakers(n int) {
	s.open += n
	s.d.metrics.breakers.Set(float64(s.open))
}

func (s *scheduler) live(l *lane) bool { return s.lanes[l.key] == l }

func (s *scheduler) makeReady(l *lane) {
	if s.live(l) {
		s.all.push(l)
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
		stale := !w.lane.wakeAt.Equal(w.at) || !s.live(w.lane)
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

// schedule starts what may start and returns how long to wait before looking
// again without being told; negative: for ever.
func (s *scheduler) schedule() time.Duration {
	now := time.Now()
	wait := s.wakeDue(now)
	for s.all.used < s.all.max && s.unsettled < s.d.opts.MaxUnsettled && s.settling < MaxSettling {
		s.offer(&s.risky)
		s.offer(&s.large)
		if s.all.ring.len() == 0 {
			break
		}
		if !s.d.leased() {
			return leaseRecheck
		}
		l := s.all.next()
		if l == nil {
			return wait // what may start is told when a request ends
		}
		if s.live(l) && s.serve(l, now) {
			s.makeReady(l)
		}
	}
	if s.all.ring.len() == 0 {
		if wait = s.wakeDue(now); s.all.ring.len() > 0 { // serving set alarms
			return 0
		}
	}
	return wait
}

// offer lets the next lane that waits for a slot of the pool try again, if
// there is one for it.
func (s *scheduler) offer(p *pool) {
	if p.used < p.max {
		if l := p.next(); l != nil {
			s.makeReady(l)
		}
	}
}

// park leaves a lane alone until t. Its queue goes back to the outbox, so that
// lanes that wait hold no payloads in memory.
func (s *scheduler) park(l *lane, t time.Time) {
	s.wakeLane(l, t)
	s.putBack(l)
}

// shelve leaves a lane alone until it is told. It keeps its queue while there
// is room for that.
//
// INV dispatch-8: lanes that wait hold at most MaxShelf bytes of payload and
// what one Take gave.
func (s *scheduler) shelve(l *lane) {
	if s.shelf > MaxShelf {
		s.putBack(l)
	}
}

// await leaves a lane alone until the pool has a slot for it.
func (s *scheduler) await(l *lane, p *pool) {
	p.push(l)
	s.shelve(l)
}

func (s *scheduler) putBack(l *lane) {
	if len(l.queue) > 0 {
		s.giveUp(l.queue)
		s.setQueue(l, nil)
	}
}

// setQueue replaces a lane's queue and keeps count of its bytes.
func (s *scheduler) setQueue(l *lane, q []outbox.Delivery) {
	s.shelf -= l.size
	l.queue, l.size = q, 0
	for i := range q {
		l.size += len(q[i].Event.Payload)
	}
	s.shelf += l.size
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
	now := time.Now()
	for i := range g.settlements {
		id := g.settlements[i].DeliveryID
		l := s.have[id]
		delete(s.have, id)
		if g.verdicts[i] == outbox.Fenced {
			s.d.metrics.fenced.Inc()
			s.outdone(g.settlements[i].Partition, g.settlements[i].Epoch)
		}
		// A refill may have taken it meanwhile and left it out because this
		// answer was still to come: a retry that was due before its settlement
		// was. Nothing happens when it is resolved or nobody took it.
		if g.verdicts[i] != outbox.Settled || !g.settlements[i].Status.Final() {
			back = append(back, id)
			s.siftAgain(l, now)
		}
	}
	if len(back) > 0 {
		s.d.opts.Outbox.Release(back...)
	}
	s.count(-len(g.settlements))
	s.settling -= len(g.settlements)
	for i, a := range g.bundled {
		s.bundled(a, g.verdicts[len(g.settlements)+i])
	}
}

// propose hands outcomes to the settler.
func (s *scheduler) propose(g []outbox.Settlement) {
	s.settling += len(g)
	s.settle <- finding{settlements: g}
}

func (s *scheduler) count(n int) {
	s.unsettled += n
	s.d.metrics.unsettled.Set(float64(s.unsettled))
}
