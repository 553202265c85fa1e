// Package fsm is the replicated state machine of belfry's configuration:
// commands, the rules of the hierarchy, the bbolt store that applies them, its
// snapshots and digest, the reader over it and the writer that proposes. It
// knows neither HTTP nor how commands are replicated. See DESIGN.md.
package fsm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"example.com/belfry/fsm/model"
)

// Observer is told of changes on the apply goroutine, after the commit. It must
// not block, and must not call the store: the View it is given is all it needs.
type Observer interface {
	// Committed follows every applied batch, in log order.
	Committed(v model.View, ch model.ChangeSet)
	// Restored says that the whole state is another one.
	Restored(v model.View)
}

// Options of a Store.
type Options struct {
	// Path is the state file. Its directory must exist.
	Path   string
	Logger hclog.Logger // nil: none
	// Observers are told in order.
	Observers []Observer
	// NoSync leaves out every fsync. For tests only: a crash loses state that
	// raft may have truncated from its log.
	NoSync bool
	// LockTimeout bounds the wait for the lock on the file; 0: 5 s.
	LockTimeout time.Duration
}

func (o *Options) validate() error {
	if o.Path == "" {
		return errors.New("fsm: Options.Path is required")
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.LockTimeout == 0 {
		o.LockTimeout = 5 * time.Second
	}
	return nil
}

// Store is the state machine. Raft calls Apply, ApplyBatch, Snapshot and
// Restore from one goroutine; everything else may be called from any.
type Store struct {
	o       Options
	limits  limits
	applied atomic.Uint64

	// beforeCommit and afterCommit are crash points for tests.
	beforeCommit, afterCommit func()

	mu     sync.Mutex
	file   *file
	closed bool
}

var (
	_ raft.FSM         = (*Store)(nil)
	_ raft.BatchingFSM = (*Store)(nil)
)

// file is an open state file with the number of those that use it. A restore
// replaces it; the old one closes when its last reader is done, so that a slow
// snapshot does not hold up the apply goroutine.
type file struct {
	db   *bbolt.DB
	uses int // guarded by Store.mu; the Store's own use is one
}

// Open opens or creates the state file. When it finds state it calls Restored
// on the observers before it returns. A file of another format is refused.
func Open(o Options) (*Store, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if err := os.Remove(o.Path + restoreSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove an unfinished restore: %w", err)
	}
	db, err := openFile(o, o.Path)
	if err != nil {
		return nil, err
	}
	s := &Store{o: o, limits: defaultLimits(), file: &file{db: db, uses: 1}}
	if err := db.Update(checkSum); err != nil {
		return nil, errors.Join(fmt.Errorf("state file %s is damaged: %w; let this node join again with an empty data directory", o.Path, err), db.Close())
	}
	found := false
	err = db.View(func(tx *bbolt.Tx) error {
		s.applied.Store(readUint(tx.Bucket(bMeta).Get(kApplied)))
		if found = s.applied.Load() > 0; found {
			s.restored(tx)
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read state file %s: %w", o.Path, err), db.Close())
	}
	if found {
		o.Logger.Info("state found", "index", s.applied.Load())
	}
	return s, nil
}

// initialMmap is address space, not memory: the map must move when the file
// outgrows it, which waits for readers such as a snapshot.
const initialMmap = 256 << 20

func openFile(o Options, path string) (*bbolt.DB, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: o.LockTimeout, NoSync: o.NoSync, NoGrowSync: o.NoSync, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
		InitialMmapSize: initialMmap,
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("state file %s is in use by another process", path)
	} else if err != nil {
		return nil, fmt.Errorf("open state file %s: %w; if it is damaged, let this node join again with an empty data directory", path, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		if k, _ := tx.Cursor().First(); k != nil {
			return checkBuckets(tx)
		}
		for _, name := range append([][]byte{bMeta}, buckets...) {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return tx.Bucket(bMeta).Put(kFormat, be64(storeFormat))
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("state file %s: %w", path, err), db.Close())
	}
	return db, nil
}

// checkBuckets looks at a file that is not new: it has all buckets. One whose
// name is damaged must not be taken for one that was never there.
func checkBuckets(tx *bbolt.Tx) error {
	if m := tx.Bucket(bMeta); m != nil {
		if f := readUint(m.Get(kFormat)); f != storeFormat {
			return fmt.Errorf("it has format %d, this version of belfry reads %d", f, storeFormat)
		}
	}
	for _, name := range append([][]byte{bMeta}, buckets...) {
		if tx.Bucket(name) == nil {
			return fmt.Errorf("it is damaged: it has no bucket %q; let this node join again with an empty data directory", name)
		}
	}
	return nil
}

// Close closes the state file. Reads that are under way finish first; later
// ones fail. It may be called again.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	f := s.file
	s.mu.Unlock()
	return s.release(f)
}

var errClosed = model.Errorf(model.CodeUnavailable, "this node is stopping")

func (s *Store) acquire() (*file, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	s.file.uses++
	return s.file, nil
}

func (s *Store) release(f *file) error {
	s.mu.Lock()
	f.uses--
	last := f.uses == 0
	s.mu.Unlock()
	if last {
		return f.db.Close()
	}
	return nil
}

// view runs fn in a read transaction.
func (s *Store) view(fn func(tx *bbolt.Tx) error) error {
	f, err := s.acquire()
	if err != nil {
		return err
	}
	err = f.db.View(fn)
	if cerr := s.release(f); cerr != nil {
		return errors.Join(err, fmt.Errorf("close state file: %w", cerr))
	}
	return err
}

// AppliedIndex is the index of the last log entry of which this store knows:
// commands and changes of membership. Raft shows its own empty entries (the
// first of a term, barriers) to no state machine, so raft's index may be
// higher by those.
func (s *Store) AppliedIndex() uint64 { return s.applied.Load() }

// Apply applies one entry. See ApplyBatch.
func (s *Store) Apply(l *raft.Log) any { return s.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch applies entries in one transaction: rows, audit records and
// applied index together. Each answer is a []byte or, for a command that broke
// a rule, a *model.Error as an error; such a command changes nothing and does
// not disturb the others. INV fsm-1: entries at or below the applied index are
// skipped, their answer is an empty []byte. It panics on an entry that cannot
// be decoded and on a state file that cannot be written: going on would make
// this node differ from the others.
func (s *Store) ApplyBatch(ls []*raft.Log) []any {
	out := make([]any, len(ls))
	f, err := s.acquire()
	if err != nil {
		panic("fsm: apply to a closed store")
	}
	defer func() { must(s.release(f)) }()
	tx, err := f.db.Begin(true)
	must(err)
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	before := readUint(tx.Bucket(bMeta).Get(kApplied))
	applied := before
	t := &txn{tx: tx, limits: s.limits}
	t.sum, _, _ = readSum(tx)
	for i, l := range ls {
		out[i] = []byte(nil)
		if l.Index <= applied {
			continue
		}
		applied = l.Index
		if l.Type == raft.LogCommand {
			out[i] = t.run(l)
		}
	}
	if applied == before {
		return out
	}
	must(tx.Bucket(bMeta).Put(kApplied, be64(applied)))
	must(putSum(tx, t.sum, applied))
	if s.beforeCommit != nil {
		s.beforeCommit()
	}
	must(tx.Commit()) // INV fsm-2: data and applied index reach the disk together
	if s.afterCommit != nil {
		s.afterCommit()
	}
	s.applied.Store(applied)
	if len(s.o.Observers) > 0 {
		must(f.db.View(func(tx *bbolt.Tx) error {
			v := view{tx: tx, index: applied}
			for _, o := range s.o.Observers {
				o.Committed(v, model.ChangeSet{Index: applied, Changes: t.changes})
			}
			return nil
		}))
	}
	return out
}

// run applies one command and gives its answer.
func (t *txn) run(l *raft.Log) any {
	c, err := Decode(l.Data)
	if err != nil {
		panic(fmt.Sprintf("fsm: entry %d: %v: this node stops rather than differ from the others", l.Index, err))
	}
	t.index, t.head, t.writes, t.rows, t.rowsCut = l.Index, c.header(), 0, nil, false
	var res any
	if err = t.permit(t.head.By); err == nil {
		res, err = c.apply(t)
	}
	if err != nil {
		if t.writes > 0 {
			// INV fsm-3: rules first, then writes.
			panic(fmt.Sprintf("fsm: command %d wrote before it was refused", c.tag()))
		}
		return err
	}
	if account, action, object := c.record(); action != "" {
		t.audit(account, action, object)
	}
	return answer(res)
}

func (s *Store) restored(tx *bbolt.Tx) {
	v := view{tx: tx, index: readUint(tx.Bucket(bMeta).Get(kApplied))}
	for _, o := range s.o.Observers {
		o.Restored(v)
	}
}

func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
