package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// metaBytes covers the two meta pages of a bbolt file on machines with pages
	// of up to 64 KiB.
	metaBytes = 128 << 10
	// tailSegments are the newest files of a write-ahead log: the one that was
	// written last, and the one before it.
	tailSegments = 2
	rewriteChunk = 1 << 20
)

// rewriteTails makes durable what the node is about to read of what it wrote
// last, before anything of it is trusted.
//
// A process that was killed, or that stopped because a write failed, has left
// data that can be read and that may be nowhere but in memory: what was not
// synced yet, and what a sync failed for. Linux takes the latter for written, so
// a later sync does nothing for it. The next process would find it, and take
// entries of a log for stored, or an index for applied, that the next power
// failure takes away. So the ends of all files are written once more, as they
// are, and synced: the meta pages of bbolt files (what they refer to is synced
// before them), and the newest segments of write-ahead logs.
//
// INV node-2: what a node has read at its start survives a power failure.
//
// Files that another process has open are left alone; opening them will fail.
// The cost is that of reading and writing 128 MiB for each log at most.
func rewriteTails(root string) error {
	var segments []string // of the directory that is walked
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && path == root:
			return fs.SkipAll
		case err != nil:
			return err
		case d.IsDir() || !d.Type().IsRegular():
		case strings.HasSuffix(path, ".db"):
			return rewriteLocked(path, path, metaBytes)
		case strings.HasSuffix(path, ".wal"):
			segments = append(segments, path)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write the ends of the files in %s again: %w", root, err)
	}
	for dir, files := range byDir(segments) {
		slices.Sort(files) // names are sequence numbers
		for _, path := range files[max(0, len(files)-tailSegments):] {
			if err := rewriteLocked(path, filepath.Join(dir, "wal-meta.db"), -1); err != nil {
				return fmt.Errorf("write the end of the log %s again: %w", path, err)
			}
		}
	}
	return nil
}

func byDir(paths []string) map[string][]string {
	out := map[string][]string{}
	for _, p := range paths {
		out[filepath.Dir(p)] = append(out[filepath.Dir(p)], p)
	}
	return out
}

// rewriteLocked writes the first limit bytes of a file again, or all of it when
// limit is negative, while it holds the lock that the file's owner takes.
func rewriteLocked(path, lock string, limit int64) error {
	l, err := os.OpenFile(lock, os.O_RDWR, 0) //nolint:gosec // a file of the data directory
	if errors.Is(err, fs.ErrNotExist) {
		return nil // what there is has no owner yet
	}
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	if free, err := locked(l, unix.LOCK_EX); !free {
		return err
	}
	f := l
	if path != lock {
		if f, err = os.OpenFile(path, os.O_RDWR, 0); err != nil { //nolint:gosec // a file of the data directory
			return err
		}
		defer func() { _ = f.Close() }()
	}
	if err := rewrite(f, limit); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// rewrite leaves out what is nothing but zeros: the rest of a file that was
// allocated at once. What cannot be read is left for those who open the file:
// they know what to do about it.
func rewrite(f *os.File, limit int64) error {
	buf, zeros := make([]byte, rewriteChunk), make([]byte, rewriteChunk)
	for at := int64(0); limit < 0 || at < limit; {
		n := len(buf)
		if limit >= 0 {
			n = int(min(int64(n), limit-at))
		}
		n, err := f.ReadAt(buf[:n], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil // see above
		}
		if n > 0 && !bytes.Equal(buf[:n], zeros[:n]) {
			if _, err := f.WriteAt(buf[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
		if err != nil {
			break
		}
	}
	return f.Sync()
}
