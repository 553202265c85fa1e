package cluster

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// slowWrite is how long a leader may take to write entries to its log before
	// it hands over.
	slowWrite = time.Second
	// stalled is how long an entry of a leader may wait to be committed, and
	// stallCheck how often it looks.
	stalled    = 2 * time.Second
	stallCheck = 100 * time.Millisecond
	// sluggish is how long a leader's log may usually take to write before it is
	// compared with the others', slowerBy how many times theirs it may be, and
	// slowerLooks for how many looks in a row: what others report is some time
	// behind. Where all disks are like that nobody hands over.
	sluggish    = 50 * time.Millisecond
	slowerBy    = 4
	slowerLooks = 10
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

	slow   func()
	writes *pace
}

func (l *slowLog) watch(f func() error) error {
	t := time.AfterFunc(slowWrite, l.slow)
	defer t.Stop()
	begin := time.Now()
	err := f()
	now := time.Now()
	l.writes.note(now, now.Sub(begin))
	return err
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

// waiting tells how long the entries of a leader wait to be committed: it keeps
// what the log had at the last looks, one every stallCheck.
type waiting struct {
	last [stalled / stallCheck]uint64 // index of the log
	n    int                          // looks so far
}

// look notes what the log has, and reports whether it had entries stalled ago
// that are not committed yet. That some are committed meanwhile does not help
// those: a narrow network lets a few through now and then.
func (w *waiting) look(last, committed uint64) bool {
	oldest := &w.last[w.n%len(w.last)]
	late := w.n >= len(w.last) && *oldest > committed
	*oldest = last
	w.n++
	return late
}

// watchPace hands over while the others hear this leader and what it sends
// them gets committed late or not at all: its connections carry heartbeats and
// not much more. So it does when its disk is far slower than that of another
// one. INV lead-2.
func (g *Group) watchPace(ctx context.Context) {
	var w waiting
	slower := 0 // looks in a row
	for sleep(ctx, stallCheck) {
		if !g.IsLeader() {
			w, slower = waiting{}, 0
			continue
		}
		late := w.look(g.raft.LastIndex(), g.raft.CommitIndex()) && len(g.otherVoters()) >= 2
		if slower++; len(g.fasterVoters()) == 0 {
			slower = 0
		}
		if !late && slower < slowerLooks || !g.slowHandOver.pass(time.Now()) {
			continue
		}
		choose := g.nextBest
		if late {
			g.log.Warn("this node leads and its changes take long to be committed though the others hear it: see to its network; another node is asked to lead", "longer than", stalled)
		} else {
			choose = g.fasterHeir
			g.log.Warn("this node leads and its log takes far longer to write than that of another node: see to its disk; that one is asked to lead", "usually", g.writes.usual(time.Now()))
		}
		if err := g.handOverTo(choose); err != nil {
			g.log.Warn("another node could not be made the leader", "error", err)
		}
	}
}

// fasterVoters are those whose log takes less than a slowerBy-th of this one's
// to write, if that takes sluggish at least.
func (g *Group) fasterVoters() []raft.Server {
	now := time.Now()
	own := g.writes.usual(now)
	if own < sluggish {
		return nil
	}
	others := g.otherVoters()
	heard := g.n.reportsOf(others, now)
	return slices.DeleteFunc(others, func(s raft.Server) bool {
		theirs := time.Duration(heard[s.ID].report.WriteNs[g.name])
		return theirs <= 0 || theirs*slowerBy > own
	})
}

func (g *Group) fasterHeir(term uint64, leads func() bool) (raft.Server, error) {
	return g.heirAmong(g.fasterVoters, term, leads)
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
