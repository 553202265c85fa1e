package cluster

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

// flushTape is a tape whose file has what was flushed.
type flushTape struct {
	tapeOnDisk

	flushes int
	broken  error
}

func (f *flushTape) Flush() error {
	f.flushes++
	return f.broken
}

// take persists a snapshot of the machine as raft would.
func take(t *testing.T, m *machine, s raft.SnapshotStore, index uint64) {
	t.Helper()
	snap, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	sink, err := s.Create(1, index, 1, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := snap.Persist(sink); err != nil {
		t.Fatal(err)
	}
	snap.Release()
}

// INV group-3: a mark is written after the file, and who wants a snapshot to
// send gets a whole one.
func TestMarkStore(t *testing.T) {
	t.Parallel()
	fsm := &flushTape{tapeOnDisk: tapeOnDisk{tape{applied: 7}}}
	m := newMachine(fsm, true)
	m.flush = fsm.Flush
	files, err := raft.NewFileSnapshotStore(t.TempDir(), snapshotsKept, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	fail := errors.New("no quorum")
	s := &markStore{SnapshotStore: files, whole: func() error { return fail }}
	take(t, m, files, 10)
	if fsm.flushes != 1 {
		t.Errorf("%d flushes before the mark, want 1", fsm.flushes)
	}
	list, err := s.List()
	if err != nil || len(list) != 1 || list[0].Size != int64(snapshotHeader) {
		t.Fatalf("a mark is stored as %+v, %v", list, err)
	}
	if _, _, err := s.Open(list[0].ID); !errors.Is(err, fail) {
		t.Errorf("no whole snapshot can be taken: got %v", err)
	}
	s.whole = func() error {
		m.wanted.Add(1)
		defer m.wanted.Add(-1)
		m.applied.set(9)
		take(t, m, files, 12)
		m.wanted.Add(-1)
		take(t, m, files, 13) // a mark that comes in between
		m.wanted.Add(1)
		return nil
	}
	meta, r, err := s.Open(list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil || meta.Index != 12 || string(b) != string(header(9))+"state" {
		t.Errorf("got %q of index %d, %v; want the whole snapshot", b, meta.Index, err)
	}
	if _, r, err = s.Open(meta.ID); err != nil {
		t.Errorf("a whole one is opened as it is: %v", err)
	} else if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestMachine_markNeedsFlush(t *testing.T) {
	t.Parallel()
	fsm := &flushTape{broken: errors.New("disk full")}
	m := newMachine(fsm, true)
	m.flush = fsm.Flush
	if _, err := m.Snapshot(); !errors.Is(err, fsm.broken) {
		t.Errorf("the file cannot be written: got %v", err)
	}
}

func TestMachine_restoresNoMark(t *testing.T) {
	t.Parallel()
	fsm := &flushTape{}
	m := newMachine(fsm, true)
	err := m.Restore(io.NopCloser(strings.NewReader(string(markMagic[:]) + "\x00\x00\x00\x00\x00\x00\x00\x09")))
	if !errors.Is(err, errOnlyMark) || fsm.restored != "" {
		t.Errorf("got %v, restored %q", err, fsm.restored)
	}
}
