package outbox

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

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
		if err := st.loadReplays(tx.Bucket(bucketReplays)); err != nil {
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
	var lastAt, dead, due, age, bytes, count uint64
	for _, m := range []struct {
		name []byte
		dst  *uint64
	}{
		{metaIndex, &st.applied},
		{metaTime, &lastAt},
		{metaSeq, &st.nextSeq},
		{metaOrder, &st.nextOrder},
		{metaDead, &dead},
		{metaDue, &due},
		{metaDeadAge, &age},
		{metaDeadBytes, &bytes},
		{metaDeadCount, &count},
	} {
		if *m.dst, err = readMeta(b, m.name); err != nil {
			return err
		}
	}
	if age > uint64(MaxRetainAge) || bytes > MaxRetainBytes || count > MaxRetainCount {
		return errors.New("the retention of dead letters is out of range")
	}
	st.lastAt, st.dead.last, st.dead.due = int64(lastAt), int64(dead), int64(due)
	st.dead.set = Retention{Age: time.Duration(age), Bytes: int64(bytes), Count: int(count)}
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
	st.forget.items, st.settled = settled, len(settled)
	return err
}

func (st *state) loadReplays(b *bolt.Bucket) error {
	return b.ForEach(func(k, v []byte) error {
		j, err := decodeReplay(v)
		if err != nil || len(k) != 8 {
			return fmt.Errorf("replay %x is unreadable", k)
		}
		j.number = binary.BigEndian.Uint64(k)
		st.replays[j.job.Account] = append(st.replays[j.job.Account], j)
		return nil
	})
}

// loadedEvent is an event with what its rows must know of it.
type loadedEvent struct {
	row  *eventRow
	slot uint16
}

func (st *state) loadEvents(b *bolt.Bucket) (map[uint64]loadedEvent, error) {
	events := map[uint64]loadedEvent{}
	return events, b.ForEach(func(k, v []byte) error {
		r := codec.NewReader(v)
		h := readEventHead(r)
		if r.Failed() || len(k) != 8 {
			return fmt.Errorf("event %x is unreadable", k)
		}
		e := &eventRow{seq: binary.BigEndian.Uint64(k), flags: onDisk}
		e.setBytes(h.size)
		if h.receipt != nil {
			// The receipt may be gone, or another one of the same id be in its
			// place: a dead letter outlives it.
			if e.receipt = st.receipts[*h.receipt]; e.receipt == nil || e.receipt.born != h.born {
				e.receipt = &receipt{key: *h.receipt, born: h.born, flags: gone}
			}
		}
		events[e.seq] = loadedEvent{row: e, slot: h.slot}
		return nil
	})
}

func (st *state) loadRows(tx *bolt.Tx, events map[uint64]loadedEvent) error {
	var dead, again []*row // they have their places elsewhere than by seq
	graves := map[LaneKey]*lane{}
	moving := tx.Bucket(bucketProgress).Cursor()
	pk, pv := moving.First()
	err := tx.Bucket(bucketDeliveries).ForEach(func(k, v []byte) error {
		d, err := decodeDelivery(v)
		if err != nil || len(k) != 8 {
			return fmt.Errorf("delivery %x is unreadable", k)
		}
		ev := events[d.eventSeq]
		if ev.row == nil {
			return fmt.Errorf("delivery %x has no event %d", k, d.eventSeq)
		}
		r := &row{seq: binary.BigEndian.Uint64(k), id: deliveryKey(d.id), ev: ev.row, slot: ev.slot, flags: onDisk}
		if string(pk) == string(k) {
			p, err := decodeProgress(pv)
			if err != nil {
				return fmt.Errorf("progress %x: %w", k, err)
			}
			r.status, r.attempt, r.base, r.nextAt = p.status, p.attempt, p.base, p.nextAt
			if p.series.pos > 0 {
				r.flags |= revived
				st.series[r] = p.series
			}
			pk, pv = moving.Next()
		}
		if ev.row.refs == 0 {
			st.account(d.account).events.push(ev.row)
		}
		ev.row.refs++
		st.addRow(r)
		lk := LaneKey{Partition: d.target.Partition, Account: d.account, Destination: d.target.Destination()}
		if r.status == deadNo {
			if r.lane = graves[lk]; r.lane == nil {
				r.lane = &lane{key: lk}
				graves[lk] = r.lane
			}
			dead = append(dead, r)
			return nil
		}
		r.lane = st.laneOf(lk)
		if r.flags&revived != 0 {
			again = append(again, r)
			return nil
		}
		st.join(r)
		return nil
	})
	if err != nil {
		return err
	}
	if pk != nil {
		return fmt.Errorf("progress %x has no delivery", pk)
	}
	st.loadReplayed(again)
	slices.SortFunc(dead, func(x, y *row) int { return cmp.Compare(x.nextAt, y.nextAt) })
	for _, r := range dead {
		st.dead.list.push(r)
		st.dead.bytes += deadBytes(r)
		st.account(r.lane.key.Account).dead.push(r)
	}
	return nil
}

// loadReplayed puts replayed rows into their lanes, where they were at the end
// when they came.
func (st *state) loadReplayed(again []*row) {
	place := func(r *row) uint64 {
		if r.flags&revived != 0 {
			return st.series[r].pos
		}
		return r.seq
	}
	lanes := map[*lane]struct{}{}
	for _, r := range again {
		st.join(r)
		lanes[r.lane] = struct{}{}
	}
	for l := range lanes {
		slices.SortFunc(l.all.items, func(x, y *row) int { return cmp.Compare(place(x), place(y)) })
	}
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
