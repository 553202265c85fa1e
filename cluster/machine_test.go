package cluster

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
)

// tape is a state machine that notes what it is given.
type tape struct {
	got      []string
	restored string
	applied  uint64 // of tapeOnDisk
	fail     error
}

func (f *tape) Apply(l *raft.Log) any {
	f.got = append(f.got, fmt.Sprintf("%d:%s", l.Index, l.Data))
	return append([]byte("re "), l.Data...)
}

func (f *tape) Snapshot() (raft.FSMSnapshot, error) {
	if f.fail != nil {
		return nil, f.fail
	}
	return tapeSnapshot("state"), nil
}

func (f *tape) Restore(r io.ReadCloser) error {
	b, err := io.ReadAll(r)
	f.restored = string(b)
	return errors.Join(err, f.fail)
}

type tapeSnapshot string

func (s tapeSnapshot) Persist(sink raft.SnapshotSink) error {
	_, err := io.WriteString(sink, string(s))
	return errors.Join(err, sink.Close())
}

func (tapeSnapshot) Release() {}

// batchTape takes batches.
type batchTape struct {
	tape

	batches int
	short   bool
}

func (f *batchTape) ApplyBatch(ls []*raft.Log) []any {
	f.batches++
	var out []any
	for _, l := range ls {
		out = append(out, f.Apply(l))
	}
	if f.short {
		out = out[1:]
	}
	return out
}

// tapeOnDisk keeps its state.
type tapeOnDisk struct{ tape }

func (f *tapeOnDisk) AppliedIndex() uint64 { return f.applied }

func quiet(m *machine) *machine {
	m.committed = func(uint64, uint64) {}
	return m
}

func entries(kinds ...raft.LogType) []*raft.Log {
	var ls []*raft.Log
	for i, k := range kinds {
		ls = append(ls, &raft.Log{Index: uint64(i + 1), Term: 3, Type: k, Data: fmt.Append(nil, "c", i+1)})
	}
	return ls
}

// TestMachine_ApplyBatch: only commands reach the state machine, every entry
// has its answer, and the index is that of the last command.
func TestMachine_ApplyBatch(t *testing.T) {
	t.Parallel()
	const c, n, b, f = raft.LogCommand, raft.LogNoop, raft.LogBarrier, raft.LogConfiguration
	for name, x := range map[string]struct {
		kinds   []raft.LogType
		got     []string
		answers []any
		index   uint64
	}{
		"commands": {[]raft.LogType{c, c}, []string{"1:c1", "2:c2"}, []any{[]byte("re c1"), []byte("re c2")}, 2},
		"mixed":    {[]raft.LogType{n, c, f, c, b}, []string{"2:c2", "4:c4"}, []any{nil, []byte("re c2"), nil, []byte("re c4"), nil}, 4},
		"none":     {[]raft.LogType{n, f, b}, nil, []any{nil, nil, nil}, 0},
		"empty":    {nil, nil, []any{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plain, batched := &tape{}, &batchTape{}
			for _, inner := range []raft.FSM{plain, batched} {
				m := newMachine(inner, false)
				var told [][2]uint64
				m.committed = func(index, term uint64) {
					if len(told) == 0 && m.applied.index() != 0 {
						t.Error("told after it was applied")
					}
					told = append(told, [2]uint64{index, term})
				}
				answers := m.ApplyBatch(entries(x.kinds...))
				if diff := cmp.Diff(x.answers, answers); diff != "" {
					t.Errorf("%T: answers (-want +got):\n%s", inner, diff)
				}
				if got := m.applied.index(); got != x.index {
					t.Errorf("%T: index %d, want %d", inner, got, x.index)
				}
				var want [][2]uint64
				if x.index > 0 {
					want = [][2]uint64{{x.index, 3}}
				}
				if diff := cmp.Diff(want, told); diff != "" {
					t.Errorf("%T: committed (-want +got):\n%s", inner, diff)
				}
			}
			if diff := cmp.Diff(x.got, plain.got); diff != "" {
				t.Errorf("applied (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(x.got, batched.got); diff != "" {
				t.Errorf("applied in a batch (-want +got):\n%s", diff)
			}
			if want := min(1, len(x.got)); batched.batches != want {
				t.Errorf("%d batches, want %d", batched.batches, want)
			}
		})
	}
}

func TestMachine_ApplyBatch_answersMissing(t *testing.T) {
	t.Parallel()
	defer func() {
		if r := fmt.Sprint(recover()); !strings.Contains(r, "1 answers for 2 commands") {
			t.Errorf("recovered %s", r)
		}
	}()
	quiet(newMachine(&batchTape{short: true}, false)).ApplyBatch(entries(raft.LogCommand, raft.LogCommand))
}

// TestMachine_snapshot: a snapshot carries the index of the last command, and
// restoring it gives that index, also when it is lower.
func TestMachine_snapshot(t *testing.T) {
	t.Parallel()
	m := quiet(newMachine(&tape{}, false))
	m.ApplyBatch(entries(raft.LogCommand, raft.LogCommand, raft.LogNoop))
	s, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	m.ApplyBatch([]*raft.Log{{Index: 9, Type: raft.LogCommand}})
	store := raft.NewInmemSnapshotStore()
	sink, err := store.Create(1, 3, 3, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Persist(sink); err != nil {
		t.Fatal(err)
	}
	_, r, err := store.Open(sink.ID())
	if err != nil {
		t.Fatal(err)
	}
	inner := &tape{}
	for _, m := range []*machine{m, quiet(newMachine(inner, false))} {
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		r = io.NopCloser(bytes.NewReader(b))
		if err := m.Restore(io.NopCloser(bytes.NewReader(b))); err != nil {
			t.Fatal(err)
		}
		if got := m.applied.index(); got != 2 {
			t.Errorf("index %d after the restore, want 2", got)
		}
	}
	if inner.restored != "state" {
		t.Errorf("restored %q", inner.restored)
	}
}

func TestMachine_snapshotFails(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	m := quiet(newMachine(&tape{fail: boom}, false))
	if _, err := m.Snapshot(); !errors.Is(err, boom) {
		t.Errorf("snapshot: %v", err)
	}
	m.applied.set(5)
	if err := m.Restore(io.NopCloser(bytes.NewReader(header(7)))); !errors.Is(err, boom) || m.applied.index() != 5 {
		t.Errorf("restore: %v, index %d", err, m.applied.index())
	}
	sink := &fullSink{}
	if err := (&snapshot{FSMSnapshot: tapeSnapshot("state"), index: 1}).Persist(sink); !errors.Is(err, errFull) || !sink.cancelled {
		t.Errorf("persist: %v, cancelled %v", err, sink.cancelled)
	}
}

var errFull = errors.New("disk full")

type fullSink struct{ cancelled bool }

func (*fullSink) Write([]byte) (int, error) { return 0, errFull }
func (*fullSink) Close() error              { return nil }
func (*fullSink) ID() string                { return "id" }

func (s *fullSink) Cancel() error {
	s.cancelled = true
	return nil
}

func header(index uint64) []byte { return binary.BigEndian.AppendUint64(snapshotMagic[:], index) }

// FuzzReadSnapshotHeader: a header gives its index and leaves what follows;
// anything else is an error.
func FuzzReadSnapshotHeader(f *testing.F) {
	f.Add(header(0))
	f.Add(append(header(1<<63), "state"...))
	f.Add(header(1)[:snapshotHeader-1])
	f.Add(append(markMagic[:], 0, 0, 0, 0, 0, 0, 0, 9))
	f.Add([]byte("belfsnp2\x00\x00\x00\x00\x00\x00\x00\x01"))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		h, err := readSnapshotHeader(r)
		whole, mark := bytes.HasPrefix(b, snapshotMagic[:]), bytes.HasPrefix(b, markMagic[:])
		if ok := len(b) >= snapshotHeader && (whole || mark); ok != (err == nil) {
			t.Fatalf("%x: %v", b, err)
		} else if !ok {
			return
		}
		if !bytes.Equal(header(h.index)[8:], b[8:snapshotHeader]) || h.mark != mark || r.Len() != len(b)-snapshotHeader {
			t.Errorf("%x gave %+v and left %d bytes", b, h, r.Len())
		}
	})
}

// TestSkipRestore: a state machine that keeps its state is restored only when
// the snapshot is ahead. INV group-1: never ahead of its log.
func TestSkipRestore(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		have, logEnd       uint64
		snapRaft, snapHead uint64 // the snapshot's index for raft and for the state machine
		damaged, mark      bool
		skip, bad          bool
	}{
		"all new":                            {skip: true},
		"no snapshot":                        {have: 5, logEnd: 5, skip: true},
		"behind its log":                     {have: 3, logEnd: 5, skip: true},
		"ahead of its log":                   {have: 6, logEnd: 5, bad: true},
		"at the snapshot":                    {have: 8, logEnd: 12, snapRaft: 10, snapHead: 8, skip: true},
		"ahead of the snapshot":              {have: 12, logEnd: 12, snapRaft: 10, snapHead: 8, skip: true},
		"one behind the snapshot":            {have: 7, logEnd: 12, snapRaft: 10, snapHead: 8},
		"lost its file":                      {logEnd: 12, snapRaft: 10, snapHead: 8},
		"at the mark":                        {have: 8, logEnd: 12, snapRaft: 10, snapHead: 8, mark: true, skip: true},
		"behind the mark":                    {have: 7, logEnd: 12, snapRaft: 10, snapHead: 8, mark: true, bad: true},
		"the log is empty, at the snapshot":  {have: 10, snapRaft: 10, snapHead: 10, skip: true},
		"the log is empty, above it":         {have: 11, snapRaft: 10, snapHead: 10, bad: true},
		"the header of the snapshot is torn": {have: 8, logEnd: 12, snapRaft: 10, damaged: true, bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			logs, snaps := raft.NewInmemStore(), raft.NewInmemSnapshotStore()
			if c.logEnd > 0 {
				if err := logs.StoreLog(&raft.Log{Index: c.logEnd}); err != nil {
					t.Fatal(err)
				}
			}
			if c.snapRaft > 0 {
				sink, err := snaps.Create(1, c.snapRaft, 1, raft.Configuration{}, 1, nil)
				if err != nil {
					t.Fatal(err)
				}
				h := header(c.snapHead)
				if c.damaged {
					h = h[:10]
				}
				if c.mark {
					copy(h, markMagic[:])
				}
				if _, err := sink.Write(h); err != nil {
					t.Fatal(err)
				}
				if err := sink.Close(); err != nil {
					t.Fatal(err)
				}
			}
			skip, err := skipRestore(&tapeOnDisk{tape{applied: c.have}}, Stores{Log: logs, Stable: logs, Snapshots: snaps})
			if (err != nil) != c.bad || skip != c.skip {
				t.Errorf("got %v, %v", skip, err)
			}
			if c.damaged && !strings.Contains(fmt.Sprint(err), "with an empty data directory") {
				t.Errorf("the error does not say what to do: %v", err)
			}
		})
	}
	if m := newMachine(&tapeOnDisk{tape{applied: 7}}, true); m.applied.index() != 7 {
		t.Errorf("a durable machine begins at %d", m.applied.index())
	}
	if m := newMachine(&tapeOnDisk{tape{applied: 7}}, false); m.applied.index() != 0 {
		t.Errorf("one that is not durable begins at %d", m.applied.index())
	}
}

// TestIndexWaiter: whoever waits is released by the index, or by the end of
// the context, and leaves nothing behind.
func TestIndexWaiter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var w indexWaiter
		var done []uint64
		ended := errors.New("ended")
		ctx, cancel := context.WithCancelCause(t.Context())
		failed := 0
		results := make(chan func(), 32)
		for _, i := range []uint64{7, 3, 5, 3, 9, 1} {
			go func() {
				if err := w.wait(t.Context(), i); err != nil {
					t.Error(err)
				}
				results <- func() { done = append(done, i) }
			}()
			go func() {
				err := w.wait(ctx, i+100)
				if !errors.Is(err, ended) {
					t.Errorf("ended with %v", err)
				}
				results <- func() { failed++ }
			}()
		}
		collect := func() {
			synctest.Wait()
			for len(results) > 0 {
				(<-results)()
			}
		}
		for _, step := range []struct {
			do   func()
			want int
		}{
			{func() {}, 0},
			{func() { w.advance(1) }, 1},
			{func() { w.advance(4) }, 3},
			{func() { w.advance(2) }, 3}, // it only grows
			{func() { w.set(8) }, 5},
			{func() { w.set(2) }, 5},
			{func() { w.advance(9) }, 6},
		} {
			step.do()
			collect()
			if len(done) != step.want {
				t.Errorf("at %d these are released: %v", w.index(), done)
			}
		}
		cancel(ended)
		collect()
		if failed != 6 || len(w.waiters) != 0 {
			t.Errorf("%d ended with their context, %d are left", failed, len(w.waiters))
		}
		if err := w.wait(ctx, 9); err != nil {
			t.Errorf("an index that is reached, with a context that has ended: %v", err)
		}
	})
}
