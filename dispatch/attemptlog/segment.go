package attemptlog

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sort"
	"time"

	bolt "go.etcd.io/bbolt"

	"example.com/belfry/dispatch/codec"
)

const (
	// segmentsPerBytes and segmentsPerAge are into how many segments, at least, a
	// full log and its time are divided: so much more or less is kept, since a
	// segment is removed as a whole.
	segmentsPerBytes = 64
	segmentsPerAge   = 72
	// maxSegmentBytes bounds the index of the open segment, which is in memory:
	// it has 30 bytes or so for every record.
	maxSegmentBytes = 256 << 20

	// segmentFormat is the first byte of a segment's row.
	segmentFormat = 1
	// maxNumber bounds what a row says, so that sums do not overflow.
	maxNumber = 1 << 60
)

// segment is a run of records that follow each other, in a bucket of its own.
// They are only added to the last segment, and removed with it.
type segment struct {
	first    uint64 // number of its first record, and its key
	count    uint64 // of records
	bytes    int64
	from, to time.Time // when its first and its last record were made
	closed   bool      // it has its index in the file, and gets no more records
}

// end is the number behind its last record.
func (s *segment) end() uint64 { return s.first + s.count }

func encodeSegment(s *segment) []byte {
	b := codec.AppendUint([]byte{segmentFormat}, s.count)
	b = codec.AppendUint(b, uint64(s.bytes)) //nolint:gosec // a sum of sizes
	b = codec.AppendTime(codec.AppendTime(b, s.from), s.to)
	return codec.AppendBool(b, s.closed)
}

func decodeSegment(key, b []byte) (segment, error) {
	if len(key) != 8 {
		return segment{}, fmt.Errorf("%w: segment %x", errDamaged, key)
	}
	r := codec.NewReader(b)
	if r.Byte() != segmentFormat {
		r.Fail()
	}
	s := segment{first: binary.BigEndian.Uint64(key), count: r.Uint(), bytes: int64(r.Int(maxNumber))}
	s.from, s.to = r.Time(), r.Time()
	s.closed = r.Bool()
	if err := r.Done(); err != nil || s.first == 0 || s.first > maxNumber || s.count == 0 || s.count > math.MaxUint32 {
		return segment{}, fmt.Errorf("%w: segment %x", errDamaged, key)
	}
	return s, nil
}

// table is what is known of the file in memory.
type table struct {
	segments []segment // oldest first; all but the last are closed
	open     openIndex // of the last segment, unless that is closed
	next     uint64    // number of the next record
	bytes    int64     // of all segments
}

// isOpen tells whether the last segment takes more records.
func (t *table) isOpen() bool {
	return len(t.segments) > 0 && !t.segments[len(t.segments)-1].closed
}

// segmentOf is the place of the segment that a record is in; -1: in none.
func (t *table) segmentOf(number uint64) int {
	i := sort.Search(len(t.segments), func(i int) bool { return t.segments[i].end() > number })
	if i == len(t.segments) || number < t.segments[i].first {
		return -1
	}
	return i
}

// load reads the table, and the records of the open segment for its index.
func (l *Log) load(tx *bolt.Tx) error {
	t := table{next: 1}
	records, lists := tx.Bucket(bucketRecords), tx.Bucket(bucketLists)
	err := tx.Bucket(bucketSegments).ForEach(func(k, v []byte) error {
		s, err := decodeSegment(k, v)
		if err != nil {
			return err
		}
		if s.first < t.next || len(t.segments) > 0 && t.isOpen() || records.Bucket(k) == nil || lists.Bucket(k) == nil {
			return fmt.Errorf("%w: segment %x is out of place", errDamaged, k)
		}
		t.segments = append(t.segments, s)
		t.next = s.end()
		t.bytes += s.bytes
		return nil
	})
	if err != nil {
		return err
	}
	if t.isOpen() {
		s := &t.segments[len(t.segments)-1]
		if err := l.index(&t.open, s, records.Bucket(number8(s.first))); err != nil {
			return err
		}
	}
	l.table = t
	return nil
}

// index makes the index of the open segment anew.
func (l *Log) index(x *openIndex, s *segment, b *bolt.Bucket) error {
	number := s.first
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if len(k) != 8 || binary.BigEndian.Uint64(k) != number || number == s.end() {
			return fmt.Errorf("%w: record %x is out of place", errDamaged, k)
		}
		distance, rec := splitRecord(v)
		var hash uint64 // of what cannot be read nothing is found
		if distance == 0 {
			if _, account, id, ok := nameOf(rec); ok {
				hash = l.opts.hash(string(account), string(id))
			}
		} else if off := number - s.first; distance <= off {
			hash = x.hashes[off-distance]
		}
		x.add(hash, distance == 0)
		number++
	}
	if number != s.end() {
		return fmt.Errorf("%w: segment %d has %d records", errDamaged, s.first, number-s.first)
	}
	return nil
}

// openIndex finds the records of the open segment by the hash of their event. It
// has no pointers that the garbage collector would follow. Records are counted
// from 1 here, so that 0 is none.
type openIndex struct {
	hashes []uint64
	before []uint32 // the record before it with the same hash
	heads  map[uint64]head
}

// head has the last records of a hash.
type head struct{ record, event uint32 }

func (x *openIndex) add(hash uint64, isEvent bool) {
	if x.heads == nil {
		x.heads = map[uint64]head{}
	}
	h := x.heads[hash]
	x.hashes, x.before = append(x.hashes, hash), append(x.before, h.record)
	h.record = uint32(len(x.hashes)) //nolint:gosec // bounded by maxSegmentBytes
	if isEvent {
		h.event = h.record
	}
	x.heads[hash] = h
}

// find appends the places of the records of a hash, in the order of time.
func (x *openIndex) find(out []uint32, hash uint64) []uint32 {
	for r := x.heads[hash].record; r > 0; r = x.before[r-1] {
		out = append(out, r-1)
	}
	slices.Reverse(out)
	return out
}

// reset makes it empty, and keeps its memory for the next segment.
func (x *openIndex) reset() {
	x.hashes, x.before = x.hashes[:0], x.before[:0]
	clear(x.heads)
}

// rowSize is the size of a row in the index of a closed segment: hash and place
// of a record. The rows are sorted.
const rowSize = 8 + 4

// rows is the index as the file has it.
func (x *openIndex) rows() []byte {
	order := make([]uint32, len(x.hashes))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int {
		return cmp.Or(cmp.Compare(x.hashes[a], x.hashes[b]), cmp.Compare(a, b))
	})
	b := make([]byte, 0, len(order)*rowSize)
	for _, i := range order {
		b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(b, x.hashes[i]), i)
	}
	return b
}

// findRows is find of a closed segment. What follows the last whole row does
// not count.
func findRows(out []uint32, rows []byte, hash uint64) []uint32 {
	n := len(rows) / rowSize
	i := sort.Search(n, func(i int) bool { return binary.BigEndian.Uint64(rows[i*rowSize:]) >= hash })
	for ; i < n && binary.BigEndian.Uint64(rows[i*rowSize:]) == hash; i++ {
		out = append(out, binary.BigEndian.Uint32(rows[i*rowSize+8:]))
	}
	return out
}
