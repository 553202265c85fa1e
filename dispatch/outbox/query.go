package outbox

import (
	"bytes"
	"cmp"
	"container/heap"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"example.com/belfry/fsm/model"
)

// LaneKey names a destination of an account.
type LaneKey struct {
	Partition   int
	Account     string
	Destination string // see Target.Destination
}

// Work returns the channel on which the store says that Fresh has something
// to tell. It has a capacity of one and is never closed.
func (s *Store) Work() <-chan struct{} { return s.work }

// Watch starts to tell of new work in a partition and returns the lanes that
// have unresolved deliveries now, in no particular order; what comes later is
// told by Fresh, without a gap.
func (s *Store) Watch(partition int) []LaneKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.st.watched[partition] = true
	keys := make([]LaneKey, 0, len(s.st.lanes[partition]))
	for _, l := range s.st.lanes[partition] {
		keys = append(keys, l.key)
	}
	return keys
}

// Unwatch stops what Watch started and gives back everything that was taken
// from the partition.
func (s *Store) Unwatch(partition int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.st.watched[partition] = false
	for r := range s.st.out {
		if r.lane.key.Partition == partition {
			s.st.giveBack(r)
		}
	}
}

func (st *state) giveBack(r *row) {
	if r.flags&taken != 0 {
		st.untake(r)
		st.enqueue(r, false)
	}
}

// Taken is how many deliveries the dispatcher of this node holds.
func (s *Store) Taken() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.st.out)
}

// Fresh returns the lanes of watched partitions that got new or postponed
// deliveries since the last call.
func (s *Store) Fresh() []LaneKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := make([]LaneKey, 0, len(s.st.freshList))
	for _, l := range s.st.freshList {
		l.fresh = false
		keys = append(keys, l.key)
	}
	s.st.freshList = nil
	return keys
}

// Batch is what Take gives.
type Batch struct {
	Deliveries []Delivery
	// More: something else is due already that Take with the same options would
	// hand out.
	More bool
	// Held: retries are due that FreshOnly left where they are.
	Held bool
	// NextAt is when the next delivery of the lane falls due, when nothing is
	// due any more; zero: none waits.
	NextAt time.Time
}

// Take hands due deliveries of a lane to the dispatcher: those whose retry is
// due first, by due time, then those never tried, in acceptance order. It
// takes about o.Limit deliveries and o.MaxBytes of payload, at least one; retries
// that are due at the same instant were one request and are never parted.
// What was taken is not handed out again before a settlement postpones it or
// Release or Unwatch gives it back.
func (s *Store) Take(k LaneKey, now time.Time, o TakeOptions) (Batch, error) {
	var b Batch
	s.mu.Lock()
	l := s.st.lanes[k.Partition][laneName{k.Account, k.Destination}]
	if l == nil {
		s.mu.Unlock()
		return b, nil
	}
	rows := s.st.take(l, unixNano(now), o.Limit, o.MaxBytes)
	switch {
	case l.head < len(l.fifo) || len(l.retry) > 0 && l.retry[0].at <= unixNano(now):
		b.More = true
	case len(l.retry) > 0:
		b.NextAt = fromNano(l.retry[0].at)
	}
	sights := make([]sight, len(rows))
	for i, r := range rows {
		sights[i] = r.sight()
	}
	s.mu.Unlock()

	var err error
	if b.Deliveries, err = s.fill(sights); err != nil {
		s.mu.Lock()
		for _, r := range rows {
			if r.flags&gone == 0 && r.status <= retryingNo {
				s.st.giveBack(r)
			}
		}
		s.mu.Unlock()
		return Batch{}, err
	}
	return b, nil
}

func (st *state) take(l *lane, now int64, limit, maxBytes int) []*row {
	var rows []*row
	size := 0
	full := func() bool { return len(rows) > 0 && (len(rows) >= limit || size >= maxBytes) }
	add := func(r *row) {
		r.flags |= taken
		st.out[r] = struct{}{}
		rows = append(rows, r)
		size += int(r.ev.sizeKiB) << 10
	}
	l.tidy()
	for last := int64(-1); len(l.retry) > 0 && l.retry[0].at <= now; l.tidy() {
		if full() && (l.retry[0].at != last || last == 0) {
			break
		}
		e := heap.Pop(&l.retry).(retryEntry)
		last = e.at
		add(e.row)
	}
	for l.head < len(l.fifo) && !full() {
		r := l.fifo[l.head]
		l.fifo[l.head] = nil
		l.head++
		add(r)
		l.tidy()
	}
	return rows
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

// sight is a consistent copy of a row, heavy parts included where memory has
// them.
type sight struct {
	seq, eventSeq uint64
	key           LaneKey
	p             progress
	row           *rowHot // nil: on disk
	webhookKnown  bool
	event         *eventHot // nil: on disk
}

func (r *row) sight() sight {
	s := sight{seq: r.seq, eventSeq: r.ev.seq, key: r.lane.key, event: r.ev.hot}
	s.p = progress{status: r.status, attempt: r.attempt, nextAt: r.nextAt}
	if r.hot != nil {
		s.p.webhookID, s.webhookKnown = r.hot.webhookID, true
		if r.hot.full {
			s.row = r.hot
		}
	}
	return s
}

// fill completes sights from disk. Deliveries that were resolved in between
// are left out.
func (s *Store) fill(sights []sight) ([]Delivery, error) {
	out := make([]Delivery, 0, len(sights))
	cold := slices.ContainsFunc(sights, func(x sight) bool { return x.row == nil || x.event == nil })
	if !cold {
		for i := range sights {
			x := &sights[i]
			out = append(out, x.p.delivery(x.seq, x.key, x.row.id, x.row.target, x.event))
		}
		return out, nil
	}
	err := s.view(func(tx *bolt.Tx) error {
		for i := range sights {
			d, ok, err := sights[i].complete(tx)
			if err != nil {
				return err
			}
			if ok {
				out = append(out, d)
			}
		}
		return nil
	})
	return out, err
}

func (x *sight) complete(tx *bolt.Tx) (Delivery, bool, error) {
	var id string
	var target Target
	if x.row != nil {
		id, target = x.row.id, x.row.target
	} else {
		v := tx.Bucket(bucketDeliveries).Get(seqKey(x.seq))
		if v == nil {
			return Delivery{}, false, nil
		}
		d, err := decodeDelivery(v)
		if err != nil {
			return Delivery{}, false, fmt.Errorf("outbox: delivery %d: %w", x.seq, err)
		}
		id, target = d.id, d.target
	}
	if !x.webhookKnown && x.p.status != pendingNo {
		if v := tx.Bucket(bucketProgress).Get(seqKey(x.seq)); v != nil {
			p, err := decodeProgress(v)
			if err != nil {
				return Delivery{}, false, fmt.Errorf("outbox: progress %d: %w", x.seq, err)
			}
			x.p.webhookID = p.webhookID
		}
	}
	if x.event == nil {
		v := tx.Bucket(bucketEvents).Get(seqKey(x.eventSeq))
		if v == nil {
			return Delivery{}, false, nil
		}
		h, err := decodeEventRow(v)
		if err != nil {
			return Delivery{}, false, fmt.Errorf("outbox: event %d: %w", x.eventSeq, err)
		}
		x.event = h
	}
	return x.p.delivery(x.seq, x.key, id, target, x.event), true, nil
}

func (s *Store) view(f func(tx *bolt.Tx) error) error {
	s.dbMu.RLock()
	defer s.dbMu.RUnlock()
	return s.db.View(f)
}

// Delivery finds one delivery that is owed or dead.
func (s *Store) Delivery(id string) (Delivery, bool, error) {
	s.mu.Lock()
	r := s.st.row(deliveryKey(id))
	if r == nil {
		s.mu.Unlock()
		return Delivery{}, false, nil
	}
	x := r.sight()
	s.mu.Unlock()
	ds, err := s.fill([]sight{x})
	if err != nil || len(ds) == 0 {
		return Delivery{}, false, err
	}
	return ds[0], true, nil
}

// Event finds the deliveries of an event that are owed or dead, in acceptance
// order. What was delivered or dropped is in the attempt log of its owner.
func (s *Store) Event(account, eventID string) ([]Delivery, error) {
	k := eventKey(account, eventID)
	// New rows are not in the file's index yet; a second's worth of them is
	// searched instead. Memory is asked first: what leaves it goes to the file.
	var found []sight
	s.flushMu.Lock() // no flush in between: a row is in memory's list or in the file
	defer s.flushMu.Unlock()
	s.mu.Lock()
	for _, r := range s.st.dirtyRows {
		if h := r.ev.hot; r.flags&gone == 0 && r.flags&onDisk == 0 && h != nil && h.e.ID == eventID && h.e.Account == account {
			found = append(found, r.sight())
		}
	}
	for _, b := range s.unwritten {
		for _, r := range b.rows {
			if h := r.ev.hot; r.flags&gone == 0 && h != nil && h.e.ID == eventID && h.e.Account == account {
				found = append(found, r.sight())
			}
		}
	}
	s.mu.Unlock()
	var ids []string
	err := s.view(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketByEvent).Cursor()
		for name, _ := c.Seek(k[:]); bytes.HasPrefix(name, k[:]); name, _ = c.Next() {
			d, err := decodeDelivery(tx.Bucket(bucketDeliveries).Get(name[len(k):]))
			if err != nil {
				return fmt.Errorf("outbox: delivery %x: %w", name[len(k):], err)
			}
			ids = append(ids, d.id)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	for _, id := range ids {
		if r := s.st.row(deliveryKey(id)); r != nil {
			found = append(found, r.sight())
		}
	}
	s.mu.Unlock()
	slices.SortFunc(found, func(x, y sight) int { return cmp.Compare(x.seq, y.seq) })
	found = slices.CompactFunc(found, func(x, y sight) bool { return x.seq == y.seq })
	return s.fill(found)
}

// Knows reports whether the id, given by a client, may be one that is
// remembered. Whether it still is, and with which content, Apply decides.
func (s *Store) Knows(account, eventID string) bool {
	k := eventKey(account, eventID)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.st.receipts[k] != nil
}

// Claimed returns who claimed the partition last, and at which epoch.
func (s *Store) Claimed(partition int) model.Assignment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.st.claims[partition]
}

// Stats are figures of the store at one instant.
type Stats struct {
	AppliedIndex  uint64
	FlushedIndex  uint64 // the file is complete up to here
	Pending       int    // deliveries owed, taken ones included
	DeadLetters   int
	DeadForgotten uint64 // since the start of this process
	Receipts      int
	Lanes         int
	MemoryBytes   int // heavy parts held in memory
	DirtyBytes    int // of which not on disk yet
}

// Stats returns the current figures.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := Stats{
		AppliedIndex: s.st.applied, FlushedIndex: s.flushed, Pending: s.st.pending,
		DeadLetters: s.st.dead.len(), DeadForgotten: s.st.deadLost, Receipts: len(s.st.receipts),
		MemoryBytes: s.st.hotBytes, DirtyBytes: s.st.dirtyBytes,
	}
	for p := range s.st.lanes {
		t.Lanes += len(s.st.lanes[p])
	}
	return t
}
