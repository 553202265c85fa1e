package outbox

import (
	"container/heap"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

// key names a delivery, or an event of an account, in 16 bytes of SHA-256.
// Delivery ids are made by nodes, and a client that finds two event ids with
// equal keys has broken SHA-256; so equal keys mean equal names.
type key [16]byte

func deliveryKey(id string) key {
	sum := sha256.Sum256([]byte(id))
	return key(sum[:16])
}

func eventKey(account, id string) key {
	b := binary.AppendUvarint(make([]byte, 0, 64), uint64(len(account)))
	sum := sha256.Sum256(append(append(b, account...), id...))
	return key(sum[:16])
}

// The flags of rows, events and receipts.
const (
	onDisk    uint8 = 1 << iota // the file holds it, or the flush that is under way puts it there
	dirty                       // it is in the list of what the next flush looks at
	taken                       // the dispatcher of this node has it; not replicated
	gone                        // removed; only lists of pointers still lead here
	evictable                   // it waits in the eviction queue
	full                        // rowHot only holds everything, not just the webhook id
)

// The numbers of statuses in memory: their places in the table statuses.
const (
	pendingNo uint8 = iota
	retryingNo
	deliveredNo
	deadNo
	droppedNo
)

// row is one delivery that is not delivered or dropped. There may be millions:
// it is kept in the 64-byte size class, and what is not needed to order and
// settle it is in hot, which is dropped once it is on disk and memory is short.
type row struct {
	seq     uint64
	nextAt  int64 // Unix ns; 0: at once. A dead letter keeps its order here
	id      key
	ev      *eventRow
	lane    *lane
	hot     *rowHot
	attempt uint32
	status  uint8
	flags   uint8
}

// rowHot is the part of a delivery that can be read back from disk.
type rowHot struct {
	id        string
	target    Target
	webhookID string
	size      int
	full      bool // false: only webhookID is set, the rest is on disk
}

// eventRow is one event of which a delivery is kept: the 32-byte class.
type eventRow struct {
	seq     uint64
	hot     *eventHot
	receipt *receipt // nil: the id was not given by the client
	refs    uint32   // rows that point here
	sizeKiB uint16
	flags   uint8
}

type eventHot struct {
	e           event.Event
	acceptedAt  int64
	configIndex uint64
	size        int
}

// receipt remembers an event id that the client gave.
type receipt struct {
	key      key
	digest   key // first half of the content's SHA-256
	forgetAt int64
	order    uint64 // place in the queue of forgetting; 0 while a delivery is pending
	count    uint32
	pending  uint32
	flags    uint8
}

// valid reports whether the receipt still answers for its id.
//
// INV outbox-5: an id is remembered at least while a delivery of its event is
// pending.
func (r *receipt) valid(now int64) bool { return r.pending > 0 || r.forgetAt > now }

// lane holds the unresolved deliveries of one destination. Entries of fifo
// and retry may be stale; they are skipped when they come up.
type lane struct {
	key     LaneKey
	fifo    []*row // never tried, in acceptance order, from head on
	head    int
	retry   retryHeap
	pending int
	fresh   bool
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

func inFifo(r *row) bool { return r.status == pendingNo && r.flags&(gone|taken) == 0 }

func (e retryEntry) live() bool {
	return e.row.status <= retryingNo && e.row.flags&(gone|taken) == 0 && e.row.nextAt == e.at
}

// tidy drops stale entries from the ends, and everywhere when they are many.
func (l *lane) tidy() {
	for l.head < len(l.fifo) && !inFifo(l.fifo[l.head]) {
		l.fifo[l.head] = nil
		l.head++
	}
	if n := len(l.fifo) - l.head; n > 2*l.pending+64 || l.head > 64 && l.head > n {
		l.fifo = slices.DeleteFunc(append(make([]*row, 0, n), l.fifo[l.head:]...), func(r *row) bool { return !inFifo(r) })
		l.head = 0
	}
	for len(l.retry) > 0 && !l.retry[0].live() {
		heap.Pop(&l.retry)
	}
	if len(l.retry) > 2*l.pending+64 {
		l.retry = slices.DeleteFunc(l.retry, func(e retryEntry) bool { return !e.live() })
		heap.Init(&l.retry)
	}
}

// fifoQueue is a queue of pointers that gives memory back.
type fifoQueue[T any] struct {
	items []*T
	head  int
}

func (q *fifoQueue[T]) push(v *T) { q.items = append(q.items, v) }
func (q *fifoQueue[T]) len() int  { return len(q.items) - q.head }
func (q *fifoQueue[T]) first() *T { return q.items[q.head] }

func (q *fifoQueue[T]) pop() *T {
	v := q.items[q.head]
	q.items[q.head] = nil
	q.head++
	if q.head > 64 && q.head > len(q.items)/2 {
		q.items = append(make([]*T, 0, q.len()), q.items[q.head:]...)
		q.head = 0
	}
	return v
}

type laneName struct{ account, destination string }

// state is the logical content of the outbox at one index, with what of it is
// not on disk yet. It does no I/O; Store guards it.
type state struct {
	limits Limits

	applied   uint64
	lastAt    int64
	nextSeq   uint64
	nextOrder uint64
	claims    [model.Partitions]model.Assignment

	rows  map[uint64]*row // by the first half of the key
	clash map[key]*row    // rows whose first half was in use
	lanes [model.Partitions]map[laneName]*lane

	receipts map[key]*receipt
	forget   fifoQueue[receipt] // settled receipts, oldest first
	dead     fifoQueue[row]     // dead letters, oldest first
	deadLost uint64             // dead letters that made room for younger ones, since start

	pending  int
	hotBytes int

	// What the next flush looks at.
	dirtyRows     []*row
	dirtyEvents   []*eventRow
	dirtyReceipts []*receipt
	dirtyClaims   bool
	dirtyBytes    int

	evictQ fifoQueue[row]

	watched   [model.Partitions]bool
	freshList []*lane
	out       map[*row]struct{} // rows with the flag taken
}

func newState(limits Limits) *state {
	st := &state{
		limits: limits, nextSeq: 1, nextOrder: 1,
		out: map[*row]struct{}{}, rows: map[uint64]*row{}, clash: map[key]*row{}, receipts: map[key]*receipt{},
	}
	for p := range st.lanes {
		st.lanes[p] = map[laneName]*lane{}
	}
	return st
}

func half(k key) uint64 { return binary.BigEndian.Uint64(k[:8]) }

func (st *state) row(k key) *row {
	if r := st.rows[half(k)]; r != nil && r.id == k {
		return r
	}
	return st.clash[k]
}

func (st *state) addRow(r *row) {
	if _, used := st.rows[half(r.id)]; used {
		st.clash[r.id] = r
		return
	}
	st.rows[half(r.id)] = r
}

func (st *state) dropRow(r *row) {
	if st.rows[half(r.id)] == r {
		delete(st.rows, half(r.id))
		return
	}
	delete(st.clash, r.id)
}

func (st *state) untake(r *row) {
	if r.flags&taken != 0 {
		r.flags &^= taken
		delete(st.out, r)
	}
}

// laneOf finds or makes the lane of a key.
func (st *state) laneOf(k LaneKey) *lane {
	name := laneName{k.Account, k.Destination}
	l := st.lanes[k.Partition][name]
	if l == nil {
		l = &lane{key: k}
		st.lanes[k.Partition][name] = l
	}
	return l
}

// enqueue makes an unresolved row available in its lane.
func (st *state) enqueue(r *row, first bool) {
	l := r.lane
	if first && r.status == pendingNo {
		l.fifo = append(l.fifo, r)
	} else {
		heap.Push(&l.retry, retryEntry{r.nextAt, r})
	}
	if st.watched[l.key.Partition] && !l.fresh {
		l.fresh = true
		st.freshList = append(st.freshList, l)
	}
}

func (st *state) markRow(r *row) {
	if r.flags&dirty == 0 {
		r.flags |= dirty
		st.dirtyRows = append(st.dirtyRows, r)
	}
}

func (st *state) markReceipt(r *receipt) {
	if r.flags&dirty == 0 {
		r.flags |= dirty
		st.dirtyReceipts = append(st.dirtyReceipts, r)
	}
}

func (st *state) markEvent(e *eventRow) {
	if e.flags&dirty == 0 {
		e.flags |= dirty
		st.dirtyEvents = append(st.dirtyEvents, e)
	}
}

func (st *state) setRowHot(r *row, h *rowHot) {
	if r.hot != nil {
		st.hotBytes -= r.hot.size
	}
	if h != nil {
		st.hotBytes += h.size
	}
	r.hot = h
}

func (st *state) dropEventHot(e *eventRow) {
	if e.hot != nil {
		st.hotBytes -= e.hot.size
		e.hot = nil
	}
}

// evict frees the heavy part of rows that are safely on disk, oldest flush
// first, until hotBytes is at most target.
func (st *state) evict(target int) {
	for n := st.evictQ.len(); n > 0 && st.hotBytes > target; n-- {
		r := st.evictQ.pop()
		if r.flags&dirty != 0 && r.flags&gone == 0 {
			st.evictQ.push(r)
			continue
		}
		r.flags &^= evictable
		st.setRowHot(r, nil)
		if r.ev.flags&(onDisk|dirty) == onDisk {
			st.dropEventHot(r.ev)
		}
	}
}

// clock forces the time of a command monotonic.
//
// INV outbox-4: log time never goes back, whatever the proposers' clocks say.
func (st *state) clock(at time.Time) int64 {
	st.lastAt = max(st.lastAt, unixNano(at))
	return st.lastAt
}

// unixNano is t in Unix ns, with the zero time and times outside the range of
// 64 bits as 0.
func unixNano(t time.Time) int64 {
	if y := t.Year(); y < 1970 || y > 2261 {
		return 0
	}
	return t.UnixNano()
}

func fromNano(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
