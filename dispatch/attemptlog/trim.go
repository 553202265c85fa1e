package attemptlog

import (
	"errors"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// trim removes the oldest segments until age and size are within their bounds.
// A segment is too old when its last record is.
func (l *Log) trim() error {
	limit := l.opts.Now().Add(-l.opts.MaxAge)
	for len(l.segments) > 0 && (l.bytes > l.opts.MaxBytes || !l.segments[0].to.After(limit)) {
		if err := l.drop(); err != nil {
			return err
		}
	}
	return nil
}

// drop removes the oldest segment. Of it bbolt only frees the pages.
func (l *Log) drop() error {
	s := l.segments[0]
	if err := l.db.Update(func(tx *bolt.Tx) error {
		key := number8(s.first)
		return errors.Join(tx.Bucket(bucketRecords).DeleteBucket(key), tx.Bucket(bucketLists).DeleteBucket(key), tx.Bucket(bucketSegments).Delete(key))
	}); err != nil {
		return err
	}
	l.dirty = true
	l.segments = slices.Delete(l.segments, 0, 1)
	l.bytes -= s.bytes
	return nil
}
