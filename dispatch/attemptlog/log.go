// Package attemptlog remembers, on one node and within a bounded file, what
// that node attempted: events, their attempts and how each delivery ended.
//
// It is not replicated and holds no obligation: losing it loses history, never
// a delivery. It does not decide anything and nothing is sent because of it.
package attemptlog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"example.com/belfry/dispatch/event"
)

// Defaults of Options and limits.
const (
	DefaultMaxAge   = 72 * time.Hour
	DefaultMaxBytes = 1 << 30
	DefaultInterval = 200 * time.Millisecond
	DefaultSync     = 5 * time.Second
	// MaxBuffered is how many records wait in memory for the next write. What
	// comes beyond is dropped and counted: the history is best effort.
	MaxBuffered = 16_384
	// MaxBufferedBytes bounds them by their size too: payloads may be large.
	MaxBufferedBytes = 32 << 20
	// MaxErrorLength is how much of an attempt's error text is kept.
	MaxErrorLength = 512
	// MaxDeliveredHeaders is how many bytes of a record the headers of an answer
	// may take that was a success: there are many of them, and few are looked at.
	// Of others event.MaxHeaders and event.MaxHeaderBytes are kept.
	MaxDeliveredHeaders = 64

	openTimeout = 5 * time.Second
	// fillPercent is how full pages of a list are left where they are split: most
	// keys come in order.
	fillPercent = 0.9
	// pageSize of a new file. Of records of 1 KiB few fit into 4 KiB.
	pageSize = 16 << 10
	// overhead is what a record costs in the file beside its bytes, with its place
	// in an index and the space that pages leave.
	overhead = 96
)

// Options of Open. Path is required.
type Options struct {
	Path     string
	MaxAge   time.Duration    // 0: DefaultMaxAge; a record may stay for a part in segmentsPerAge longer
	MaxBytes int64            // 0: DefaultMaxBytes; of records, not of the file, which does not shrink
	Interval time.Duration    // between two writes; 0: DefaultInterval
	Sync     time.Duration    // between two fsyncs; 0: DefaultSync
	Now      func() time.Time // nil: time.Now
	// Check looks at the file once, before Open opens it; after an error it is moved aside
	// (INV attemptlog-2). nil: what bbolt finds has to do, which is not safe for
	// memory.
	Check  func(path string) error
	Logger hclog.Logger          // nil: none
	Reg    prometheus.Registerer // nil: none

	hash func(account, id string) uint64 // nil: hashOf; tests let events collide
}

func (o *Options) validate() error {
	if o.Path == "" {
		return errors.New("attemptlog: Options.Path is required")
	}
	if o.MaxAge < 0 || o.MaxBytes < 0 || o.Interval < 0 || o.Sync < 0 {
		return errors.New("attemptlog: Options must not be negative")
	}
	o.MaxAge = orDefault(o.MaxAge, DefaultMaxAge)
	o.MaxBytes = orDefault(o.MaxBytes, DefaultMaxBytes)
	o.Interval = orDefault(o.Interval, DefaultInterval)
	o.Sync = orDefault(o.Sync, DefaultSync)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.hash == nil {
		o.hash = hashOf
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	return nil
}

func orDefault[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}

// Entry is one record: an attempt of one delivery, its end, or both.
type Entry struct {
	DeliveryID      string
	ProfileID       string
	SubscriptionIDs []string
	URL             string // user info is removed before it is kept
	// Attempt is nil when the delivery ended without one.
	Attempt *event.Attempt
	Status  event.Status // of the delivery after the attempt
	NextAt  time.Time    // for StatusRetrying
	// AcceptedAt is when the event group took the event, its place in the list
	// of events; zero: it is not in the list.
	AcceptedAt time.Time
}

var (
	bucketSegments = []byte("segments") // number of the first record → segment
	bucketRecords  = []byte("records")  // the same → a bucket: record number → record, indexKey → index
	// bucketLists has the list of events: the same → a bucket: account, AcceptedAt,
	// event id → number of the event's record in this segment.
	bucketLists = []byte("lists")

	indexKey = bytes.Repeat([]byte{0xff}, 9) // behind all numbers

	// bucketOlder is in files of a layout that is not read any more.
	bucketOlder = []byte("age")
)

// hashOf is what records are found by. Events with the same hash are told apart by
// their names.
func hashOf(account, id string) uint64 {
	var buf [256]byte
	b := binary.AppendUvarint(buf[:0], uint64(len(account)))
	sum := sha256.Sum256(append(append(b, account...), id...))
	return binary.BigEndian.Uint64(sum[:])
}

// Log is the attempt log of a node. All methods may be called from any
// goroutine. Close it after Run has returned.
type Log struct {
	opts    Options
	log     hclog.Logger
	dropped prometheus.Counter

	mu      sync.Mutex // guards pending and waiting
	pending []item
	waiting int // bytes of pending

	fileMu sync.Mutex // guards what follows; taken before mu
	db     *bolt.DB
	closed bool
	table
	dirty bool // written since the last sync
}

type item struct {
	hash  uint64 // of the event
	at    time.Time
	event *event.Event
	entry *Entry
}

// Open opens or creates the file. A file that cannot be read is moved aside
// (its name is logged) and a new one begun; one of an older layout is removed.
func Open(o Options) (*Log, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	l := &Log{
		opts: o, log: o.Logger.Named("attemptlog"),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "belfry_attemptlog_dropped_total", Help: "Records of attempts that were not kept because the buffer was full.",
		}),
	}
	err := l.check()
	if err == nil {
		err = l.openFile()
	}
	if err != nil && !errors.Is(err, errBusy) {
		err = l.begin(err)
	}
	if err != nil {
		return nil, fmt.Errorf("attemptlog: open %s: %w", o.Path, err)
	}
	if o.Reg != nil {
		o.Reg.MustRegister(l.dropped)
	}
	return l, nil
}

// check asks Options.Check about a file that exists. INV attemptlog-2: what bbolt
// is given to read makes sense. It believes the pages, and takes keys out of small
// buckets, which it copies into memory, with whatever comes after.
func (l *Log) check() error {
	if l.opts.Check == nil {
		return nil
	}
	switch _, err := os.Stat(l.opts.Path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	if err := l.opts.Check(l.opts.Path); err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	return nil
}

var errBusy = errors.New("the file is in use by another process")

// errOlder says that the file is of a layout that is not read any more.
var errOlder = errors.New("the file is of an older layout")

// begin moves a damaged file aside and begins a new one. A file of an older layout
// is removed: it is large, and nobody could read it.
func (l *Log) begin(cause error) error {
	if errors.Is(cause, errOlder) {
		if err := os.Remove(l.opts.Path); err != nil {
			return errors.Join(cause, err)
		}
		l.log.Warn("the attempt log is of an older layout: it was removed and a new one is begun; no delivery is lost by it", "path", l.opts.Path)
		return l.openFile()
	}
	aside := fmt.Sprintf("%s.corrupt-%d", l.opts.Path, l.opts.Now().UnixNano())
	if err := os.Rename(l.opts.Path, aside); err != nil {
		return errors.Join(cause, err)
	}
	l.log.Error("the attempt log is damaged: it was moved aside and a new one is begun; no delivery is lost by it",
		"error", cause, "movedTo", aside)
	return l.openFile()
}

// errDamaged says that the file makes no sense.
var errDamaged = errors.New("the file is damaged")

// guard turns what bbolt does with a damaged file, a panic or a fault in the
// memory map, into errDamaged; also a write where no file can reach, to a page
// that a damaged list of free ones has.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errDamaged, p)
		}
		if errors.Is(err, syscall.EFBIG) || errors.Is(err, syscall.EINVAL) {
			err = fmt.Errorf("%w: %w", errDamaged, err)
		}
	}()
	return f()
}

// openFile opens the file and reads its table.
func (l *Log) openFile() error {
	var db *bolt.DB
	err := guard(func() (err error) {
		// With the free list in the file, opening does not walk all pages on a
		// goroutine of bbolt's own, whose panic nobody could catch.
		db, err = bolt.Open(l.opts.Path, 0o600, &bolt.Options{
			Timeout: openTimeout, NoSync: true, FreelistType: bolt.FreelistMapType, PageSize: pageSize,
		})
		if err != nil {
			return err
		}
		return db.Update(l.prepare)
	})
	if err != nil {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
		if errors.Is(err, berrors.ErrTimeout) {
			return errBusy
		}
		return err
	}
	l.db = db
	return nil
}

func (l *Log) prepare(tx *bolt.Tx) error {
	if tx.Bucket(bucketOlder) != nil {
		return errOlder
	}
	first, _ := tx.Cursor().First()
	for _, b := range [][]byte{bucketSegments, bucketRecords, bucketLists} {
		if first != nil && tx.Bucket(b) == nil { // not a new file: its name is damaged
			return fmt.Errorf("%w: there is no bucket %q", errDamaged, b)
		}
		if _, err := tx.CreateBucketIfNotExists(b); err != nil {
			return err
		}
	}
	return l.load(tx)
}

// Run writes what was recorded, in batches, and removes what is too old or
// too much, until ctx ends; then once more.
func (l *Log) Run(ctx context.Context) error {
	tick := time.NewTicker(l.opts.Interval)
	defer tick.Stop()
	sync := time.NewTicker(l.opts.Sync)
	defer sync.Stop()
	for {
		select {
		case <-ctx.Done():
			return l.Flush()
		case <-tick.C:
			if err := l.Flush(); err != nil {
				l.log.Error("the attempt log could not be written", "error", err)
			}
		case <-sync.C:
			if err := l.sync(); err != nil {
				l.log.Error("the attempt log could not be synced", "error", err)
			}
		}
	}
}

func (l *Log) sync() error {
	l.fileMu.Lock()
	defer l.fileMu.Unlock()
	if l.closed || !l.dirty {
		return nil
	}
	l.dirty = false
	return l.db.Sync()
}

// Flush writes what was recorded and trims the file to its bounds. What could
// not be written stays in memory.
func (l *Log) Flush() error {
	l.fileMu.Lock()
	defer l.fileMu.Unlock()
	if l.closed {
		return nil
	}
	return l.repaired(func() error {
		if err := l.write(); err != nil {
			return err
		}
		return l.trim()
	})
}

// repaired runs f, and when the file turns out to be damaged begins a new one
// and runs f once more. The caller holds fileMu.
func (l *Log) repaired(f func() error) error {
	err := guard(f)
	if errors.Is(err, errDamaged) {
		if err = errors.Join(l.db.Close(), l.begin(err)); err == nil {
			err = guard(f)
		}
	}
	if err != nil {
		return fmt.Errorf("attemptlog: %w", err)
	}
	return nil
}

// Close writes what is left, syncs and closes the file. It is idempotent.
func (l *Log) Close() error {
	err := l.Flush()
	l.fileMu.Lock()
	defer l.fileMu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	if l.opts.Reg != nil {
		l.opts.Reg.Unregister(l.dropped)
	}
	return errors.Join(err, l.db.Sync(), l.db.Close())
}
