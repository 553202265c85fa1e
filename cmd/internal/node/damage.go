package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
)

// opened calls open, which opens files of dir, and turns a panic over damaged
// ones, or a fault in memory that maps them, into an error: the node refuses to
// start and says why.
func opened(dir string, open func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("--data-dir %s is damaged: %v; let this node join again with an empty data directory", dir, p)
		}
	}()
	if err := wholeFiles(dir); err != nil {
		return err
	}
	return open()
}

// wholeFiles refuses database files that wholeFile does. The attempt log is not
// among them: it asks about its file itself, and begins a new one.
func wholeFiles(dir string) error {
	for _, pattern := range []string{"config.db", "outbox.db", "raft/*/raft.db", "raft/*/wal/wal-meta.db"} {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, path := range paths {
			var opening *fs.PathError
			switch err := wholeFile(path); {
			case errors.Is(err, fs.ErrNotExist): // gone meanwhile
			case errors.As(err, &opening) && opening.Op == "open":
				return fmt.Errorf("look at the database files: %w", err)
			case err != nil:
				return fmt.Errorf("%s is damaged: %w; let this node join again with an empty data directory", path, err)
			}
		}
	}
	return nil
}

// wholeFile refuses a bbolt file that was cut off or whose pages make no sense.
// bbolt does not look: it maps pages that are not there and reads them on a
// goroutine of its own, where nobody can catch the fault; it follows what pages
// say, in circles if need be, at any later time; and what it has copied into memory
// it reads beyond its end.
func wholeFile(path string) error {
	need, size, err := neededSize(path)
	switch {
	case err != nil:
		return err
	case size < need:
		return fmt.Errorf("it has %d bytes and should have %d", size, need)
	}
	return checkPages(path)
}

// The two pages at the beginning of a bbolt file say how many pages are in
// use. These are the offsets in such a page, which are part of the file format.
const (
	boltHeader    = 16 // of every page
	boltMagic     = 0xED0CDAED
	boltVersion   = 2
	offVersion    = boltHeader + 4
	offPageSize   = boltHeader + 8
	offRoot       = boltHeader + 16
	offFreelist   = boltHeader + 32
	offPages      = boltHeader + 40
	offTx         = boltHeader + 48
	offChecksum   = boltHeader + 56
	boltMetaBytes = offChecksum + 8
)

// neededSize is how long a bbolt file must be for the pages that it says are
// in use, and how long it is. Of a file whose beginning cannot be read need is
// 0: bbolt refuses it by itself.
func neededSize(path string) (need, size int64, err error) {
	f, err := os.Open(path) //nolint:gosec // the data directory is the operator's
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	if m, ok := readBoltMetas(f); ok {
		need = int64(m.pages) * m.pageSize //nolint:gosec // the checksum holds
	}
	return need, st.Size(), nil
}

// boltMeta is what such a page says.
type boltMeta struct {
	root, freelist, pages, tx uint64
	pageSize                  int64
}

// readBoltMetas gives the newer one of those that are whole. The second begins
// at the page size, which the first may not tell any more; these are all there are.
func readBoltMetas(r io.ReaderAt) (newest boltMeta, ok bool) {
	for _, at := range []int64{0, 1 << 12, 1 << 13, 1 << 14, 1 << 16} {
		b := make([]byte, boltMetaBytes)
		if _, err := r.ReadAt(b, at); err != nil {
			continue
		}
		if m, whole := readBoltMeta(b); whole && (at == 0 || at == m.pageSize) && (!ok || m.tx >= newest.tx) {
			newest, ok = m, true
		}
	}
	return newest, ok
}

// readBoltMeta reads one, in the byte order of the machine.
func readBoltMeta(b []byte) (boltMeta, bool) {
	o := binary.NativeEndian
	h := fnv.New64a()
	_, _ = h.Write(b[boltHeader:offChecksum])
	ok := o.Uint32(b[boltHeader:]) == boltMagic && o.Uint32(b[offVersion:]) == boltVersion && o.Uint64(b[offChecksum:]) == h.Sum64()
	return boltMeta{
		root: o.Uint64(b[offRoot:]), freelist: o.Uint64(b[offFreelist:]), pages: o.Uint64(b[offPages:]), tx: o.Uint64(b[offTx:]),
		pageSize: int64(o.Uint32(b[offPageSize:])),
	}, ok
}
