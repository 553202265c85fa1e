package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc64"

	"go.etcd.io/bbolt"
)

// bbolt has no sums of what it stores. This file keeps one of all rows, in the
// transaction that changes them.
//
// INV fsm-8: what is found at a start is what was written before, to the bit.

// kSum is where the sum is, with the applied index behind it.
var kSum = []byte("sum")

var sumTable = crc64.MakeTable(crc64.ECMA)

// rowSum is the share of one row. The sum of a file is that of its rows, in any
// order, so that a change costs what it changes.
func rowSum(bucket, k, v []byte) uint64 {
	var size [8]byte
	binary.BigEndian.PutUint64(size[:], uint64(len(k)))
	h := crc64.Update(0, sumTable, bucket)
	h = crc64.Update(h, sumTable, size[:])
	return crc64.Update(crc64.Update(h, sumTable, k), sumTable, v)
}

// replaced notes that a row has now the value after; nil: none.
func (t *txn) replaced(bucket, k, after []byte, deleted bool) {
	// Get tells no key from one with an empty value.
	if at, before := t.tx.Bucket(bucket).Cursor().Seek(k); at != nil && bytes.Equal(at, k) {
		t.sum -= rowSum(bucket, k, before)
	}
	if !deleted {
		t.sum += rowSum(bucket, k, after)
	}
}

// allRowsSum reads the whole state.
func allRowsSum(tx *bbolt.Tx) (sum uint64) {
	for _, name := range buckets {
		for k, v := range scan(tx, name, nil) {
			sum += rowSum(name, k, v)
		}
	}
	return sum
}

func putSum(tx *bbolt.Tx, sum, applied uint64) error {
	return tx.Bucket(bMeta).Put(kSum, append(be64(sum), be64(applied)...))
}

func readSum(tx *bbolt.Tx) (sum, applied uint64, ok bool) {
	b := tx.Bucket(bMeta).Get(kSum)
	if len(b) != 16 {
		return 0, 0, false
	}
	return readUint(b[:8]), readUint(b[8:]), true
}

// checkSum compares what the file holds with its sum. A file that has none gets
// one: it is new, of an earlier build, or was just restored.
func checkSum(tx *bbolt.Tx) error {
	is, applied := allRowsSum(tx), readUint(tx.Bucket(bMeta).Get(kApplied))
	sum, at, ok := readSum(tx)
	switch {
	case !ok && tx.Bucket(bMeta).Get(kSum) != nil, ok && (sum != is || at != applied):
		return errors.New("what it holds is not what was written")
	case !ok:
		return putSum(tx, is, applied)
	}
	return nil
}
