package attemptlog

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"example.com/belfry/dispatch/codec"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/dispatch/outbox"
)

// format is the first byte of every record behind its distance. Records of any
// other are left out.
const format = 4

const (
	maxField  = 64 << 10
	maxCount  = 1 << 30
	maxMicros = 1 << 40
)

func number8(n uint64) []byte { return binary.BigEndian.AppendUint64(make([]byte, 0, 8), n) }

// In the file a record begins with its distance, in numbers, to the record of its
// event, which stands before it in the same segment; 0: it is the event.

func splitRecord(v []byte) (distance uint64, rec []byte) {
	distance, n := binary.Uvarint(v)
	if n <= 0 {
		return 0, nil // which no decoder takes
	}
	return distance, v[n:]
}

// encodeEvent puts the payload, which may be large, behind everything else, so
// that a search does not touch it.
func encodeEvent(e *event.Event, acceptedAt time.Time) []byte {
	return appendEvent(make([]byte, 0, len(e.Payload)+512), e, acceptedAt)
}

func appendEvent(b []byte, e *event.Event, acceptedAt time.Time) []byte {
	head := *e
	head.Payload = nil
	b = codec.AppendTime(append(b, format), acceptedAt)
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
	if r.Byte() != format {
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

// nameOf reads whose event a record has, and its place in the list. It copies
// nothing: it is done for every record that is looked for or removed.
func nameOf(rec []byte) (acceptedAt time.Time, account, id []byte, ok bool) {
	if len(rec) == 0 || rec[0] != format {
		return time.Time{}, nil, nil, false
	}
	rec = rec[1:]
	sec, n := binary.Varint(rec)
	if n <= 0 {
		return time.Time{}, nil, nil, false
	}
	nsec, rec, ok := cutUint(rec[n:])
	if ok {
		_, rec, ok = cutUint(rec) // length of the head, which begins with both names
	}
	if ok {
		account, rec, ok = cutText(rec)
	}
	if ok {
		id, _, ok = cutText(rec)
	}
	if !ok || nsec >= uint64(time.Second) {
		return time.Time{}, nil, nil, false
	}
	return time.Unix(sec, int64(nsec)).UTC(), account, id, true
}

func cutUint(b []byte) (v uint64, rest []byte, ok bool) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, false
	}
	return v, b[n:], true
}

func cutText(b []byte) (text, rest []byte, ok bool) {
	n, b, ok := cutUint(b)
	if !ok || n > uint64(len(b)) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

var errFormat = errors.New("a record of an event in no known format")

// isOf tells whether a record is that of an event. Other events may have the
// same hash.
func isOf(rec []byte, account, id string) (bool, error) {
	_, a, i, ok := nameOf(rec)
	if !ok {
		return false, errFormat
	}
	return string(a) == account && string(i) == id, nil
}

// encodeEntry puts the headers, which a search does not look at, behind
// everything else.
func encodeEntry(e *Entry, headers []byte) []byte {
	return appendEntry(make([]byte, 0, 256), e, headers)
}

func appendEntry(b []byte, e *Entry, headers []byte) []byte {
	b = append(b, format)
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
	if r.Byte() != format {
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
		headers = r.Bytes(maxField)
		e.Attempt = a
	}
	return e, headers, r.Done()
}
