package cluster

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// slowWrite is how long a leader may take to write entries to its log before
	// it hands over.
	slowWrite = time.Second
	// stalled is how long a leader may have entries of which none gets committed,
	// and stallCheck how often it looks.
	stalled    = 2 * time.Second
	stallCheck = 500 * time.Millisecond
	// slowPause is the least time between two such hand-overs of a node: where all
	// disks are slow they would only add to the trouble.
	slowPause = 30 * time.Second
)

// slowLog tells of a write that takes longer than slowWrite, while it goes on.
//
// INV lead-2: a leader that cannot write its log hands over. Raft would have it
// lead on, for its heartbeats need no disk; and nothing is committed, by
// anybody, before it has written it itself.
type slowLog struct {
	raft.LogStore

	slow func()
}

func (l *slowLog) watch(f func() error) error {
	t := time.AfterFunc(slowWrite, l.slow)
	defer t.Stop()
	return f()
}

// StoreLog appends one entry.
func (l *slowLog) StoreLog(e *raft.Log) error {
	return l.watch(func() error { return l.LogStore.StoreLog(e) })
}

// StoreLogs appends entries.
func (l *slowLog) StoreLogs(es []*raft.Log) error {
	return l.watch(func() error { return l.LogStore.StoreLogs(es) })
}

// IsMonotonic implements raft.MonotonicLogStore for logs that do.
func (l *slowLog) IsMonotonic() bool { return monotonic(l.LogStore) }

// watchCommits hands over while the others hear this leader and nothing of what
// it sends them gets committed: its connections carry heartbeats and not much
// more. INV lead-2.
func (g *Group) watchCommits(ctx context.Context) {
	var commit uint64
	since := time.Now()
	for sleep(ctx, stallCheck) {
		last, now := g.raft.LastIndex(), g.raft.CommitIndex()
		if now != commit || now >= last || !g.IsLeader() {
			commit, since = now, time.Now()
			continue
		}
		if time.Since(since) < stalled || len(g.otherVoters()) < 2 || !g.slowHandOver.pass(time.Now()) {
			continue
		}
		g.log.Warn("this node leads and nothing gets committed though the others hear it: see to its network; another node is asked to lead", "longer than", stalled)
		if err := g.handOverTo(g.nextBest); err != nil {
			g.log.Warn("another node could not be made the leader", "error", err)
		}
	}
}

// logSlow hands over if this node leads, at most once in slowPause.
func (g *Group) logSlow() {
	if !g.started.Load() || !g.IsLeader() || !g.slowHandOver.pass(time.Now()) {
		return
	}
	g.log.Warn("this node leads and its log takes long to write: see to its disk; another node is asked to lead", "longer than", slowWrite)
	if err := g.handOver(); err != nil {
		g.log.Warn("another node could not be made the leader", "error", err)
	}
}

// seldom lets one pass in slowPause. The zero value lets the first one pass.
type seldom struct{ last atomic.Int64 }

func (s *seldom) pass(now time.Time) bool {
	last := s.last.Load()
	return (last == 0 || now.UnixNano()-last >= int64(slowPause)) && s.last.CompareAndSwap(last, now.UnixNano())
}
