package outbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	bolt "go.etcd.io/bbolt"
)

// bbolt has no sums of what it stores, so every row ends with one over its key
// and value. A snapshot has them too: it is the content of the file.
//
// INV outbox-19: what is read from the file is what was written to it.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const sumBytes = 4

// errRow says that the file was altered after it was written.
var errRow = errors.New("it is not as it was written; let this node join again with an empty data directory")

// appendSum appends the sum of a row to dst, which for a row to store is v.
func appendSum(dst, k, v []byte) []byte {
	return binary.BigEndian.AppendUint32(dst, crc32.Update(crc32.Checksum(k, castagnoli), castagnoli, v))
}

// checkedRow gives the value in what is stored under k.
func checkedRow(k, stored []byte) ([]byte, error) {
	n := len(stored) - sumBytes
	var sum [sumBytes]byte
	if n < 0 || string(appendSum(sum[:0], k, stored[:n])) != string(stored[n:]) {
		return nil, fmt.Errorf("row %x: %w", k, errRow)
	}
	return stored[:n:n], nil
}

// getRow reads one row; nil: there is none.
func getRow(b *bolt.Bucket, k []byte) ([]byte, error) {
	stored := b.Get(k)
	if stored == nil {
		return nil, nil
	}
	return checkedRow(k, stored)
}

// eachRow calls f for the rows of a bucket, by key.
func eachRow(b *bolt.Bucket, f func(k, v []byte) error) error {
	return b.ForEach(func(k, stored []byte) error {
		v, err := checkedRow(k, stored)
		if err != nil {
			return err
		}
		return f(k, v)
	})
}
