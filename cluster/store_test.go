package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// openKind opens stores that must be whole.
func openKind(t *testing.T, dir, kind string) Stores {
	t.Helper()
	s, err := openStores(dir, kind, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// appendEntries appends the first n entries of a log.
func appendEntries(t *testing.T, l raft.LogStore, n uint64) {
	t.Helper()
	for i := range n {
		if err := l.StoreLog(&raft.Log{Index: i + 1, Term: 1, Data: fmt.Append(nil, i)}); err != nil {
			t.Fatal(err)
		}
	}
}

// A follower drops the end of its log when a new leader says otherwise. What is
// left must be readable after a restart: raft-wal lost it before v0.4.2.
func TestOpenStores_afterTruncation(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{LogBolt, LogWAL} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			open := func() Stores { return openKind(t, dir, kind) }
			s := open()
			appendEntries(t, s.Log, 10)
			if err := s.Log.DeleteRange(8, 10); err != nil {
				t.Fatal(err)
			}
			if err := s.Log.StoreLog(&raft.Log{Index: 8, Term: 2, Data: []byte("new")}); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open()
			for i := range uint64(8) {
				var l raft.Log
				if err := s.Log.GetLog(i+1, &l); err != nil || l.Index != i+1 {
					t.Errorf("entry %d after the restart: %+v, %v", i+1, l, err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestOpenStores_afterSnapshot: INV group-7. A log goes on after a snapshot of
// another node, far behind what it had, and is whole when it is opened again; a
// gap that is there all the same is a damage.
func TestOpenStores_afterSnapshot(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{LogBolt, LogWAL} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			open := func() Stores { return openKind(t, dir, kind) }
			s := open()
			appendEntries(t, s.Log, 5)
			for _, i := range []uint64{100, 101} {
				if err := s.Log.StoreLog(&raft.Log{Index: i, Term: 2, Data: []byte("after")}); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open()
			first, err := s.Log.FirstIndex()
			last, err2 := s.Log.LastIndex()
			if first != 100 || last != 101 || err != nil || err2 != nil {
				t.Errorf("it has %d to %d (%v, %v), want 100 to 101", first, last, err, err2)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A node that stops and starts again in one process opens its stores again:
// closing must let go of every file and lock. raft-wal kept one before v0.4.2.
func TestOpenStores_again(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{LogBolt, LogWAL} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for i := range uint64(3) {
				s, err := openStores(dir, kind, hclog.NewNullLogger())
				if err != nil {
					t.Fatal(err)
				}
				if last, err := s.Log.LastIndex(); err != nil || last != i {
					t.Errorf("opened for the %d. time, the log ends at %d, %v", i+1, last, err)
				}
				if err := s.Log.StoreLog(&raft.Log{Index: i + 1, Term: 1, Data: fmt.Append(nil, i)}); err != nil {
					t.Fatal(err)
				}
				if err := s.Stable.SetUint64([]byte("term"), i); err != nil {
					t.Fatal(err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestOpenStores_damaged(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"raft.db", "wal/wal-meta.db"} {
		dir := t.TempDir()
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, bytes.Repeat([]byte("no database "), 10_000), 0o600)); err != nil {
			t.Fatal(err)
		}
		s, err := openStores(dir, LogWAL, hclog.NewNullLogger())
		if err == nil {
			_ = s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "with an empty data directory") {
			t.Errorf("%s: the error does not name the directory and say what to do: %v", name, err)
		}
	}
}
