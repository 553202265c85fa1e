package fsm

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

// The snapshot stream: magic, store format (1), applied index (8), then per
// pair a 1, bucket number (1), key and value each behind its uvarint length, in
// bucket and key order; then a 0, the number of pairs (8) and the SHA-256 of
// all that came before.
const (
	snapshotMagic = "BELFRYS1"
	restoreSuffix = ".restore"

	maxSnapshotKey   = 4 << 10
	maxSnapshotValue = 8 << 20
	restoreBatch     = 20_000 // pairs per transaction
)

type snapshot struct {
	s  *Store
	f  *file
	tx *bbolt.Tx
}

// Snapshot captures the state at the applied index. It does not hold up Apply:
// Persist reads from a transaction of its own.
func (s *Store) Snapshot() (raft.FSMSnapshot, error) {
	f, err := s.acquire()
	if err != nil {
		return nil, err
	}
	tx, err := f.db.Begin(false)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("begin snapshot: %w", err), s.release(f))
	}
	return &snapshot{s: s, f: f, tx: tx}, nil
}

// Persist writes the stream to sink and closes it, or cancels it.
func (p *snapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := writeState(sink, p.tx); err != nil {
		return errors.Join(fmt.Errorf("write snapshot: %w", err), sink.Cancel())
	}
	return sink.Close()
}

// Release ends the snapshot's transaction. Raft calls it once.
func (p *snapshot) Release() {
	if p.tx == nil {
		return
	}
	if err := errors.Join(p.tx.Rollback(), p.s.release(p.f)); err != nil {
		p.s.o.Logger.Warn("release snapshot", "err", err)
	}
	p.tx = nil
}

// Digest is the SHA-256 of the snapshot stream: equal on all nodes at an equal
// applied index, however the log was cut into batches (INV fsm-4).
func (s *Store) Digest() (sum [32]byte, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		sum, err = writeState(io.Discard, tx)
		return err
	})
	return sum, err
}

func writeState(w io.Writer, tx *bbolt.Tx) (sum [32]byte, err error) {
	h := sha256.New()
	b := bufio.NewWriterSize(io.MultiWriter(w, h), 64<<10)
	head := append([]byte(snapshotMagic), storeFormat)
	head = append(head, be64(readUint(tx.Bucket(bMeta).Get(kApplied)))...)
	_, _ = b.Write(head) // a bufio.Writer keeps its first error for Flush
	var n uint64
	var buf []byte
	for i, name := range buckets {
		for k, v := range scan(tx, name, nil) {
			buf = append(buf[:0], 1, byte(i)) //nolint:gosec // some twenty buckets
			buf = append(binary.AppendUvarint(buf, uint64(len(k))), k...)
			buf = binary.AppendUvarint(buf, uint64(len(v)))
			_, _ = b.Write(buf)
			if _, err := b.Write(v); err != nil {
				return sum, err
			}
			n++
		}
	}
	_, _ = b.Write(append([]byte{0}, be64(n)...))
	if err := b.Flush(); err != nil {
		return sum, err
	}
	sum = [32]byte(h.Sum(nil))
	_, err = w.Write(sum[:])
	return sum, err
}

// Restore replaces the state by that of a stream. It writes a new file beside
// the old one, verifies all of it, and only then renames it into place: a bad
// stream leaves the old state as it was. Then it calls Restored on the
// observers. It closes r.
func (s *Store) Restore(r io.ReadCloser) (err error) {
	defer func() { err = errors.Join(err, r.Close()) }()
	tmp := s.o.Path + restoreSuffix
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("restore: %w", err)
	}
	o := s.o
	o.NoSync = true // one sync at the end is enough for a file that is new
	db, err := openFile(o, tmp)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	index, err := readState(r, db)
	if err == nil {
		err = s.install(db, tmp)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("restore: %w", err), db.Close(), os.Remove(tmp))
	}
	s.applied.Store(index)
	s.o.Logger.Info("state restored", "index", index)
	return db.View(func(tx *bbolt.Tx) error { s.restored(tx); return nil })
}

// install puts the finished file in the place of the one in use.
func (s *Store) install(db *bbolt.DB, tmp string) error {
	if !s.o.NoSync {
		if err := db.Sync(); err != nil {
			return err
		}
		db.NoSync, db.NoGrowSync = false, false
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errClosed
	}
	if err := os.Rename(tmp, s.o.Path); err != nil {
		s.mu.Unlock()
		return err
	}
	old := s.file
	s.file = &file{db: db, uses: 1}
	s.mu.Unlock()
	if err := s.release(old); err != nil {
		s.o.Logger.Warn("close the state file that was replaced", "err", err)
	}
	if err := syncDir(s.o.Path); err != nil {
		panic("fsm: sync the directory of the state file: " + err.Error())
	}
	return nil
}

var errStream = errors.New("the snapshot is damaged")

// readState fills db from the stream and returns its index.
func readState(r io.Reader, db *bbolt.DB) (uint64, error) {
	d := &streamReader{r: bufio.NewReaderSize(r, 64<<10), sum: sha256.New()}
	head := d.bytes(len(snapshotMagic) + 1 + 8)
	switch {
	case d.err != nil:
		return 0, d.err
	case string(head[:len(snapshotMagic)]) != snapshotMagic:
		return 0, fmt.Errorf("%w: it does not begin with its mark", errStream)
	case head[len(snapshotMagic)] != storeFormat:
		return 0, fmt.Errorf("the snapshot has format %d, this version of belfry reads %d", head[len(snapshotMagic)], storeFormat)
	}
	index := readUint(head[len(snapshotMagic)+1:])
	for done := false; !done; {
		err := db.Update(func(tx *bbolt.Tx) (err error) {
			done, err = d.pairs(tx)
			if err == nil && done {
				err = tx.Bucket(bMeta).Put(kApplied, be64(index))
			}
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	want := d.sum.Sum(nil)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(d.r, got); err != nil || !bytes.Equal(got, want) {
		return 0, fmt.Errorf("%w: its digest does not fit", errStream)
	}
	if _, err := d.r.ReadByte(); !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("%w: it has a tail", errStream)
	}
	return index, db.Update(checkSum)
}

// streamReader reads and sums; its first error stays.
type streamReader struct {
	r      *bufio.Reader
	sum    hash.Hash
	err    error
	n      uint64
	bucket int
	last   []byte
}

func (d *streamReader) bytes(n int) []byte {
	if d.err != nil {
		return nil
	}
	// Grow with what arrives: a length is not believed before its bytes are.
	var b bytes.Buffer
	if _, err := io.CopyN(&b, d.r, int64(n)); err != nil {
		d.err = fmt.Errorf("%w: it ends early", errStream)
		return nil
	}
	_, _ = d.sum.Write(b.Bytes())
	return b.Bytes()
}

func (d *streamReader) byte() byte {
	if b := d.bytes(1); d.err == nil {
		return b[0]
	}
	return 0
}

func (d *streamReader) size(most uint64) int {
	var n uint64
	for shift := 0; d.err == nil; shift += 7 {
		b := d.byte()
		if shift > 28 {
			d.err = errStream
			break
		}
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			break
		}
	}
	if n > most && d.err == nil {
		d.err = fmt.Errorf("%w: a length is over its limit", errStream)
	}
	return int(n)
}

// pairs reads up to restoreBatch pairs and reports whether they were the last.
func (d *streamReader) pairs(tx *bbolt.Tx) (bool, error) {
	for range restoreBatch {
		switch mark := d.byte(); {
		case d.err != nil:
			return false, d.err
		case mark == 0:
			if n := d.bytes(8); d.err == nil && readUint(n) != d.n {
				d.err = fmt.Errorf("%w: pairs are missing", errStream)
			}
			return true, d.err
		case mark != 1:
			return false, errStream
		}
		bucket := int(d.byte())
		k := d.bytes(d.size(maxSnapshotKey))
		v := d.bytes(d.size(maxSnapshotValue))
		switch {
		case d.err != nil:
			return false, d.err
		case bucket >= len(buckets) || len(k) == 0:
			return false, errStream
		case bucket < d.bucket || bucket == d.bucket && bytes.Compare(k, d.last) <= 0:
			return false, fmt.Errorf("%w: it is not in order", errStream)
		}
		if bucket != d.bucket {
			tx.Bucket(buckets[bucket]).FillPercent = 0.9
		}
		d.bucket, d.last = bucket, k
		if err := tx.Bucket(buckets[bucket]).Put(k, v); err != nil {
			return false, err
		}
		d.n++
	}
	return false, nil
}
