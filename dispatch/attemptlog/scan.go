package attemptlog

import (
	"bytes"
	"encoding/binary"
	"time"

	bolt "go.etcd.io/bbolt"

	"example.com/belfry/dispatch/event"
)

const (
	// MaxScan is how many records one Scan looks at, but for the rest of the
	// events that were accepted at the same instant as the last one.
	MaxScan = 2000
	// listOverhead is what a place in the list costs in the file beside its key.
	listOverhead = 32
)

// timeKey is a place in the list of an account's events. Keys are in the order
// of time, then of id.
func timeKey(account string, at time.Time, eventID string) []byte {
	b := binary.AppendUvarint(make([]byte, 0, len(account)+len(eventID)+16), uint64(len(account)))
	b = append(b, account...)
	b = binary.BigEndian.AppendUint64(b, uint64(at.Unix())^1<<63) //nolint:gosec // orders the negative ones before
	b = binary.BigEndian.AppendUint32(b, uint32(at.Nanosecond())) //nolint:gosec // below 1e9
	return append(b, eventID...)
}

// timeSize is the length of the time in a timeKey.
const timeSize = 12

// refOf reads what follows the account in a timeKey.
func refOf(b []byte) event.Ref {
	sec := int64(binary.BigEndian.Uint64(b) ^ 1<<63) //nolint:gosec // as it was written
	nsec := int64(binary.BigEndian.Uint32(b[8:]))
	return event.Ref{AcceptedAt: time.Unix(sec, nsec).UTC(), EventID: string(b[timeSize:])}
}

// Scan finds events of an account of which this node recorded something, in the
// order of event.Ref, from after on. The events of one instant are given whole,
// so there may be more than limit. A delivery counts with its last record.
//
// INV attemptlog-1: an account's events are found from its list only, and no
// record of another account is looked at.
func (l *Log) Scan(account string, f *event.Filter, after event.Ref, limit int) (event.Scan, error) {
	if err := l.Flush(); err != nil {
		return event.Scan{}, err
	}
	l.fileMu.Lock()
	defer l.fileMu.Unlock()
	if l.closed {
		return event.Scan{Done: true}, nil
	}
	var out event.Scan
	err := l.repaired(func() error {
		return l.db.View(func(tx *bolt.Tx) error {
			out = l.scan(tx, account, f, after, limit)
			return nil
		})
	})
	return out, err
}

func (l *Log) scan(tx *bolt.Tx, account string, f *event.Filter, after event.Ref, limit int) (out event.Scan) {
	prefix := timeKey(account, time.Time{}, "")
	prefix = prefix[:len(prefix)-timeSize]
	log, list := tx.Bucket(bucketLog), tx.Bucket(bucketTime).Cursor()
	looked := 0
	var instant time.Time
	for k := lastBefore(list, scanEnd(account, prefix, f, after)); bytes.HasPrefix(k, prefix); k, _ = list.Prev() {
		if len(k) < len(prefix)+timeSize {
			break // no such key is written
		}
		ref := refOf(k[len(prefix):])
		if !f.From.IsZero() && ref.AcceptedAt.Before(f.From) {
			break
		}
		if !ref.AcceptedAt.Equal(instant) {
			if limit > 0 && len(out.Refs) >= limit || looked >= MaxScan {
				// No event id is empty: this is the last place of the instant.
				out.Upto = event.Ref{AcceptedAt: instant}
				return out
			}
			instant = ref.AcceptedAt
		}
		fits, n := l.fits(log, keyOf(account, ref.EventID), f, ref)
		looked += n
		if fits {
			out.Refs = append(out.Refs, ref)
		}
	}
	out.Done = true
	return out
}

// scanEnd is the key that everything to look at is before.
func scanEnd(account string, prefix []byte, f *event.Filter, after event.Ref) []byte {
	var end []byte
	if after != (event.Ref{}) {
		end = timeKey(account, after.AcceptedAt, after.EventID)
	}
	if !f.To.IsZero() {
		if to := timeKey(account, f.To, ""); end == nil || bytes.Compare(to, end) < 0 {
			end = to
		}
	}
	if end == nil {
		end = append(bytes.Clone(prefix), bytes.Repeat([]byte{0xff}, timeSize+1)...)
	}
	return end
}

// lastBefore moves to the last key before end.
func lastBefore(c *bolt.Cursor, end []byte) []byte {
	if k, _ := c.Seek(end); k == nil {
		k, _ = c.Last()
		return k
	}
	k, _ := c.Prev()
	return k
}

// fits asks the filter about one event, and tells how many records it took.
func (l *Log) fits(log *bolt.Bucket, key eventKey, f *event.Filter, ref event.Ref) (fits bool, looked int) {
	c := log.Cursor()
	first := logKey(key, 0)
	k, v := c.Seek(first)
	if !bytes.Equal(k, first) {
		return false, 1 // its record is gone, or cannot be read any more
	}
	e, _, err := decodeHead(v)
	if err != nil {
		l.log.Warn("a record of the attempt log cannot be read", "event", ref.EventID, "error", err)
		return false, 1
	}
	looked = 1
	if !f.MatchesEvent(&e, ref.AcceptedAt) {
		return false, looked
	}
	if f.Status == "" && f.ProfileID == "" && f.SubscriptionID == "" {
		return true, looked
	}
	last := map[string]bool{} // by delivery: whether its last record fits
	for k, v = c.Next(); bytes.HasPrefix(k, []byte(key)); k, v = c.Next() {
		looked++
		d, _, err := decodeEntry(v)
		if err != nil {
			l.log.Warn("a record of the attempt log cannot be read", "event", ref.EventID, "error", err)
			continue
		}
		last[d.DeliveryID] = f.MatchesDelivery(d.Status, d.ProfileID, d.SubscriptionIDs)
	}
	for _, ok := range last {
		if ok {
			return true, looked
		}
	}
	return false, looked
}
