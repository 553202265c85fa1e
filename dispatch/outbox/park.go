package outbox

import (
	"cmp"
	"slices"
)

// Parking: a delivery that was never tried and whose heavy part is on disk may
// be put into a table without pointers, from which its row can be made again
// without a look at the disk. It takes half of the memory and no time of the
// garbage collector, which a backlog of millions would else keep busy.
//
// INV outbox-17: the parked deliveries of a lane are in acceptance order, and
// have neither progress nor anything that is not on disk. They are handed out
// before what is in the lane's fifo.

// parkedRow is a parked delivery: 36 bytes.
type parkedRow struct {
	id              key
	seqHigh, seqLow uint32 // 0: it left; its place in the lane's queue is still there
	lane            uint32
	receipt         receiptRef // of the event
	size            uint24     // of the payload
	back            uint8      // seq minus that of the event
}

func (p *parkedRow) name() key { return p.id }

func (p *parkedRow) seq() uint64 { return uint64(p.seqHigh)<<32 | uint64(p.seqLow) }

// depot is what is parked.
type depot struct {
	table[parkedRow, *parkedRow]
	lanes    map[uint32]*lane
	lastLane uint32
	// events are those of parked deliveries that must stay in memory: other
	// deliveries share them.
	events map[uint32]*eventRow
}

func newDepot() depot { return depot{lanes: map[uint32]*lane{}, events: map[uint32]*eventRow{}} }

// parkQueue are the parked deliveries of a lane, oldest first. Those that left
// out of turn keep their place until it comes up.
type parkQueue struct {
	no     uint32 // of the lane in depot.lanes; 0: none so far
	places []uint32
	head   int
	live   int
	last   uint64 // seq of the youngest that was put in
}

// firstParked gives the oldest parked delivery of the lane.
func (st *state) firstParked(l *lane) (p *parkedRow, place uint32) {
	q := &l.parked
	for q.head < len(q.places) {
		place = q.places[q.head]
		if p = st.depot.at(place); p.seq() != 0 {
			return p, place
		}
		q.head++
		st.depot.release(place)
	}
	q.places, q.head, q.last = nil, 0, 0
	return nil, 0
}

// parkLane parks what is at the front of the lane's fifo, until something comes
// that has to stay.
func (st *state) parkLane(l *lane) {
	for l.head < len(l.fifo) {
		r := l.fifo[l.head]
		if inFifo(r) && !st.parkable(r) {
			break
		}
		l.fifo[l.head] = nil
		l.head++
		if inFifo(r) {
			st.park(r)
			l.all.dropped((*row).stale)
		}
	}
	l.tidy()
}

// parkable: memory has nothing of the row that the table or the file would not
// have. Rows with an ordering key stay, for their chains are made of rows.
func (st *state) parkable(r *row) bool {
	return r.flags == onDisk && r.hot == nil && r.unmarked() && r.attempt == 0 && r.slot == 0 &&
		st.rows[half(r.id)] == r && r.seq > r.lane.parked.last // what was parked before may have come back, and is older
}

// park puts a row into the table. The row itself is stale from here on.
func (st *state) park(r *row) {
	ev := r.ev
	p := parkedRow{
		id: r.id, seqHigh: uint32(r.seq >> 32), seqLow: uint32(r.seq), //nolint:gosec // its halves
		lane: st.laneNumber(r.lane), receipt: ev.receipt, size: ev.size,
	}
	back := r.seq - ev.seq
	alone := ev.refs == 1 && ev.hot == nil && ev.flags == onDisk && back <= 255
	if alone {
		p.back = uint8(back) //nolint:gosec // at most 255
	}
	st.dropRow(r)
	r.flags |= gone
	place := st.depot.add(p)
	if !alone {
		st.depot.events[place] = ev
	}
	q := &r.lane.parked
	q.places, q.last = append(q.places, place), r.seq
	q.live++
}

func (st *state) laneNumber(l *lane) uint32 {
	if l.parked.no == 0 {
		st.depot.lastLane++
		l.parked.no = st.depot.lastLane
		st.depot.lanes[l.parked.no] = l
	}
	return l.parked.no
}

// unpark makes the row of a parked delivery, which is owed and in its lane but
// not in any queue of it.
func (st *state) unpark(place uint32) *row {
	d := &st.depot
	p := d.at(place)
	l := d.lanes[p.lane]
	ev := st.eventOf(place, p)
	if d.events[place] != nil {
		delete(d.events, place)
	}
	r := &row{seq: p.seq(), id: p.id, ev: ev, lane: l, flags: onDisk}
	d.unlist(p.id)
	p.seqHigh, p.seqLow = 0, 0
	l.parked.live--
	st.firstParked(l) // gives places back
	st.addRow(r)
	l.unsorted = l.unsorted || l.all.live > 0
	l.all.push(r)
	return r
}

// eventOf is the event of a parked delivery, or a row like the one it had.
func (st *state) eventOf(place uint32, p *parkedRow) *eventRow {
	if ev := st.depot.events[place]; ev != nil {
		return ev
	}
	return &eventRow{seq: p.seq() - uint64(p.back), refs: 1, receipt: p.receipt, size: p.size, flags: onDisk}
}

// parkedSight is the sight of a delivery that is parked.
func (st *state) parkedSight(id key) (sight, bool) {
	place, ok := st.depot.place(id)
	if !ok {
		return sight{}, false
	}
	p := st.depot.at(place)
	ev := st.eventOf(place, p)
	return sight{seq: p.seq(), eventSeq: ev.seq, key: st.depot.lanes[p.lane].key, event: ev.hot}, true
}

// known reports whether there is such a delivery.
func (st *state) known(id key) bool {
	if st.row(id) != nil {
		return true
	}
	_, ok := st.depot.place(id)
	return ok
}

// look is the sight of a delivery, if there is one.
func (st *state) look(id key) (sight, bool) {
	if r := st.row(id); r != nil {
		return st.sight(r), true
	}
	return st.parkedSight(id)
}

// parkLoaded parks what is read from the file at the start, where its turn
// allows it: nothing of the lane that stays in memory came before.
func (st *state) parkLoaded(r *row) bool {
	l := r.lane
	if !st.parkable(r) || l.head < len(l.fifo) {
		return false
	}
	st.count(r, 1)
	st.park(r)
	return true
}

// place is where a row is in its lane's order of acceptance.
func (st *state) place(r *row) uint64 {
	if r.flags&revived != 0 {
		return st.series[r].pos
	}
	return r.seq
}

// sortLane brings the rows in memory into acceptance order again.
func (st *state) sortLane(l *lane) {
	if !l.unsorted {
		return
	}
	l.unsorted = false
	kept := make([]*row, 0, l.all.live)
	for _, r := range l.all.rest() {
		if !r.stale() {
			kept = append(kept, r)
		}
	}
	slices.SortFunc(kept, func(x, y *row) int { return cmp.Compare(st.place(x), st.place(y)) })
	l.all.items, l.all.head = kept, 0
}

// oldest is the sight of the first delivery of a lane, which has some.
func (st *state) oldest(l *lane) sight {
	st.sortLane(l)
	r := l.all.first()
	if p, _ := st.firstParked(l); p != nil && (r == nil || p.seq() < st.place(r)) {
		x, _ := st.parkedSight(p.id)
		return x
	}
	return st.sight(r)
}

// surface makes rows of the n oldest parked deliveries of a lane.
func (st *state) surface(l *lane, n int) {
	for range n {
		p, place := st.firstParked(l)
		if p == nil {
			return
		}
		st.unpark(place)
	}
}
