package outbox

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"

	bolt "go.etcd.io/bbolt"
)

// DigestAt is Digest with the log index that it belongs to. It flushes, and
// then reads the whole file. Flushes go on meanwhile unless the file has to be
// mapped anew, and a restore waits; so ctx should bound it. It ends with the
// cause when ctx does.
func (s *Store) DigestAt(ctx context.Context) (index uint64, sum [32]byte, err error) {
	tx, err := s.afterFlush()
	if err != nil {
		return 0, sum, err
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }()
	if index, err = readMeta(tx.Bucket(bucketMeta), metaIndex); err != nil {
		return 0, sum, err
	}
	h := ctxHash{ctx, sha256.New()}
	w := bufio.NewWriterSize(h, 64<<10)
	if err = errors.Join(writeContent(w, tx, false), w.Flush()); err != nil {
		return 0, sum, err
	}
	h.Sum(sum[:0])
	return index, sum, nil
}

// afterFlush begins a transaction that sees everything that was applied.
func (s *Store) afterFlush() (*bolt.Tx, error) {
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	if err := s.flushLocked(); err != nil {
		return nil, err
	}
	tx, err := s.db.Begin(false)
	if err != nil {
		return nil, fmt.Errorf("outbox: digest: %w", err)
	}
	return tx, nil
}

// ctxHash is a hash that takes nothing more when ctx has ended.
type ctxHash struct {
	ctx context.Context //nolint:containedctx // io.Writer takes none
	hash.Hash
}

// Write implements io.Writer.
func (h ctxHash) Write(p []byte) (int, error) {
	if h.ctx.Err() != nil {
		return 0, context.Cause(h.ctx)
	}
	return h.Hash.Write(p)
}
