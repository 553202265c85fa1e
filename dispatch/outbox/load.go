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
		return st.loadRows(tx)
	})
}

func (st *state) loadMeta(b *bolt.Bucket) error {
	f, err := readMeta(b, metaFormat)
	if err != nil {
		return err
	}
	if f != fileFormat {
		return fmt.Errorf("the file has format %d, this version knows %d", f, fileFormat)
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
	return eachRow(b, func(k, v []byte) error {
		a, err := decodeClaim(v)
		if err != nil || len(k) != 1 || int(k[0]) >= model.Partitions {
			return fmt.Errorf("claim %x is unreadable", k)
		}
		st.claims[k[0]] = a
		return nil
	})
}

func (st *state) loadReceipts(b *bolt.Bucket) error {
	rs := &st.receipts
	var settled []receiptRef
	err := eachRow(b, func(k, v []byte) error {
		rec, err := decodeReceipt(k, v)
		if err != nil {
			return fmt.Errorf("receipt %x: %w", k, err)
		}
		ref := receiptRef(rs.add(rec) + 1)
		if rec.order > 0 {
			settled = append(settled, ref)
		}
		return nil
	})
	slices.SortFunc(settled, func(x, y receiptRef) int { return cmp.Compare(rs.get(x).order, rs.get(y).order) })
	for _, ref := range settled {
		rs.enqueue(ref, rs.get(ref).order)
	}
	return err
}

func (st *state) loadReplays(b *bolt.Bucket) error {
	return eachRow(b, func(k, v []byte) error {
		j, err := decodeReplay(v)
		if err != nil || len(k) != 8 {
			return fmt.Errorf("replay %x is unreadable", k)
		}
		j.number = binary.BigEndian.Uint64(k)
		st.replays[j.job.Account] = append(st.replays[j.job.Account], j)
		return nil
	})
}

// loading is the part of load that reads what is owed or dead.
type loading struct {
	st        *state
	rows      *bolt.Cursor // of deliveries
	rk, rv    []byte
	moves     *bolt.Cursor // of progress
	mk, mv    []byte
	dead      []*row // they have their places elsewhere than by seq
	again     []*row // as have those that were replayed
	graves    map[LaneKey]*lane
	ofAnEvent []*row
	named     int    // deliveries that byEvent has
	receipts  uint32 // the place in the table up to which they were met
}

// loadRows walks over events and deliveries side by side: those of an event
// follow it in the sequence.
func (st *state) loadRows(tx *bolt.Tx) error {
	l := loading{
		st: st, rows: tx.Bucket(bucketDeliveries).Cursor(), moves: tx.Bucket(bucketProgress).Cursor(), graves: map[LaneKey]*lane{},
	}
	l.rk, l.rv = l.rows.First()
	l.mk, l.mv = l.moves.First()
	if err := eachRow(tx.Bucket(bucketEvents), l.event); err != nil {
		return err
	}
	if l.rk != nil {
		return fmt.Errorf("delivery %x has no event", l.rk)
	}
	if l.mk != nil {
		return fmt.Errorf("progress %x has no delivery", l.mk)
	}
	if err := checkNames(tx.Bucket(bucketByEvent), l.named); err != nil {
		return err
	}
	st.loadReplayed(l.again)
	slices.SortFunc(l.dead, func(x, y *row) int { return cmp.Compare(x.nextAt, y.nextAt) })
	for _, r := range l.dead {
		st.dead.list.push(r)
		st.dead.bytes += deadBytes(r)
		st.account(r.lane.key.Account).dead.push(r)
	}
	return nil
}

// event reads one event with its deliveries.
func (l *loading) event(k, v []byte) error {
	st := l.st
	r := codec.NewReader(v)
	h := readEventHead(r)
	if r.Failed() || len(k) != 8 {
		return fmt.Errorf("event %x is unreadable", k)
	}
	e := &eventRow{seq: binary.BigEndian.Uint64(k), flags: onDisk, size: toUint24(h.size)}
	if h.given {
		e.receipt = l.receipt(e.seq - 1)
	}
	l.ofAnEvent = l.ofAnEvent[:0]
	for l.rk != nil {
		v, err := checkedRow(l.rk, l.rv)
		if err != nil {
			return fmt.Errorf("delivery: %w", err)
		}
		d, err := decodeDelivery(v)
		if err != nil || len(l.rk) != 8 {
			return fmt.Errorf("delivery %x is unreadable", l.rk)
		}
		if d.eventSeq != e.seq {
			break
		}
		r := &row{seq: binary.BigEndian.Uint64(l.rk), id: deliveryKey(d.id), ev: e, slot: h.slot, flags: onDisk}
		if err := l.progress(r); err != nil {
			return err
		}
		l.lane(r, LaneKey{Partition: d.target.Partition, Account: d.account, Destination: d.target.Destination()})
		l.ofAnEvent = append(l.ofAnEvent, r)
		l.rk, l.rv = l.rows.Next()
		if !h.given || r.named() {
			l.named++
		}
	}
	if len(l.ofAnEvent) == 0 {
		return fmt.Errorf("event %x has no delivery", k)
	}
	e.refs = uint32(len(l.ofAnEvent)) //nolint:gosec // far below 2^32
	st.account(l.ofAnEvent[0].lane.key.Account).events.push(e.seq)
	for _, r := range l.ofAnEvent {
		l.place(r)
	}
	return nil
}

// receipt finds the receipt that was born at seq; 0: it is gone. Receipts, as
// events, are walked in the order in which they came.
func (l *loading) receipt(seq uint64) receiptRef {
	rs := &l.st.receipts
	for l.receipts < rs.top && rs.at(l.receipts).born < seq {
		l.receipts++
	}
	if l.receipts == rs.top || rs.at(l.receipts).born != seq {
		return 0
	}
	return receiptRef(l.receipts + 1)
}

// progress reads what has changed of a delivery.
func (l *loading) progress(r *row) error {
	if string(l.mk) != string(l.rk) {
		return nil
	}
	v, err := checkedRow(l.mk, l.mv)
	if err != nil {
		return fmt.Errorf("progress: %w", err)
	}
	p, err := decodeProgress(v)
	if err != nil {
		return fmt.Errorf("progress %x: %w", l.mk, err)
	}
	r.status, r.attempt, r.base, r.nextAt = p.status, p.attempt, p.base, p.nextAt
	if p.series.pos > 0 {
		r.flags |= revived
		l.st.series[r] = p.series
	}
	l.mk, l.mv = l.moves.Next()
	return nil
}

// lane finds the lane of a row. Those of dead letters are not in the state:
// nothing is owed to them.
func (l *loading) lane(r *row, k LaneKey) {
	if r.status != deadNo {
		r.lane = l.st.laneOf(k)
		return
	}
	if r.lane = l.graves[k]; r.lane == nil {
		r.lane = &lane{key: k}
		l.graves[k] = r.lane
	}
}

// place puts a row where it belongs.
func (l *loading) place(r *row) {
	l.st.addRow(r)
	switch {
	case r.status == deadNo:
		l.dead = append(l.dead, r)
	case r.flags&revived != 0:
		l.again = append(l.again, r)
	case l.st.parkLoaded(r):
	default:
		l.st.join(r)
	}
}

// loadReplayed puts replayed rows into their lanes, where they were at the end
// when they came.
func (st *state) loadReplayed(again []*row) {
	lanes := map[*lane]struct{}{}
	for _, r := range again {
		st.join(r)
		lanes[r.lane] = struct{}{}
	}
	for l := range lanes {
		l.unsorted = true
		st.sortLane(l)
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
