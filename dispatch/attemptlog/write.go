package attemptlog

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	bolt "go.etcd.io/bbolt"

	"example.com/belfry/dispatch/codec"
	"example.com/belfry/dispatch/event"
)

// itemOverhead is what an item costs in memory beside its payload and texts.
const itemOverhead = 1 << 10

// size is about what an item holds in memory.
func (it *item) size() int {
	n := itemOverhead + len(it.event.Payload)
	if a := it.entry.Attempt; a != nil {
		n += len(a.Response) + headerSize(a.RequestHeaders) + headerSize(a.ResponseHeaders)
	}
	return n
}

// Record notes e for the event it belongs to. It copies what it keeps of the
// event, but for the payload, which must not change, and does not block on the
// disk.
func (l *Log) Record(ev *event.Event, e Entry) {
	if e.Attempt != nil {
		a := *e.Attempt
		a.Error, a.Response = shortText(a.Error, MaxErrorLength), shortText(a.Response, event.MaxResponse)
		e.Attempt = &a
	}
	e.URL = withoutUser(e.URL)
	kept := *ev
	it := item{hash: l.opts.hash(ev.Account, ev.ID), at: l.opts.Now(), event: &kept, entry: &e}
	n := it.size()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending) >= MaxBuffered || l.waiting+n > MaxBufferedBytes {
		l.dropped.Inc()
		return
	}
	l.pending = append(l.pending, it)
	l.waiting += n
}

// shortText makes s valid UTF-8 of at most limit bytes.
func shortText(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= limit {
		return s
	}
	for !utf8.RuneStart(s[limit]) {
		limit--
	}
	return strings.Clone(s[:limit])
}

// withoutUser removes user info from a URL: it may hold a password.
func withoutUser(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.User == nil {
		return raw
	}
	u.User = nil
	return u.String()
}

func (l *Log) write() error {
	l.mu.Lock()
	items := l.pending
	l.pending, l.waiting = nil, 0
	l.mu.Unlock()
	if len(items) == 0 {
		return nil
	}
	written := false
	defer func() { // also when bbolt panics
		if !written {
			l.putBack(items)
		}
	}()
	err := l.db.Update(func(tx *bolt.Tx) error {
		w := l.writer(tx)
		for i := range items {
			if err := w.add(&items[i]); err != nil {
				return err
			}
		}
		return w.save()
	})
	if err != nil {
		return errors.Join(err, l.db.View(l.load)) // the table is ahead of the file
	}
	written = true
	l.dirty = true
	return nil
}

// putBack keeps what could not be written, the youngest of it when it is too
// much.
func (l *Log) putBack(items []item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = append(items, l.pending...)
	l.waiting = 0
	keep := 0
	for keep < min(len(l.pending), MaxBuffered) {
		n := l.pending[len(l.pending)-1-keep].size()
		if l.waiting+n > MaxBufferedBytes {
			break
		}
		l.waiting += n
		keep++
	}
	if over := len(l.pending) - keep; over > 0 {
		l.dropped.Add(float64(over))
		l.pending = slices.Clone(l.pending[over:]) // lets go of the others
	}
}

// writer adds records to the open segment within one transaction.
type writer struct {
	l                        *Log
	segments, records, lists *bolt.Bucket
	open, list               *bolt.Bucket // of the open segment; nil: there is none
}

func (l *Log) writer(tx *bolt.Tx) *writer {
	w := &writer{l: l, segments: tx.Bucket(bucketSegments), records: tx.Bucket(bucketRecords), lists: tx.Bucket(bucketLists)}
	if l.isOpen() {
		key := number8(w.last().first)
		w.open, w.list = w.records.Bucket(key), w.lists.Bucket(key)
		w.fill()
	}
	return w
}

// fill says how full pages may be: nothing is put between records.
func (w *writer) fill() { w.open.FillPercent, w.list.FillPercent = 1, fillPercent }

func (w *writer) last() *segment { return &w.l.segments[len(w.l.segments)-1] }

// add writes an item, and its event before it unless the segment has it. Both
// are in the same segment, so that each has all that it needs.
func (w *writer) add(it *item) error {
	if err := w.makeRoom(it.at); err != nil {
		return err
	}
	ev := w.eventOf(it)
	if ev == 0 {
		ev = w.l.next
		listed, err := w.enlist(it, ev)
		if err != nil {
			return err
		}
		b := append(make([]byte, 0, len(it.event.Payload)+512), 0)
		if err := w.put(it, appendEvent(b, it.event, it.entry.AcceptedAt), listed); err != nil {
			return err
		}
	}
	b := codec.AppendUint(make([]byte, 0, 256), w.l.next-ev)
	if err := w.put(it, appendEntry(b, it.entry, headersOf(it.event.ID, it.entry)), 0); err != nil {
		return err
	}
	if w.last().bytes > w.l.segmentBytes() {
		return w.close()
	}
	return nil
}

// segmentBytes is how much the open segment may hold and stay open.
func (l *Log) segmentBytes() int64 { return min(l.opts.MaxBytes/segmentsPerBytes, maxSegmentBytes) }

// makeRoom sees to it that there is an open segment whose share of the age has at
// in it. A clock that was set back counts too: else the segment would be open
// until the clock has caught up.
func (w *writer) makeRoom(at time.Time) error {
	l := w.l
	if w.open != nil && at.Sub(w.last().from).Abs() > l.opts.MaxAge/segmentsPerAge {
		if err := w.close(); err != nil {
			return err
		}
	}
	if w.open != nil {
		return nil
	}
	var err error
	if w.open, err = w.records.CreateBucket(number8(l.next)); err != nil {
		return err
	}
	if w.list, err = w.lists.CreateBucket(number8(l.next)); err != nil {
		return err
	}
	w.fill()
	l.open.reset()
	l.segments = append(l.segments, segment{first: l.next, from: at})
	return nil
}

// eventOf is the number of the item's event in the open segment; 0: it is not there.
func (w *writer) eventOf(it *item) uint64 {
	x, first := &w.l.open, w.last().first
	for r := x.heads[it.hash].event; r > 0; r = x.before[r-1] {
		number := first + uint64(r-1)
		distance, rec := splitRecord(w.open.Get(number8(number)))
		if distance > 0 {
			continue
		}
		if is, err := isOf(rec, it.event.Account, it.event.ID); err == nil && is {
			return number
		}
	}
	return 0
}

// enlist puts the event into the list, and tells what that costs in the file.
func (w *writer) enlist(it *item, number uint64) (int64, error) {
	at := it.entry.AcceptedAt
	if at.IsZero() {
		return 0, nil
	}
	place := timeKey(it.event.Account, at, it.event.ID)
	return int64(len(place)) + listOverhead, w.list.Put(place, number8(number))
}

func (w *writer) put(it *item, rec []byte, more int64) error {
	l, s := w.l, w.last()
	if err := w.open.Put(number8(l.next), rec); err != nil {
		return err
	}
	size := int64(len(rec)) + overhead + more
	s.count++
	s.bytes += size
	s.to = it.at
	l.bytes += size
	l.open.add(it.hash, rec[0] == 0)
	l.next++
	return nil
}

// close ends the open segment.
func (w *writer) close() error {
	if err := w.open.Put(indexKey, w.l.open.rows()); err != nil {
		return err
	}
	w.last().closed = true
	w.open, w.list = nil, nil
	return w.save()
}

// save writes the row of the last segment.
func (w *writer) save() error {
	return w.segments.Put(number8(w.last().first), encodeSegment(w.last()))
}
