package attemptlog

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	bolt "go.etcd.io/bbolt"

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
	it := item{key: keyOf(ev.Account, ev.ID), at: l.opts.Now(), event: &kept, entry: &e}
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
	next, bytes := l.next, l.bytes
	err := l.db.Update(func(tx *bolt.Tx) error {
		log, age, list := tx.Bucket(bucketLog), tx.Bucket(bucketAge), tx.Bucket(bucketTime)
		log.FillPercent, age.FillPercent, list.FillPercent = fillPercent, fillPercent, fillPercent
		put := func(it *item, number uint64, v []byte, more int64) error {
			size := int64(len(v)) + overhead + more
			if err := log.Put(logKey(it.key, number), v); err != nil {
				return err
			}
			err := age.Put(number8(next), encodeAge(ageRow{key: it.key, number: number, at: it.at, size: size}))
			next++
			bytes += size
			return err
		}
		for i := range items {
			it := &items[i]
			if log.Get(logKey(it.key, 0)) == nil {
				listed := int64(0)
				if at := it.entry.AcceptedAt; !at.IsZero() {
					k := timeKey(it.event.Account, at, it.event.ID)
					listed = int64(len(k)) + listOverhead
					if err := list.Put(k, nil); err != nil {
						return err
					}
				}
				if err := put(it, 0, encodeEvent(it.event, it.entry.AcceptedAt), listed); err != nil {
					return err
				}
			}
			if err := put(it, next, encodeEntry(it.entry, headersOf(it.event.ID, it.entry)), 0); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	written = true
	l.dirty = true
	if l.bytes == 0 {
		l.oldest = items[0].at
	}
	l.next, l.bytes = next, bytes
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

// trim removes the oldest records until age and size are within their bounds.
func (l *Log) trim() error {
	limit := l.opts.Now().Add(-l.opts.MaxAge)
	for l.bytes > l.opts.MaxBytes || l.bytes > 0 && !l.oldest.After(limit) {
		bytes, removed, oldest := l.bytes, 0, time.Time{}
		err := l.db.Update(func(tx *bolt.Tx) error {
			log, age, list := tx.Bucket(bucketLog), tx.Bucket(bucketAge), tx.Bucket(bucketTime)
			var numbers, keys, listed [][]byte
			c := age.Cursor()
			for k, v := c.First(); k != nil && removed < trimBatch; k, v = c.Next() {
				a, err := decodeAge(v)
				if err != nil {
					return err
				}
				if oldest = a.at; bytes <= l.opts.MaxBytes && a.at.After(limit) {
					break
				}
				numbers = append(numbers, append([]byte(nil), k...))
				key := logKey(a.key, a.number)
				keys = append(keys, key)
				if a.number == 0 {
					// Of a record that cannot be read the place in the list stays;
					// Scan leaves out what it does not find.
					if e, at, err := decodeHead(log.Get(key)); err == nil && !at.IsZero() {
						listed = append(listed, timeKey(e.Account, at, e.ID))
					}
				}
				bytes -= a.size
				removed++
			}
			for i := range numbers {
				if err := errors.Join(age.Delete(numbers[i]), log.Delete(keys[i])); err != nil {
					return err
				}
			}
			for _, k := range listed {
				if err := list.Delete(k); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		l.bytes, l.oldest, l.dirty = bytes, oldest, true
		if removed < trimBatch {
			return nil
		}
	}
	return nil
}
