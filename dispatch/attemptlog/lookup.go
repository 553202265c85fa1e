package attemptlog

import (
	"encoding/binary"
	"slices"

	bolt "go.etcd.io/bbolt"

	"example.com/belfry/dispatch/event"
)

// view reads records within one transaction.
type view struct {
	l       *Log
	records *bolt.Bucket
	parts   map[int]*part // by place of their segment, those that were looked into
	places  []uint32      // of part.find
}

func (l *Log) view(tx *bolt.Tx) *view {
	return &view{l: l, records: tx.Bucket(bucketRecords), parts: map[int]*part{}}
}

// part reads one segment.
type part struct {
	segment *segment
	bucket  *bolt.Bucket
	cursor  *bolt.Cursor
	rows    []byte // the index of a closed segment; nil: not looked for yet
}

// part opens the segment at place i of the table.
func (v *view) part(i int) *part {
	p := v.parts[i]
	if p == nil {
		s := &v.l.segments[i]
		b := v.records.Bucket(number8(s.first))
		p = &part{segment: s, bucket: b, cursor: b.Cursor()}
		v.parts[i] = p
	}
	return p
}

// get reads a record; nil: it is not there.
func (p *part) get(number uint64) (distance uint64, rec []byte) {
	var key [8]byte
	binary.BigEndian.PutUint64(key[:], number)
	k, value := p.cursor.Seek(key[:])
	if string(k) != string(key[:]) {
		return 0, nil
	}
	return splitRecord(value)
}

// find gives the places in p of all records whose event has this hash, in the
// order of time. They are valid until the next call.
func (v *view) find(p *part, hash uint64) []uint32 {
	v.places = v.places[:0]
	if !p.segment.closed {
		v.places = v.l.open.find(v.places, hash)
		return v.places
	}
	if p.rows == nil {
		p.rows = p.bucket.Get(indexKey)
	}
	v.places = findRows(v.places, p.rows, hash)
	return v.places
}

// Lookup finds what this node recorded of an event, newest records included.
// An unreadable record is left out and logged.
func (l *Log) Lookup(account, eventID string) (event.Record, bool, error) {
	if err := l.Flush(); err != nil {
		return event.Record{}, false, err
	}
	l.fileMu.Lock()
	defer l.fileMu.Unlock()
	if l.closed {
		return event.Record{}, false, nil
	}
	var rec event.Record
	found := false
	err := l.repaired(func() error {
		return l.db.View(func(tx *bolt.Tx) error {
			rec, found = l.lookup(tx, account, eventID)
			return nil
		})
	})
	if err != nil {
		return event.Record{}, false, err
	}
	rec.Account, rec.ID = account, eventID
	return rec, found, nil
}

// lookup asks every segment, since each has its own copy of the event.
func (l *Log) lookup(tx *bolt.Tx, account, eventID string) (rec event.Record, found bool) {
	v, hash := l.view(tx), l.opts.hash(account, eventID)
	for i := range l.segments {
		p := v.part(i)
		mine := uint64(0) // number of the event's record
		for _, place := range v.find(p, hash) {
			number := p.segment.first + uint64(place)
			distance, b := p.get(number)
			var err error
			switch {
			case distance == 0:
				var is bool
				if is, err = isOf(b, account, eventID); !is {
					break // of another event with the same hash, INV attemptlog-1
				}
				mine = number
				if rec.ID == "" {
					rec.Event, rec.AcceptedAt, err = decodeEvent(b)
				}
			case mine > 0 && number-distance == mine:
				err = addEntry(&rec, eventID, b)
			default:
				continue
			}
			if err != nil {
				l.log.Warn("a record of the attempt log cannot be read", "event", eventID, "error", err)
				continue
			}
			found = found || mine > 0
		}
	}
	return rec, found
}

// addEntry adds an entry to what is known of its event.
func addEntry(rec *event.Record, eventID string, b []byte) error {
	e, headers, err := decodeEntry(b)
	if err != nil {
		return err
	}
	if e.Attempt != nil && len(headers) > 0 {
		of := headerContext{eventID, e.Attempt}
		if err := of.decode(headers); err != nil {
			return err
		}
	}
	i := slices.IndexFunc(rec.Deliveries, func(d event.Delivery) bool { return d.DeliveryID == e.DeliveryID })
	if i < 0 {
		i = len(rec.Deliveries)
		rec.Deliveries = append(rec.Deliveries, event.Delivery{DeliveryID: e.DeliveryID, Attempts: []event.Attempt{}})
	}
	d := &rec.Deliveries[i]
	d.ProfileID, d.SubscriptionIDs, d.URL, d.Status = e.ProfileID, e.SubscriptionIDs, e.URL, e.Status
	d.NextAttemptAt = nil
	if e.Status == event.StatusRetrying && !e.NextAt.IsZero() {
		at := e.NextAt
		d.NextAttemptAt = &at
	}
	if e.Attempt != nil {
		d.Attempts = append(d.Attempts, *e.Attempt)
	}
	return nil
}
