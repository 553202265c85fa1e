package fsm

import (
	"context"
	"io"

	"go.etcd.io/bbolt"
)

// DigestAt is Digest with the applied index that it belongs to, which a state
// that changes meanwhile does not fit any more. It reads the whole state and
// holds up nothing; it ends with the cause when ctx does.
func (s *Store) DigestAt(ctx context.Context) (index uint64, sum [32]byte, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		index = readUint(tx.Bucket(bMeta).Get(kApplied))
		sum, err = writeState(whileAlive{ctx, io.Discard}, tx)
		return err
	})
	return index, sum, err
}
