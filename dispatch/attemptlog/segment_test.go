package attemptlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	bolt "go.etcd.io/bbolt"

	"example.com/belfry/dispatch/event"
)

func flush(t *testing.T, l *Log) {
	t.Helper()
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
}

// A segment is closed by the record that makes it larger than its share, not by
// one that fills it.
func TestSegment_bytes(t *testing.T) {
	t.Parallel()
	entry := sampleEntry(1)
	one := int64(1+len(encodeEvent(sampleEvent("e5"), accepted))+overhead) + int64(1+len(encodeEntry(&entry, headersOf("e5", &entry)))+overhead) +
		int64(len(timeKey("acme", accepted, "e5"))+listOverhead)
	for over, want := range []int{1, 2} {
		l := open(t, Options{MaxBytes: 3*one*segmentsPerBytes + segmentsPerBytes - 1})
		for i := range 3 {
			ev := sampleEvent(fmt.Sprint("e", 5+i))
			if i == 2 && over > 0 {
				ev.Payload = append(ev.Payload, ' ')
			}
			l.Record(ev, sampleEntry(1))
		}
		flush(t, l)
		if got := l.segments[0].bytes; got != 3*one+int64(over) || l.isOpen() != (over == 0) {
			t.Errorf("%d above: %d bytes, open %v", over, got, l.isOpen())
		}
		if over == 0 {
			continue
		}
		l.Record(sampleEvent("e9"), sampleEntry(1))
		flush(t, l)
		if len(l.segments) != want {
			t.Errorf("%d above: %d segments, want %d", over, len(l.segments), want)
		}
	}
	for maxBytes, want := range map[int64]int64{
		1 << 20:                            16 << 10,
		DefaultMaxBytes:                    16 << 20,
		maxSegmentBytes * segmentsPerBytes: maxSegmentBytes,
		maxSegmentBytes*segmentsPerBytes + segmentsPerBytes: maxSegmentBytes,
	} {
		l := Log{opts: Options{MaxBytes: maxBytes}}
		if got := l.segmentBytes(); got != want {
			t.Errorf("of %d bytes a segment has %d, want %d", maxBytes, got, want)
		}
	}
}

// A segment holds what was recorded within its share of the age, and by a clock
// that was set back as little.
func TestSegment_age(t *testing.T) {
	t.Parallel()
	const share = time.Hour / segmentsPerAge
	for _, tt := range []struct {
		later time.Duration
		want  int
	}{{share, 1}, {share + 1, 2}, {-share, 1}, {-share - 1, 2}} {
		c := &clock{epoch}
		l := open(t, Options{Now: c.Now, MaxAge: time.Hour})
		note(l, "acme", "e1", 1)
		c.now = epoch.Add(tt.later)
		note(l, "acme", "e1", 1)
		flush(t, l)
		if len(l.segments) != tt.want {
			t.Errorf("after %v: %d segments, want %d", tt.later, len(l.segments), tt.want)
		}
		if rec, ok := lookup(t, l, "acme", "e1"); !ok || len(rec.Deliveries) != 1 || len(rec.Deliveries[0].Attempts) != 2 {
			t.Errorf("after %v: %+v", tt.later, rec)
		}
		wantIDs(t, l, "acme", event.Filter{}, "e1") // once
	}
	// It goes when its last record is too old, the open one too.
	c := &clock{epoch}
	l := open(t, Options{Now: c.Now, MaxAge: time.Hour})
	note(l, "acme", "first", 1)
	c.now = epoch.Add(share)
	note(l, "acme", "last", 2)
	for _, step := range []struct {
		at   time.Duration
		kept bool
	}{{time.Hour, true}, {time.Hour + share - 1, true}, {time.Hour + share, false}} {
		c.now = epoch.Add(step.at)
		_, first := lookup(t, l, "acme", "first")
		_, last := lookup(t, l, "acme", "last")
		if first != step.kept || last != step.kept {
			t.Errorf("after %v: found %v and %v, want %v", step.at, first, last, step.kept)
		}
	}
	if len(l.segments) != 0 || l.bytes != 0 {
		t.Errorf("%d segments and %d bytes are left", len(l.segments), l.bytes)
	}
}

// INV attemptlog-1: nothing of another account is shown when the hashes of two
// events are the same, in the open segment and in a closed one.
func TestSegment_collision(t *testing.T) {
	t.Parallel()
	for name, maxBytes := range map[string]int64{"open": 0, "closed": 64 << 10} {
		l := open(t, Options{MaxBytes: maxBytes, hash: func(string, string) uint64 { return 7 }})
		for i, account := range []string{"acme", "other", "acme", "other"} {
			for _, id := range []string{"e1", "e2"} {
				note(l, account, id, 1, func(ev *event.Event, e *Entry) {
					ev.Payload = []byte(account)
					e.DeliveryID, e.Status, e.NextAt = account+id, event.StatusDelivered, time.Time{}
					e.Attempt.Attempt = i
				})
			}
		}
		flush(t, l)
		if closed := len(l.segments) > 1; closed != (name == "closed") {
			t.Fatalf("%s: %d segments", name, len(l.segments))
		}
		for i, account := range []string{"acme", "other"} {
			for _, id := range []string{"e1", "e2"} {
				rec, ok := lookup(t, l, account, id)
				if !ok || rec.Account != account || rec.ID != id || string(rec.Payload) != account || len(rec.Deliveries) != 1 || rec.Deliveries[0].DeliveryID != account+id {
					t.Fatalf("%s: of %s %s: %v, %+v", name, account, id, ok, rec)
				}
				if as := rec.Deliveries[0].Attempts; len(as) != 2 || as[0].Attempt != i || as[1].Attempt != i+2 {
					t.Errorf("%s: attempts of %s %s: %+v", name, account, id, as)
				}
			}
			wantIDs(t, l, account, event.Filter{Status: event.StatusDelivered}, "e2", "e1")
			wantIDs(t, l, account, event.Filter{Status: event.StatusRetrying})
		}
		for _, who := range [][2]string{{"acme", "e3"}, {"nobody", "e1"}, {"acm", "ee1"}} {
			if rec, ok := lookup(t, l, who[0], who[1]); ok || len(rec.Deliveries) > 0 || rec.Payload != nil {
				t.Errorf("%s: %v was found: %+v", name, who, rec)
			}
		}
	}
	if hashOf("acm", "ee1") == hashOf("acme", "e1") {
		t.Error("where the account ends does not count")
	}
}

// A place in a list that names a record of another event, or none, shows nothing.
// INV attemptlog-1.
func TestSegment_strayPlace(t *testing.T) {
	t.Parallel()
	l := open(t, Options{})
	note(l, "other", "theirs", 1)
	flush(t, l)
	if err := l.db.Update(func(tx *bolt.Tx) error {
		// Their event, their entry, no record, and no number.
		for i, number := range [][]byte{number8(1), number8(2), number8(99), []byte("x"), nil} {
			if err := tx.Bucket(bucketLists).Bucket(number8(1)).Put(timeKey("acme", epoch, fmt.Sprint("gone", i)), number); err != nil {
				return err
			}
		}
		return tx.Bucket(bucketLists).Bucket(number8(1)).Put(timeKey("acme", epoch, "")[:8], number8(1))
	}); err != nil {
		t.Fatal(err)
	}
	wantIDs(t, l, "acme", event.Filter{})
	wantIDs(t, l, "other", event.Filter{}, "theirs")
}

// When a batch cannot be written, what is known in memory is what the file has.
func TestSegment_failedWrite(t *testing.T) {
	t.Parallel()
	for name, maxBytes := range map[string]int64{"within a segment": 0, "over many": 64 << 10} {
		c := &clock{epoch}
		l := open(t, Options{Now: c.Now, MaxBytes: maxBytes})
		note(l, "acme", "kept", 1)
		flush(t, l)
		before := slices.Clone(l.segments)
		for i := range 5 {
			note(l, "acme", fmt.Sprint("again", i), 2)
		}
		note(l, strings.Repeat("a", bolt.MaxKeySize), "refused", 3) // its place in the list is too long
		if err := l.Flush(); err == nil {
			t.Fatalf("%s: the batch was written", name)
		}
		if !slices.Equal(l.segments, before) || len(l.open.hashes) != 2 || l.next != before[0].end() || l.bytes != before[0].bytes {
			t.Errorf("%s: after the failure %+v, next %d, %d bytes; want %+v", name, l.segments, l.next, l.bytes, before)
		}
		l.mu.Lock()
		l.pending = l.pending[:len(l.pending)-1]
		l.mu.Unlock()
		wantIDs(t, l, "acme", event.Filter{}, "again4", "again3", "again2", "again1", "again0", "kept")
		if _, ok := lookup(t, l, "acme", "again4"); !ok {
			t.Errorf("%s: what failed was not written later", name)
		}
	}
}

// A file of the layout before is removed, and the log says so.
func TestOpen_olderLayout(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.db")
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(func(tx *bolt.Tx) error {
		for _, b := range []string{"log", "age", "time"} {
			if _, err := tx.CreateBucket([]byte(b)); err != nil {
				return err
			}
		}
		return nil
	}), db.Close()); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	l := open(t, Options{Path: path, Logger: hclog.New(&hclog.LoggerOptions{Output: &said})})
	note(l, "acme", "e1", 1)
	wantIDs(t, l, "acme", event.Filter{}, "e1")
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != 1 || !strings.Contains(said.String(), "older layout") {
		t.Errorf("%v, %v, log: %s", files, err, &said)
	}
}

// A table that contradicts itself or the records is a damage.
func TestOpen_damagedTable(t *testing.T) {
	t.Parallel()
	row := func(s segment) func(*bolt.Tx) error {
		return func(tx *bolt.Tx) error { return tx.Bucket(bucketSegments).Put(number8(s.first), encodeSegment(&s)) }
	}
	whole := segment{first: 1, count: 2, bytes: 900, from: epoch, to: epoch}
	damaged := func(change func(*segment)) func(*bolt.Tx) error {
		s := whole
		change(&s)
		return row(s)
	}
	for name, tt := range map[string]struct {
		change func(*bolt.Tx) error
		whole  bool
	}{
		"nothing":         {row(whole), true},
		"one record less": {damaged(func(s *segment) { s.count = 1 }), false},
		"one record more": {damaged(func(s *segment) { s.count = 3 }), false},
		"no records":      {damaged(func(s *segment) { s.count = 0 }), false},
		"its bytes":       {damaged(func(s *segment) { s.bytes = maxNumber + 1 }), false},
		"its number":      {damaged(func(s *segment) { s.first = maxNumber + 1 }), false},
		"no segment":      {damaged(func(s *segment) { s.first = 3 }), false},
		"two in one":      {damaged(func(s *segment) { s.first = 2 }), false},
		"a short row": {func(tx *bolt.Tx) error {
			b := encodeSegment(&whole)
			return tx.Bucket(bucketSegments).Put(number8(1), b[:len(b)-1])
		}, false},
		"a short key": {func(tx *bolt.Tx) error { return tx.Bucket(bucketSegments).Put([]byte{1}, encodeSegment(&whole)) }, false},
		"no table":    {func(tx *bolt.Tx) error { return tx.DeleteBucket(bucketSegments) }, false},
		"no lists":    {func(tx *bolt.Tx) error { return tx.DeleteBucket(bucketLists) }, false},
		"no list":     {func(tx *bolt.Tx) error { return tx.Bucket(bucketLists).DeleteBucket(number8(1)) }, false},
		"a gap":       {func(tx *bolt.Tx) error { return tx.Bucket(bucketRecords).Bucket(number8(1)).Delete(number8(1)) }, false},
		"a record that begins before its segment": {func(tx *bolt.Tx) error {
			return tx.Bucket(bucketRecords).Bucket(number8(1)).Put(number8(2), []byte{9, format})
		}, true},
	} {
		path := filepath.Join(t.TempDir(), "a.db")
		l, err := Open(Options{Path: path, Now: (&clock{epoch}).Now})
		if err != nil {
			t.Fatal(err)
		}
		note(l, "acme", "e1", 1)
		flush(t, l)
		if err := errors.Join(l.db.Update(tt.change), l.Close()); err != nil {
			t.Fatal(err)
		}
		l = open(t, Options{Path: path, Now: (&clock{epoch}).Now})
		aside, err := filepath.Glob(path + ".corrupt-*")
		if err != nil || len(aside) == 0 != tt.whole {
			t.Errorf("%s: moved aside: %v, %v", name, aside, err)
		}
		if _, ok := lookup(t, l, "acme", "e1"); ok != tt.whole {
			t.Errorf("%s: found %v", name, ok)
		}
	}
}

// Nonsense in an index finds nothing, and is no reason to end.
func TestSegment_damagedIndex(t *testing.T) {
	t.Parallel()
	hash := hashOf("acme", "e1")
	index := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, hash), 99)
	for name, b := range map[string][]byte{"empty": nil, "short": index[:11], "no such record": index, "an entry only": append(index[:8:8], 0, 0, 0, 1)} {
		l := open(t, Options{MaxBytes: 16 << 10})
		for range 3 {
			note(l, "acme", "e1", 1)
		}
		flush(t, l)
		if len(l.segments) != 3 || l.isOpen() {
			t.Fatalf("%d segments, one open: %v", len(l.segments), l.isOpen())
		}
		if err := l.db.Update(func(tx *bolt.Tx) error {
			for _, s := range l.segments {
				if err := tx.Bucket(bucketRecords).Bucket(number8(s.first)).Put(indexKey, b); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if rec, ok := lookup(t, l, "acme", "e1"); ok {
			t.Errorf("%s: found %+v", name, rec)
		}
		wantIDs(t, l, "acme", event.Filter{}, "e1")
		wantIDs(t, l, "acme", event.Filter{Status: event.StatusDead})
	}
}

// Both forms of the index find what a walk through all records finds.
func TestOpenIndex_find(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(5, 5))
	var x openIndex
	for range 50 {
		x.reset()
		var hashes []uint64
		for range rng.IntN(60) {
			hash := [...]uint64{0, 1, 2, 1 << 63, 1<<64 - 1}[rng.IntN(5)]
			hashes = append(hashes, hash)
			x.add(hash, rng.IntN(2) == 0)
		}
		rows := x.rows()
		for _, hash := range []uint64{0, 1, 2, 3, 1 << 63, 1<<64 - 1} {
			var want []uint32
			for i, h := range hashes {
				if h == hash {
					want = append(want, uint32(i))
				}
			}
			if open, closed := x.find(nil, hash), findRows(nil, rows, hash); !slices.Equal(open, want) || !slices.Equal(closed, want) {
				t.Fatalf("%x in %x: %v and %v, want %v", hash, hashes, open, closed, want)
			}
		}
	}
}

func FuzzSegment(f *testing.F) {
	f.Add(number8(1), encodeSegment(&segment{first: 1, count: 2, bytes: 3, from: epoch, to: accepted, closed: true}))
	f.Fuzz(func(t *testing.T, key, b []byte) {
		s, err := decodeSegment(key, b)
		if err == nil && (!bytes.Equal(number8(s.first), key) || !bytes.Equal(encodeSegment(&s), b)) {
			t.Errorf("%x, %x: %+v", key, b, s)
		}
		if err == nil && (s.bytes < 0 || s.end() <= s.first) {
			t.Errorf("%x, %x: %+v", key, b, s)
		}
		if places := findRows(nil, b, 7); len(places) > len(b)/rowSize {
			t.Errorf("%x: %v", b, places)
		}
		if distance, rec := splitRecord(b); rec != nil && !bytes.Equal(append(binary.AppendUvarint(nil, distance), rec...), b) && len(b)-len(rec) <= len(binary.AppendUvarint(nil, distance)) {
			t.Errorf("record %x: %d, %x", b, distance, rec)
		}
	})
}

// BenchmarkLog_copies measures what a delivery of an event of 1 KiB costs that is
// tried 20 times, within one segment and when each attempt finds a new one.
func BenchmarkLog_copies(b *testing.B) {
	for name, apart := range map[string]time.Duration{"together": time.Second, "apart": 2 * time.Hour} {
		b.Run(name, func(b *testing.B) {
			var bytesOf, segments int64
			for b.Loop() {
				c := &clock{epoch}
				l, err := Open(Options{Path: filepath.Join(b.TempDir(), "a.db"), Now: c.Now, MaxAge: 168 * time.Hour / 2})
				if err != nil {
					b.Fatal(err)
				}
				for i := range 20 {
					note(l, "acme", "0192f0c5-7d0e-7000-8000-000000000001", 0, func(ev *event.Event, e *Entry) {
						ev.Payload, e.Attempt.Attempt = bytes.Repeat([]byte("x"), 1<<10), i+1
					})
					c.now = c.now.Add(apart)
				}
				if err := l.Flush(); err != nil {
					b.Fatal(err)
				}
				bytesOf, segments = l.bytes, int64(len(l.segments))
				if err := errors.Join(l.Close(), os.Remove(l.opts.Path)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(bytesOf), "B-counted")
			b.ReportMetric(float64(segments), "segments")
		})
	}
}
