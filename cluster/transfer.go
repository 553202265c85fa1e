package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"

	"example.com/belfry/fsm/model"
)

// handOver has the voter that has most of the log lead the group.
//
// It does what the thesis says in chapter 3.10: no new proposals, the follower
// has the whole log, it is told to start an election at once. Raft has that too,
// but its own can block for ever when a follower does not answer, and then every
// change is refused whenever this node leads again (hashicorp/raft issue 696).
//
// INV lead-1: a hand-over ends after twice the election timeout at most, and
// when it comes to nothing this node goes on leading.
func (g *Group) handOver() error { return g.handOverTo(g.heir) }

func (g *Group) handOverTo(choose func(term uint64, leads func() bool) (raft.Server, error)) error {
	term := g.raft.CurrentTerm()
	if !g.IsLeader() {
		return errNotLeader
	}
	if len(g.otherVoters()) == 0 {
		return model.Errorf(model.CodeConflict, "there is no other node that could lead")
	}
	open, mine := g.gate.close()
	if !mine {
		return unavailable("another hand-over of the group is under way")
	}
	defer open()
	leads := func() bool { return g.raft.State() == raft.Leader && g.raft.CurrentTerm() == term }
	heir, err := choose(term, leads)
	if err != nil {
		return err
	}
	req := &raft.TimeoutNowRequest{RPCHeader: g.rpcHeader()}
	if err := g.trans.TimeoutNow(heir.ID, heir.Address, req, &raft.TimeoutNowResponse{}); err != nil {
		return errNotLeader.WithCause(err)
	}
	giveUp := time.NewTimer(g.n.o.ElectionTimeout)
	defer giveUp.Stop()
	for {
		changed := g.LeaderChanged()
		if !leads() {
			return nil
		}
		select {
		case <-changed:
		case <-giveUp.C:
			return errNotLeader.WithCause(errors.New("the other node did not take over in time"))
		case <-g.n.ctx.Done():
			return errStopping
		}
	}
}

// rpcHeader says that a request of raft is from this node.
func (g *Group) rpcHeader() raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(g.self), Addr: g.trans.EncodePeer(g.self, g.trans.LocalAddr())}
}

func (g *Group) otherVoters() []raft.Server {
	var others []raft.Server
	for _, s := range g.servers() { // raft's own list: not to be changed
		if s.Suffrage == raft.Voter && s.ID != g.self {
			others = append(others, s)
		}
	}
	return others
}

// nextBest is the voter that has most of the log: what is committed at least.
// The others will follow it, for none of them has more. What this node has
// beyond that is of unknown outcome.
func (g *Group) nextBest(term uint64, _ func() bool) (raft.Server, error) {
	best, index, _ := g.acks.furthest(term, g.otherVoters())
	if index == 0 || index < g.raft.CommitIndex() {
		return raft.Server{}, errNotLeader.WithCause(errors.New("no other node is known to have what is committed"))
	}
	return best, nil
}

// heir waits until a voter has the whole log, for an election timeout at most.
//
// INV lead-3: what is taken for the whole log has the first entry of the term.
// Raft appends that after it has said that this node leads; until then a voter
// that lacks it looks as if it had all, and would not be elected.
func (g *Group) heir(term uint64, leads func() bool) (raft.Server, error) {
	return g.heirAmong(g.otherVoters, term, leads)
}

func (g *Group) heirAmong(voters func() []raft.Server, term uint64, leads func() bool) (raft.Server, error) {
	ctx, cancel := context.WithTimeout(g.n.ctx, g.n.o.ElectionTimeout)
	defer cancel()
	if err := g.passBarrier(ctx, term); err != nil {
		return raft.Server{}, err
	}
	for {
		best, index, changed := g.acks.furthest(term, voters())
		switch {
		case !leads():
			return raft.Server{}, errNotLeader
		case index > 0 && index >= g.raft.LastIndex():
			return best, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if g.n.ctx.Err() != nil {
				return raft.Server{}, errStopping
			}
			return raft.Server{}, errNotLeader.WithCause(errors.New("no other node has the whole log"))
		}
	}
}
