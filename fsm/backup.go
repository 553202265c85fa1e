package fsm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
)

// Backup writes the whole state at one index to w, in the form of a snapshot,
// and returns the index. Secrets are in it as they are stored: sealed. What was
// written before an error is of no use, and CheckBackup says so. It holds up
// nothing; it ends with the cause when ctx does.
func (s *Store) Backup(ctx context.Context, w io.Writer) (index uint64, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		index = readUint(tx.Bucket(bMeta).Get(kApplied))
		_, err := writeState(whileAlive{ctx, w}, tx)
		return err
	})
	return index, err
}

// CheckBackup reads a backup to its end and returns its index. It needs as much
// room in dir as the backup has. The error of one that is damaged, cut short or
// of another version says so.
func CheckBackup(r io.Reader, dir string) (index uint64, err error) {
	tmp, err := os.MkdirTemp(dir, "backup-*")
	if err != nil {
		return 0, fmt.Errorf("check the backup: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	o := Options{NoSync: true}
	db, err := openFile(o, filepath.Join(tmp, "state.db"))
	if err != nil {
		return 0, err
	}
	index, err = readState(r, db)
	return index, errors.Join(err, db.Close())
}

// whileAlive writes to w until ctx ends.
type whileAlive struct {
	ctx context.Context //nolint:containedctx // io.Writer takes none
	w   io.Writer
}

// Write implements io.Writer.
func (a whileAlive) Write(p []byte) (int, error) {
	if a.ctx.Err() != nil {
		return 0, context.Cause(a.ctx)
	}
	return a.w.Write(p)
}
