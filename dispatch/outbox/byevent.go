package outbox

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// Deliveries are found by their event. Ids made by nodes sort by time, so their
// names go side by side into the bucket byEvent. Those that clients give may be
// as good as random, and each name would dirty a page of its own; they are found
// by way of their receipt, which is there while a delivery is pending (INV
// outbox-5). What needs no receipt is named: what is dead, and what was replayed.

// byEventKey begins with a hash of the account and ends with the sequence number
// of a delivery; without it, it is the prefix of all of an event. Ids made by
// nodes sort by time, so new keys are put side by side and a flush touches few
// pages.
func byEventKey(account, id string, seq ...byte) []byte {
	sum := sha256.Sum256([]byte(account))
	b := append(make([]byte, 0, 8+2+len(id)+8), sum[:8]...)
	b = binary.AppendUvarint(b, uint64(len(id)))
	return append(append(b, id...), seq...)
}

// named reports whether byEvent has a name of the row, but for one whose event
// has an id that a node made, which always has.
func (r *row) named() bool { return r.status == deadNo || r.flags&revived != 0 }

// nameOnDisk is the key in byEvent of the delivery with this sequence key. The
// name of its event is read from the file.
func nameOnDisk(tx *bolt.Tx, seq []byte) ([]byte, error) {
	v, err := getRow(tx.Bucket(bucketDeliveries), seq)
	if err != nil {
		return nil, err
	}
	d, err := decodeDelivery(v)
	if err != nil {
		return nil, err
	}
	if v, err = getRow(tx.Bucket(bucketEvents), seqKey(d.eventSeq)); err != nil {
		return nil, err
	}
	h, err := decodeEventRow(v)
	if err != nil {
		return nil, err
	}
	return byEventKey(h.e.Account, h.e.ID, seq...), nil
}

// captureName puts the name of a row into a batch, where it has one.
func captureName(b *flushBatch, r *row, isNew bool) {
	k := seqKey(r.seq)
	switch h := r.ev.hot; {
	case h == nil:
		if r.named() {
			b.writes = append(b.writes, write{bucket: bucketByEvent, key: k, value: empty, named: true})
		}
	case r.named() || isNew && !h.e.GivenID:
		b.writes = append(b.writes, write{bucket: bucketByEvent, key: byEventKey(h.e.Account, h.e.ID, k...), value: empty})
	}
}

// deleteByEvent removes the name of the delivery with this sequence key, if it
// has one. It runs before the events are deleted, because "deliveries" sorts
// before "events".
func deleteByEvent(tx *bolt.Tx, seq []byte) error {
	k, err := nameOnDisk(tx, seq)
	if err != nil {
		return err
	}
	return tx.Bucket(bucketByEvent).Delete(k)
}

// checkNames looks at the names of deliveries, which memory does not hold: there
// are as many as there must be.
func checkNames(b *bolt.Bucket, named int) error {
	n := 0
	if err := eachRow(b, func(_, _ []byte) error { n++; return nil }); err != nil {
		return fmt.Errorf("byEvent: %w", err)
	}
	if n != named {
		return fmt.Errorf("%d deliveries are named by their events and not %d: %w", n, named, errRow)
	}
	return nil
}

// Event finds the deliveries of an event that are owed or dead, in acceptance
// order. What was delivered or dropped is in the attempt log of its owner.
func (s *Store) Event(account, eventID string) ([]Delivery, error) {
	// No flush in between: a row is in memory's list or in the file. Memory is
	// asked first: what leaves it goes to the file.
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	s.mu.Lock()
	found, nameless := s.recent(account, eventID)
	_, rec := s.st.receipts.of(eventKey(account, eventID))
	born := uint64(0)
	if rec != nil {
		born = rec.born
	}
	s.mu.Unlock()
	ids := map[uint64]string{}
	err := s.view(func(tx *bolt.Tx) error {
		if err := namedDeliveries(tx, byEventKey(account, eventID), ids); err != nil || born == 0 {
			return err
		}
		return unnamedDeliveries(tx, account, eventID, born+1, ids)
	})
	if err != nil {
		return nil, err
	}
	others, err := s.fill(nameless)
	if err != nil {
		return nil, err
	}
	for i := range others {
		if others[i].Event.ID == eventID {
			ids[others[i].Seq] = others[i].ID
		}
	}
	s.mu.Lock()
	for seq, id := range ids {
		if x, ok := s.st.look(deliveryKey(id)); ok && x.seq == seq {
			found = append(found, x)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(found, func(x, y sight) int { return cmp.Compare(x.seq, y.seq) })
	found = slices.CompactFunc(found, func(x, y sight) bool { return x.seq == y.seq })
	return s.fill(found)
}

// recent finds the deliveries of an event among those that the file lacks, or of
// which it lacks the name: a second's worth. The event of some is on disk only;
// whether they are of this one, their name there tells.
func (s *Store) recent(account, eventID string) (found, nameless []sight) {
	s.eachUnwritten(account, func(r *row) {
		switch h := r.ev.hot; {
		case h == nil:
			if r.named() && s.st.receipts.ofEvent(r.ev) == nil {
				nameless = append(nameless, s.st.sight(r))
			}
		case h.e.ID == eventID:
			found = append(found, s.st.sight(r))
		}
	})
	return found, nameless
}

// namedDeliveries adds those whose name in byEvent begins so: their ids by
// sequence number.
func namedDeliveries(tx *bolt.Tx, prefix []byte, ids map[uint64]string) error {
	c := tx.Bucket(bucketByEvent).Cursor()
	for name, _ := c.Seek(prefix); bytes.HasPrefix(name, prefix); name, _ = c.Next() {
		k := name[len(prefix):]
		v, err := getRow(tx.Bucket(bucketDeliveries), k)
		if err != nil {
			return fmt.Errorf("outbox: delivery %x: %w", k, err)
		}
		d, err := decodeDelivery(v)
		if err != nil || len(k) != 8 {
			return fmt.Errorf("outbox: delivery %x: %w", k, cmp.Or(err, errRow))
		}
		ids[binary.BigEndian.Uint64(k)] = d.id
	}
	return nil
}

// unnamedDeliveries adds those of the event with this sequence number, which
// they follow. Where nothing was owed for it, another one has the number.
func unnamedDeliveries(tx *bolt.Tx, account, eventID string, event uint64, ids map[uint64]string) error {
	v, err := getRow(tx.Bucket(bucketEvents), seqKey(event))
	if v == nil {
		return err
	}
	h, err := decodeEventRow(v)
	if err != nil {
		return fmt.Errorf("outbox: event %d: %w", event, err)
	}
	if h.e.Account != account || h.e.ID != eventID {
		return nil
	}
	return deliveriesOf(tx, event, func(seq uint64, d *deliveryDisk) bool {
		ids[seq] = d.id
		return true
	})
}

// deliveriesOf reads the deliveries of an event, which follow it in the
// sequence, until f returns false.
func deliveriesOf(tx *bolt.Tx, event uint64, f func(seq uint64, d *deliveryDisk) (more bool)) error {
	c := tx.Bucket(bucketDeliveries).Cursor()
	for k, v := c.Seek(seqKey(event + 1)); k != nil; k, v = c.Next() {
		v, err := checkedRow(k, v)
		if err != nil {
			return fmt.Errorf("outbox: delivery %x: %w", k, err)
		}
		d, err := decodeDelivery(v)
		if err != nil || len(k) != 8 {
			return fmt.Errorf("outbox: delivery %x: %w", k, cmp.Or(err, errRow))
		}
		if d.eventSeq != event || !f(binary.BigEndian.Uint64(k), &d) {
			break
		}
	}
	return nil
}
