package cluster

import (
	"container/heap"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// durable is implemented by state machines that keep their state on disk.
type durable interface{ AppliedIndex() uint64 }

// snapshotMagic begins every snapshot; the index of the last command follows.
var snapshotMagic = [8]byte{'b', 'e', 'l', 'f', 's', 'n', 'p', '1'}

const snapshotHeader = len(snapshotMagic) + 8

// machine stands between raft and a group's state machine. It passes on only
// commands, knows the index of the last one and tells who waits for it.
// Snapshots carry that index, because raft's own counts entries that no state
// machine sees.
type machine struct {
	inner   raft.FSM
	batch   raft.BatchingFSM // inner, when it takes batches
	applied indexWaiter
	// committed is told of every batch before it is applied: that it is handed
	// over means that it is committed.
	committed func(index, term uint64)
	// flush, when it is set, writes what the state's file lacks, and snapshots
	// are marks unless somebody wants a whole one.
	flush  func() error
	wanted atomic.Int32
}

var _ raft.BatchingFSM = (*machine)(nil)

func newMachine(inner raft.FSM, isDurable bool) *machine {
	m := &machine{inner: inner}
	m.batch, _ = inner.(raft.BatchingFSM)
	if d, ok := inner.(durable); ok && isDurable {
		m.applied.set(d.AppliedIndex())
	}
	return m
}

// Apply applies one entry.
func (m *machine) Apply(l *raft.Log) any { return m.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch applies the commands among ls.
func (m *machine) ApplyBatch(ls []*raft.Log) []any {
	commands := make([]*raft.Log, 0, len(ls))
	for _, l := range ls {
		if l.Type == raft.LogCommand {
			commands = append(commands, l)
		}
	}
	if len(commands) == 0 {
		return make([]any, len(ls))
	}
	last := commands[len(commands)-1]
	m.committed(last.Index, last.Term)
	var answers []any
	if m.batch != nil {
		answers = m.batch.ApplyBatch(commands)
		if len(answers) != len(commands) {
			panic(fmt.Sprintf("state machine gave %d answers for %d commands", len(answers), len(commands)))
		}
	} else {
		for _, l := range commands {
			answers = append(answers, m.inner.Apply(l))
		}
	}
	m.applied.advance(last.Index)
	if len(commands) == len(ls) {
		return answers
	}
	out := make([]any, 0, len(ls))
	for _, l := range ls {
		if l.Type == raft.LogCommand {
			out, answers = append(out, answers[0]), answers[1:]
		} else {
			out = append(out, nil)
		}
	}
	return out
}

// Snapshot takes the state and the index of its last command, or marks it.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	if m.flush != nil && m.wanted.Load() == 0 {
		if err := m.flush(); err != nil { // INV group-3
			return nil, err
		}
		return mark{m.applied.index()}, nil
	}
	s, err := m.inner.Snapshot()
	if err != nil {
		return nil, err
	}
	return &snapshot{FSMSnapshot: s, index: m.applied.index()}, nil
}

type snapshot struct {
	raft.FSMSnapshot

	index uint64
}

// Persist writes the header and then what the state machine writes.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	b := binary.BigEndian.AppendUint64(snapshotMagic[:], s.index)
	if _, err := sink.Write(b); err != nil {
		return errors.Join(fmt.Errorf("write snapshot header: %w", err), sink.Cancel())
	}
	return s.FSMSnapshot.Persist(sink)
}

// Restore replaces the state.
func (m *machine) Restore(r io.ReadCloser) error {
	h, err := readSnapshotHeader(r)
	switch {
	case err != nil:
		return err
	case h.mark:
		return errOnlyMark
	}
	if err := m.inner.Restore(r); err != nil {
		return err
	}
	m.applied.set(h.index)
	return nil
}

// snapshotHead is what every snapshot begins with.
type snapshotHead struct {
	index uint64
	mark  bool // nothing follows
}

func readSnapshotHeader(r io.Reader) (snapshotHead, error) {
	var b [snapshotHeader]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return snapshotHead{}, fmt.Errorf("read snapshot header: %w", err)
	}
	magic := [8]byte(b[:8])
	if magic != snapshotMagic && magic != markMagic {
		return snapshotHead{}, errors.New("this is not a snapshot of belfry, or of a newer version")
	}
	return snapshotHead{index: binary.BigEndian.Uint64(b[8:]), mark: magic == markMagic}, nil
}

// skipRestore decides whether a durable state machine keeps its state at
// start. It does unless the newest snapshot is ahead of it: then its file was
// lost or is old, and the entries between may be gone from the log.
func skipRestore(fsm durable, s Stores) (bool, error) {
	have := fsm.AppliedIndex()
	last, err := s.Log.LastIndex()
	if err != nil {
		return false, fmt.Errorf("read the last log index: %w; %w", err, ErrDamaged)
	}
	snaps, err := s.Snapshots.List()
	if err != nil {
		return false, fmt.Errorf("list snapshots: %w", err)
	}
	skip := true
	if len(snaps) > 0 {
		last = max(last, snaps[0].Index)
		_, r, err := s.Snapshots.Open(snaps[0].ID)
		if err != nil {
			return false, fmt.Errorf("open snapshot %s: %w; %w", snaps[0].ID, err, ErrDamaged)
		}
		h, err := readSnapshotHeader(r)
		if err = errors.Join(err, r.Close()); err != nil {
			return false, fmt.Errorf("snapshot %s: %w; %w", snaps[0].ID, err, ErrDamaged)
		}
		if skip = have >= h.index; !skip && h.mark {
			return false, fmt.Errorf("the state is at index %d, but it was at %d: %w", have, h.index, errOnlyMark)
		}
	}
	// INV group-1: a state machine is never ahead of its log, for it would
	// skip other entries under the same indices.
	if have > last {
		return false, fmt.Errorf("the state is at index %d but the raft log ends at %d: the data directory is mixed from two; empty it and join again", have, last)
	}
	return skip, nil
}

// indexWaiter is an index that only grows (but for set) and whoever waits for it.
type indexWaiter struct {
	mu      sync.Mutex
	at      uint64
	waiters waiterHeap
}

type waiter struct {
	index uint64
	ch    chan struct{}
}

type waiterHeap []waiter

func (h *waiterHeap) Len() int           { return len(*h) }
func (h *waiterHeap) Less(i, j int) bool { return (*h)[i].index < (*h)[j].index }
func (h *waiterHeap) Swap(i, j int)      { (*h)[i], (*h)[j] = (*h)[j], (*h)[i] }

// Push adds a waiter.
func (h *waiterHeap) Push(x any) { *h = append(*h, x.(waiter)) } //nolint:forcetypeassert // only waiters are pushed

// Pop removes the last.
func (h *waiterHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

func (w *indexWaiter) index() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

func (w *indexWaiter) advance(to uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if to > w.at {
		w.at = to
		w.release()
	}
}

func (w *indexWaiter) set(to uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = to
	w.release()
}

func (w *indexWaiter) release() {
	for len(w.waiters) > 0 && w.waiters[0].index <= w.at {
		close(heap.Pop(&w.waiters).(waiter).ch) //nolint:forcetypeassert // only waiters are pushed
	}
}

func (w *indexWaiter) wait(ctx context.Context, index uint64) error {
	w.mu.Lock()
	if w.at >= index {
		w.mu.Unlock()
		return nil
	}
	ch := make(chan struct{})
	heap.Push(&w.waiters, waiter{index, ch})
	w.mu.Unlock()
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		w.mu.Lock()
		defer w.mu.Unlock()
		for i := range w.waiters {
			if w.waiters[i].ch == ch {
				heap.Remove(&w.waiters, i)
				break
			}
		}
		return context.Cause(ctx)
	}
}
