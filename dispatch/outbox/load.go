package outbox

import (
	"cmp"
	"container/heap"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	bolt "go.etcd.io/bbolt"

	"example.com/belfry/dispatch/codec"
	"example.com/belfry/fsm/model"
)

// load rebuilds memory from the file. The heavy parts stay on disk until they
// are asked for.
func load(db *bolt.DB, limits Limits) (*state, error) {
	st := newState(limits)
	return st, db.View(func(tx *bolt.Tx) error {
		for _, b := range buckets {
			if tx.Bucket(b) == nil {
				return fmt.Errorf("the file has no bucket %q", b)
			}
		}
		if err := st.loadMeta(tx.Bucket(bucketMeta)); err != nil {
			return err
		}
		if err := st.loadClaims(tx.Bucket(bucketClaims)); err != nil {
			return err
		}
		if err := st.loadReceipts(tx.Bucket(bucketReceipts)); err != nil {
			return err
		}
		events, err := st.loadEvents(tx.Bucket(bucketEvents))
		if err != nil {
			return err
		}
		return st.loadRows(tx, events)
	})
}

func (st *state) loadMeta(b *bolt.Bucket) error {
	f, err := readMeta(b, metaFormat)
	if err != nil {
		return err
	}
	if f != format {
		return fmt.Errorf("the file has format %d, this version knows %d", f, format)
	}
	var lastAt uint64
	for _, m := range []struct {
		name []byte
		dst  *uint64
	}{{metaIndex, &st.applied}, {metaTime, &lastAt}, {metaSeq, &st.nextSeq}, {metaOrder, &st.nextOrder}} {
		if *m.dst, err = readMeta(b, m.name); err != nil {
			return err
		}
	}
	st.lastAt = int64(lastAt)
	return nil
}

func (st *state) loadClaims(b *bolt.Bucket) error {
	return b.ForEach(func(k, v []byte) error {
		a, err := decodeClaim(v)
		if err != nil || len(k) != 1 || int(k[0]) >= model.Partitions {
			return fmt.Errorf("claim %x is unreadable", k)
		}
		st.claims[k[0]] = a
		return nil
	})
}

func (st *state) loadReceipts(b *bolt.Bucket) error {
	var settled []*receipt
	err := b.ForEach(func(k, v []byte) error {
		rec, err := decodeReceipt(k, v)
		if err != nil {
			return fmt.Errorf("receipt %x: %w", k, err)
		}
		st.receipts[rec.key] = rec
		if rec.order > 0 {
			settled = append(settled, rec)
		}
		return nil
	})
	slices.SortFunc(settled, func(x, y *receipt) int { return cmp.Compare(x.order, y.order) })
	st.forget.items = settled
	return err
}

func (st *state) loadEvents(b *bolt.Bucket) (map[uint64]*eventRow, error) {
	events := map[uint64]*eventRow{}
	return events, b.ForEach(func(k, v []byte) error {
		r := codec.NewReader(v)
		h := readEventHead(r)
		if r.Failed() || len(k) != 8 {
			return fmt.Errorf("event %x is unreadable", k)
		}
		e := &eventRow{seq: binary.BigEndian.Uint64(k), sizeKiB: h.sizeKiB, flags: onDisk}
		if h.receipt != nil {
			// The receipt may be gone: a dead letter outlives it.
			if e.receipt = st.receipts[*h.receipt]; e.receipt == nil {
				e.receipt = &receipt{key: *h.receipt, flags: gone}
			}
		}
		events[e.seq] = e
		return nil
	})
}

func (st *state) loadRows(tx *bolt.Tx, events map[uint64]*eventRow) error {
	moving := tx.Bucket(bucketProgress).Cursor()
	pk, pv := moving.First()
	err := tx.Bucket(bucketDeliveries).ForEach(func(k, v []byte) error {
		d, err := decodeDelivery(v)
		if err != nil || len(k) != 8 {
			return fmt.Errorf("delivery %x is unreadable", k)
		}
		ev := events[d.eventSeq]
		if ev == nil {
			return fmt.Errorf("delivery %x has no event %d", k, d.eventSeq)
		}
		r := &row{seq: binary.BigEndian.Uint64(k), id: deliveryKey(d.id), ev: ev, flags: onDisk}
		if string(pk) == string(k) {
			p, err := decodeProgress(pv)
			if err != nil {
				return fmt.Errorf("progress %x: %w", k, err)
			}
			r.status, r.attempt, r.nextAt = p.status, p.attempt, p.nextAt
			pk, pv = moving.Next()
		}
		ev.refs++
		st.addRow(r)
		k2 := LaneKey{Partition: d.target.Partition, Account: d.account, Destination: d.target.Destination()}
		if r.status == deadNo {
			r.lane = &lane{key: k2}
			st.dead.items = append(st.dead.items, r)
			return nil
		}
		r.lane = st.laneOf(k2)
		r.lane.pending++
		st.pending++
		if r.status == pendingNo {
			r.lane.fifo = append(r.lane.fifo, r)
		} else {
			r.lane.retry = append(r.lane.retry, retryEntry{r.nextAt, r})
		}
		return nil
	})
	if err != nil {
		return err
	}
	if pk != nil {
		return fmt.Errorf("progress %x has no delivery", pk)
	}
	for p := range st.lanes {
		for _, l := range st.lanes[p] {
			heap.Init(&l.retry)
		}
	}
	slices.SortFunc(st.dead.items, func(x, y *row) int { return cmp.Compare(x.nextAt, y.nextAt) })
	return nil
}

func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}
