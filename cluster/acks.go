package cluster

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// ackTransport notes when followers last agreed that this node leads.
// raft.VerifyLeader counts an answer that was already on its way when it was
// asked, so a leader that was paused can confirm itself with the word of
// followers that have since elected another. Here an answer counts from the
// moment its question was sent.
type ackTransport struct {
	*raft.NetworkTransport

	acks  *acks
	g     *Group
	inbox *inbox
}

// appendRetry is how long after a failure entries are sent again.
const appendRetry = 250 * time.Millisecond

// AppendEntries sends heartbeats, and entries that are not pipelined. The
// latter it sends again until they arrive or there is no point in it: raft
// would wait twice as long after every failure, so that a follower that comes
// back after some seconds would get nothing for ten more.
func (t *ackTransport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	for {
		sent := time.Now()
		err := t.NetworkTransport.AppendEntries(id, target, args, resp)
		if err == nil {
			if resp.Success && resp.Term == args.Term {
				t.acks.record(id, args.Term, sent)
				t.acks.matched(id, args)
			}
			return nil
		}
		if isHeartbeat(args) || !sleep(t.g.n.ctx, appendRetry) || !t.g.feeds(id, args.Term) {
			return err
		}
		*resp = raft.AppendEntriesResponse{}
	}
}

// isHeartbeat reports whether the request is one of those that raft sends at
// its own pace, whatever comes of them.
func isHeartbeat(a *raft.AppendEntriesRequest) bool {
	return a.PrevLogEntry == 0 && a.PrevLogTerm == 0 && len(a.Entries) == 0 && a.LeaderCommitIndex == 0
}

// feeds reports whether this node leads in the term and the server is one of
// those that get its entries.
func (g *Group) feeds(id raft.ServerID, term uint64) bool {
	if !g.started.Load() || g.raft.State() != raft.Leader || g.raft.CurrentTerm() != term {
		return false
	}
	return slices.ContainsFunc(g.servers(), func(s raft.Server) bool { return s.ID == id })
}

type ack struct {
	term uint64
	sent time.Time
}

// match is how much of the log of a term's leader a follower has.
type match struct{ term, index uint64 }

type acks struct {
	mu      sync.Mutex
	last    map[raft.ServerID]ack
	match   map[raft.ServerID]match
	changed chan struct{}
}

func newAcks() *acks {
	return &acks{last: map[raft.ServerID]ack{}, match: map[raft.ServerID]match{}, changed: make(chan struct{})}
}

func (a *acks) record(id raft.ServerID, term uint64, sent time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if old := a.last[id]; term < old.term || term == old.term && !sent.After(old.sent) {
		return
	}
	a.last[id] = ack{term, sent}
	a.tell()
}

// tell wakes who waits. The caller holds mu.
func (a *acks) tell() {
	close(a.changed)
	a.changed = make(chan struct{})
}

// matched notes that a follower took the entries of a request. A heartbeat says
// nothing of the log.
func (a *acks) matched(id raft.ServerID, req *raft.AppendEntriesRequest) {
	if isHeartbeat(req) {
		return
	}
	m := match{req.Term, req.PrevLogEntry + uint64(len(req.Entries))}
	a.mu.Lock()
	defer a.mu.Unlock()
	if old := a.match[id]; m.term > old.term || m.term == old.term && m.index > old.index {
		a.match[id] = m
		a.tell()
	}
}

// furthest is the server that has most of the log in term, and how much: 0 when
// none is known to have any. Of several it is the one that answered last: where
// nothing is proposed a dead node has as much as the others. The channel closes
// when that may have changed.
func (a *acks) furthest(term uint64, servers []raft.Server) (best raft.Server, index uint64, changed <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range servers {
		m := a.match[s.ID]
		if m.term != term || m.index < index || m.index == 0 {
			continue
		}
		if m.index > index || a.last[s.ID].sent.After(a.last[best.ID].sent) {
			best, index = s, m.index
		}
	}
	return best, index, a.changed
}

// since gives the latest moment at which a quorum of voters still followed
// self in term, and a channel that closes when that may have moved. The zero
// time means never.
func (a *acks) since(term uint64, self raft.ServerID, servers []raft.Server) (time.Time, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var times []time.Time
	voters := 0
	for _, s := range servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if s.ID == self {
			times = append(times, time.Now())
		} else if k, ok := a.last[s.ID]; ok && k.term == term {
			times = append(times, k.sent)
		}
	}
	need := voters/2 + 1
	if voters == 0 || len(times) < need {
		return time.Time{}, a.changed
	}
	slices.SortFunc(times, func(x, y time.Time) int { return y.Compare(x) })
	return times[need-1], a.changed
}

// pokeInterval is how often a confirmation asks again; heartbeats of their own
// come about as often.
const pokeInterval = 50 * time.Millisecond

// confirm returns nil once a quorum has followed this node in term at a moment
// after the call. INV read-1: it never counts an answer to an earlier question.
func (g *Group) confirm(ctx context.Context, term uint64) error {
	begin := time.Now()
	for {
		if g.raft.State() != raft.Leader || g.raft.CurrentTerm() != term {
			return errNotLeader
		}
		q, changed := g.acks.since(term, g.self, g.servers())
		if !q.Before(begin) {
			return nil
		}
		g.raft.VerifyLeader() // only to send heartbeats now; its own answer is too kind
		t := time.NewTimer(pokeInterval)
		for waiting := true; waiting; {
			select {
			case <-changed:
				q, changed = g.acks.since(term, g.self, g.servers())
				waiting = q.Before(begin)
			case <-t.C:
				waiting = false
			case <-ctx.Done():
				t.Stop()
				return errNoQuorum
			}
		}
		t.Stop()
	}
}

// quorumContact gives the latest moment a quorum followed this node in term.
func (g *Group) quorumContact(term uint64) time.Time {
	q, _ := g.acks.since(term, g.self, g.servers())
	return q
}
