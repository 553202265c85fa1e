package outbox

import (
	"container/heap"
	"hash/fnv"
	"slices"
)

// lane holds the unresolved deliveries of one destination. How it is organised,
// and what is taken, is local: it is neither replicated nor on disk.
//
// fifo and retry hold the rows whose turn it is in the lane's order; entries
// may be stale and are skipped when they come up. In a lane of OrderStrict they
// are empty: there the turn can be read off the front of all.
type lane struct {
	key   LaneKey
	order Order // that it is organised for
	// all is the lane in acceptance order; what was replayed is at the end.
	all    ageList[*row]
	fifo   []*row // never handed out, from head on
	head   int
	retry  [2]retryHeap              // due again: not tried in their series (given back, bundled, replayed), tried
	chains map[uint16]*ageList[*row] // OrderKey: by slot, in acceptance order
	out    int                       // rows with the flag taken
	parked parkQueue
	// unsorted: rows that were parked are at the end of all, whatever their age.
	unsorted bool
	fresh    bool
}

// slotOf is the chain of an ordering key. Two keys may share one and are then
// delivered as if they were one: that costs speed, never order. Slots are on
// disk: the function is part of the format.
func slotOf(orderingKey string) uint16 {
	if orderingKey == "" {
		return 0
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(orderingKey))
	return uint16(h.Sum32()%(1<<16-1) + 1)
}

type retryEntry struct {
	at  int64
	row *row
}

// retryHeap is ordered by due time, then acceptance.
type retryHeap []retryEntry

func (h *retryHeap) Len() int { return len(*h) }
func (h *retryHeap) Less(i, j int) bool {
	a, b := (*h)[i], (*h)[j]
	if a.at != b.at {
		return a.at < b.at
	}
	return a.row.seq < b.row.seq
}
func (h *retryHeap) Swap(i, j int) { (*h)[i], (*h)[j] = (*h)[j], (*h)[i] }

// Push implements heap.Interface.
func (h *retryHeap) Push(x any) { *h = append(*h, x.(retryEntry)) }

// Pop implements heap.Interface.
func (h *retryHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = retryEntry{}
	*h = old[:len(old)-1]
	return e
}

// due reports whether the first entry is due.
func (h *retryHeap) due(now int64) bool { return len(*h) > 0 && (*h)[0].at <= now }

func inFifo(r *row) bool { return r.unmarked() && r.flags&(gone|taken) == 0 }

func (e retryEntry) stale(tried int) bool {
	return e.row.stale() || e.row.flags&taken != 0 || e.row.nextAt != e.at || e.row.tried() != tried
}

// tidy drops stale entries from the ends, and everywhere when they are many.
func (l *lane) tidy() {
	for l.head < len(l.fifo) && !inFifo(l.fifo[l.head]) {
		l.fifo[l.head] = nil
		l.head++
	}
	if n := len(l.fifo) - l.head; n > 2*l.all.live+64 || l.head > 64 && l.head > n {
		l.fifo = slices.DeleteFunc(append(make([]*row, 0, n), l.fifo[l.head:]...), func(r *row) bool { return !inFifo(r) })
		l.head = 0
	}
	for tried := range l.retry {
		h := &l.retry[tried]
		for len(*h) > 0 && (*h)[0].stale(tried) {
			heap.Pop(h)
		}
		if len(*h) > 2*l.all.live+64 {
			*h = slices.DeleteFunc(*h, func(e retryEntry) bool { return e.stale(tried) })
			heap.Init(h)
		}
	}
}

// join appends a row that came to be owed to its lane.
func (st *state) join(r *row) {
	l := r.lane
	l.all.push(r)
	st.count(r, 1)
	if l.order == OrderKey && r.slot != 0 {
		l.chain(r.slot).push(r)
	}
	if l.order != OrderStrict || l.all.first() == r {
		st.offer(r, true)
	}
}

func (l *lane) chain(slot uint16) *ageList[*row] {
	c := l.chains[slot]
	if c == nil {
		c = &ageList[*row]{}
		l.chains[slot] = c
	}
	return c
}

// leave takes a row that is resolved out of its lane and lets the next one of
// its chain have its turn. wasFirst: it was at the front of that chain.
func (st *state) leave(r *row, wasFirst bool) {
	l := r.lane
	l.all.dropped((*row).stale)
	st.count(r, -1)
	switch {
	case l.order == OrderStrict && l.out == 0 && l.live() > 0:
		st.tell(l)
	case l.order == OrderKey && r.slot != 0:
		c := l.chain(r.slot)
		c.dropped((*row).stale)
		if next := c.first(); next == nil {
			delete(l.chains, r.slot)
		} else if wasFirst && next.flags&taken == 0 {
			st.offer(next, true)
		}
	}
	l.tidy()
	if l.live() == 0 {
		st.dropLane(l)
	}
}

// leads reports whether the row is at the front of its chain; rows without a
// key always are.
func (l *lane) leads(r *row) bool {
	return l.order != OrderKey || r.slot == 0 || l.chain(r.slot).first() == r
}

// offer makes a row that is owed and not taken available, if its turn has come,
// and tells of it. first: it was never handed out, so that its place is behind
// those that were there before.
func (st *state) offer(r *row, first bool) {
	l := r.lane
	switch {
	case l.order == OrderStrict:
		if l.out > 0 {
			return // told when the last one comes back
		}
	case !l.leads(r):
		return
	case first && r.unmarked():
		l.fifo = append(l.fifo, r)
	default:
		heap.Push(&l.retry[r.tried()], retryEntry{r.nextAt, r})
	}
	st.tell(l)
}

func (st *state) tell(l *lane) {
	if st.watched[l.key.Partition] && !l.fresh {
		l.fresh = true
		st.freshList = append(st.freshList, l)
	}
}

// live is how many deliveries are owed to the lane's destination.
func (l *lane) live() int { return l.all.live + l.parked.live }

// organise builds what hands out the lane's rows in another order.
func (st *state) organise(l *lane, o Order) {
	st.sortLane(l)
	l.order, l.fifo, l.head, l.retry, l.chains = o, nil, 0, [2]retryHeap{}, nil
	if o == OrderStrict {
		return
	}
	if o == OrderKey {
		l.chains = map[uint16]*ageList[*row]{}
	}
	for _, r := range l.all.rest() {
		if r.stale() {
			continue
		}
		if o == OrderKey && r.slot != 0 {
			l.chain(r.slot).push(r)
		}
		switch {
		case r.flags&taken != 0 || !l.leads(r):
		case r.unmarked():
			l.fifo = append(l.fifo, r)
		default:
			l.retry[r.tried()] = append(l.retry[r.tried()], retryEntry{r.nextAt, r})
		}
	}
	for i := range l.retry {
		heap.Init(&l.retry[i])
	}
}
