package outbox

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/hashicorp/raft"
	bolt "go.etcd.io/bbolt"
)

// A snapshot is: magic; per entry the bucket's number from 1, the key and the
// value with their lengths; a zero byte; SHA-256 over all before it.
const snapshotMagic = "belfry-outbox-4\n"

const (
	// restoreBatch is how many entries one transaction of a restore writes.
	restoreBatch = 20_000
	// maxSnapshotField bounds a key or value, so that a broken stream cannot
	// ask for more memory than an event may take.
	maxSnapshotField = maxPayload + 1<<20
)

var errSnapshot = errors.New("the snapshot is damaged")

// snapshot is a read transaction: it sees the file as it was.
type snapshot struct{ tx *bolt.Tx }

// Persist implements raft.FSMSnapshot.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	if err := writeSnapshot(sink, s.tx); err != nil {
		return errors.Join(fmt.Errorf("outbox: snapshot: %w", err), sink.Cancel())
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (s *snapshot) Release() { _ = s.tx.Rollback() }

func writeSnapshot(w io.Writer, tx *bolt.Tx) error {
	sum := sha256.New()
	bw := bufio.NewWriterSize(io.MultiWriter(w, sum), 64<<10)
	if _, err := bw.WriteString(snapshotMagic); err != nil {
		return err
	}
	if err := writeContent(bw, tx, true); err != nil {
		return err
	}
	if err := errors.Join(bw.WriteByte(0), bw.Flush()); err != nil {
		return err
	}
	_, err := w.Write(sum.Sum(nil))
	return err
}

// writeContent streams the logical content in the order of the buckets and,
// within each, of the keys.
func writeContent(w *bufio.Writer, tx *bolt.Tx, withIndex bool) error {
	var head []byte
	for i, name := range buckets {
		err := tx.Bucket(name).ForEach(func(k, v []byte) error {
			if !withIndex && i == 0 && bytes.Equal(k, metaIndex) {
				return nil
			}
			head = append(head[:0], byte(i+1)) //nolint:gosec // there are eight buckets
			head = binary.AppendUvarint(head, uint64(len(k)))
			head = append(head, k...)
			head = binary.AppendUvarint(head, uint64(len(v)))
			_, err := w.Write(head)
			if err == nil {
				_, err = w.Write(v)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// hashReader hashes what is read through it.
type hashReader struct {
	r   *bufio.Reader
	sum hash.Hash
}

func (h *hashReader) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.sum.Write(p[:n])
	return n, err
}

func (h *hashReader) ReadByte() (byte, error) {
	b, err := h.r.ReadByte()
	if err == nil {
		h.sum.Write([]byte{b})
	}
	return b, err
}

func (h *hashReader) field() ([]byte, error) {
	n, err := binary.ReadUvarint(h)
	if err != nil {
		return nil, err
	}
	if n > maxSnapshotField {
		return nil, errSnapshot
	}
	var b bytes.Buffer
	if _, err := io.CopyN(&b, h, int64(n)); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// readSnapshot fills db, which is empty, and then checks the sum: the caller
// uses db only when the error is nil.
func readSnapshot(ctx context.Context, r io.Reader, db *bolt.DB) error {
	h := &hashReader{r: bufio.NewReaderSize(r, 64<<10), sum: sha256.New()}
	magic := make([]byte, len(snapshotMagic))
	if _, err := io.ReadFull(h, magic); err != nil || string(magic) != snapshotMagic {
		return errSnapshot
	}
	for done := false; !done; {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := db.Update(func(tx *bolt.Tx) (err error) {
			done, err = readEntries(tx, h)
			return err
		})
		if err != nil {
			return fmt.Errorf("%w: %w", errSnapshot, err)
		}
	}
	want := h.sum.Sum(nil)
	got := make([]byte, sha256.Size)
	if _, err := io.ReadFull(h.r, got); err != nil || !bytes.Equal(got, want) {
		return errSnapshot
	}
	if _, err := h.r.ReadByte(); !errors.Is(err, io.EOF) {
		return errSnapshot
	}
	return nil
}

func readEntries(tx *bolt.Tx, h *hashReader) (done bool, err error) {
	for range restoreBatch {
		n, err := h.ReadByte()
		if err != nil {
			return false, err
		}
		if n == 0 {
			return true, nil
		}
		if int(n) > len(buckets) {
			return false, errSnapshot
		}
		k, err := h.field()
		if err != nil {
			return false, err
		}
		v, err := h.field()
		if err != nil {
			return false, err
		}
		b := tx.Bucket(buckets[n-1])
		b.FillPercent = 0.9 // keys come in order
		if err := b.Put(k, v); err != nil {
			return false, err
		}
	}
	return false, nil
}

// Digest is the SHA-256 of the logical content. Replicas that have applied the
// same commands have the same digest, whenever each of them flushed.
func (s *Store) Digest() ([32]byte, error) {
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	var sum [32]byte
	if err := s.flushLocked(); err != nil {
		return sum, err
	}
	h := sha256.New()
	err := s.db.View(func(tx *bolt.Tx) error {
		w := bufio.NewWriterSize(h, 64<<10)
		return errors.Join(writeContent(w, tx, false), w.Flush())
	})
	h.Sum(sum[:0])
	return sum, err
}
