package outbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
	bolt "go.etcd.io/bbolt"
)

// Defaults of Options.
const (
	DefaultMemoryBytes = 32 << 20
	// DefaultUnwritten is how much waits for the next flush at most; then one
	// begins at once. A flush takes several times as much while it runs.
	DefaultUnwritten     = 8 << 20
	DefaultFlushInterval = time.Second
	// MaxReceipts is how many settled event ids are remembered for
	// idempotency. It is part of the replicated rules: equal on all nodes.
	MaxReceipts = 1_000_000
	openTimeout = 5 * time.Second
	// initialMmap is address space, not memory: with it the file grows a long
	// way before the map must move, which waits for readers such as a snapshot.
	initialMmap = 1 << 30
	// pageSize of a new file. Events are written and removed side by side, so of
	// larger pages there are fewer to write.
	pageSize = 16 << 10
)

// Limits are bounds that decide what Apply does. Every node must use the same;
// only tests change them.
type Limits struct {
	Receipts    int // 0: MaxReceipts
	DeadLetters int // before any Retain; 0: MaxDeadLetters
}

// Hooks are fault points for tests; nil in production.
type Hooks struct {
	// BeforeCommit runs in the flush transaction; its error aborts it.
	BeforeCommit func() error
}

// Options of Open. Path is required.
type Options struct {
	Path string
	// MemoryBytes bounds the heavy part of deliveries (envelopes, payloads)
	// in memory; 0: DefaultMemoryBytes. For each delivery that is owed
	// about 70 bytes come on top, 150 when it was tried or has an ordering key,
	// and 110 for each remembered event id.
	MemoryBytes   int
	FlushInterval time.Duration // 0: DefaultFlushInterval
	Limits        Limits
	// NoSync skips fsync. The raft log repeats what a power loss takes only
	// if the file is not torn by it: for tests.
	NoSync     bool
	Logger     hclog.Logger          // nil: none
	Registerer prometheus.Registerer // nil: none
	Hooks      Hooks
}

func (o *Options) validate() error {
	if o.Path == "" {
		return errors.New("outbox: Options.Path is required")
	}
	if o.MemoryBytes < 0 || o.FlushInterval < 0 || o.Limits.Receipts < 0 || o.Limits.DeadLetters < 0 {
		return errors.New("outbox: Options must not be negative")
	}
	setDefault(&o.MemoryBytes, DefaultMemoryBytes)
	setDefault(&o.FlushInterval, DefaultFlushInterval)
	setDefault(&o.Limits.Receipts, MaxReceipts)
	setDefault(&o.Limits.DeadLetters, MaxDeadLetters)
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	return nil
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Store is the replicated state of deliveries: the state machine of an event
// group. It implements raft.FSM and raft.BatchingFSM; the response to a log
// entry is the encoded answer ([]byte) or a *model.Error.
//
// All methods may be called from any goroutine, but for the FSM's own, which
// raft calls from one.
type Store struct {
	opts    Options
	log     hclog.Logger
	metrics *metrics

	wantFlush chan struct{}
	work      chan struct{}

	flushMu   sync.Mutex // serialises flushes; taken before mu
	captured  uint64
	unwritten []*flushBatch

	dbMu   sync.RWMutex // held for reading while db is used for reading
	db     *bolt.DB
	closed bool

	mu      sync.Mutex
	st      *state
	flushed uint64
}

var (
	_ raft.FSM         = (*Store)(nil)
	_ raft.BatchingFSM = (*Store)(nil)
)

// Open opens or creates the file and loads what memory must know of it. The
// raft log after the file's index has to be applied next.
func Open(o Options) (*Store, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	db, st, err := openAndLoad(o)
	if err != nil {
		return nil, err
	}
	s := &Store{
		opts: o, log: o.Logger.Named("outbox"), db: db, st: st,
		wantFlush: make(chan struct{}, 1), work: make(chan struct{}, 1),
		captured: st.applied, flushed: st.applied,
	}
	s.metrics = newMetrics(o.Registerer, s)
	return s, nil
}

// openAndLoad turns a panic of bbolt over a damaged file, or a fault in its
// memory map, into an error: the node refuses to start and says why.
func openAndLoad(o Options) (db *bolt.DB, st *state, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("outbox: %s is damaged: %v; let this node join again with an empty data directory", o.Path, p)
		}
		if err != nil && db != nil {
			err = errors.Join(err, db.Close())
		}
	}()
	if db, err = openFile(o.Path, o.NoSync); err != nil {
		return nil, nil, err
	}
	if st, err = load(db, o.Limits); err != nil {
		return db, nil, fmt.Errorf("outbox: %s: %w; if it is damaged, let this node join again with an empty data directory", o.Path, err)
	}
	return db, st, nil
}

func openFile(path string, noSync bool) (*bolt.DB, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{
		Timeout: openTimeout, NoSync: noSync, FreelistType: bolt.FreelistMapType, InitialMmapSize: initialMmap, PageSize: pageSize,
	})
	if err != nil {
		return nil, fmt.Errorf("outbox: open %s: %w; if it is damaged, let this node join again with an empty data directory", path, err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		// What is not new has its buckets, which load asks for: one whose name is
		// damaged must not be taken for one that was never there.
		if k, _ := tx.Cursor().First(); k != nil {
			return nil
		}
		for _, b := range buckets {
			if _, err := tx.CreateBucket(b); err != nil {
				return err
			}
		}
		meta := tx.Bucket(bucketMeta)
		for _, m := range []struct {
			name  []byte
			value uint64
		}{
			{metaFormat, fileFormat},
			{metaIndex, 0},
			{metaTime, 0},
			{metaSeq, 1},
			{metaOrder, 1},
			{metaDead, 0},
			{metaDue, 0},
			{metaDeadAge, 0},
			{metaDeadBytes, 0},
			{metaDeadCount, 0},
		} {
			v := metaValue(m.value)
			if err := meta.Put(m.name, appendSum(v, m.name, v)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("outbox: prepare %s: %w", path, err), db.Close())
	}
	return db, nil
}

// Close flushes and closes the file. It is idempotent. Snapshots must be
// released before.
func (s *Store) Close() error {
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	s.dbMu.RLock()
	closed := s.closed
	s.dbMu.RUnlock()
	if closed {
		return nil
	}
	err := s.flushLocked()
	s.metrics.unregister()
	s.dbMu.Lock()
	defer s.dbMu.Unlock()
	s.closed = true
	return errors.Join(err, s.db.Close())
}

// Apply implements raft.FSM.
func (s *Store) Apply(l *raft.Log) any { return s.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch implements raft.BatchingFSM. A command that cannot be decoded
// panics: to skip it would make this replica differ from the others.
func (s *Store) ApplyBatch(logs []*raft.Log) []any {
	out := make([]any, len(logs))
	applied := s.AppliedIndex()
	for i, l := range logs {
		var c Command
		if l.Type == raft.LogCommand && l.Index > applied { // INV outbox-10: what the file holds is not decoded again
			var err error
			if c, err = Decode(l.Data); err != nil {
				panic(fmt.Sprintf("log entry %d cannot be applied by this version: %v", l.Index, err))
			}
		}
		out[i] = s.applyOne(l.Index, c)
	}
	return out
}

func (s *Store) applyOne(index uint64, c Command) any {
	s.mu.Lock()
	// INV outbox-10: an entry is applied once; raft hands over again, after a
	// restart, what the file holds already.
	if index <= s.st.applied {
		s.mu.Unlock()
		return nil
	}
	var res any
	if c != nil {
		res = s.st.apply(c)
	}
	s.st.applied = index
	fresh := len(s.st.freshList) > 0
	unwritten := s.st.dirtyBytes
	s.mu.Unlock()

	if fresh {
		signal(s.work)
	}
	if unwritten > min(DefaultUnwritten, s.opts.MemoryBytes/2) {
		signal(s.wantFlush)
	}
	if unwritten > s.opts.MemoryBytes {
		// INV outbox-11: what is not on disk fits the budget. The flusher is
		// not keeping up, so the log waits for the disk.
		if err := s.Flush(); err != nil {
			s.log.Error("the outbox is over its memory budget and cannot be written", "error", err)
		}
	}
	return res
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// AppliedIndex is the index of the last applied entry.
func (s *Store) AppliedIndex() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.st.applied
}

// Snapshot implements raft.FSM. It flushes first, so that raft, which cuts
// the log only behind snapshots, never cuts away what is not on disk.
func (s *Store) Snapshot() (raft.FSMSnapshot, error) {
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	if err := s.flushLocked(); err != nil {
		return nil, err
	}
	tx, err := s.db.Begin(false)
	if err != nil {
		return nil, fmt.Errorf("outbox: snapshot: %w", err)
	}
	return &snapshot{tx: tx}, nil
}

// Restore implements raft.FSM: it checks the whole stream, puts it into a new
// file beside the old one, and swaps. On error the old state stays.
func (s *Store) Restore(rc io.ReadCloser) error {
	defer func() { _ = rc.Close() }()
	next := s.opts.Path + ".restore"
	if err := os.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("outbox: restore: %w", err)
	}
	db, err := openFile(next, true)
	if err != nil {
		return err
	}
	if err := readSnapshot(context.Background(), rc, db); err != nil {
		return errors.Join(fmt.Errorf("outbox: restore: %w", err), db.Close(), os.Remove(next))
	}
	if err := errors.Join(db.Sync(), db.Close()); err != nil {
		return fmt.Errorf("outbox: restore: %w", err)
	}
	return s.swap(next)
}

func (s *Store) swap(next string) error {
	s.flushMu.Lock()
	defer s.flushMu.Unlock()
	s.dbMu.Lock()
	defer s.dbMu.Unlock()
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("outbox: restore: %w", err)
	}
	err := os.Rename(next, s.opts.Path)
	if err == nil {
		err = syncDir(s.opts.Path)
	}
	db, openErr := openFile(s.opts.Path, s.opts.NoSync)
	if err = errors.Join(err, openErr); err != nil {
		return fmt.Errorf("outbox: restore: %w", err)
	}
	s.db = db
	st, err := load(db, s.opts.Limits)
	if err != nil {
		return fmt.Errorf("outbox: restore: %w", err)
	}
	s.mu.Lock()
	st.watched, st.dead.forgot = s.st.watched, s.st.dead.forgot
	for p, on := range st.watched {
		if on {
			for _, l := range st.lanes[p] {
				l.fresh = true
				st.freshList = append(st.freshList, l)
			}
		}
	}
	s.st = st
	s.captured, s.flushed, s.unwritten = st.applied, st.applied, nil
	s.mu.Unlock()
	signal(s.work)
	return nil
}
