package outbox

import (
	"fmt"
	"slices"

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

// sight is a consistent copy of a row, heavy parts included where memory has
// them.
type sight struct {
	seq, eventSeq uint64
	key           LaneKey
	p             progress
	row           *rowHot   // nil: on disk
	traceKnown    bool      // webhook id and failure are in p
	event         *eventHot // nil: on disk
}

func (st *state) sight(r *row) sight {
	s := sight{seq: r.seq, eventSeq: r.ev.seq, key: r.lane.key, event: r.ev.hot, p: st.progress(r)}
	if r.hot != nil {
		s.traceKnown = true
		if r.hot.full {
			s.row = r.hot
		}
	}
	return s
}

// progress is what changes of a row, with the trace of its last attempt only
// where memory has it.
func (st *state) progress(r *row) progress {
	p := progress{status: r.status, attempt: r.attempt, base: r.base, nextAt: r.nextAt}
	if r.flags&revived != 0 {
		p.series = st.series[r]
	}
	if r.hot != nil {
		p.webhookID = r.hot.webhookID
		if r.hot.failure != nil && r.status == deadNo {
			p.failure = *r.hot.failure
		}
	}
	return p
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
		v, err := getRow(tx.Bucket(bucketDeliveries), seqKey(x.seq))
		if v == nil {
			return Delivery{}, false, err
		}
		d, err := decodeDelivery(v)
		if err != nil {
			return Delivery{}, false, fmt.Errorf("outbox: delivery %d: %w", x.seq, err)
		}
		id, target = d.id, d.target
	}
	if !x.traceKnown && (x.p.status != pendingNo || x.p.nextAt != 0) {
		v, err := getRow(tx.Bucket(bucketProgress), seqKey(x.seq))
		if err != nil {
			return Delivery{}, false, fmt.Errorf("outbox: progress %d: %w", x.seq, err)
		}
		if v != nil {
			p, err := decodeProgress(v)
			if err != nil {
				return Delivery{}, false, fmt.Errorf("outbox: progress %d: %w", x.seq, err)
			}
			x.p.webhookID, x.p.failure = p.webhookID, p.failure
		}
	}
	if x.event == nil {
		v, err := getRow(tx.Bucket(bucketEvents), seqKey(x.eventSeq))
		if v == nil {
			return Delivery{}, false, err
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
	x, ok := s.st.look(deliveryKey(id))
	s.mu.Unlock()
	if !ok {
		return Delivery{}, false, nil
	}
	ds, err := s.fill([]sight{x})
	if err != nil || len(ds) == 0 {
		return Delivery{}, false, err
	}
	return ds[0], true, nil
}

// Knows reports whether the id, given by a client, may be one that is
// remembered. Whether it still is, and with which content, Apply decides.
func (s *Store) Knows(account, eventID string) bool {
	k := eventKey(account, eventID)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.st.receipts.place(k)
	return known
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
	PendingBytes  int    // their payload; one that goes to several destinations counts for each
	DeadLetters   int
	DeadBytes     int64  // as Retention counts them
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
		AppliedIndex: s.st.applied, FlushedIndex: s.flushed, Pending: s.st.pending, PendingBytes: s.st.pendingBytes,
		DeadLetters: s.st.dead.list.live, DeadBytes: s.st.dead.bytes, Receipts: s.st.receipts.live,
		MemoryBytes: s.st.hotBytes, DirtyBytes: s.st.dirtyBytes,
	}
	for _, n := range s.st.dead.forgot {
		t.DeadForgotten += n
	}
	for p := range s.st.lanes {
		t.Lanes += len(s.st.lanes[p])
	}
	return t
}
