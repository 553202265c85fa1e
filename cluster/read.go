package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"

	"github.com/hashicorp/raft"

	"example.com/belfry/fsm/model"
)

// Linearize returns once the local state has everything that was acknowledged
// anywhere before the call. Concurrent callers share a round. Errors:
// CodeUnavailable when no leader confirms itself, or the local state does not
// get there, within LeaderWait each or ctx.
func (g *Group) Linearize(ctx context.Context) error {
	index, err := g.reads.join(ctx, g.n)
	if err != nil {
		return err
	}
	if err := g.keepUp(ctx, index); err != nil {
		return unavailable("this node has not caught up with the leader in time").WithCause(err)
	}
	return nil
}

// read gets a read index, from the local raft or from the leader.
func (g *Group) read(ctx context.Context) (index uint64, err error) {
	err = g.untilLeader(ctx, func() (err error) {
		if g.IsLeader() {
			index, err = g.leaderReads.join(ctx, g.n)
			return err
		}
		leader, ok := g.Leader()
		if !ok || leader == g.n.o.NodeID {
			return errNoLeader
		}
		body := binary.BigEndian.AppendUint64(nil, g.AppliedIndex())
		// A read may be asked again, so nothing is gained by waiting for the old
		// leader when there is a new one.
		ctx, cancel := g.untilSuccessor(ctx, leader, 0)
		defer cancel()
		reply, err := g.n.trans.Query(ctx, leader, methodRead+g.name, body)
		if err != nil {
			return unavailable("the leader did not answer").WithCause(err)
		}
		if len(reply) != 8 {
			return model.Errorf(model.CodeInternal, "the leader's answer could not be read")
		}
		index = binary.BigEndian.Uint64(reply)
		return nil
	})
	return index, err
}

// leaderRead gives an index that holds everything acknowledged or read before
// the call, after making sure that no other leader had been elected by then. The
// first of a term passes through the log.
func (g *Group) leaderRead(ctx context.Context) (uint64, error) {
	term := g.raft.CurrentTerm()
	if g.raft.State() != raft.Leader {
		return 0, errNotLeader
	}
	if err := g.passBarrier(ctx, term); err != nil {
		return 0, err
	}
	index, err := g.committed()
	if err != nil {
		return 0, err
	}
	return index, g.confirm(ctx, term)
}

// lastCommand is the index of the last command up to an index of the log.
type lastCommand struct {
	mu          sync.Mutex
	upTo, index uint64
}

// committed is the index of the last command of which this node knows that it
// is committed. On a leader that has passed the barrier of its term it covers
// all that any node has applied.
//
// INV read-2: what this node itself has applied would not do. Followers hear of
// a commitment while it is still at it, and what somebody has read there, the
// next read here must not lack.
func (g *Group) committed() (uint64, error) {
	applied, commit := g.AppliedIndex(), g.raft.CommitIndex()
	l := &g.lastCommand
	l.mu.Lock()
	defer l.mu.Unlock()
	known := max(applied, l.upTo)
	last := max(applied, l.index)
	for i := commit; i > known; i-- {
		// Entries of raft itself reach no state machine, so nobody could wait
		// until they are applied.
		var e raft.Log
		err := g.stores.Log.GetLog(i, &e)
		if errors.Is(err, raft.ErrLogNotFound) {
			break // INV group-3: it was cut off behind a snapshot, so it is applied
		}
		if err != nil {
			return 0, unavailable("the log could not be read").WithCause(err)
		}
		if e.Type == raft.LogCommand {
			last = i
			break
		}
	}
	if commit > l.upTo {
		l.upTo, l.index = commit, last
	}
	return last, nil
}

// serveRead gives a follower a read index.
func (g *Group) serveRead(ctx context.Context, _ string, body []byte) ([]byte, error) {
	if len(body) != 8 {
		return nil, model.Errorf(model.CodeInvalid, "a read takes the applied index in 8 bytes")
	}
	index, err := g.leaderReads.join(ctx, g.n)
	if err != nil {
		return nil, err
	}
	if binary.BigEndian.Uint64(body) < index {
		g.hints.tell()
	}
	return binary.BigEndian.AppendUint64(nil, index), nil
}

// rounds lets concurrent callers share the work of a round that begins after
// the last of them has come.
type rounds struct {
	run func(ctx context.Context) (uint64, error)

	mu      sync.Mutex
	next    *round
	running bool
}

type round struct {
	done  chan struct{}
	index uint64
	err   error
}

func (r *rounds) join(ctx context.Context, n *Node) (uint64, error) {
	r.mu.Lock()
	if r.next == nil {
		r.next = &round{done: make(chan struct{})}
	}
	my := r.next
	if !r.running {
		if r.running = n.background(func() { r.loop(n) }); !r.running {
			r.mu.Unlock()
			return 0, errStopping
		}
	}
	r.mu.Unlock()
	select {
	case <-my.done:
		return my.index, my.err
	case <-ctx.Done():
		return 0, errNoQuorum.WithCause(context.Cause(ctx))
	}
}

func (r *rounds) loop(n *Node) {
	for {
		r.mu.Lock()
		my := r.next
		r.next = nil
		if my == nil {
			r.running = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		ctx, cancel := context.WithTimeout(n.ctx, n.o.LeaderWait)
		my.index, my.err = r.run(ctx)
		cancel()
		close(my.done)
	}
}
