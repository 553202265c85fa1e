package node

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

// boltFile makes a file of the format with some pages in use, of which the
// last transaction used more than the one before.
func boltFile(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		err = errors.Join(err, db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("b"))
			if err != nil {
				return err
			}
			return b.Put(fmt.Append(nil, i), make([]byte, 20_000))
		}))
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestWholeFiles(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"config.db", "outbox.db", "raft/config/raft.db", "raft/events-0/wal/wal-meta.db"} {
		dir := t.TempDir()
		path := filepath.Join(dir, name)
		if err := wholeFiles(dir); err != nil {
			t.Errorf("an empty directory: %v", err)
		}
		boltFile(t, path)
		need, size, err := neededSize(path)
		if err != nil || need < 60_000 || need > size {
			t.Fatalf("%s needs %d of %d bytes, %v", name, need, size, err)
		}
		if err := wholeFiles(dir); err != nil {
			t.Errorf("%s is whole: %v", name, err)
		}
		if err := os.Truncate(path, need); err != nil {
			t.Fatal(err)
		}
		if err := wholeFiles(dir); err != nil {
			t.Errorf("%s has all pages that are in use: %v", name, err)
		}
		for _, cut := range []int64{need - 1, need / 2, 4096} {
			if err := os.Truncate(path, cut); err != nil {
				t.Fatal(err)
			}
			err := wholeFiles(dir)
			if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "empty data directory") {
				t.Errorf("%s with %d of %d bytes: %v", name, cut, need, err)
			}
		}
	}
}

// A file that another process has open is not judged: it changes while it is
// read, and that it is in use is what must be said.
func TestWholeFiles_inUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "config.db")
	boltFile(t, path)
	damage := func() {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for at := 2 * os.Getpagesize(); at < len(b); at += os.Getpagesize() {
			b[at+8] ^= 0x40 // the kind of the page
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	damage()
	if err := wholeFiles(dir); err != nil {
		t.Errorf("a file in use: %v", err)
	}
	damage() // which undoes it
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	damage()
	if err := wholeFiles(dir); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "empty data directory") {
		t.Errorf("a damaged file: %v", err)
	}
}

// What does not begin as such a file is left to bbolt, and a damaged first
// page does not hide the second.
func TestNeededSize_damagedBeginning(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.db")
	boltFile(t, path)
	want, _, err := neededSize(path)
	if err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pageSize := os.Getpagesize()
	for name, tt := range map[string]struct {
		damage func(b []byte) []byte
		least  int64
	}{
		"first page":  {func(b []byte) []byte { b[offTx]++; return b }, want / 4},
		"second page": {func(b []byte) []byte { b[pageSize+offTx]++; return b }, want / 4},
		"both pages":  {func(b []byte) []byte { b[offTx]++; b[pageSize+offTx]++; return b }, 0},
		"text":        {func([]byte) []byte { return []byte("hello") }, 0},
		"nothing":     {func([]byte) []byte { return nil }, 0},
	} {
		if err := os.WriteFile(path, tt.damage(append([]byte(nil), good...)), 0o600); err != nil {
			t.Fatal(err)
		}
		need, _, err := neededSize(path)
		if err != nil || need < tt.least || need > want || tt.least == 0 && need != 0 {
			t.Errorf("%s damaged: %d bytes are needed, %v; want %d to %d", name, need, err, tt.least, want)
		}
	}
}

func TestOpened(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := opened(dir, func() error { panic("invalid freelist page") }); err == nil ||
		!strings.Contains(err.Error(), dir+" is damaged: invalid freelist page") || !strings.Contains(err.Error(), "empty data directory") {
		t.Errorf("after a panic: %v", err)
	}
	other := errors.New("other")
	if err := opened(dir, func() error { return other }); !errors.Is(err, other) {
		t.Errorf("after an error: %v", err)
	}
	if err := opened(dir, func() error { return nil }); err != nil {
		t.Error(err)
	}
}

// TestWholeFile_keyAbove: INV fsm-8. A key that is larger in the page above than
// the first one below is found before bbolt meets it: that panics, and goes on
// reading on another goroutine.
func TestWholeFile_keyAbove(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	key := func(i int) []byte { return fmt.Appendf(nil, "key-%05d", i) }
	if err := db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte("b"))
		for i := range 2000 {
			err = errors.Join(err, b.Put(key(i), make([]byte, 20)))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := wholeFile(path); err != nil {
		t.Fatalf("the whole file: %v", err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := 0
	size := pageSizeOf(t, b)
	for at := 0; at < len(b); at += size {
		page := b[at : at+size]
		if binary.NativeEndian.Uint16(page[8:]) != boltBranch {
			continue
		}
		if i := bytes.Index(page, key(0)); i >= 0 {
			copy(page[i:], key(1)) // still below the key of the second page
			changed++
		}
	}
	if changed == 0 {
		t.Fatal("no page has the first key above the others")
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := wholeFile(path); !errors.Is(err, errPage) {
		t.Errorf("a first key below that of the page above: %v", err)
	}
}
