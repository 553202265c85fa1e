package attemptlog

import (
	"bytes"
	"container/heap"
	"encoding/binary"
	"slices"
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
// INV attemptlog-1: an account's events are found from its list only, and a record
// counts when it names that account and event.
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
	v := l.view(tx)
	looked := 0
	var instant time.Time
	var copies []byte
	for m := v.merge(tx.Bucket(bucketLists), prefix, scanEnd(account, prefix, f, after)); len(m.places) > 0; {
		ref := refOf(m.places[0].key[len(prefix):])
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
		copies = m.next(copies[:0])
		fits, n := v.fits(account, f, ref, copies)
		looked += n
		if fits {
			out.Refs = append(out.Refs, ref)
		}
	}
	out.Done = true
	return out
}

// merge walks through the lists of all segments at once, from the last place on.
type merge struct {
	prefix []byte
	places []place // a heap: the last key first, of the same key the older segment
}

// place is where the walk through one list is.
type place struct {
	key, number []byte
	segment     int
	cursor      *bolt.Cursor
}

// merge begins before end, and ends where keys do not have the prefix any more.
func (v *view) merge(lists *bolt.Bucket, prefix, end []byte) *merge {
	m := &merge{prefix: prefix}
	for i := range v.l.segments {
		p := place{segment: i, cursor: lists.Bucket(number8(v.l.segments[i].first)).Cursor()}
		if p.key, p.number = lastBefore(p.cursor, end); m.has(p.key) {
			m.places = append(m.places, p)
		}
	}
	heap.Init(m)
	return m
}

// has tells whether a key is one of the account; no shorter ones are written.
func (m *merge) has(key []byte) bool {
	return bytes.HasPrefix(key, m.prefix) && len(key) >= len(m.prefix)+timeSize
}

// next appends the numbers of all records at the present place, and goes on to the
// next one.
func (m *merge) next(numbers []byte) []byte {
	for key := m.places[0].key; len(m.places) > 0 && bytes.Equal(m.places[0].key, key); {
		p := &m.places[0]
		numbers = append(numbers, p.number...)
		if p.key, p.number = p.cursor.Prev(); m.has(p.key) {
			heap.Fix(m, 0)
		} else {
			heap.Pop(m)
		}
	}
	return numbers
}

func (m *merge) Len() int { return len(m.places) }

func (m *merge) Less(i, j int) bool {
	c := bytes.Compare(m.places[i].key, m.places[j].key)
	return c > 0 || c == 0 && m.places[i].segment < m.places[j].segment
}

func (m *merge) Swap(i, j int) { m.places[i], m.places[j] = m.places[j], m.places[i] }

// Push is there for heap.Interface; lists are not added.
func (m *merge) Push(x any) { m.places = append(m.places, x.(place)) }

// Pop takes the last one away.
func (m *merge) Pop() any {
	p := m.places[len(m.places)-1]
	m.places = m.places[:len(m.places)-1]
	return p
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
func lastBefore(c *bolt.Cursor, end []byte) (k, v []byte) {
	if k, _ := c.Seek(end); k == nil {
		return c.Last()
	}
	return c.Prev()
}

// fits asks the filter about one event, and tells how many records it took.
func (v *view) fits(account string, f *event.Filter, ref event.Ref, copies []byte) (fits bool, looked int) {
	last := map[string]bool{} // by delivery: whether its last record fits
	seen := false
	for n := range slices.Chunk(copies, 8) {
		p, number, rec := v.read(n, account, ref.EventID)
		if looked++; p == nil {
			continue
		}
		if !seen {
			e, _, err := decodeHead(rec)
			if err != nil {
				v.warn(ref, err)
				continue
			}
			seen = true
			if !f.MatchesEvent(&e, ref.AcceptedAt) {
				return false, looked
			}
			if f.Status == "" && f.ProfileID == "" && f.SubscriptionID == "" {
				return true, looked
			}
		}
		looked += v.deliveries(last, p, number, account, f, ref)
	}
	for _, ok := range last {
		if ok {
			return true, looked
		}
	}
	return false, looked
}

// read gets one of the records of an event that the list names. p is nil when
// it is gone, cannot be read any more, or is another event's.
func (v *view) read(n []byte, account, id string) (p *part, number uint64, rec []byte) {
	if len(n) != 8 {
		return nil, 0, nil
	}
	number = binary.BigEndian.Uint64(n)
	i := v.l.segmentOf(number)
	if i < 0 {
		return nil, 0, nil
	}
	p = v.part(i)
	distance, rec := p.get(number)
	if distance > 0 || rec == nil {
		return nil, 0, nil
	}
	switch is, err := isOf(rec, account, id); {
	case err != nil:
		v.warn(event.Ref{EventID: id}, err)
		return nil, 0, nil
	case !is:
		return nil, 0, nil
	}
	return p, number, rec
}

// deliveries asks the filter about the entries of an event in one segment, and
// tells how many there are.
func (v *view) deliveries(last map[string]bool, p *part, number uint64, account string, f *event.Filter, ref event.Ref) (looked int) {
	for _, place := range v.find(p, v.l.opts.hash(account, ref.EventID)) {
		at := p.segment.first + uint64(place)
		if at <= number {
			continue
		}
		distance, rec := p.get(at)
		if at-distance != number {
			continue // of another event with the same hash
		}
		looked++
		d, _, err := decodeEntry(rec)
		if err != nil {
			v.warn(ref, err)
			continue
		}
		last[d.DeliveryID] = f.MatchesDelivery(d.Status, d.ProfileID, d.SubscriptionIDs)
	}
	return looked
}

func (v *view) warn(ref event.Ref, err error) {
	v.l.log.Warn("a record of the attempt log cannot be read", "event", ref.EventID, "error", err)
}
