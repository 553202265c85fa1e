package cluster

import (
	"strconv"
	"time"

	"github.com/hashicorp/raft"
)

// RoleCandidate is the role of a node that asks for votes.
const RoleCandidate = "CANDIDATE"

// GroupHealth is how one raft group is on this node. The indices are raft's,
// which count entries that no state machine sees.
type GroupHealth struct {
	Group string
	// Role is RoleLeader, RoleFollower or RoleCandidate.
	Role string
	// Leader is the id of the node that leads; empty: none is known.
	Leader string
	Term   uint64
	// Last is the newest entry of the log here, Commit the newest that is known
	// here to be on a quorum, Applied the newest in the state here, and Snapshot
	// the one that the newest snapshot ends with; 0: there is none.
	Last, Commit, Applied, Snapshot uint64
	// Contact is when this node last heard from the leader or, as the leader,
	// from a quorum. The zero time: never since it was opened.
	Contact time.Time
}

// Health says how the groups are on this node, in the order of Options.Groups.
// It asks nobody.
func (n *Node) Health() []GroupHealth {
	out := make([]GroupHealth, len(n.groups))
	for i, g := range n.groups {
		out[i] = g.health()
	}
	return out
}

func (g *Group) health() GroupHealth {
	h := GroupHealth{Group: g.name, Role: RoleFollower, Term: g.raft.CurrentTerm(), Contact: g.raft.LastContact()}
	// Applied is read first, so that it is not ahead of what follows it.
	h.Applied, h.Commit, h.Last = g.raft.AppliedIndex(), g.raft.CommitIndex(), g.raft.LastIndex()
	h.Leader, _ = g.Leader()
	switch g.raft.State() {
	case raft.Leader:
		h.Role, h.Contact = RoleLeader, g.quorumContact(h.Term)
	case raft.Candidate:
		h.Role = RoleCandidate
	case raft.Follower, raft.Shutdown:
	}
	h.Snapshot, _ = strconv.ParseUint(g.raft.Stats()["last_snapshot_index"], 10, 64) // raft writes a number
	return h
}
