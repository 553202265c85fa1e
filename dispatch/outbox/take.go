package outbox

import (
	"container/heap"
	"time"
)

// Batch is what Take gives.
type Batch struct {
	Deliveries []Delivery
	// More: something else is due already that Take with the same options would
	// hand out.
	More bool
	// Held: retries are due that FreshOnly left where they are.
	Held bool
	// NextAt is when the next delivery of the lane falls due, tried before or
	// not, when More is false; with Held, the next that was not tried before.
	// Zero: none waits for its time. What waits for one of its chain to be
	// settled is told by Fresh.
	NextAt time.Time
}

// Take hands out deliveries of a lane that are due and whose turn it is in
// o.Order: those whose retry is due first, by due time, then those never handed
// out, in the order in which their turn came. It takes about o.Limit deliveries
// and o.MaxBytes of payload, at least one; those with the same mark belong to one
// request and are never parted: retries that are due at the same instant, and
// what was bundled, which comes first. What was taken is not handed
// out again before a settlement postpones it or Release or Unwatch gives it
// back.
//
// In OrderStrict it is a run from the front of the lane: rows never tried, or
// those of one mark.
//
// The first Take in another order than the one before looks at the whole lane.
func (s *Store) Take(k LaneKey, now time.Time, o TakeOptions) (Batch, error) {
	var b Batch
	s.mu.Lock()
	l := s.st.lanes[k.Partition][laneName{k.Account, k.Destination}]
	if l == nil {
		s.mu.Unlock()
		return b, nil
	}
	if l.order != o.Order {
		s.st.organise(l, o.Order)
	}
	t := taking{st: s.st, lane: l, now: unixNano(now), o: o}
	if o.Order == OrderStrict {
		t.strict(&b)
	} else {
		t.loose(&b)
	}
	sights := make([]sight, len(t.rows))
	for i, r := range t.rows {
		sights[i] = s.st.sight(r)
	}
	s.mu.Unlock()

	var err error
	if b.Deliveries, err = s.fill(sights); err != nil {
		s.mu.Lock()
		for _, r := range t.rows {
			if !r.stale() {
				s.st.giveBack(r)
			}
		}
		s.mu.Unlock()
		return Batch{}, err
	}
	return b, nil
}

// taking is one Take under way.
type taking struct {
	st   *state
	lane *lane
	now  int64
	o    TakeOptions
	rows []*row
	size int
}

func (t *taking) full() bool {
	return len(t.rows) > 0 && (len(t.rows) >= t.o.Limit || t.size >= t.o.MaxBytes)
}

func (t *taking) add(r *row) {
	r.flags |= taken
	t.lane.out++
	t.st.out[r] = struct{}{}
	t.rows = append(t.rows, r)
	t.size += r.ev.size.int()
}

// earliest is the heap of what may be taken whose first entry is due first, or
// nil when none is.
func (t *taking) earliest() *retryHeap {
	fresh, tried := &t.lane.retry[0], &t.lane.retry[1]
	switch {
	case t.o.FreshOnly || !tried.due(t.now):
		if fresh.due(t.now) {
			return fresh
		}
		return nil
	case fresh.due(t.now) && (*fresh)[0].at < (*tried)[0].at:
		return fresh
	}
	return tried
}

// loose takes from the queues of what has its turn.
//
// INV outbox-12: in OrderKey a delivery is handed out only when all older
// unresolved ones of its key are resolved: only the front of a chain is ever
// in the queues.
func (t *taking) loose(b *Batch) {
	l := t.lane
	l.tidy()
	for last := int64(-1); ; l.tidy() {
		h := t.earliest()
		if h == nil || t.full() && ((*h)[0].at != last || last == 0) {
			break
		}
		e := heap.Pop(h).(retryEntry)
		last = e.at
		t.add(e.row)
	}
	for !t.full() {
		p, place := t.st.firstParked(l)
		if p == nil {
			break
		}
		t.add(t.st.unpark(place))
	}
	for l.head < len(l.fifo) && !t.full() {
		r := l.fifo[l.head]
		l.fifo[l.head] = nil
		l.head++
		t.add(r)
		l.tidy()
	}
	b.More = l.parked.live > 0 || l.head < len(l.fifo) || t.earliest() != nil
	b.Held = t.o.FreshOnly && l.retry[1].due(t.now)
	if b.More {
		return
	}
	for i := range l.retry {
		if h := l.retry[i]; len(h) > 0 && h[0].at > t.now && (b.NextAt.IsZero() || h[0].at < unixNano(b.NextAt)) {
			b.NextAt = fromNano(h[0].at)
		}
	}
}

// strict takes a run from the front of the lane.
//
// INV outbox-13: in OrderStrict a delivery is handed out only when all older
// unresolved ones of its lane are resolved, or in the same run.
func (t *taking) strict(b *Batch) {
	all := &t.lane.all
	t.surface()
	first := all.first()
	switch {
	case first == nil || t.lane.out > 0:
		return
	case first.nextAt > t.now:
		b.NextAt = fromNano(first.nextAt)
		return
	case t.o.FreshOnly && first.tried() == 1:
		b.Held = true
		return
	}
	i := all.head
	for ; i < len(all.items); i++ {
		r := all.items[i]
		if r.stale() {
			continue
		}
		if p, _ := t.st.firstParked(t.lane); p != nil && p.seq() < t.st.place(r) {
			break
		}
		if r.status != first.status || r.nextAt != first.nextAt || t.full() && first.nextAt == 0 ||
			t.o.FreshOnly && r.tried() == 1 {
			break
		}
		t.add(r)
	}
	// What was stale in between is not walked over again.
	from := i - len(t.rows)
	copy(all.items[from:i], t.rows)
	clear(all.items[all.head:from])
	all.head = from
}

// surface sees to it that the rows at the front of the lane are in memory, as
// many as may be taken, and in order.
func (t *taking) surface() {
	l := t.lane
	t.st.sortLane(l)
	p, _ := t.st.firstParked(l)
	if p == nil {
		return
	}
	before := 0
	for _, r := range l.all.rest() {
		if before >= t.o.Limit || !r.stale() && t.st.place(r) > p.seq() {
			break
		}
		if !r.stale() {
			before++
		}
	}
	t.st.surface(l, t.o.Limit-before)
	t.st.sortLane(l)
}

func (st *state) giveBack(r *row) {
	if r.flags&taken != 0 {
		st.untake(r)
		st.offer(r, false)
	}
}

// Release gives taken deliveries back to their lanes.
func (s *Store) Release(ids ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if r := s.st.row(deliveryKey(id)); r != nil && r.status <= retryingNo {
			s.st.giveBack(r)
		}
	}
	if len(s.st.freshList) > 0 {
		signal(s.work)
	}
}
