package api

import (
	"encoding/base64"
	"encoding/binary"
	"time"

	"example.com/belfry/dispatch/event"
)

// The first byte of a cursor says which list it is a place of and how it is
// written. A new form gets a new number; cursors live as long as a page.
const (
	cursorEvents byte = 1 // nanoseconds of AcceptedAt, event id
	cursorDead   byte = 2 // nanoseconds of DeadAt
)

const (
	cursorHead = 1 + 8
	// maxCursor bounds the text of a cursor: the longest event id fits.
	maxCursor = (cursorHead+event.MaxIDLength)*4/3 + 2
)

var cursorText = base64.RawURLEncoding.Strict()

// writeCursor makes the opaque text of a place. The zero time is written as 0,
// which no event and no dead letter carries.
func writeCursor(list byte, at time.Time, id string) string {
	var ns int64
	if !at.IsZero() {
		ns = at.UnixNano()
	}
	b := binary.BigEndian.AppendUint64([]byte{list}, uint64(ns))
	return cursorText.EncodeToString(append(b, id...))
}

// readCursor is the way back; ok is false for anything that writeCursor did
// not make.
func readCursor(list byte, s string) (at time.Time, id string, ok bool) {
	if len(s) > maxCursor {
		return time.Time{}, "", false
	}
	b, err := cursorText.DecodeString(s)
	if err != nil || len(b) < cursorHead || b[0] != list {
		return time.Time{}, "", false
	}
	if ns := int64(binary.BigEndian.Uint64(b[1:])); ns != 0 { //nolint:gosec // the bits, whatever the sign
		at = time.Unix(0, ns).UTC()
	}
	return at, string(b[cursorHead:]), true
}

const badCursor = "must be the nextCursor of an answer of this list"

// eventCursor gives the place that a list of events goes on after.
func (p *queryReader) eventCursor() event.Ref {
	s, given := p.one("cursor")
	if !given {
		return event.Ref{}
	}
	at, id, ok := readCursor(cursorEvents, s)
	// Without an id it is the place after all events of that instant.
	if !ok || id != "" && event.CheckID(id) != "" || id == "" && at.IsZero() {
		p.v.Add("cursor", badCursor)
		return event.Ref{}
	}
	return event.Ref{AcceptedAt: at, EventID: id}
}

// deadCursor gives the instant before which a list of dead letters goes on.
func (p *queryReader) deadCursor() time.Time {
	s, given := p.one("cursor")
	if !given {
		return time.Time{}
	}
	at, id, ok := readCursor(cursorDead, s)
	if !ok || id != "" || at.IsZero() {
		p.v.Add("cursor", badCursor)
		return time.Time{}
	}
	return at
}
