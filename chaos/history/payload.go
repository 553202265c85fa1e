package history

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
)

// Event says what an event of a workload is made of. Its id and its payload
// follow from it, so a history has no need to hold them.
type Event struct {
	Account  string
	Producer string // letters, digits and dashes; unique in a run
	N        int64  // from 0, of its producer
	Pad      int    // length of the text that makes payloads longer, bytes
}

// ID is the eventId.
func (e Event) ID() string { return e.Producer + "." + strconv.FormatInt(e.N, 10) }

// ParseEventID is the producer and the number in an ID.
func ParseEventID(id string) (producer string, n int64, ok bool) {
	i := strings.LastIndexByte(id, '.')
	if i <= 0 {
		return "", 0, false
	}
	n, err := strconv.ParseInt(id[i+1:], 10, 64)
	return id[:i], n, err == nil && n >= 0
}

// OrderingKey is the orderingKey of event n of a producer that spreads its
// events over keys.
func OrderingKey(producer string, n int64, keys int) string {
	return producer + "." + strconv.FormatInt(n%int64(keys), 10)
}

// AppendPayload appends the payload, a JSON object, to b. No two events have
// the same, and the text is another for each, so that bytes of one cannot stand
// in another unnoticed.
func (e Event) AppendPayload(b []byte) []byte {
	b = append(b, `{"a":"`...)
	b = append(b, e.Account...)
	b = append(b, `","p":"`...)
	b = append(b, e.Producer...)
	b = append(b, `","n":`...)
	b = strconv.AppendInt(b, e.N, 10)
	b = append(b, `,"size":`...)
	b = strconv.AppendInt(b, int64(e.Pad), 10)
	b = append(b, `,"pad":"`...)
	const hex = "0123456789abcdef"
	x := uint64(e.N)*0x9e3779b97f4a7c15 + uint64(len(e.Producer)) //nolint:gosec // any bits will do
	for _, c := range []byte(e.Producer) {
		x = (x ^ uint64(c)) * 0x100000001b3
	}
	for i := range e.Pad {
		if i%16 == 0 { // splitmix64
			x += 0x9e3779b97f4a7c15
		}
		z := (x ^ x>>30) * 0xbf58476d1ce4e5b9
		z ^= z >> 27
		b = append(b, hex[z>>(4*(i%16))&15])
	}
	return append(b, `"}`...)
}

// ParsePayload is the event whose payload b is, byte for byte; ok is false
// when it is that of none.
func ParsePayload(b []byte) (e Event, ok bool) {
	var p struct {
		A, P string
		N    int64
		Size int
	}
	if json.Unmarshal(b, &p) != nil {
		return Event{}, false
	}
	e = Event{Account: p.A, Producer: p.P, N: p.N, Pad: p.Size}
	if p.Size < 0 || p.Size > len(b) {
		return e, false
	}
	return e, bytes.Equal(b, e.AppendPayload(make([]byte, 0, len(b))))
}
