package cluster

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// promoteLag is how many entries a new server may be behind when it gets
	// its vote.
	promoteLag = 256
	// reconcileEvery is how often a leader compares members.
	reconcileEvery = 200 * time.Millisecond
)

// reconciler is the duty of every group's leader to give caught-up servers
// their vote, to keep addresses current and, in groups but the first, to have
// the members that the first has.
type reconciler struct{ g *Group }

// Name names the duty.
func (reconciler) Name() string { return "members" }

// Run compares until ctx ends.
func (r reconciler) Run(ctx context.Context, term uint64) error {
	for sleep(ctx, reconcileEvery) {
		if err := r.g.changing(ctx, func() error { return r.g.reconcile(ctx) }); err != nil && ctx.Err() == nil {
			r.g.log.Warn("the members of the group could not be brought up to date; trying again", "term", term, "error", err, "cause", errors.Unwrap(err))
		}
	}
	return nil
}

// reconcile makes at most one change.
func (g *Group) reconcile(ctx context.Context) error {
	first := g.n.groups[0]
	have := g.servers()
	if g != first {
		want := first.servers()
		if !slices.ContainsFunc(want, func(s raft.Server) bool { return s.ID == g.self }) {
			return nil // this node knows too little of the first group
		}
		for _, s := range have {
			if slices.ContainsFunc(want, func(w raft.Server) bool { return w.ID == s.ID }) {
				continue
			}
			// Not on the word of a replica that may be behind.
			if err := first.Linearize(ctx); err != nil {
				return err
			}
			if slices.ContainsFunc(first.servers(), func(w raft.Server) bool { return w.ID == s.ID }) {
				return nil
			}
			return g.change(func() raft.Future { return g.raft.RemoveServer(s.ID, 0, changeTimeout) })
		}
		for _, w := range want {
			i := slices.IndexFunc(have, func(s raft.Server) bool { return s.ID == w.ID })
			switch {
			case i < 0:
				return g.change(func() raft.Future { return g.raft.AddNonvoter(w.ID, w.Address, 0, changeTimeout) })
			case have[i].Address != w.Address:
				return g.readdress(have[i], w.Address)
			}
		}
	}
	return g.promote(have)
}

// reportsOf are the servers' reports that are not older than a lease.
func (n *Node) reportsOf(servers []raft.Server, now time.Time) map[raft.ServerID]peer {
	n.mu.Lock()
	defer n.mu.Unlock()
	heard := make(map[raft.ServerID]peer, len(servers))
	for _, s := range servers {
		if p := n.heard[nodeOf(s.ID)]; p.report.ServerID == string(s.ID) && now.Sub(p.at) <= n.o.LeaseTTL {
			heard[s.ID] = p
		}
	}
	return heard
}

// promote gives a vote to a server that has caught up, and a new address to
// one that reports from it.
func (g *Group) promote(have []raft.Server) error {
	now, commit := time.Now(), g.raft.CommitIndex()
	heard := g.n.reportsOf(have, now)
	for _, s := range have {
		p, ok := heard[s.ID]
		if !ok {
			continue
		}
		if g == g.n.groups[0] && string(s.Address) != p.report.PeerAddress {
			return g.readdress(s, raft.ServerAddress(p.report.PeerAddress))
		}
		if s.Suffrage != raft.Voter && p.report.Applied[g.name]+promoteLag >= commit && p.report.Applied[g.name] > 0 {
			g.log.Info("node has caught up and gets its vote", "node", nodeOf(s.ID))
			return g.change(func() raft.Future { return g.raft.AddVoter(s.ID, s.Address, 0, changeTimeout) })
		}
	}
	return nil
}

func (g *Group) readdress(s raft.Server, addr raft.ServerAddress) error {
	g.log.Info("node has a new address", "node", nodeOf(s.ID), "old", s.Address, "new", addr)
	if s.Suffrage == raft.Voter {
		return g.change(func() raft.Future { return g.raft.AddVoter(s.ID, addr, 0, changeTimeout) })
	}
	return g.change(func() raft.Future { return g.raft.AddNonvoter(s.ID, addr, 0, changeTimeout) })
}
