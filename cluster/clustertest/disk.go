package clustertest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"example.com/belfry/cluster"
)

// ErrDisk is what a write to a failing Disk returns.
var ErrDisk = errors.New("input/output error")

// keyTerm is where raft keeps its term. It panics when that cannot be written.
const keyTerm = "CurrentTerm"

// snapshotsKept is how many snapshots a group has, as in production.
const snapshotsKept = 2

// Disk is what one node keeps of its raft groups: logs, terms, votes and
// snapshots. A write is on it when its call has returned nil, as by contract
// every one is synced; of one that failed, or that was under way when the
// process ended, all, nothing or a first part of a batch may be there. It is
// safe for concurrent use.
//
// What it does not model: reads that fail and bytes that turn.
type Disk struct {
	// abort is called when raft could not go on without a write: its process
	// would end there.
	abort func()

	mu       sync.Mutex
	rng      *rand.Rand
	chance   float64       // that a write fails
	slow     time.Duration // a write takes up to that
	paused   chan struct{} // nil: it is not; closed when it goes on
	dead     bool          // the process that used it has ended
	ended    chan struct{} // closed then
	groups   map[string]*groupDisk
	failures int
}

func newDisk(seed uint64, id string, abort func()) *Disk {
	h := seed
	for _, b := range []byte(id) {
		h = h*31 + uint64(b)
	}
	return &Disk{
		abort: abort, rng: rand.New(rand.NewPCG(seed, h)), //nolint:gosec // simulation, must be repeatable
		ended: make(chan struct{}), groups: map[string]*groupDisk{},
	}
}

// Fail gives every write a chance, from 0 to 1, to fail: as by an error of
// sync, or by a short write.
func (d *Disk) Fail(chance float64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.chance = chance
}

// Slow lets every write to a log, a term or a vote take up to most.
func (d *Disk) Slow(most time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.slow = most
}

// Pause holds up these writes until Resume or the end of the process.
func (d *Disk) Pause() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.paused == nil {
		d.paused = make(chan struct{})
	}
}

// Resume ends a Pause.
func (d *Disk) Resume() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.paused != nil {
		close(d.paused)
		d.paused = nil
	}
}

// Failures is how many writes have failed by Fail.
func (d *Disk) Failures() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failures
}

// end is the end of the process: what it writes from now on goes nowhere. It
// reports whether the process had not ended before.
func (d *Disk) end() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return false
	}
	d.dead = true
	close(d.ended)
	if d.paused != nil {
		close(d.paused)
		d.paused = nil
	}
	return true
}

// begin is the start of another process on the disk, which shows now what of
// the last writes has reached it.
func (d *Disk) begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead, d.ended = false, make(chan struct{})
	for _, g := range d.groups {
		g.store(g.torn)
		g.torn = nil
	}
}

func (d *Disk) stores(group string) cluster.Stores {
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.groups[group]
	if g == nil {
		g = &groupDisk{d: d, logs: map[uint64]*raft.Log{}, values: map[string][]byte{}, numbers: map[string]uint64{}}
		d.groups[group] = g
	}
	return cluster.Stores{Log: g, Stable: g, Snapshots: (*snapshots)(g)}
}

// write waits as long as a write takes and then runs f, or failed when it
// fails. d.mu is held by both.
func (d *Disk) write(f, failed func()) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.slow > 0 {
		took := time.NewTimer(time.Duration(d.rng.Int64N(int64(d.slow))))
		defer took.Stop()
		wait(d, took.C)
	}
	for d.paused != nil && !d.dead {
		wait(d, d.paused)
	}
	return d.attempt(f, failed)
}

// attempt is write without the wait. d.mu is held.
func (d *Disk) attempt(f, failed func()) error {
	if !d.dead && d.chance > 0 && d.rng.Float64() < d.chance {
		d.failures++
		failed()
		return ErrDisk
	}
	if d.dead {
		failed()
		return ErrDisk
	}
	f()
	return nil
}

// wait waits for c or the end of the process. d.mu is held, but not meanwhile.
func wait[T any](d *Disk, c <-chan T) {
	ended := d.ended
	d.mu.Unlock()
	defer d.mu.Lock()
	select {
	case <-c:
	case <-ended:
	}
}

// groupDisk is what is kept of one group. It implements raft.LogStore and
// raft.StableStore.
type groupDisk struct {
	d           *Disk
	first, last uint64
	logs        map[uint64]*raft.Log
	torn        []*raft.Log // may turn out to be there after a restart
	values      map[string][]byte
	numbers     map[string]uint64
	snaps       []*snapshotFile // the newest first
}

// FirstIndex implements raft.LogStore.
func (g *groupDisk) FirstIndex() (uint64, error) {
	g.d.mu.Lock()
	defer g.d.mu.Unlock()
	return g.first, nil
}

// LastIndex implements raft.LogStore.
func (g *groupDisk) LastIndex() (uint64, error) {
	g.d.mu.Lock()
	defer g.d.mu.Unlock()
	return g.last, nil
}

// GetLog implements raft.LogStore.
func (g *groupDisk) GetLog(index uint64, l *raft.Log) error {
	g.d.mu.Lock()
	defer g.d.mu.Unlock()
	have, ok := g.logs[index]
	if !ok {
		return raft.ErrLogNotFound
	}
	*l = *have
	return nil
}

// StoreLog implements raft.LogStore.
func (g *groupDisk) StoreLog(l *raft.Log) error { return g.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore. When it fails, a first part of ls is
// there: at once, as with bbolt after an error of its last sync, or not before
// a restart, and not at all when the next write succeeds, as with a WAL.
func (g *groupDisk) StoreLogs(ls []*raft.Log) error {
	return g.d.write(func() {
		g.torn = nil
		g.store(ls)
	}, func() {
		part := ls[:g.d.rng.IntN(len(ls)+1)]
		if g.d.rng.IntN(2) == 0 {
			g.store(part)
		} else {
			g.torn = slices.Clone(part)
		}
	})
}

func (g *groupDisk) store(ls []*raft.Log) {
	for _, l := range ls {
		kept := *l
		g.logs[l.Index] = &kept
		if g.first == 0 {
			g.first = l.Index
		}
		g.last = max(g.last, l.Index)
	}
}

// DeleteRange implements raft.LogStore. When it fails nothing is deleted. It
// takes no time: raft still holds the snapshot then, see Close of it.
func (g *groupDisk) DeleteRange(from, to uint64) error {
	g.d.mu.Lock()
	defer g.d.mu.Unlock()
	return g.d.attempt(func() {
		for i := from; i <= to; i++ {
			delete(g.logs, i)
		}
		g.torn = nil
		if from <= g.first {
			g.first = to + 1
		}
		if to >= g.last {
			g.last = from - 1
		}
		if g.first > g.last {
			g.first, g.last = 0, 0
		}
	}, func() {})
}

// Set implements raft.StableStore.
func (g *groupDisk) Set(k, v []byte) error {
	return g.d.write(func() { g.values[string(k)] = bytes.Clone(v) }, func() {})
}

// Get implements raft.StableStore.
func (g *groupDisk) Get(k []byte) ([]byte, error) {
	g.d.mu.Lock()
	defer g.d.mu.Unlock()
	if v := g.values[string(k)]; v != nil {
		return v, nil
	}
	return nil, errors.New("not found") // the text is part of raft's contract
}

// SetUint64 implements raft.StableStore. Raft panics when it cannot write its
// term; here that is the end of the process without the panic: nothing of it
// reaches the network or the disk any more.
func (g *groupDisk) SetUint64(k []byte, v uint64) error {
	err := g.d.write(func() { g.numbers[string(k)] = v }, func() {})
	if err == nil || string(k) != keyTerm {
		return err
	}
	if g.d.end() {
		g.d.abort()
	}
	return nil
}

// GetUint64 implements raft.StableStore.
func (g *groupDisk) GetUint64(k []byte) (uint64, error) {
	g.d.mu.Lock()
	defer g.d.mu.Unlock()
	return g.numbers[string(k)], nil
}

// snapshots is the raft.SnapshotStore of a group.
type snapshots groupDisk

// snapshotFile is a snapshot, and the raft.SnapshotSink that makes it.
type snapshotFile struct {
	g       *groupDisk
	meta    raft.SnapshotMeta
	content bytes.Buffer
}

// Create implements raft.SnapshotStore.
func (s *snapshots) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration, cIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &snapshotFile{g: (*groupDisk)(s), meta: raft.SnapshotMeta{
		Version: version, ID: fmt.Sprintf("%d-%d-%d", term, index, time.Now().UnixNano()), Index: index, Term: term,
		Configuration: c, ConfigurationIndex: cIndex,
	}}, nil
}

// List implements raft.SnapshotStore.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	var out []*raft.SnapshotMeta
	for _, f := range s.snaps {
		meta := f.meta
		out = append(out, &meta)
	}
	return out, nil
}

// Open implements raft.SnapshotStore.
func (s *snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	for _, f := range s.snaps {
		if f.meta.ID == id {
			meta := f.meta
			return &meta, io.NopCloser(bytes.NewReader(f.content.Bytes())), nil
		}
	}
	return nil, nil, fmt.Errorf("no snapshot %s", id)
}

// ID implements raft.SnapshotSink.
func (f *snapshotFile) ID() string { return f.meta.ID }

// Write implements raft.SnapshotSink.
func (f *snapshotFile) Write(b []byte) (int, error) { return f.content.Write(b) }

// Close implements raft.SnapshotSink. A snapshot counts only when it is whole.
// It takes no time: whoever writes it may hold locks, and in a bubble time does
// not go on while anybody waits for one.
func (f *snapshotFile) Close() error {
	f.g.d.mu.Lock()
	defer f.g.d.mu.Unlock()
	return f.g.d.attempt(func() {
		f.meta.Size = int64(f.content.Len())
		f.g.snaps = append([]*snapshotFile{f}, f.g.snaps...)
		slices.SortStableFunc(f.g.snaps, func(a, b *snapshotFile) int {
			return int(min(1, max(-1, int64(b.meta.Index)-int64(a.meta.Index)))) //nolint:gosec // indices of a test
		})
		f.g.snaps = f.g.snaps[:min(len(f.g.snaps), snapshotsKept)]
	}, func() {})
}

// Cancel implements raft.SnapshotSink.
func (f *snapshotFile) Cancel() error { return nil }
