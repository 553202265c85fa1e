package attemptlog

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"example.com/belfry/dispatch/codec"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/outbox"
)

// format is the first byte of every record. formatBefore is that of records
// without headers, which are read as well; records of any other are left out.
const (
	format       = 4
	formatBefore = 3
)

const (
	maxField  = 64 << 10
	maxCount  = 1 << 30
	maxMicros = 1 << 40
)

func number8(n uint64) []byte { return binary.BigEndian.AppendUint64(make([]byte, 0, 8), n) }

func logKey(k eventKey, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, len(k)+8), k...), n)
}

// ageRow is what must be known to remove a record.
type ageRow struct {
	key    eventKey
	number uint64
	at     time.Time
	size   int64
}

func encodeAge(a ageRow) []byte {
	b := codec.AppendString(make([]byte, 0, len(a.key)+32), string(a.key))
	b = codec.AppendUint(b, a.number)
	b = codec.AppendTime(b, a.at)
	return codec.AppendCount(b, int(a.size))
}

func decodeAge(b []byte) (ageRow, error) {
	r := codec.NewReader(b)
	a := ageRow{key: eventKey(r.String(maxField)), number: r.Uint()}
	a.at = r.Time()
	a.size = int64(r.Int(maxCount))
	return a, r.Done()
}

// encodeEvent puts the payload, which may be large, behind everything else, so
// that a search does not touch it.
func encodeEvent(e *event.Event, acceptedAt time.Time) []byte {
	head := *e
	head.Payload = nil
	b := codec.AppendTime(append(make([]byte, 0, len(e.Payload)+512), format), acceptedAt)
	b = codec.AppendBytes(b, outbox.AppendEvent(nil, &head))
	return codec.AppendBytes(b, e.Payload)
}

func decodeEvent(b []byte) (event.Event, time.Time, error) {
	e, acceptedAt, r := readHead(b)
	e.Payload = r.Bytes(maxCount)
	return e, acceptedAt, r.Done()
}

// decodeHead reads an event without its payload.
func decodeHead(b []byte) (event.Event, time.Time, error) {
	e, acceptedAt, r := readHead(b)
	if r.Failed() {
		return e, acceptedAt, r.Done()
	}
	return e, acceptedAt, nil
}

func readHead(b []byte) (e event.Event, acceptedAt time.Time, r *codec.Reader) {
	r = codec.NewReader(b)
	if f := r.Byte(); f != format && f != formatBefore {
		r.Fail()
	}
	acceptedAt = r.Time()
	head := codec.NewReader(r.Bytes(maxField))
	e = outbox.ReadEvent(head)
	if head.Done() != nil || e.Payload != nil {
		r.Fail()
	}
	return e, acceptedAt, r
}

// encodeEntry puts the headers, which a search does not look at, behind
// everything else.
func encodeEntry(e *Entry, headers []byte) []byte {
	b := append(make([]byte, 0, 256), format)
	for _, s := range [...]string{e.DeliveryID, e.ProfileID, e.URL, string(e.Status)} {
		b = codec.AppendString(b, s)
	}
	b = codec.AppendTime(b, e.NextAt)
	b = codec.AppendCount(b, len(e.SubscriptionIDs))
	for _, s := range e.SubscriptionIDs {
		b = codec.AppendString(b, s)
	}
	b = codec.AppendBool(b, e.Attempt != nil)
	if a := e.Attempt; a != nil {
		b = codec.AppendCount(b, a.Attempt)
		b = codec.AppendTime(b, a.At)
		b = codec.AppendCount(b, int(a.DurationMs))
		b = codec.AppendCount(b, a.StatusCode)
		for _, s := range [...]string{a.Outcome, a.ErrorClass, a.Error, a.Response, a.NodeID, a.WebhookID} {
			b = codec.AppendString(b, s)
		}
		b = codec.AppendBool(b, a.Timing != nil)
		if t := a.Timing; t != nil {
			for _, ms := range [...]float64{t.DNSMs, t.ConnectMs, t.TLSMs, t.FirstByteMs} {
				b = codec.AppendCount(b, int(math.Round(ms*1000)))
			}
			b = codec.AppendBool(b, t.Reused)
		}
		b = codec.AppendBytes(b, headers)
	}
	return b
}

// decodeEntry gives the headers as they are kept: see headerContext.
func decodeEntry(b []byte) (e Entry, headers []byte, err error) {
	r := codec.NewReader(b)
	version := r.Byte()
	if version != format && version != formatBefore {
		r.Fail()
	}
	var status string
	for _, s := range [...]*string{&e.DeliveryID, &e.ProfileID, &e.URL, &status} {
		*s = r.String(maxField)
	}
	e.Status = event.Status(status)
	e.NextAt = r.Time()
	for range r.Count() {
		if r.Failed() {
			break
		}
		e.SubscriptionIDs = append(e.SubscriptionIDs, r.String(maxField))
	}
	if r.Bool() {
		a := &event.Attempt{Attempt: r.Int(maxCount), At: r.Time()}
		a.DurationMs = int64(r.Int(maxCount))
		a.StatusCode = r.Int(maxCount)
		for _, s := range [...]*string{&a.Outcome, &a.ErrorClass, &a.Error, &a.Response, &a.NodeID, &a.WebhookID} {
			*s = r.String(maxField)
		}
		if r.Bool() {
			t := &event.Timing{}
			for _, ms := range [...]*float64{&t.DNSMs, &t.ConnectMs, &t.TLSMs, &t.FirstByteMs} {
				*ms = float64(r.Int(maxMicros)) / 1000
			}
			t.Reused = r.Bool()
			a.Timing = t
		}
		if version == format {
			headers = r.Bytes(maxField)
		}
		e.Attempt = a
	}
	return e, headers, r.Done()
}

// Lookup finds what this node recorded of an event, newest records included.
// An unreadable record is left out and logged.
func (l *Log) Lookup(account, eventID string) (event.Record, bool, error) {
	if err := l.Flush(); err != nil {
		return event.Record{}, false, err
	}
	l.fileMu.Lock()
	defer l.fileMu.Unlock()
	var rec event.Record
	found := false
	if l.closed {
		return rec, false, nil
	}
	k := []byte(keyOf(account, eventID))
	err := l.repaired(func() error {
		return l.db.View(func(tx *bolt.Tx) error {
			rec, found = event.Record{}, false
			c := tx.Bucket(bucketLog).Cursor()
			for name, v := c.Seek(k); bytes.HasPrefix(name, k); name, v = c.Next() {
				if err := addRecord(&rec, eventID, binary.BigEndian.Uint64(name[len(k):]), v); err != nil {
					l.log.Warn("a record of the attempt log cannot be read", "event", eventID, "error", err)
					continue
				}
				found = true
			}
			return nil
		})
	})
	if err != nil {
		return event.Record{}, false, err
	}
	rec.Account, rec.ID = account, eventID
	return rec, found, nil
}

func addRecord(rec *event.Record, eventID string, number uint64, v []byte) error {
	if number == 0 {
		e, acceptedAt, err := decodeEvent(v)
		if err == nil {
			rec.Event, rec.AcceptedAt = e, acceptedAt
		}
		return err
	}
	e, headers, err := decodeEntry(v)
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
