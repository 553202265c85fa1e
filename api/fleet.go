package api

import (
	"context"
	"net/http"
	"slices"
	"time"

	"example.com/belfry/fsm/model"
)

// GroupConfig and GroupEvents name what GET /cluster/1/digests sums up: the
// configuration, and what is owed with what was given up.
const (
	GroupConfig = "config"
	GroupEvents = "events"
)

// Fleet asks all nodes of the cluster, and names those that did not answer.
// It works without a quorum.
type Fleet interface {
	// Health says how every node is.
	Health(ctx context.Context) ClusterHealth
	// Digests sums up the replicated state of a group (GroupConfig or
	// GroupEvents) on every node, or on one; "" is every. Nodes whose rows have
	// an equal index must have an equal digest.
	Digests(ctx context.Context, group, nodeID string) ClusterDigests
}

type (
	// ClusterHealth is the answer of GET /cluster/1/health. Nodes are in the
	// order of their ids.
	ClusterHealth struct {
		At          time.Time    `json:"at"` // of the clock that offsets refer to
		Nodes       []NodeHealth `json:"nodes"`
		Unreachable []string     `json:"unreachableNodes"`
	}
	// NodeHealth is what a node says of itself, with the clock offset as seen by
	// the node that asked.
	NodeHealth struct {
		NodeID    string    `json:"nodeId"`
		Version   string    `json:"version"`
		At        time.Time `json:"at"`
		StartedAt time.Time `json:"startedAt"`
		// UptimeSeconds is of the monotonic clock.
		UptimeSeconds float64 `json:"uptimeSeconds"`
		Ready         bool    `json:"ready"`
		// NotReady is why not.
		NotReady string `json:"notReady,omitempty"`
		Draining bool   `json:"draining"`
		// Partitions is how many it owns, as it knows the table.
		Partitions int `json:"partitions"`
		// ClockOffsetMs is how far its clock is ahead, and ClockErrorMs by how
		// much that may be wrong: half the time that the answer took. Absent: it
		// is the clock of the node that asked.
		ClockOffsetMs *float64      `json:"clockOffsetMs,omitempty"`
		ClockErrorMs  *float64      `json:"clockErrorMs,omitempty"`
		Groups        []GroupHealth `json:"groups"`
		Disk          DiskHealth    `json:"disk"`
	}
	// GroupHealth is one raft group on one node. Indices count all entries of
	// the log.
	GroupHealth struct {
		Group         string `json:"group"`
		Role          string `json:"role"` // LEADER, FOLLOWER or CANDIDATE
		Leader        string `json:"leader,omitempty"`
		Term          uint64 `json:"term"`
		LastIndex     uint64 `json:"lastIndex"`
		CommitIndex   uint64 `json:"commitIndex"`
		AppliedIndex  uint64 `json:"appliedIndex"`
		SnapshotIndex uint64 `json:"snapshotIndex"`
		// Lag is how many committed entries it has not applied, as the leader
		// counts. Absent: the leader did not answer.
		Lag *uint64 `json:"lag,omitempty"`
		// LeaderContactMs is how long ago it heard from the leader or, as the
		// leader, from a quorum. Absent: never.
		LeaderContactMs *float64 `json:"leaderContactMs,omitempty"`
	}
	// DiskHealth is the file system of a node's data directory and what of it the
	// node takes, in bytes.
	DiskHealth struct {
		TotalBytes int64 `json:"totalBytes"`
		FreeBytes  int64 `json:"freeBytes"` // for the node's user
		// MinFreeBytes is the free space below which it takes no events.
		MinFreeBytes  int64 `json:"minFreeBytes"`
		RaftBytes     int64 `json:"raftBytes"` // logs and snapshots
		ConfigBytes   int64 `json:"configBytes"`
		OutboxBytes   int64 `json:"outboxBytes"`
		AttemptsBytes int64 `json:"attemptsBytes"`
		OtherBytes    int64 `json:"otherBytes"`
		// Error is why the disk could not be looked at, or not all of it.
		Error string `json:"error,omitempty"`
	}

	// ClusterDigests is the answer of GET /cluster/1/digests, in the order of the
	// nodes' ids.
	ClusterDigests struct {
		Digests     []NodeDigest `json:"digests"`
		Unreachable []string     `json:"unreachableNodes"`
	}
	// NodeDigest is the SHA-256, in hex, over the state of a group after the
	// command at Index, secrets as they are sealed.
	NodeDigest struct {
		NodeID string `json:"nodeId"`
		Group  string `json:"group"`
		Index  uint64 `json:"index"`
		SHA256 string `json:"sha256,omitempty"`
		// Error is why there is no digest.
		Error string `json:"error,omitempty"`
	}
)

func (s *Server) fleetRoutes() []route {
	const admin = model.ScopeAdminCluster
	return []route{
		{method: http.MethodGet, path: "/cluster/1/health", scope: admin, handle: s.showHealth},
		{method: http.MethodGet, path: "/cluster/1/digests", scope: admin, handle: s.listDigests},
	}
}

func (s *Server) fleet() (Fleet, error) {
	if s.o.Fleet == nil {
		return nil, model.Errorf(model.CodeUnavailable, "this node does not ask the others yet")
	}
	return s.o.Fleet, nil
}

func (s *Server) showHealth(r *request) error {
	fleet, err := s.fleet()
	if err != nil {
		return err
	}
	if err := r.noQuery(); err != nil {
		return err
	}
	h := fleet.Health(r.ctx())
	h.Nodes, h.Unreachable = listOf(h.Nodes), listOf(h.Unreachable)
	for i := range h.Nodes {
		h.Nodes[i].Groups = listOf(h.Nodes[i].Groups)
	}
	return r.json(http.StatusOK, h)
}

func (s *Server) listDigests(r *request) error {
	fleet, err := s.fleet()
	if err != nil {
		return err
	}
	p := r.strictQuery()
	group := choice(p, "group", GroupConfig, GroupEvents)
	id := p.text("nodeId")
	if err := p.err(); err != nil {
		return err
	}
	if group == "" {
		group = GroupConfig
	}
	if id != "" && !s.knowsNode(id) {
		return errNoNode()
	}
	d := fleet.Digests(r.ctx(), group, id)
	return r.json(http.StatusOK, ClusterDigests{listOf(d.Digests), listOf(d.Unreachable)})
}

func (s *Server) knowsNode(id string) bool {
	return slices.ContainsFunc(s.o.Cluster.Nodes(), func(n NodeStatus) bool { return n.NodeID == id })
}

func errNoNode() error { return model.Errorf(model.CodeNotFound, "there is no such node") }
