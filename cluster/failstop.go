package cluster

import (
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"
)

// ErrLogFailed is what Run returns, wrapped, when the log of a raft group could
// not be written. The node may be started again on the same data directory once
// its disk can be written.
var ErrLogFailed = errors.New("the raft log could not be written: see to the disk of this node (space, errors) and start it again")

// failStopLog is a log that takes no writes after one that failed.
//
// INV group-2: a log is not written after a failed write but from what a new
// start finds in it. Whether the failed write is there nobody knows: bbolt, for
// one, shows it when only its last sync has failed, while raft believes that it
// is not. Raft would write on over its first entries only and leave the last
// ones behind them, with older terms; after the next start this node would take
// those for the end of its log, and vote for a leader that lacks what this node
// has acknowledged.
type failStopLog struct {
	raft.LogStore

	failed func(error) // told of the first failure; must not block

	mu  sync.Mutex
	err error
}

// write runs f unless a write has failed. Entries are written by one goroutine of
// raft, so none begins while another fails; another one deletes old entries,
// which may go on meanwhile.
func (l *failStopLog) write(f func() error) error {
	if err := l.failure(); err != nil {
		return err
	}
	err := f()
	if err == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = fmt.Errorf("%w: %w", ErrLogFailed, err)
		l.failed(l.err)
	}
	return l.err
}

func (l *failStopLog) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// StoreLog appends one entry.
func (l *failStopLog) StoreLog(e *raft.Log) error {
	return l.write(func() error { return l.LogStore.StoreLog(e) })
}

// StoreLogs appends entries.
func (l *failStopLog) StoreLogs(es []*raft.Log) error {
	return l.write(func() error { return l.LogStore.StoreLogs(es) })
}

// DeleteRange deletes entries at one end of the log.
func (l *failStopLog) DeleteRange(from, to uint64) error {
	return l.write(func() error { return l.LogStore.DeleteRange(from, to) })
}

// IsMonotonic implements raft.MonotonicLogStore for logs that do.
func (l *failStopLog) IsMonotonic() bool { return monotonic(l.LogStore) }

// monotonic is what a log says of itself; one that says nothing is not.
func monotonic(l raft.LogStore) bool {
	m, ok := l.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}
