package outbox

import (
	"crypto/sha256"
	"encoding/binary"
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
	revived                     // state.series knows the row: it was replayed
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
	nextAt  int64 // see mark; 0: at once. Of a dead letter its DeadAt
	id      key
	ev      *eventRow
	lane    *lane
	hot     *rowHot
	attempt uint16
	base    uint16 // attempt at which the series began
	slot    uint16 // of the ordering key; 0: none
	status  uint8
	flags   uint8
}

// stale reports whether the row is owed no more. A dead letter that is replayed
// gets a row of its own, so this never turns back.
func (r *row) stale() bool { return r.flags&gone != 0 || r.status > retryingNo }

func (r *row) forgotten() bool { return r.flags&gone != 0 }

// unmarked reports whether the row was in no request that is on record. Those
// that were have a mark in nextAt, and members of one request the same: the Unix
// ns at which it is due again or, of what was bundled and never tried, a sequence
// number, which as an instant is over for long.
func (r *row) unmarked() bool { return r.status == pendingNo && r.nextAt == 0 }

// tried is 1 for a row that was tried in its series, else 0.
func (r *row) tried() int {
	if r.attempt > r.base {
		return 1
	}
	return 0
}

// series is what is known of a row that was replayed.
type series struct {
	at  int64  // log time of the replay
	pos uint64 // its place among sequence numbers: the end of the lane at that time
}

// rowHot is the part of a delivery that can be read back from disk.
type rowHot struct {
	id        string
	target    Target
	webhookID string
	failure   *event.Failure // of a dead letter
	size      int
	full      bool // false: only webhookID and failure are set, the rest is on disk
}

// eventRow is one event of which a delivery is kept: the 32-byte class.
type eventRow struct {
	seq     uint64
	hot     *eventHot
	refs    uint32     // rows that point here
	receipt receiptRef // 0: the id was not given by the client; see ofEvent
	size    uint24     // of the payload: at most maxPayload
	flags   uint8
}

type eventHot struct {
	e           event.Event
	acceptedAt  int64
	configIndex uint64
	size        int
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
	depot depot           // deliveries that have no row
	lanes [model.Partitions]map[laneName]*lane

	receipts receipts
	dead     deadLetters
	series   map[*row]series // replayed rows

	accounts map[string]*accountState
	replays  map[string][]*replay // by account, in the order they were started

	pending      int
	pendingBytes int // payload
	hotBytes     int

	// What the next flush looks at.
	dirtyRows     []*row
	dirtyEvents   []*eventRow
	dirtyReceipts []receiptRef
	dirtyReplays  map[uint64]*replay // by number; nil: forgotten
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
		out: map[*row]struct{}{}, rows: map[uint64]*row{}, clash: map[key]*row{},
		series: map[*row]series{}, accounts: map[string]*accountState{}, replays: map[string][]*replay{},
		dirtyReplays: map[uint64]*replay{}, depot: newDepot(),
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
		r.lane.out--
		delete(st.out, r)
	}
}

func (st *state) markRow(r *row) {
	if r.flags&dirty == 0 {
		r.flags |= dirty
		st.dirtyRows = append(st.dirtyRows, r)
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
		if r.flags&gone == 0 {
			st.parkLane(r.lane)
		}
	}
}

// clock forces the time of a command monotonic.
//
// INV outbox-4: log time never goes back, whatever the proposers' clocks say.
func (st *state) clock(at time.Time) int64 {
	st.lastAt = max(st.lastAt, unixNano(at))
	st.retain()
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
