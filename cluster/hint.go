package cluster

import (
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

const (
	// hintTries is how often a follower that does not have the entry yet is
	// told of its commitment; hintPause is between two tries.
	hintTries = 4
	hintPause = 5 * time.Millisecond
)

// hints tell followers the commit index as soon as the leader knows it. Raft
// tells them with the next entry or after CommitTimeout, and a node that waits
// for its own write, or matches events with it, should not wait for that.
//
// A hint is an AppendEntries without entries, which the leader may send at any
// time: it names a committed entry as the one before, so a follower that does
// not have that very entry refuses it.
//
// INV hint-1: a hint carries a term that this node led when it knew of the
// commitment.
type hints struct {
	g *Group

	mu   sync.Mutex
	last hint
	busy map[raft.ServerID]bool // somebody is telling it
}

type hint struct {
	leading     uint64 // term of the leader
	index, term uint64 // the committed entry
}

func newHints(g *Group) *hints { return &hints{g: g, busy: map[raft.ServerID]bool{}} }

// committed notes that an entry is committed, and tells the followers when
// this node leads. It does not block.
func (h *hints) committed(index, term uint64) {
	if !h.g.started.Load() {
		return
	}
	// A node that led between two looks at the same term led that term: raft
	// leaves the state of a leader before it takes a newer term.
	leading := h.g.raft.CurrentTerm()
	if h.g.raft.State() != raft.Leader || h.g.raft.CurrentTerm() != leading {
		return
	}
	h.mu.Lock()
	if index > h.last.index || leading > h.last.leading {
		h.last = hint{leading, index, term}
	}
	h.mu.Unlock()
	h.tell()
}

// tell has every follower told what is the last known commitment, unless
// somebody is at it.
func (h *hints) tell() {
	for _, s := range h.g.servers() {
		if s.ID == h.g.self {
			continue
		}
		h.mu.Lock()
		idle := !h.busy[s.ID] && h.last.index > 0
		if idle {
			h.busy[s.ID] = true
		}
		h.mu.Unlock()
		if idle && !h.g.n.background(func() { h.run(s) }) {
			return
		}
	}
}

// run tells one follower until it knows.
func (h *hints) run(s raft.Server) {
	for tries := 0; ; {
		h.mu.Lock()
		next := h.last
		h.mu.Unlock()
		known, err := h.send(s, next)
		h.mu.Lock()
		if tries++; h.last != next && err == nil {
			tries = 0
		} else if known || err != nil || tries >= hintTries {
			delete(h.busy, s.ID)
			h.mu.Unlock()
			return
		}
		h.mu.Unlock()
		if !known && !sleep(h.g.n.ctx, hintPause) {
			return
		}
	}
}

func (h *hints) send(s raft.Server, x hint) (known bool, err error) {
	resp := raft.AppendEntriesResponse{}
	err = h.g.trans.AppendEntries(s.ID, s.Address, &raft.AppendEntriesRequest{
		RPCHeader:    h.g.rpcHeader(),
		Term:         x.leading,
		PrevLogEntry: x.index, PrevLogTerm: x.term, LeaderCommitIndex: x.index,
	}, &resp)
	// A follower of a newer term needs no more of this leader.
	return resp.Success || resp.Term > x.leading, err
}

// raftLogger lowers what hints make usual: a follower that does not have the
// entry yet is no reason to warn.
type raftLogger struct{ hclog.Logger }

// Warn logs a warning.
func (l raftLogger) Warn(msg string, args ...any) {
	if msg == "failed to get previous log" {
		l.Debug(msg, args...)
		return
	}
	l.Logger.Warn(msg, args...)
}
