package outbox

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// write is one put, or one delete when value is nil.
type write struct {
	bucket, key, value []byte
	// trace: value is progress without a webhook id; the one that the file has
	// stays.
	trace bool
	// named: key is the sequence number of a delivery of which the file knows the
	// event's name.
	named bool
}

// flushBatch is the net difference between two states.
type flushBatch struct {
	index  uint64
	writes []write
	rows   []*row // now on disk, so that their heavy part may be evicted
}

// fillPercent is how full pages are left where they are split: keys of events
// and deliveries come in order, so what is left free in one would stay free.
const fillPercent = 0.9

// empty is the value of keys whose presence is all they say.
var empty = []byte{}

// capture takes the net difference since the last capture: what came and went
// in between leaves no trace.
//
// INV outbox-9: a batch brings the file to the exact state at its index.
func (st *state) capture() *flushBatch {
	b := &flushBatch{index: st.applied}
	put := func(bucket, k, v []byte) { b.writes = append(b.writes, write{bucket: bucket, key: k, value: v}) }
	for _, e := range st.dirtyEvents {
		e.flags &^= dirty
		switch {
		case e.flags&gone == 0 && e.flags&onDisk == 0:
			put(bucketEvents, seqKey(e.seq), encodeEventRow(e))
			e.flags |= onDisk
		case e.flags&(gone|onDisk) == gone|onDisk:
			put(bucketEvents, seqKey(e.seq), nil)
			e.flags &^= onDisk
		}
	}
	for _, r := range st.dirtyRows {
		r.flags &^= dirty
		st.captureRow(b, put, r)
	}
	for _, ref := range st.dirtyReceipts {
		st.captureReceipt(put, ref)
	}
	if st.dirtyClaims {
		for p, a := range st.claims {
			put(bucketClaims, []byte{byte(p)}, encodeClaim(a))
		}
	}
	for number, j := range st.dirtyReplays {
		if j == nil {
			put(bucketReplays, seqKey(number), nil)
		} else {
			put(bucketReplays, seqKey(number), encodeReplay(j))
		}
	}
	clear(st.dirtyReplays)
	st.dirtyRows, st.dirtyEvents, st.dirtyReceipts = nil, nil, nil
	st.dirtyClaims, st.dirtyBytes = false, 0
	put(bucketMeta, metaIndex, metaValue(st.applied))
	put(bucketMeta, metaTime, metaValue(uint64(st.lastAt))) //nolint:gosec // never negative
	put(bucketMeta, metaSeq, metaValue(st.nextSeq))
	put(bucketMeta, metaOrder, metaValue(st.nextOrder))
	put(bucketMeta, metaDead, metaValue(uint64(st.dead.last)))           //nolint:gosec // never negative
	put(bucketMeta, metaDue, metaValue(uint64(st.dead.due)))             //nolint:gosec // never negative
	put(bucketMeta, metaDeadAge, metaValue(uint64(st.dead.set.Age)))     //nolint:gosec // never negative
	put(bucketMeta, metaDeadBytes, metaValue(uint64(st.dead.set.Bytes))) //nolint:gosec // never negative
	put(bucketMeta, metaDeadCount, metaValue(uint64(st.dead.set.Count))) //nolint:gosec // never negative
	// In the order of the file, so that the tree is walked once.
	slices.SortStableFunc(b.writes, func(x, y write) int {
		return cmp.Or(bytes.Compare(x.bucket, y.bucket), bytes.Compare(x.key, y.key))
	})
	return b
}

func (st *state) captureRow(b *flushBatch, put func(bucket, k, v []byte), r *row) {
	k := seqKey(r.seq)
	if r.flags&gone != 0 {
		if r.flags&onDisk != 0 {
			put(bucketDeliveries, k, nil)
			put(bucketProgress, k, nil)
			r.flags &^= onDisk
		}
		return
	}
	isNew := r.flags&onDisk == 0
	captureName(b, r, isNew)
	if isNew {
		put(bucketDeliveries, k, encodeDelivery(r))
		r.flags |= onDisk
	}
	if !r.unmarked() {
		p := st.progress(r)
		// Only a replay changes a row whose heavy part is cold.
		b.writes = append(b.writes, write{bucket: bucketProgress, key: k, value: encodeProgress(p), trace: r.hot == nil})
	}
	b.rows = append(b.rows, r)
}

func (st *state) captureReceipt(put func(bucket, k, v []byte), ref receiptRef) {
	rec := st.receipts.get(ref)
	rec.flags &^= dirty
	if rec.flags&gone == 0 {
		put(bucketReceipts, seqKey(rec.born), encodeReceipt(rec))
		rec.flags |= onDisk
		return
	}
	if rec.flags&onDisk != 0 {
		put(bucketReceipts, seqKey(rec.born), nil)
	}
	st.receipts.release(uint32(ref) - 1)
}

// committed queues the rows of a batch that is on disk for eviction.
func (st *state) committed(b *flushBatch) {
	for _, r := range b.rows {
		if r.flags&(gone|evictable) == 0 {
			r.flags |= evictable
			st.evictQ.push(r)
		}
	}
	for st.evictQ.len() > 0 && st.evictQ.first().flags&gone != 0 {
		st.evictQ.pop()
	}
	if n := st.evictQ.len(); n > 2*len(st.rows)+1024 {
		st.evictQ.items = slices.DeleteFunc(append(make([]*row, 0, n), st.evictQ.items[st.evictQ.head:]...),
			func(r *row) bool { return r.flags&gone != 0 })
		st.evictQ.head = 0
	}
}

// Flush writes what changed since the last flush in one synced transaction
// and frees memory when the budget is exceeded. It does nothing when nothing
// was applied. An error leaves the file as it was; the changes are kept and
// written by the next Flush.
func (s *Store) Flush() error {
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	return s.flushLocked()
}

func (s *Store) flushLocked() error {
	s.mu.Lock()
	if s.st.applied > s.captured {
		s.captured = s.st.applied
		s.unwritten = append(s.unwritten, s.st.capture())
	}
	s.mu.Unlock()
	if len(s.unwritten) == 0 {
		return nil
	}
	started := time.Now()
	if err := s.write(s.unwritten); err != nil {
		s.metrics.flushErrors.Inc()
		return fmt.Errorf("outbox: flush to %s: %w", s.opts.Path, err)
	}
	s.metrics.flushSeconds.Observe(time.Since(started).Seconds())
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.unwritten {
		s.st.committed(b)
		s.flushed = b.index
		s.metrics.flushWrites.Add(float64(len(b.writes)))
	}
	s.unwritten = nil
	if s.st.hotBytes > s.opts.MemoryBytes {
		s.st.evict(s.opts.MemoryBytes / 2)
	}
	return nil
}

func (s *Store) write(batches []*flushBatch) error {
	return s.db.Update(func(tx *bolt.Tx) error {
		for _, b := range batches {
			for i := range b.writes {
				if err := b.writes[i].do(tx); err != nil {
					return err
				}
			}
		}
		if s.opts.Hooks.BeforeCommit != nil {
			return s.opts.Hooks.BeforeCommit()
		}
		return nil
	})
}

func (w *write) do(tx *bolt.Tx) error {
	bucket := tx.Bucket(w.bucket)
	if string(w.bucket) == string(bucketDeliveries) || string(w.bucket) == string(bucketEvents) {
		bucket.FillPercent = fillPercent
	}
	value, key := w.value, w.key
	switch {
	case w.named:
		var err error
		if key, err = nameOnDisk(tx, w.key); err != nil {
			return err
		}
	case w.trace:
		stored, err := getRow(bucket, w.key)
		if err != nil {
			return err
		}
		old, err := decodeProgress(stored)
		if err != nil {
			return err
		}
		p, err := decodeProgress(value)
		if err != nil {
			return err
		}
		p.webhookID = old.webhookID
		value = encodeProgress(p)
	case value == nil:
		if string(w.bucket) == string(bucketDeliveries) {
			if err := deleteByEvent(tx, w.key); err != nil {
				return err
			}
		}
		return bucket.Delete(w.key)
	}
	// Behind the value, in its own memory: encodeEventRow leaves room.
	return bucket.Put(key, appendSum(value, key, value))
}

// Run flushes about once a second, and at once when the unwritten part passes
// DefaultUnwritten or half of the memory budget, until ctx ends; then once more. A flush that
// fails is logged and tried again with the next tick: nothing is lost, since
// the raft log still holds it.
func (s *Store) Run(ctx context.Context) error {
	t := time.NewTicker(s.opts.FlushInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return s.Flush()
		case <-t.C:
		case <-s.wantFlush:
		}
		if err := s.Flush(); err != nil {
			s.log.Error("the outbox could not be written; it is kept in memory and tried again", "error", err)
		}
	}
}
