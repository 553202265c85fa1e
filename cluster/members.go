package cluster

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// Roles of a member.
const (
	RoleLeader   = "LEADER"
	RoleFollower = "FOLLOWER"
)

// Member is one node of the cluster.
type Member struct {
	NodeID      string `json:"nodeId"`
	PeerAddress string `json:"peerAddress"`
	APIAddress  string `json:"apiAddress"`
	Leader      bool   `json:"leader"` // of the first group
	Voter       bool   `json:"voter"`  // in every group
	// Live: heard from within the lease time.
	Live bool `json:"live"`
	// Draining: it asked to be given nothing, because it stops or was drained.
	Draining bool `json:"draining"`
	// Drained: an operator drained it. It may still end what it does before it
	// is Draining.
	Drained bool `json:"drained"`
	// Commands is the last applied command of the first group.
	Commands uint64 `json:"commands"`
}

// Candidate is a node as the leader of the cluster sees it, for handing out
// work that only one node may do at a time.
type Candidate struct {
	NodeID string
	// Live: it holds a lease and renewed it lately, from this leader.
	Live bool
	// Draining: it asked to be given nothing, or is too far behind.
	Draining bool
	// LeaseExpired: it cannot hold a lease any more.
	LeaseExpired bool
}

// silence is how long a node may be silent and still be Live, and slack is
// added to the lease time before a lease is taken to have expired, for clocks
// that do not run at the same rate.
func (n *Node) silence() time.Duration { return n.o.LeaseTTL * 3 / reportsPerLease }
func (n *Node) slack() time.Duration   { return n.o.LeaseTTL / 10 }

func (n *Node) candidatesChanged() {
	select {
	case n.memberCh <- struct{}{}:
	default:
	}
}

// CandidatesChanged has a value when Candidates may answer differently.
func (n *Node) CandidatesChanged() <-chan struct{} { return n.memberCh }

// Candidates lists every node that may hold a lease, sorted by id, also one
// that was removed. Only the leader of the first group may use it, in a Duty.
func (n *Node) Candidates() []Candidate {
	g := n.groups[0]
	// Raft's own list is not to be changed.
	servers := slices.DeleteFunc(slices.Clone(g.servers()), func(s raft.Server) bool { return s.Suffrage != raft.Voter })
	n.mu.Lock()
	led := n.terms[g.name]
	n.mu.Unlock()
	// INV lease-5: what is said holds for the last moment at which a quorum
	// followed this node. One that was superseded and has not noticed would else
	// take everybody's lease for expired, as nobody reports to it.
	now := g.quorumContact(led.term)
	if now.Before(led.since) {
		now = led.since
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	since := led.since
	var out []Candidate
	voters := map[string]bool{}
	for _, s := range servers {
		id := nodeOf(s.ID)
		voters[id] = true
		p := n.heard[id]
		last := p.lease
		// INV lease-6: that its lease may be good makes a node no candidate. A dead
		// one would else be given work again by every new leader.
		told := !last.Before(since)
		if !told {
			last = since // INV lease-2
		}
		quiet := now.Sub(last)
		out = append(out, Candidate{
			NodeID: id, Live: told && quiet <= n.silence(), Draining: p.report.Draining || n.leaves(id) || n.behind(id, len(servers)),
			LeaseExpired: quiet > n.o.LeaseTTL+n.slack(),
		})
	}
	for id, p := range n.heard {
		if !voters[id] && now.Sub(p.lease) <= n.o.LeaseTTL+n.slack() {
			out = append(out, Candidate{NodeID: id, Draining: true})
		}
	}
	slices.SortFunc(out, func(a, b Candidate) int { return cmp.Compare(a.NodeID, b.NodeID) })
	return out
}

// leaves reports whether a node is about to be taken out. n.mu is held.
func (n *Node) leaves(nodeID string) bool { return time.Now().Before(n.leaving[nodeID]) }

// leaderView makes the member list at the leader.
func (n *Node) leaderView(now time.Time) []Member {
	servers := n.groups[0].servers()
	n.mu.Lock()
	defer n.mu.Unlock()
	members := make([]Member, 0, len(servers))
	for _, s := range servers {
		id := nodeOf(s.ID)
		p := n.heard[id]
		m := Member{
			NodeID: id, PeerAddress: string(s.Address), APIAddress: p.report.APIAddress, Leader: id == n.o.NodeID,
			Voter: n.votesInAll(s.ID), Draining: p.report.Draining, Drained: p.report.Drained, Commands: p.report.Commands,
			Live: p.report.ServerID == string(s.ID) && now.Sub(p.at) <= n.o.LeaseTTL,
		}
		members = append(members, m)
	}
	slices.SortFunc(members, func(a, b Member) int { return cmp.Compare(a.NodeID, b.NodeID) })
	return members
}

// Members lists the nodes of the cluster, sorted by id. It is the leader's
// list, at most a few hundred milliseconds old; without a leader it is the
// last one known, with nobody live but this node.
func (n *Node) Members() []Member {
	g := n.groups[0]
	leader, known := g.Leader()
	var members []Member
	var fresh bool
	if known && leader == n.o.NodeID {
		members, fresh = n.leaderView(time.Now()), true
	} else {
		n.mu.Lock()
		members, fresh = slices.Clone(n.view.members), time.Since(n.view.at) <= 2*n.o.LeaseTTL
		n.mu.Unlock()
	}
	// Before the first answer of a leader there is what raft knows.
	for _, s := range g.servers() {
		id := nodeOf(s.ID)
		if !slices.ContainsFunc(members, func(m Member) bool { return m.NodeID == id }) {
			members = append(members, Member{NodeID: id, PeerAddress: string(s.Address), Voter: n.votesInAll(s.ID)})
		}
	}
	for i := range members {
		m := &members[i]
		m.Leader = known && m.NodeID == leader
		if !fresh {
			m.Live = false
		}
		if m.NodeID == n.o.NodeID {
			m.Drained = n.Drained()
			m.Live, m.APIAddress, m.Commands = true, n.o.APIAddress, g.AppliedIndex()
		}
	}
	slices.SortFunc(members, func(a, b Member) int { return cmp.Compare(a.NodeID, b.NodeID) })
	return members
}

// AppliedEverywhere reports whether every live voter has applied the command
// at index of the first group. A node that is down will have it before it is
// given work again.
func (n *Node) AppliedEverywhere(index uint64) bool {
	for _, m := range n.Members() {
		if m.Voter && m.Live && m.Commands < index {
			return false
		}
	}
	return n.groups[0].AppliedIndex() >= index
}

// Drain asks the leader to give this node no work, and returns when it has
// heard so. The node goes on with what it has.
func (n *Node) Drain(ctx context.Context) error {
	n.mu.Lock()
	n.draining = true
	n.mu.Unlock()
	for {
		n.mu.Lock()
		changed := n.changed
		done := slices.ContainsFunc(n.view.members, func(m Member) bool { return m.NodeID == n.o.NodeID && m.Draining })
		n.mu.Unlock()
		if done {
			return nil
		}
		n.reportNow()
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
